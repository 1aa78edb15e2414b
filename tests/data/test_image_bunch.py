"""ImageDataBunch: folders of images, from the table to the pixels the model sees."""

import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from learnkit import DataBunch, DatasetType, ImageDataBunch, LearnkitWarning
from learnkit.data.augment.geometry import Flip, Rotate
from learnkit.data.image_bunch import as_image_bunch
from learnkit.errors import DataError, ImageError, UsageError
from tests.doubles import refused


def bunch(folder: Path, **options: Any) -> ImageDataBunch:
    return ImageDataBunch.from_folder(folder, **{"size": 16, "bs": 8, "num_workers": 0, **options})


def test_classes_sizes_and_the_table(class_folder: Path) -> None:
    dls = bunch(class_folder)
    assert dls.classes == ["blue", "green", "red"]
    assert dls.c == 3
    assert dls.input_shape == (3, 16, 16)
    assert dls.path == class_folder
    assert (len(dls.train_ds), len(dls.valid_ds), dls.test_ds) == (24, 12, None)
    assert dls.samples.groupby("split").size().to_dict() == {"train": 24, "valid": 12}
    assert (
        dls.samples["target"].tolist()
        == ["blue"] * 8 + ["green"] * 8 + ["red"] * 8 + ["blue"] * 4 + ["green"] * 4 + ["red"] * 4
    )


def test_the_rows_of_a_split_are_in_the_order_of_its_loader(class_folder: Path) -> None:
    dls = bunch(class_folder, valid_pct=0.5, normalize=None)
    for part, split in ((DatasetType.Train, "train"), (DatasetType.Valid, "valid")):
        rows = dls.samples[dls.samples["split"] == split]
        targets = torch.cat([y for _, y in dls.ordered_dl(part)])
        assert [dls.classes[i] for i in targets] == rows["target"].tolist()
        x = torch.cat([x for x, _ in dls.ordered_dl(part)])
        assert torch.equal(x[3], dls.prepare(rows["input"].iloc[3])[0])
        assert dls.item_name(part, 3) == rows["input"].iloc[3]


def test_a_batch_is_float_normalized_and_of_one_size(class_folder: Path) -> None:
    x, y = bunch(class_folder, augment=False).one_batch()
    assert (x.shape, x.dtype, y.shape, y.dtype) == ((8, 3, 16, 16), torch.float32, (8,), torch.int64)


def test_imagenet_normalization_by_hand(class_folder: Path) -> None:
    path = class_folder / "valid" / "red" / "0.png"
    dls = bunch(class_folder, size=24)
    pixels = torch.from_numpy(np.asarray(Image.open(path)).copy()).permute(2, 0, 1) / 255
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    std = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    torch.testing.assert_close(dls.prepare(path)[0], (pixels - mean) / std)


