"""ImageDataBunch.from_stream: from streams and settings to a bunch."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from learnkit import Classification, ImageDataBunch, Learner, MultiLabel, Points, Segmentation, cnn_learner, pack
from learnkit.data.loading.shares import shares
from learnkit.errors import DataError, MissingFileError, UsageError
from tests.data.stream.streams import written
from tests.doubles import refused

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")


def png(value: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((12, 16, 3), value, dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def packed(class_folder: Path, tmp_path: Path) -> Path:
    return pack(class_folder, tmp_path / "packed", chunk_bytes="6KB").folder


def joined(loader: Any) -> tuple[torch.Tensor, torch.Tensor]:
    x, y = zip(*loader, strict=True)
    return torch.cat(x), torch.cat(y)


def test_validation_is_that_of_the_files_in_order(class_folder: Path, packed: Path) -> None:
    options: dict[str, Any] = {"size": 16, "bs": 5}
    stream, files = ImageDataBunch.from_stream(packed, **options), ImageDataBunch.from_folder(class_folder, **options)
    assert stream.classes == files.classes == ["blue", "green", "red"]
    assert len(stream.valid_dl) == 3  # 5 + 5 + 2
    for ours, theirs in zip(stream.valid_dl, files.valid_dl, strict=True):
        assert all(map(torch.equal, ours, theirs))
    assert [stream.item_name("valid", i) for i in (0, 11)] == ["valid/blue/0.png", "valid/red/3.png"]
    assert stream.input_shape == (3, 16, 16)


def test_an_epoch_of_training_batches_holds_every_item_once(packed: Path) -> None:
    dls = ImageDataBunch.from_stream(packed, size=16, bs=5, augment=False, normalize=None)
    every = {tuple(x.flatten().tolist()) for x in joined(dls.fix_dl)[0]}
    assert len(every) == 24
    dls.train_dl.seed_epoch(3, 0)
    x, y = joined(dls.train_dl)
    assert len(dls.train_dl) == 4  # a last short batch is left out
    drawn = {tuple(one.flatten().tolist()) for one in x}
    assert len(drawn) == 20
    assert drawn < every
    dls.train_dl.seed_epoch(3, 1)
    assert not torch.equal(joined(dls.train_dl)[1], y)
    dls.train_dl.seed_epoch(3, 0)
    assert torch.equal(joined(dls.train_dl)[0], x)


def test_augmented_batches_are_the_same_for_any_number_of_workers_and_from_any_batch_on(packed: Path) -> None:
    batches = {}
    for workers in (0, 2):
        dls = ImageDataBunch.from_stream(packed, size=16, bs=4, num_workers=workers)
        dls.train_dl.seed_epoch(7, 5)
        batches[workers] = list(dls.train_dl)
    for ours, theirs in zip(batches[0], batches[2], strict=True):
        assert all(map(torch.equal, ours, theirs))
    dls.train_dl.seed_epoch(7, 5, 3)
    rest = list(dls.train_dl)
    assert len(rest) == 3
    assert all(map(torch.equal, rest[0], batches[0][3]))


@pytest.mark.parametrize("augment", [True, "strong", False])
def test_augmentation_is_that_of_the_files_by_the_number_of_the_item(
    class_folder: Path, packed: Path, augment: Any
) -> None:
    """A table with the items in the order of the stream gives the same item the same numbers."""
    stream = ImageDataBunch.from_stream(packed, size=16, bs=4, augment=augment)
    files = ImageDataBunch.from_folder(class_folder, size=16, bs=4, augment=augment).samples
    order = [str(class_folder / stream.item_name("train", i)) for i in range(24)]
    train = files[files["split"] == "train"].set_index("input").loc[order].reset_index()
    table = ImageDataBunch.from_samples(
        train.assign(split="train"), size=16, bs=4, augment=augment, valid_pct=0, classes=stream.classes
    )
    for dls in (stream, table):
        dls.train_dl.order.sampling = None
        dls.train_dl.seed_epoch(1, 2)
    for ours, theirs in zip(stream.train_dl, table.train_dl, strict=True):
        assert all(map(torch.equal, ours, theirs))


def test_a_remote_stream_gives_the_same_batches(packed: Path) -> None:
    pairs = [ImageDataBunch.from_stream(where, size=16, bs=4, num_workers=2) for where in (packed, f"local:{packed}")]
    for dls in pairs:
        dls.train_dl.seed_epoch(1, 2)
    for ours, theirs in zip(pairs[0].train_dl, pairs[1].train_dl, strict=True):
        assert all(map(torch.equal, ours, theirs))


@pytest.mark.slow
def test_a_learner_does_what_it_does_with_files(class_folder: Path, packed: Path, tmp_path: Path) -> None:
    dls = ImageDataBunch.from_stream(packed, size=16, bs=8, path=tmp_path / "run")
    learn = cnn_learner(dls, "resnet18", pretrained=False, metrics="accuracy", seed=1)
    learn.fit(1)
    files = ImageDataBunch.from_folder(class_folder, size=16, bs=8)
    loss, accuracy = learn.validate()
    assert learn.validate(files.valid_dl) == [loss, accuracy]
    preds, targets = learn.get_preds("valid")
    assert torch.equal(targets, joined(files.valid_dl)[1])
    assert len(learn.tta("valid", n=2)[0]) == 12
    assert len(learn.interpret().top_losses(3)[0]) == 3
    learn.write_preds(tmp_path / "preds.csv")
    assert "valid/blue/0.png" in (tmp_path / "preds.csv").read_text()
    assert learn.export(tmp_path / "m.lk").exists()
    dls.show_batch()
    dls.show_augmented()
    item = learn.predict(class_folder / "valid" / "red" / "0.png")
    assert torch.allclose(item.probs, preds[8], atol=1e-6)


def small_learner(dls: ImageDataBunch, path: Path) -> Learner:
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model = nn.Sequential(body, nn.Sequential(nn.Dropout(), nn.Linear(8, 3)))
    return Learner(dls, model, groups=list(model), metrics="accuracy", path=path, seed=1)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*look almost like two others")  # to a network that has learned nothing
def test_what_a_learner_says_of_a_stream_is_what_it_says_of_the_files(
    class_folder: Path, packed: Path, tmp_path: Path
) -> None:
    stream = small_learner(ImageDataBunch.from_stream(packed, size=16, bs=8), tmp_path / "a")
    files = small_learner(ImageDataBunch.from_folder(class_folder, size=16, bs=8), tmp_path / "b")
    image = class_folder / "train" / "red" / "0.png"
    for learn in (stream, files):
        learn.fit_head(1, 1e-3)
    files.model.load_state_dict(stream.model.state_dict())
    assert torch.equal(stream.embed("valid"), files.embed("valid"))
    nearest = stream.similar(image, k=3)["distance"].tolist()
    assert nearest == pytest.approx(files.similar(image, k=3)["distance"].tolist(), abs=1e-6)
    assert len(stream.near_duplicates()) == len(files.near_duplicates())
    assert len(stream.outliers()) == len(files.outliers())
    assert len(stream.label_issues("valid", folds=2)) == 12
    for learn in (stream, files):
        learn.fit_conformal(0.5)
    assert stream.predict_set(image).labels == files.predict_set(image).labels
    assert torch.equal(stream.mc_dropout("valid", n=2).mean, files.mc_dropout("valid", n=2).mean)
    stream.show_results()
    stream.interpret().plot_grad_cam(0)
    for duplicates in (False, True):
        page = stream.report(tmp_path / "report.html", duplicates=duplicates).read_text(encoding="utf-8")
        assert ("learn.report(path, duplicates=True)" in page) is not duplicates


def test_a_stream_of_others_by_keys_and_classes(tmp_path: Path) -> None:
    stream = written(tmp_path / "s", [{"jpg": png(20 * i), "cls": i % 3, "id": "x"} for i in range(9)])
    dls = ImageDataBunch.from_stream(
        stream, stream, image="jpg", label="cls", classes=["a", "b", "c"], size=8, bs=4, normalize=None
    )
    x, y = joined(dls.valid_dl)
    assert y.tolist() == [0, 1, 2] * 3
    assert torch.allclose(x[4], torch.full((3, 8, 8), 80 / 255))
    assert dls.item_name("valid", 4) == "valid[4]"
    assert dls.task == Classification(("a", "b", "c"))


def test_labels_that_are_names_several_numbers_masks_or_points(tmp_path: Path) -> None:
    def targets(task: Any, labels: list[Any], **options: Any) -> torch.Tensor:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        stream = written(folder, [(png(9 * i), label) for i, label in enumerate(labels)])
        dls = ImageDataBunch.from_stream(
            stream, image=0, label=1, task=task, size=(12, 16), bs=2, augment=False, **options
        )
        return joined(dls.fix_dl)[1]

    assert targets(None, ["b", "a"], classes=["a", "b"]).tolist() == [1, 0]
    hot = [np.array([0, 1, 1]), np.array([0, 0, 0])]
    assert targets("multilabel", hot, classes=["a", "b", "c"]).tolist() == [[0, 1, 1], [0, 0, 0]]
    assert targets(MultiLabel(("a", "b")), [["b"], ["a"]]).tolist() == [[0, 1], [1, 0]]
    assert targets("regression", [0.5, -2.0]).tolist() == [[0.5], [-2.0]]
    mask = io.BytesIO()
    Image.fromarray(np.arange(192, dtype=np.uint8).reshape(12, 16) % 2).save(mask, "PNG")
    found = targets(Segmentation(["x", "y"]), [mask.getvalue()] * 2)
    assert found.shape == (2, 12, 16)
    assert found[0, 0].tolist() == [0, 1] * 8
    points = targets(Points(["eye"]), [np.array([[7.5, 5.5]]), np.array([[-0.5, 11.5]])])
    assert torch.allclose(points[:, 0], torch.tensor([[0.0, 0.0], [-1.0, 1.0]]))  # the center; the lower left corner


def test_a_random_transform_of_the_stream_is_a_function_of_the_item(tmp_path: Path) -> None:
    import litdata

    def noisy(item: Any) -> Any:
        return np.random.randint(0, 256, (8, 8, 3), dtype=np.uint8), item[1]

    stream = written(tmp_path / "s", [(png(9), i % 2) for i in range(8)])
    epochs = []
    for workers in (0, 2, 0):
        dataset = litdata.StreamingDataset(str(stream), transform=noisy)
        dls = ImageDataBunch.from_stream(
            dataset, image=0, label=1, classes=["a", "b"], size=8, bs=2, augment=False, num_workers=workers
        )
        np.random.seed(len(epochs))
        before = np.random.get_state()[1].tolist()  # type: ignore[union-attr]
        dls.train_dl.seed_epoch(3, 1)
        epochs.append(joined(dls.train_dl)[0])
        assert np.random.get_state()[1].tolist() == before  # type: ignore[union-attr]
    assert torch.equal(epochs[0], epochs[1])
    assert torch.equal(epochs[0], epochs[2])
    assert len({tuple(one.flatten().tolist()) for one in epochs[0]}) == 8


def test_a_test_set_may_lack_labels(class_folder: Path, tmp_path: Path) -> None:
    (class_folder / "test").mkdir()
    for i in range(3):
        (class_folder / "test" / f"{i}.png").write_bytes(png(i))
    dls = ImageDataBunch.from_stream(pack(class_folder, tmp_path / "out", test="test").folder, size=8, bs=4)
    assert [len(batch) for batch in dls.test_dl] == [1]
    other = written(tmp_path / "s", [{"image": png(i)} for i in range(3)])
    train = written(tmp_path / "t", [{"image": png(i), "label": i % 2} for i in range(4)])
    dls = ImageDataBunch.from_stream(train, None, other, classes=["a", "b"], size=8, bs=2)
    assert [len(batch) for batch in dls.test_dl] == [1, 1]
    assert dls.valid_dl is None
    with pytest.raises(DataError, match="valid: an item of the stream has no part 'label'"):
        ImageDataBunch.from_stream(train, other, classes=["a", "b"], size=8, bs=2)


def test_normalize_by_the_data_measures_the_training_stream(tmp_path: Path) -> None:
    stream = written(tmp_path / "s", [{"image": png(i), "label": i % 2} for i in (10, 30)])
    dls = ImageDataBunch.from_stream(stream, classes=["a", "b"], size=8, bs=2, normalize="data")
    mean, std = dls.preprocess.mean_and_std
    assert mean == pytest.approx([20 / 255] * 3)
    assert std == pytest.approx([10 / 255] * 3)


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    return written(tmp_path / "plain", [{"image": png(i), "label": i % 2} for i in range(4)])


def test_what_needs_a_table_is_refused(packed: Path) -> None:
    settings: dict[str, Any] = {
        "valid_pct": 0.2, "sampler": "balanced", "cache": "memory", "on_error": "skip", "normalize_labels": True,
        "allow_leak": True, "suffixes": [".png"],
    }  # fmt: skip
    for name, value in settings.items():
        with pytest.raises(UsageError, match=f"{name}: a stream has no table"):
            ImageDataBunch.from_stream(packed, **{name: value})
    dls = ImageDataBunch.from_stream(packed, size=16, bs=8)
    for read in (lambda: dls.samples, dls.summary, dls.folds, lambda: dls.drop([0])):
        with pytest.raises(UsageError, match="a stream has no table"):
            read()
    with pytest.raises(UsageError, match="or of a stream"):
        cnn_learner(dls, "resnet18", pretrained=False, class_weights="balanced")


def test_litdatas_own_loader_is_refused_in_several_processes(packed: Path) -> None:
    """It gives each process other items, of which a share would be a share of a share."""
    import litdata

    loader = litdata.StreamingDataLoader(litdata.StreamingDataset(str(packed / "train")), batch_size=4)
    with pytest.raises(UsageError, match=r"shares its items out itself.*from_stream"):
        next(shares(loader))


def test_a_process_reads_its_share_of_each_batch(packed: Path) -> None:
    dls = ImageDataBunch.from_stream(packed, size=16, bs=5)
    dls.train_dl.seed_epoch(1, 2)
    whole = list(dls.train_dl)
    parts = []
    for rank in range(2):
        dls.train_dl.seed_epoch(1, 2)
        dls.train_dl.order.share(rank, 2)
        parts.append(list(dls.train_dl))
    for batch, *pieces in zip(whole, *parts, strict=True):
        assert [len(piece[1]) for piece in pieces] == [3, 2]
        assert all(map(torch.equal, batch, map(torch.cat, zip(*pieces, strict=True))))


def test_what_is_not_known_is_asked_for(plain: Path, packed: Path, tmp_path: Path) -> None:
    with refused("classes"):
        ImageDataBunch.from_stream(plain, size=8, bs=2)
    with refused("size"):
        ImageDataBunch.from_stream(packed, size=None)
    with pytest.raises(DataError, match="no part 'cls'"):
        ImageDataBunch.from_stream(plain, label="cls", classes=["a", "b"], size=8, bs=2)
    with refused("image=, label="):
        ImageDataBunch.from_stream(packed, image="jpg")
    with pytest.raises(MissingFileError, match="no stream at"):
        ImageDataBunch.from_stream(tmp_path / "nothing")


def test_classes_and_tasks_are_compared_where_they_meet(plain: Path, packed: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="in another order"):
        ImageDataBunch.from_stream(packed, classes=["red", "green", "blue"])
    with refused("task"):
        ImageDataBunch.from_stream(packed, task="regression")
    assert ImageDataBunch.from_stream(packed, task="classification", size=8, bs=4).c == 3
    (tmp_path / "few" / "a").mkdir(parents=True)
    (tmp_path / "few" / "b").mkdir()
    for name in ("a/1.png", "a/2.png", "b/1.png"):
        (tmp_path / "few" / name).write_bytes(png(ord(name[2]) + ord(name[0])))
    other = pack(tmp_path / "few", tmp_path / "other", valid_pct=0).folder
    with pytest.raises(DataError, match="was packed for"):
        ImageDataBunch.from_stream(packed / "train", other / "train")
    with refused("valid"):
        ImageDataBunch.from_stream(packed, packed / "valid")
    with pytest.raises(DataError, match="only class 'a'"):
        ImageDataBunch.from_stream(plain, classes=["a"], size=8, bs=2)
    bad = written(tmp_path / "bad", [{"image": png(1), "label": 2}])
    with pytest.raises(DataError, match=r"train\[\d\].*expected a class index from 0 to 1"):
        ImageDataBunch.from_stream(bad, classes=["a", "b"], size=8, bs=1)
