"""The parts of a bunch: asked for, missing, and what of them can be changed."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from learnkit import DataBunch, ImageDataBunch, Learner, LearnkitWarning
from learnkit.callbacks import EarlyStopping, ReduceLROnPlateau, SaveModel, StopAfterNBatches
from learnkit.errors import UsageError

X, Y = torch.arange(48.0).view(24, 2) / 48, torch.tensor([0, 1] * 12)
SET = TensorDataset(X, Y)


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return zip(X, Y, strict=True)


class StreamWithLength(Stream):
    def __len__(self) -> int:
        return len(X)


class Batches:
    """Batches of an own loader: no length, no dataset."""

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return ((X[i : i + 5], Y[i : i + 5]) for i in range(0, 24, 5))


class Evil(Batches):
    """Raises when it is asked for a length or whether it is true."""

    def __len__(self) -> int:
        raise TypeError("no length")

    def __bool__(self) -> bool:
        raise TypeError("no truth")


def loaders(make: Callable[[], Any]) -> Callable[[bool], DataBunch]:
    return lambda validates: DataBunch.from_loaders(make(), make() if validates else None, classes=["a", "b"])


def datasets(dataset: Any) -> Callable[[bool], DataBunch]:
    return lambda validates: DataBunch.from_datasets(dataset, dataset if validates else None, bs=5, classes=["a", "b"])


BUNCHES = {
    "tensors": lambda validates: DataBunch.from_tensors(X, Y, *((X, Y) if validates else ()), bs=5),
    "dataset": datasets(SET),
    "stream": datasets(Stream()),
    "stream with a length": datasets(StreamWithLength()),
    "DataLoader": loaders(lambda: DataLoader(SET, 5, shuffle=True, drop_last=True)),
    "DataLoader of a stream": loaders(lambda: DataLoader(Stream(), 5, drop_last=True)),
    "DataLoader of one with a length": loaders(lambda: DataLoader(StreamWithLength(), 5)),
    "own loader": loaders(Batches),
    "loader without truth": loaders(Evil),
    "list": loaders(lambda: list(Batches())),
}
HAVE_LENGTH = {"tensors", "dataset", "stream with a length", "DataLoader", "DataLoader of one with a length", "list"}


@pytest.mark.parametrize("name", BUNCHES)
def test_everything_works_with_any_loader(name: str, tmp_path: Path) -> None:
    dls = BUNCHES[name](True)
    learn = Learner(dls, nn.Linear(2, 2), metrics="accuracy", seed=0, path=tmp_path)
    assert "Learner" in repr(learn) + learn._repr_html_() + repr(dls) + dls._repr_html_()
    assert "train_dl" in str(learn.show_training())
    learn.fit(2, callbacks=[SaveModel(), EarlyStopping()])
    learn.fit(1, callbacks=StopAfterNBatches(1))
    learn.lr_find(num_it=6)
    for part in ("train", "valid"):
        preds, targets = learn.get_preds(part)  # type: ignore[arg-type]
        assert sorted(targets.tolist()) == sorted(Y.tolist())
        assert len(preds) == 24
    assert len(torch.cat([preds for preds, _ in learn.predict_iter()])) == 24
    torch.testing.assert_close(learn.validate()[0], learn.interpret().losses.mean().item())
    assert dls.one_input("valid", 7).shape == (1, 2)
    if name in HAVE_LENGTH:
        learn.fit_one_cycle(1)
    else:
        weights = learn.model.weight.clone()
        with pytest.raises(UsageError, match="train_dl has no length, so progress cannot be computed"):
            learn.fit_one_cycle(1)
        assert torch.equal(learn.model.weight, weights)


MONITORS = {
    "EarlyStopping": EarlyStopping, "SaveModel": SaveModel, "ReduceLROnPlateau": ReduceLROnPlateau,
    "of a metric": lambda: EarlyStopping("accuracy"),
}  # fmt: skip


@pytest.mark.parametrize("name", BUNCHES)
def test_without_a_validation_set_training_runs_and_nothing_of_validation_is_there(name: str, tmp_path: Path) -> None:
    dls = BUNCHES[name](False)
    assert dls.valid_dl is None
    assert "valid" not in repr(dls)
    learn = Learner(dls, nn.Linear(2, 2), metrics="accuracy", seed=0, path=tmp_path)
    learn.fit(2)
    assert learn.history.columns.tolist() == ["epoch", "train_loss", "time"]
    assert "valid" not in str(learn.show_training())
    learn.lr_find(num_it=6)
    learn.fit(1, callbacks=[SaveModel("train_loss"), EarlyStopping("train_loss")])
    learn.recorder.plot_losses()
    for use in (learn.validate, learn.interpret, learn.get_preds, lambda: learn.report(tmp_path / "r.html")):
        with pytest.raises(UsageError, match="this bunch has no validation set"):
            use()
    assert len(learn.interpret("train").losses) == 24
    learn.report(tmp_path / "r.html", "train")


@pytest.mark.parametrize("make", MONITORS.values(), ids=MONITORS)
def test_a_monitor_of_a_missing_validation_is_refused_before_anything_is_trained(make: Callable[[], Any]) -> None:
    learn = Learner(BUNCHES["tensors"](False), nn.Linear(2, 2), metrics="accuracy", seed=0)
    weights = learn.model.weight.clone()
    with pytest.raises(UsageError):
        learn.fit(1, callbacks=make())
    assert torch.equal(learn.model.weight, weights)
    assert not len(learn.history)


@pytest.mark.parametrize(
    "options", [{"valid_pct": 0}, {"valid_pct": 0, "cache": "memory"}, {"valid_pct": 0, "test": "valid"}]
)
def test_images_without_a_validation_set(class_folder: Path, options: dict[str, Any]) -> None:
    for label in ("blue", "green", "red"):
        (class_folder / "train" / label).rename(class_folder / label)
    if "test" in options:
        (class_folder / "valid").rename(class_folder / "test")
        options = {**options, "test": "test"}
    else:
        import shutil

        shutil.rmtree(class_folder / "valid")
    dls = ImageDataBunch.from_folder(class_folder, size=8, bs=4, **options)
    assert dls.valid_dl is None
    assert set(dls.samples["split"]) == ({"train", "test"} if "test" in options else {"train"})
    assert len(dls.train_ds) == 24
    learn = Learner(dls, nn.Sequential(nn.Flatten(), nn.Linear(192, 3)), metrics="accuracy", seed=0)
    learn.fit(1)
    assert "valid_loss" not in learn.history
    for use in (learn.show_results, learn.validate, learn.tta, learn.interpret):
        with pytest.raises(UsageError, match="this bunch has no validation set"):
            use()
    learn.show_results("train")
    dls.show_batch()
    assert dls.summary().counts.columns.tolist() == (["train", "test"] if "test" in options else ["train"])


@pytest.mark.parametrize("name", ["tensors", "dataset"])
def test_the_batch_size_can_be_set(name: str) -> None:
    dls = BUNCHES[name](True)
    dls.batch_size = 6
    assert dls.batch_size == 6
    for part in ("train", "valid"):
        assert len(dls.one_batch(part)[0]) == 6
    assert len(list(dls.train_dl)) == len(dls.train_dl) == 4
    dls.train_dl.batch_size = 8
    assert (len(dls.one_batch()[0]), len(dls.one_batch("valid")[0])) == (8, 6)
    learn = Learner(dls, nn.Linear(2, 2), seed=0)
    learn.fit(1)
    with pytest.warns(LearnkitWarning, match="bs=99 is more than the 24 training items; bs=24 is used"):
        dls.batch_size = 99
    assert {len(dls.one_batch(part)[0]) for part in ("train", "valid")} == {24}
    for wrong in (0, 2.0, True, "4"):
        with pytest.raises(UsageError, match="batch_size: got"):
            dls.batch_size = wrong  # type: ignore[assignment]


def test_the_batch_size_of_images_is_that_of_folds_too(class_folder: Path) -> None:
    dls = ImageDataBunch.from_folder(class_folder, size=8, bs=4, num_workers=1)
    assert len(dls.one_batch()[0]) == 4
    dls.batch_size = 3
    assert len(dls.one_batch()[0]) == 3  # also with workers that have started
    assert dls.folds(2)[0].batch_size == 3


@pytest.mark.parametrize("name", [name for name in BUNCHES if name not in ("tensors", "dataset")])
def test_the_batch_size_of_other_loaders_is_refused(name: str) -> None:
    dls = BUNCHES[name](True)
    with pytest.raises(UsageError, match=r"batch_size cannot be changed: got 2. Make the bunch, or its loaders, with"):
        dls.batch_size = 2


FIXED = {
    "device": lambda dls: setattr(dls, "device", "cpu"),
    "preprocess": lambda dls: setattr(dls, "preprocess", None),
    "dataset": lambda dls: setattr(dls.train_dl, "dataset", []),
    "num_workers": lambda dls: setattr(dls.train_dl, "num_workers", 2),
    "n_items": lambda dls: setattr(dls.valid_dl, "n_items", 2), "order": lambda dls: setattr(dls.valid_dl, "order", 2),
    "augmentation": lambda dls: setattr(dls.train_dl, "augmentation", None),
}  # fmt: skip


@pytest.mark.parametrize("name", FIXED)
def test_what_would_change_nothing_is_refused(name: str, class_folder: Path) -> None:
    dls = ImageDataBunch.from_folder(class_folder, size=8, bs=4)
    with pytest.raises(UsageError, match=rf"{name}( of a loader)? cannot be changed"):
        FIXED[name](dls)


def test_what_is_set_acts(tmp_path: Path) -> None:
    dls = BUNCHES["tensors"](True)
    dls.path = str(tmp_path)  # type: ignore[assignment]
    assert dls.path == tmp_path
    dls.train_dl = DataLoader(TensorDataset(X[:6], Y[:6]), 3)
    learn = Learner(dls, nn.Linear(2, 2))
    learn.fit(1)
    assert len(learn.get_preds("train")[0]) == 6
    dls.valid_dl = None
    with pytest.raises(UsageError, match="no validation set"):
        learn.validate()
