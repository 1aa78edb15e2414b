"""DataBunch: tensors, datasets and loaders become data a learner can use."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from learnkit import DataBunch, DatasetType, LearnkitWarning
from learnkit.data.tasks import Classification
from learnkit.errors import DataError, UsageError
from tests.doubles import refused

X, Y = torch.arange(24.0).view(12, 2), torch.tensor([0, 1, 2] * 4)


def test_integers_are_classes() -> None:
    dls = DataBunch.from_tensors(X, Y, X[:5], Y[:5], bs=4)
    assert dls.classes == ["0", "1", "2"]
    assert dls.c == 3
    assert dls.task == Classification(("0", "1", "2"))
    assert dls.batch_size == 4
    assert dls.input_shape == (2,)
    assert (len(dls.train_dl), len(dls.valid_dl)) == (3, 2)
    assert (len(dls.train_ds), len(dls.valid_ds), dls.test_ds) == (12, 5, None)


@pytest.mark.parametrize("seed", [np.int64(7), np.uint8(7), np.uint64(7)])
def test_seeds_of_numpy_draw_like_pythons(seed: Any) -> None:
    def orders(seed: Any) -> list[list[int]]:
        datasets = DataBunch.from_datasets(TensorDataset(X, Y), bs=4, seed=seed, classes=["a", "b", "c"])
        bunches = (DataBunch.from_tensors(X, Y, bs=4, seed=seed), datasets)
        return [torch.cat([x[:, 0] for x, _ in dls.train_dl]).tolist() for dls in bunches]

    assert orders(seed) == orders(7)
    assert orders(7) != orders(8)


@pytest.mark.parametrize("seed", [7.0, "7", None, True, 2**64])
def test_seeds_that_are_no_integers_are_refused_when_the_bunch_is_made(seed: Any) -> None:
    with refused("seed", got=seed, expected="an integer of 64 bits"):
        DataBunch.from_tensors(X, Y, bs=4, seed=seed)
    with refused("seed", got=seed, expected="an integer of 64 bits"):
        DataBunch.from_datasets(TensorDataset(X, Y), bs=4, seed=seed, classes=["a", "b", "c"])


def test_arrays_are_accepted_like_tensors() -> None:
    dls = DataBunch.from_tensors(X.numpy(), Y.numpy(), X.numpy(), Y.numpy(), bs=12)  # type: ignore[arg-type]
    x, y = dls.one_batch(DatasetType.Valid)
    assert torch.equal(x, X)
    assert torch.equal(y, Y)


def test_a_training_set_smaller_than_a_batch_still_trains() -> None:
    with pytest.warns(LearnkitWarning, match="bs=12 is used"):
        dls = DataBunch.from_tensors(X, Y, X, Y, bs=64)
    assert [len(x) for x, _ in dls.train_dl] == [12]


def test_the_table_follows_the_order_of_the_sets() -> None:
    dls = DataBunch.from_tensors(X, Y, X[:3], Y[:3], X[:3], bs=4)
    samples = dls.samples
    assert list(samples.columns) == ["input", "target", "split"]
    assert samples["split"].tolist() == ["train"] * 12 + ["valid"] * 3 + ["test"] * 3
    assert samples.query("split == 'train'")["target"].tolist() == Y.tolist()


def test_training_items_in_order_come_from_the_fix_loader() -> None:
    dls = DataBunch.from_tensors(X, Y, X, Y, X[:3], bs=5)
    for part in (DatasetType.Train, DatasetType.Fix):
        assert torch.equal(torch.cat([x for x, _ in dls.ordered_dl(part)]), X)
    assert torch.equal(torch.cat([x for (x,) in dls.ordered_dl(DatasetType.Test)]), X[:3])


def test_a_missing_part_is_reported() -> None:
    dls = DataBunch.from_tensors(X, Y, X, Y, bs=4)
    with refused("this bunch has no test set", fix="Make it with one, or pass a loader instead."):
        dls.ordered_dl(DatasetType.Test)
    with refused("ds_type", got=DatasetType.Single, fix="Use learn.predict."):
        dls.ordered_dl(DatasetType.Single)


@pytest.mark.parametrize(("name", "part"), [("train", 1), ("valid", 2), ("test", 3), ("fix", 5)])
def test_a_part_is_known_by_its_name(name: str, part: int) -> None:
    dls = DataBunch.from_tensors(X, Y, X[:5], Y[:5], X[:3], bs=4)
    assert torch.equal(dls.one_input(name, 1), dls.one_input(DatasetType(part), 1))
    assert len(torch.cat([batch[0] for batch in dls.ordered_dl(name)])) == {1: 12, 2: 5, 3: 3, 5: 12}[part]
    if name != "train":  # its batches are shuffled
        assert torch.equal(dls.one_batch(name)[0], dls.one_batch(DatasetType(part))[0])
    assert dls.item_name(name, 2) == "2"
    with refused("ds_type", got="validation", fix="Did you mean 'valid'?"):
        dls.ordered_dl("validation")


def test_unlabeled_items_make_a_loader() -> None:
    dls = DataBunch.from_tensors(X, Y, X, Y, bs=4)
    assert torch.equal(torch.cat([x for (x,) in dls.test_dl_from(list(X[:6]))]), X[:6])
    with refused("the test set is empty", DataError):
        dls.test_dl_from([])


def test_there_is_nothing_to_draw() -> None:
    dls = DataBunch.from_tensors(X, Y, X, Y, bs=4)
    assert dls.preprocess is None
    fix = "Use an ImageDataBunch: from_datasets and from_hf take datasets of images."
    for use in (dls.show_batch, lambda: dls.image(DatasetType.Valid, 0)):
        with refused("this bunch holds no images to draw", fix=fix):
            use()
    with refused("this bunch holds no images to augment", fix=fix):
        dls.augmented_dl("valid")
    assert dls.item_name(DatasetType.Valid, 3) == "3"


class Named(TensorDataset):
    classes = ("x", "y", "z")


def test_datasets_know_their_classes() -> None:
    dls = DataBunch.from_datasets(Named(X, Y), Named(X, Y), bs=5)
    assert dls.classes == ["x", "y", "z"]
    assert len(dls.train_dl) == 2
    assert torch.equal(torch.cat([x for x, _ in dls.ordered_dl(DatasetType.Train)]), X)
    plain = DataBunch.from_datasets(TensorDataset(X, Y), TensorDataset(X, Y), bs=5)
    assert (plain.classes, plain.c, plain.task) == ([], 0, None)
    with refused("samples: custom datasets and loaders have no table", fix="Look at dls.train_ds."):
        plain.samples  # noqa: B018
    with refused("the test set is empty", DataError):
        DataBunch.from_datasets(Named(X, Y), Named(X, Y), Named(X[:0], Y[:0]), bs=5)


def test_loaders_are_used_unchanged() -> None:
    batches = [(X[:6], Y[:6]), (X[6:], Y[6:])]
    dls = DataBunch.from_loaders(batches, batches, classes=["a", "b", "c"])
    assert dls.train_dl is batches
    assert dls.classes == ["a", "b", "c"]
    assert dls.input_shape == (2,)
    assert torch.equal(dls.one_batch()[0], X[:6])


def test_a_shuffled_torch_loader_is_predicted_in_order() -> None:
    train = DataLoader(Named(X, Y), 5, shuffle=True, drop_last=True)
    dls = DataBunch.from_loaders(train, DataLoader(Named(X, Y), 5))
    assert dls.classes == ["x", "y", "z"]
    assert torch.equal(torch.cat([x for x, _ in dls.ordered_dl(DatasetType.Train)]), X)


def test_an_iterator_is_refused() -> None:
    def once() -> Iterator[tuple[Tensor, Tensor]]:
        yield X, Y

    with pytest.raises(UsageError, match="train_dl is an iterator"):
        DataBunch.from_loaders(once(), [(X, Y)])
    with refused("valid_dl", got=3):
        DataBunch.from_loaders([(X, Y)], 3)  # type: ignore[arg-type]


def test_a_device_torch_does_not_know_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with refused("device", got="gpu"):
        DataBunch.from_tensors(X, Y, X, Y, bs=4, device="gpu")
    monkeypatch.setenv("LEARNKIT_DEVICE", "cpu")
    assert DataBunch.from_tensors(X, Y, X, Y, bs=4).device == torch.device("cpu")


@pytest.mark.parametrize("bs", [0, -1, 2.5, True])
def test_a_batch_size_that_cannot_work_is_refused(bs: Any) -> None:
    with refused("bs", got=bs, expected="an integer, 1 or more, or 'auto'"):
        DataBunch.from_tensors(X, Y, X, Y, bs=bs)


def test_creating_and_inspecting_does_not_change_the_global_generators() -> None:
    before, of_numpy = torch.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index, union-attr]
    dls = DataBunch.from_tensors(X, Y, X, Y, bs=4)
    dls.one_batch()
    list(dls.train_dl)
    assert torch.equal(before, torch.get_rng_state())
    assert (of_numpy == np.random.get_state()[1]).all()  # type: ignore[index]


def test_the_shape_of_an_input_is_known_if_it_needs_no_batch() -> None:
    class Noisy(TensorDataset):
        def __getitem__(self, index: int) -> tuple[Tensor, ...]:
            torch.rand(1)
            return super().__getitem__(index)  # type: ignore[no-any-return]

    class Stream(torch.utils.data.IterableDataset[Any]):
        def __iter__(self) -> Iterator[Any]:
            return iter([(X[0], Y[0])])

    before = torch.get_rng_state()
    assert DataBunch.from_datasets(Noisy(X, Y), Noisy(X, Y), bs=4).input_shape == (2,)
    assert DataBunch.from_loaders(DataLoader(Noisy(X, Y)), None).input_shape == (2,)
    assert torch.equal(before, torch.get_rng_state())
    assert DataBunch.from_loaders(DataLoader(Stream()), None).input_shape is None
    own = DataLoader(Noisy(X, Y), collate_fn=lambda items: items)
    assert DataBunch.from_loaders(own, None).input_shape is None
    assert DataBunch.from_loaders([{"x": X}], None).input_shape is None
