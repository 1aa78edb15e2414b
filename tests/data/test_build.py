"""Every task from a table to batches: the same pixels on every path, what is skipped, drawn and reported."""

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from learnkit import (
    DatasetType,
    ImageDataBunch,
    Learner,
    LearnkitWarning,
    Points,
    Regression,
    Segmentation,
    cnn_learner,
)
from learnkit.data.augment.geometry import Flip, Rotate
from learnkit.data.image.crops import RandomResizedCrop
from learnkit.errors import DataError, ImageError, MissingFileError, UsageError
from tests.doubles import refused

SMALL: dict[str, Any] = {"size": 16, "bs": 8, "num_workers": 0}


class Pooled(nn.Module):
    """A small model for images of any size."""

    def __init__(self, n_out: int, channels: int = 3) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(channels, 4, 3), nn.Linear(4, n_out)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.conv(x).relu().mean((2, 3)))
        return out


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """20 images N.png whose red level is 10 N, 20 x 24 pixels."""
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(20):
        Image.new("RGB", (24, 20), (10 * number, 100, 50)).save(folder / f"{number}.png")
    return folder


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    """images/{train,valid}/N.png next to masks/{train,valid}/N_m.png: a bright box on dark, 255 where it is bright."""
    numbers = np.random.default_rng(0)
    root = tmp_path / "scenes"
    for split, n in (("train", 8), ("valid", 4)):
        for kind in ("images", "masks"):
            (root / kind / split).mkdir(parents=True)
        for number in range(n):
            mask = np.zeros((20, 24), np.uint8)
            top, left = numbers.integers(0, 10, 2)
            mask[top : top + 8, left : left + 9] = 255
            Image.fromarray(np.repeat(mask[..., None] // 2 + 60, 3, 2)).save(root / "images" / split / f"{number}.png")
            Image.fromarray(mask).save(root / "masks" / split / f"{number}_m.png")
    return root


def mask_of(image: Path) -> str:
    return str(image).replace("/images/", "/masks/").replace(".png", "_m.png")


def scene_bunch(scenes: Path, **options: Any) -> ImageDataBunch:
    codes = {0: "ground", 255: "box"}
    return ImageDataBunch.from_folder_masks(scenes, "images", mask_of, codes, **{**SMALL, **options})


def list_bunch(folder: Path, labels: Any, **options: Any) -> ImageDataBunch:
    names = [f"{number}.png" for number in range(20)]
    return ImageDataBunch.from_lists(folder, names, labels, **{**SMALL, "augment": False, **options})


@pytest.mark.parametrize("resize", ["crop", "squish", "pad"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_path_gives_the_model_the_same(class_folder: Path, resize: Any, channels: int) -> None:
    options: dict[str, Any] = {**SMALL, "resize": resize, "channels": channels, "augment": False, "normalize": "data"}
    dls = ImageDataBunch.from_folder(class_folder, **{**options, "size": (14, 18)})
    workers = ImageDataBunch.from_folder(class_folder, **{**options, "size": (14, 18), "num_workers": 1})
    cached = ImageDataBunch.from_folder(class_folder, **{**options, "size": (14, 18), "cache": "disk"})
    files = dls.valid_ds.inputs
    expected = torch.cat([dls.prepare(file) for file in files])
    for bunch in (dls, workers, cached):
        torch.testing.assert_close(torch.cat([x for x, _ in bunch.valid_dl]), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.cat([x for (x,) in dls.test_dl_from(files)]), expected, atol=1e-5, rtol=0)
    train = torch.cat([dls.prepare(file) for file in dls.train_ds.inputs])
    torch.testing.assert_close(torch.cat([x for x, _ in dls.fix_dl]), train, atol=1e-5, rtol=0)
    torch.testing.assert_close(dls.preprocess.batch(dls.train_ds[0][0][None]), train[:1], atol=1e-5, rtol=0)
    for file, x in zip(files, expected, strict=True):
        image = Image.open(file).convert("RGB")
        encoded = io.BytesIO()
        image.save(encoded, "PNG")
        pixels = np.array(image)
        for item in (image, encoded.getvalue(), pixels, torch.from_numpy(pixels).permute(2, 0, 1), Path(file)):
            torch.testing.assert_close(dls.prepare(item)[0], x, atol=1e-5, rtol=0)


def test_predictions_agree_on_every_path(class_folder: Path) -> None:
    dls = ImageDataBunch.from_folder(class_folder, **SMALL)
    learn = Learner(dls, Pooled(3), metrics="accuracy", seed=0)
    preds, targets = learn.get_preds()
    rows = dls.samples.query("split == 'valid'")
    for row, (file, target) in enumerate(zip(rows["input"], rows["target"], strict=True)):
        label, index, probs = learn.predict(file)
        torch.testing.assert_close(probs, preds[row], atol=1e-5, rtol=0)
        assert label == dls.classes[index]
        assert dls.classes[targets[row]] == target
    hits = [learn.predict(file)[0] == target for file, target in zip(rows["input"], rows["target"], strict=True)]
    assert learn.validate()[1] == pytest.approx(np.mean(hits))


def test_several_labels_per_item(images: Path) -> None:
    labels = [["a", "b"] if number % 3 == 0 else ["b"] if number % 3 == 1 else [] for number in range(20)]
    dls = list_bunch(images, labels, valid_pct=0.3)
    assert dls.classes == ["a", "b"]
    _, y = dls.one_batch()
    assert y.dtype == torch.float32
    assert y.shape == (8, 2)
    learn = Learner(dls, Pooled(2), metrics="default", seed=0)
    assert isinstance(learn.loss_func, nn.BCEWithLogitsLoss)
    learn.fit(1)
    assert list(learn.history.columns) == ["epoch", "train_loss", "valid_loss", "accuracy_multi", "time"]
    _, targets = learn.get_preds()
    rows = dls.samples.query("split == 'valid'")["target"].tolist()
    assert [[name for name, on in zip("ab", row, strict=True) if on] for row in targets.tolist()] == rows
    label, _, probs = learn.predict(images / "0.png")
    assert label == [name for name, p in zip("ab", probs.tolist(), strict=True) if p > 0.5]
    assert {axes.get_title() for axes in dls.show_batch().axes} <= {"a; b", "b", "(none)"}


def test_numbers_per_item(images: Path) -> None:
    dls = list_bunch(images, [number / 2 for number in range(20)], task="regression", valid_pct=0.3)
    assert dls.c == 1
    assert not dls.classes
    _, y = dls.one_batch()
    assert (y.shape, y.dtype) == ((8, 1), torch.float32)
    learn = Learner(dls, Pooled(1), metrics="default", seed=0)
    learn.fit(1)
    assert list(learn.history.columns)[3:5] == ["rmse", "mae"]
    (value,), _, raw = learn.predict(images / "3.png")
    assert value == pytest.approx(raw.item())
    titles = [float(axes.get_title()) for axes in dls.show_batch().axes]
    assert all(title * 2 == int(title * 2) for title in titles)


def test_numbers_without_a_task_are_asked_about(images: Path) -> None:
    with pytest.raises(UsageError, match=r"labels like 0\.5 are .*task='regression'"):
        list_bunch(images, [number + 0.5 for number in range(20)])


def test_a_class_for_every_pixel(scenes: Path) -> None:
    dls = scene_bunch(scenes, augment=False)
    assert dls.classes == ["ground", "box"]
    x, y = dls.one_batch()
    assert (x.shape, y.shape, y.dtype) == ((8, 3, 16, 16), (8, 16, 16), torch.int64)
    learn = Learner(dls, nn.Conv2d(3, 2, 1), metrics="default", seed=0)
    learn.fit(20, lr=0.1)
    assert learn.history["accuracy"].iloc[-1] > 0.95
    label, index, probs = learn.predict(dls.valid_ds.inputs[0])
    assert probs.shape == (2, 16, 16)
    assert np.array_equal(label, index.numpy())
    preds, targets = learn.get_preds()
    assert (preds.shape, targets.shape) == ((4, 2, 16, 16), (4, 16, 16))
    with pytest.raises(UsageError, match="one class per pixel"):
        cnn_learner(dls, "resnet18", pretrained=False)
    with pytest.raises(UsageError, match="returns 3 outputs per item"):
        Learner(dls, nn.Conv2d(3, 3, 1))


@pytest.mark.parametrize(
    "augment", [True, "strong", [RandomResizedCrop((16, 16)), Flip(1.0)], [Rotate(90, p=1.0), Flip()]]
)
@pytest.mark.parametrize("cache", [None, "memory"])
def test_masks_move_with_their_images(scenes: Path, augment: Any, cache: Any) -> None:
    if isinstance(augment, str):
        from learnkit.data.augment.presets import resolve_augment

        items, batch = resolve_augment("strong", (16, 16))
        assert batch is not None
        augment = [*items, *(one for one in batch.transforms if hasattr(one, "matrices"))]
    dls = scene_bunch(scenes, augment=augment, normalize=None, cache=cache)
    dls.train_dl.seed_epoch(0, 0)
    agree = [((x[:, 0] > 0.37) == (y == 1)).float().mean() for x, y in dls.train_dl]  # lit pixels are the box
    assert min(agree) > 0.93
    assert float(torch.cat([y.float().flatten() for _, y in dls.train_dl]).mean()) > 0.05


def test_masks_over_images_are_drawn(scenes: Path) -> None:
    dls = scene_bunch(scenes, augment=False, normalize=None, size=(20, 24))
    figure = dls.show_batch(rows=2)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["ground", "box"]
    assert {axes.get_title() for axes in figure.axes} == {"ground, box"}
    shown = np.asarray(figure.axes[0].get_images()[0].get_array())
    half = shown[:, -24:]
    assert len(np.unique(half.reshape(-1, 3), axis=0)) == 2  # one color for the box, one for the ground
    assert len(np.unique(shown[:, :24].reshape(-1, 3), axis=0)) == 2  # the bare image


def test_mask_and_image_of_different_sizes_are_named(scenes: Path) -> None:
    Image.new("L", (5, 6)).save(scenes / "masks" / "train" / "3_m.png")
    with pytest.raises(DataError, match=r"3_m\.png.*a mask of 5 x 6 pixels for .*3\.png of 24 x 20"):
        scene_bunch(scenes)


def test_mask_values_without_a_class_are_named(scenes: Path) -> None:
    Image.new("L", (24, 20), 7).save(scenes / "masks" / "valid" / "1_m.png")
    with pytest.raises(DataError, match=r"1_m\.png.*pixel values \{7\}.*ignore_index=7"):
        scene_bunch(scenes)


def test_pixels_to_ignore_count_for_nothing(scenes: Path) -> None:
    for file in (scenes / "masks" / "valid").iterdir():
        mask = np.array(Image.open(file))
        mask[:, :12] = 7
        Image.fromarray(mask).save(file)
    dls = scene_bunch(scenes, ignore_index=7, size=(20, 24), augment=False)
    always_ground = nn.Conv2d(3, 2, 1)
    with torch.no_grad():
        always_ground.weight.zero_()
        always_ground.bias.copy_(torch.tensor([5.0, -5.0]))
    learn = Learner(dls, always_ground, metrics="default")
    halves = [np.array(Image.open(file))[:, 12:] == 0 for file in sorted((scenes / "masks" / "valid").iterdir())]
    assert learn.validate()[1] == pytest.approx(np.mean(halves))


def spoil(images: Path) -> list[str]:
    (images / "3.png").write_bytes(b"")
    (images / "7.png").write_bytes((images / "7.png").read_bytes()[:60])
    (images / "12.png").unlink()
    return [str(images / f"{number}.png") for number in (3, 7, 12)]


def test_files_that_cannot_be_read_are_left_out_of_everything(images: Path) -> None:
    bad = spoil(images)
    labels = ["even" if number % 2 == 0 else "odd" for number in range(20)]
    with pytest.warns(LearnkitWarning, match=r"3 of 20 items cannot be read") as reported:
        dls = list_bunch(images, labels, valid_pct=0.5, on_error="skip", bs=4)
    assert len(reported) == 1
    assert dls.skipped["input"].tolist() == bad
    assert all(file in error for file, error in zip(bad, dls.skipped["error"], strict=True))
    assert set(dls.samples["input"]).isdisjoint(bad)
    assert len(dls.samples) == len(dls.train_ds) + len(dls.valid_ds) == 17
    learn = Learner(dls, Pooled(2), metrics="accuracy", seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # reported once
        learn.fit(1)
    preds, targets = learn.get_preds()
    assert len(preds) == (dls.samples["split"] == "valid").sum()
    assert learn.validate()[1] == pytest.approx((preds.argmax(1) == targets).float().mean().item())
    assert "left out: 3 items" in str(dls.summary())


def test_files_that_cannot_be_read_are_named_otherwise(images: Path) -> None:
    labels = ["even" if number % 2 == 0 else "odd" for number in range(20)]
    (images / "3.png").write_bytes(b"")
    dls = list_bunch(images, labels, valid_pct=0.5)
    with pytest.raises(ImageError, match=r"3\.png \(class odd, row \d+\)"):
        list(dls.fix_dl), list(dls.valid_dl)
    (images / "5.png").unlink()
    with pytest.raises(MissingFileError, match=r"1 of 20 files are missing, first .*5\.png' \(row 5\)"):
        list_bunch(images, labels)
    with refused("on_error", got="ignore"):
        list_bunch(images, labels, on_error="ignore")


def test_without_a_size_all_files_have_to_have_one(images: Path) -> None:
    labels = [str(number % 2) for number in range(20)]
    assert list_bunch(images, labels, size=None).input_shape == (3, 20, 24)
    Image.new("RGB", (8, 9)).save(images / "4.png")
    with pytest.raises(DataError, match=r"24×20 ×19 e\.g\. .*0\.png, 8×9 ×1 e\.g\. .*4\.png.*Pass size="):
        list_bunch(images, labels, size=None)


def test_a_reader_brings_any_channels_and_loses_no_bits(tmp_path: Path) -> None:
    for number in range(6):
        np.save(tmp_path / f"{number}.npy", np.full((10, 12, 5), 1000 * number + 7, np.uint16))

    def read(path: str) -> npt.NDArray[np.uint16]:
        pixels: npt.NDArray[np.uint16] = np.load(path)
        return pixels

    names = [f"{number}.npy" for number in range(6)]
    options = {**SMALL, "size": (10, 12), "channels": 5, "reader": read, "normalize": None, "augment": False, "bs": 2}
    dls = ImageDataBunch.from_lists(tmp_path, names, ["a", "b"] * 3, valid_pct=0.4, **options)
    x = torch.cat([x for x, _ in dls.fix_dl])
    assert x.shape == (4, 5, 10, 12)
    numbers = [int(Path(name).stem) for name in dls.train_ds.inputs]
    torch.testing.assert_close(
        x[:, 0, 0, 0] * 65535, torch.tensor([1000.0 * n + 7 for n in numbers]), atol=0.01, rtol=0
    )
    assert dls.show_batch(1).axes
    with pytest.raises(UsageError, match=r"channels: got 5.*reader="):
        ImageDataBunch.from_lists(tmp_path, names, ["a", "b"] * 3, **{**options, "reader": None})


def test_a_summary_counts_and_measures(class_folder: Path) -> None:
    for number in range(6):
        (class_folder / "train" / "red" / f"{number}.png").unlink()
    Image.new("RGB", (50, 30)).save(class_folder / "train" / "blue" / "0.png")
    summary = ImageDataBunch.from_folder(class_folder, **SMALL).summary()
    assert summary.counts.to_dict() == {
        "train": {"blue": 8, "green": 8, "red": 2, "(all)": 18},
        "valid": {"blue": 4, "green": 4, "red": 4, "(all)": 12},
    }
    assert summary.imbalance == 4
    assert summary.sizes.loc["max"].to_dict() == {"height": 30, "width": 50}
    assert summary.sizes.loc["median"].to_dict() == {"height": 24, "width": 24}
    assert summary.shape == (3, 16, 16)
    assert "blue" in str(summary)
    assert "<table" in summary._repr_html_()


def test_a_table_can_be_changed_and_used_again(class_folder: Path) -> None:
    dls = ImageDataBunch.from_folder(class_folder, **SMALL)
    kept = dls.samples[dls.samples["target"] != "red"]
    with pytest.warns(LearnkitWarning, match="no training item of class red: .*; classes= without it leaves it out"):
        again = ImageDataBunch.from_samples(kept, class_folder, **SMALL)
    assert again.classes == ["blue", "green", "red"]
    assert len(again.samples) == 24
    assert ImageDataBunch.from_samples(kept, classes=["blue", "green"], **SMALL).classes == ["blue", "green"]
    with pytest.raises(DataError, match="no column 'input'"):
        ImageDataBunch.from_samples(pd.DataFrame({"target": [1]}))


def test_balanced_batches(class_folder: Path) -> None:
    for number in range(1, 8):
        (class_folder / "train" / "red" / f"{number}.png").unlink()
    dls = ImageDataBunch.from_folder(class_folder, **{**SMALL, "sampler": "balanced", "bs": 17, "augment": False})
    counts = torch.cat([y for _, y in dls.train_dl]).bincount().tolist()
    assert sorted(counts) == [5, 6, 6]
    assert torch.cat([y for _, y in dls.valid_dl]).bincount().tolist() == [4, 4, 4]


@pytest.mark.parametrize(
    ("augment", "sampler"),
    [
        *((augment, None) for augment in (True, "light", "strong", "trivial", [RandomResizedCrop((16, 16))], "v2")),
        ("strong", "balanced"),
    ],
)
def test_batches_are_the_same_whatever_the_workers_and_from_any_start(
    class_folder: Path, augment: Any, sampler: Any
) -> None:
    if augment == "v2":
        from torchvision.transforms import v2

        augment = [v2.RandAugment(), v2.RandomCrop(16, padding=2)]

    def batches(workers: int, start: int = 0, cache: Any = None, seed: int = 5, epoch: int = 3) -> list[Any]:
        options = {**SMALL, "num_workers": workers, "augment": augment, "sampler": sampler, "cache": cache, "bs": 5}
        dls = ImageDataBunch.from_folder(class_folder, **options)
        dls.train_dl.seed_epoch(seed, epoch, start)
        return list(dls.train_dl)

    whole = batches(0)
    assert len(whole) == 24 // 5
    cached = [(0, batches(0, cache=cache)) for cache in ("memory", "disk")]
    for start, rest in (*cached, (0, batches(2)), (2, batches(0, 2)), (3, batches(1, 3))):
        assert all(
            torch.equal(a, b)
            for one, two in zip(whole[start:], rest, strict=True)
            for a, b in zip(one, two, strict=True)
        )
    assert not torch.equal(whole[0][0], batches(0, epoch=4)[0][0])
    assert not torch.equal(whole[0][0], batches(0, seed=6)[0][0])


def test_a_training_set_smaller_than_a_batch_still_trains(images: Path) -> None:
    labels = ["even" if number % 2 == 0 else "odd" for number in range(20)]
    with pytest.warns(LearnkitWarning, match="bs=64 is more than the 14 training items; bs=14 is used"):
        dls = list_bunch(images, labels, valid_pct=0.3, bs=64)
    learn = Learner(dls, Pooled(2), seed=0)
    learn.fit(1)
    assert learn.recorder.losses


def test_unlabeled_and_empty_parts(images: Path, tmp_path: Path) -> None:
    (tmp_path / "test").mkdir()
    Image.new("RGB", (9, 9)).save(tmp_path / "test" / "x.png")
    labels = ["even" if number % 2 == 0 else "odd" for number in range(20)]
    names = [f"images/{number}.png" for number in range(20)]
    dls = ImageDataBunch.from_lists(tmp_path, names, labels, test="test", **SMALL)
    preds, targets = Learner(dls, Pooled(2)).get_preds(DatasetType.Test)
    assert preds.shape == (1, 2)
    assert targets is None
    (tmp_path / "test" / "x.png").unlink()
    with pytest.raises(DataError, match="no images"):
        ImageDataBunch.from_lists(tmp_path, names, labels, test="test", **SMALL)


def test_without_a_size_unreadable_files_do_not_count(images: Path) -> None:
    spoil(images)
    labels = [str(number % 2) for number in range(20)]
    with pytest.warns(LearnkitWarning, match="3 of 20"):
        assert list_bunch(images, labels, size=None, on_error="skip").input_shape == (3, 20, 24)
    with pytest.raises(ImageError, match=r"3\.png"):
        ImageDataBunch.from_lists(images, ["3.png", "4.png"], ["a", "b"], size=None)


def test_a_training_image_without_a_mask_is_named(scenes: Path) -> None:
    table = scene_bunch(scenes).samples
    table.loc[2, "target"] = None
    with pytest.raises(DataError, match=r"1 row has no mask, first .*\(row 2\)"):
        ImageDataBunch.from_samples(table, task=scene_bunch(scenes).task, **SMALL)


@pytest.mark.parametrize(
    ("options", "workers"),
    [({}, 2), ({"cache": "memory"}, 0), ({"num_workers": 1}, 1), ({"cache": "memory", "num_workers": 1}, 1)],
)
def test_images_are_read_by_a_default_number_of_workers_but_from_a_cache(
    options: dict[str, Any], workers: int, class_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("learnkit.data.build.default_workers", lambda n_train, device: 2)
    dls = ImageDataBunch.from_folder(class_folder, size=16, bs=8, **options)
    assert (dls.train_dl.num_workers, dls.valid_dl.num_workers) == (workers, workers)


@pytest.mark.parametrize("task", ["regression", Regression(["price"]), Points(1), Segmentation(["a", "b"])])
def test_classes_beside_a_task_without_them_or_with_its_own_are_refused(images: Path, task: Any) -> None:
    files = sorted(images.glob("*.png"))
    labels = [files[0]] * len(files) if isinstance(task, Segmentation) else [[1.0, 2.0]] * len(files)
    with pytest.raises((DataError, UsageError), match="classes"):
        ImageDataBunch.from_lists(images, files, labels, task=task, classes=["x", "y"], size=8)