def test_normalization_by_the_data_gives_mean_zero_and_std_one(class_folder: Path) -> None:
    x = torch.cat([x for x, _ in bunch(class_folder, normalize="data", augment=False).ordered_dl(DatasetType.Fix)])
    torch.testing.assert_close(x.mean((0, 2, 3)), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(x.std((0, 2, 3), unbiased=False), torch.ones(3), atol=1e-4, rtol=0)


@pytest.mark.parametrize("normalize", ["cifar", ((0.5,), (0.5,)), ((0.5, 0.5, 0.5), (1.0, 0.0, 1.0))])
def test_statistics_that_cannot_work_are_refused(normalize: Any, class_folder: Path) -> None:
    with refused("normalize", got=normalize):
        bunch(class_folder, normalize=normalize)


@pytest.mark.parametrize("size", [0, -3, "big", (16,), (16, 0), 2.5, True])
def test_sizes_that_cannot_work_are_refused(size: Any, class_folder: Path) -> None:
    with refused("size", got=size):
        bunch(class_folder, size=size)


def test_a_method_of_resizing_that_cannot_work_is_refused(class_folder: Path) -> None:
    with refused("resize", got="stretch", expected="'crop', 'squish' or 'pad'"):
        bunch(class_folder, resize="stretch")


def test_gray_images_have_one_channel(class_folder: Path) -> None:
    dls = bunch(class_folder, channels=1)
    assert dls.one_batch()[0].shape == (8, 1, 16, 16)
    assert dls.image(DatasetType.Valid, 0).shape == (16, 16, 3)


def seen(dls: ImageDataBunch, seed: int, epoch: int) -> torch.Tensor:
    dls.train_dl.seed_epoch(seed, epoch)
    return torch.cat([x for x, _ in dls.train_dl])


def test_the_same_coordinates_give_the_same_batches_whatever_the_workers(class_folder: Path) -> None:
    first = seen(bunch(class_folder), 3, 1)
    torch.rand(7)
    assert torch.equal(first, seen(bunch(class_folder), 3, 1))
    assert torch.equal(first, seen(bunch(class_folder, num_workers=2), 3, 1))
    assert not torch.equal(first, seen(bunch(class_folder), 3, 2))


def test_augmentation_differs_between_epochs_and_stays_out_of_validation(class_folder: Path) -> None:
    dls = bunch(class_folder, bs=24, augment=[Flip(0.5)])
    plain = torch.cat([x for x, _ in dls.ordered_dl(DatasetType.Fix)]).flatten(1).sort(0).values
    augmented = [seen(dls, 0, epoch).flatten(1).sort(0).values for epoch in (0, 1)]
    assert not torch.allclose(augmented[0], augmented[1], atol=1e-3)
    assert not torch.allclose(augmented[0], plain, atol=1e-3)
    assert torch.equal(
        dls.ordered_dl(DatasetType.Valid).preprocess.batch(dls.valid_ds[2][0][None]),
        dls.prepare(dls.valid_ds.inputs[2]),
    )


def test_the_global_generators_are_left_alone(class_folder: Path) -> None:
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()  # type: ignore[index, union-attr]
    dls = bunch(class_folder, valid_pct=0.3)
    dls.one_batch()
    seen(dls, 0, 0)
    dls.show_batch()
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == random.getstate()
    assert (before[2] == np.random.get_state()[1]).all()  # type: ignore[index]


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("content", [b"", b"not an image", None])
def test_a_bad_image_is_named_with_its_class_and_number(
    class_folder: Path, content: bytes | None, workers: int
) -> None:
    bad = class_folder / "train" / "green" / "3.png"
    bad.write_bytes(bad.read_bytes()[:200] if content is None else content)
    dls = bunch(class_folder, num_workers=workers)
    with pytest.raises(ImageError, match=r"green/3\.png \(class green, row 11\)"):
        seen(dls, 0, 0)


def test_unlabeled_files_make_a_loader(class_folder: Path) -> None:
    dls = bunch(class_folder)
    files = dls.valid_ds.inputs[:5]
    x = torch.cat([x for (x,) in dls.test_dl_from(files)])
    assert torch.equal(x, torch.cat([dls.prepare(file) for file in files]))
    with refused("the test set is empty", DataError):
        dls.test_dl_from([])


def test_a_test_folder_is_a_part_like_the_others(class_folder: Path) -> None:
    os.rename(class_folder / "valid" / "red", class_folder / "test")
    with pytest.warns(LearnkitWarning, match="no validation item of class red"):
        dls = bunch(class_folder, test="test")
    assert [len(batch) for batch in dls.test_dl] == [1]
    assert dls.samples.query("split == 'test'")["target"].isna().all()


def test_images_to_look_at(class_folder: Path, tmp_path: Path) -> None:
    dls = bunch(class_folder, augment=False, size=24)
    path = dls.valid_ds.inputs[0]
    assert np.array_equal(dls.image(DatasetType.Valid, 0), np.asarray(Image.open(path)))
    figure = dls.show_batch(rows=2)
    assert len(figure.axes) == 4
    assert {axes.get_title() for axes in figure.axes} <= {"blue", "green", "red"}
    shown = figure.axes[0].get_images()[0].get_array()
    color = {"blue": 2, "green": 1, "red": 0}[figure.axes[0].get_title()]
    assert np.asarray(shown).mean((0, 1)).argmax() == color
    with refused("rows", got=0):
        dls.show_batch(rows=0)


def test_only_a_bunch_of_images_is_an_image_bunch(class_folder: Path) -> None:
    dls = ImageDataBunch.from_folder(class_folder, size=8, bs=4)
    assert as_image_bunch(dls) is dls
    x, y = torch.zeros(4, 2), torch.arange(4) % 2
    assert as_image_bunch(DataBunch.from_tensors(x, y, x, y, bs=2)) is None


def test_show_augmented_draws_one_image_as_the_epochs_change_it(class_folder: Path) -> None:
    dls = ImageDataBunch.from_folder(class_folder, size=16, bs=4, augment=[Flip(), Rotate(45, p=1.0)])
    figure = dls.show_augmented(5, n=4, figsize=(3, 2))
    drawn = [np.asarray(axes.images[0].get_array()) for axes in figure.axes]
    assert (len(drawn), tuple(figure.get_size_inches())) == (4, (3, 2))
    assert {axes.get_title() for axes in figure.axes} == {dls.samples["target"][5]}
    for epoch, image in enumerate(drawn):  # those that training sees
        dls.train_dl.seed_epoch(42, epoch)
        assert any(np.abs(seen - image.astype(int)).max() <= 1 for seen in pixels_of_epoch(dls))
    assert not np.array_equal(drawn[0], drawn[1])
    assert len(dls.show_augmented(n=1).axes) == 1
    for options, what in (({"i": 24}, "i"), ({"i": -1}, "i"), ({"n": 0}, "n")):
        with refused(what):
            dls.show_augmented(**options)
    with pytest.raises(UsageError, match="does not augment"):
        ImageDataBunch.from_folder(class_folder, size=16, bs=4, augment=False).show_augmented()


def pixels_of_epoch(dls: ImageDataBunch) -> list[Any]:
    """All images of an epoch, uint8 (H, W, 3)."""
    x = torch.cat([x for x, _ in dls.train_dl])
    return list((dls.preprocess.normalize.undo(x) * 255).round().permute(0, 2, 3, 1).numpy().astype(int))
