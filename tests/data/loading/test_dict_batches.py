"""Batches with named entries become (inputs..., target) by their keys, for any loader."""

import pickle
from collections import UserDict
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from learnkit import DataBunch, Learner
from learnkit.data.loading.batch_parts import Keys
from learnkit.data.loading.dict_batches import KeyedLoader, keyed
from learnkit.errors import DataError

X, Y = torch.arange(24.0).view(12, 2), torch.tensor([0, 1] * 6)
ITEMS: list[Any] = [{"id": i, "x": x, "z": x + 1, "label": int(y)} for i, (x, y) in enumerate(zip(X, Y, strict=True))]


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Any:
        return iter(ITEMS)


class Own:
    """A loader without a length, of batches that are not a dict but act like one."""

    def __iter__(self) -> Any:
        return (UserDict({"x": X[i : i + 4], "z": X[i : i + 4] + 1, "label": Y[i : i + 4]}) for i in range(0, 12, 4))


LOADERS = {
    "a DataLoader": lambda: DataLoader(ITEMS, 4),
    "a shuffled one": lambda: DataLoader(ITEMS, 4, shuffle=True),
    "one of a stream": lambda: DataLoader(Stream(), 4),
    "one with a worker": lambda: DataLoader(ITEMS, 4, num_workers=1, persistent_workers=True),
    "a list": lambda: list(DataLoader(ITEMS, 4)),
    "an own one": Own,
}


class Adds(nn.Module):
    """Two inputs, in the order of the keys."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(2, 2)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        assert torch.equal(z, x + 1)
        out: Tensor = self.net(x) + self.net(z)
        return out


@pytest.mark.parametrize("make", LOADERS.values(), ids=LOADERS)
def test_a_learner_trains_on_dicts_of_any_loader(make: Any) -> None:
    loader = make()
    dls = DataBunch.from_loaders(loader, loader, classes=["a", "b"], inputs=["x", "z"], target="label")
    learn = Learner(dls, Adds(), metrics="accuracy")
    learn.fit(1)
    assert sorted(learn.get_preds("train")[1].tolist()) == [0] * 6 + [1] * 6
    assert torch.equal(learn.get_preds()[1].sort().values, Y.sort().values)


@pytest.mark.parametrize("dataset", [ITEMS, Stream()], ids=["map-style", "stream"])
def test_items_of_datasets_are_picked_alike(dataset: Any) -> None:
    dls = DataBunch.from_datasets(dataset, dataset, bs=4, classes=["a", "b"], inputs="x", target="label")
    x, y = dls.one_batch("valid")
    assert torch.equal(x, X[:4])
    assert torch.equal(y, Y[:4])
    assert torch.equal(dls.one_input("valid", 3), X[3:4])


def test_a_test_set_needs_no_target() -> None:
    unlabeled = [{"x": x} for x in X]
    dls = DataBunch.from_datasets(ITEMS, None, unlabeled, bs=4, classes=["a", "b"], inputs="x", target="label")
    assert len(dls.one_batch("test")) == 1
    with pytest.raises(DataError, match=r"a batch has no 'label': got \['x'\], expected the keys x, label"):
        DataBunch.from_loaders([{"x": X}], inputs="x", target="label").one_batch()


def test_what_has_no_names_is_refused() -> None:
    with pytest.raises(DataError, match=r"a batch is a list. Leave inputs= and target= out"):
        DataBunch.from_loaders([[X, Y]], inputs="x", target="label").one_batch()


def test_the_loader_itself_does_not_change() -> None:
    loader, keys = DataLoader(ITEMS, 4), Keys("x", "label")
    picked = keyed(loader, keys)
    assert isinstance(next(iter(loader)), dict)
    assert picked.dataset is loader.dataset
    assert len(picked) == 3
    assert keyed(loader, None) is loader
    assert keyed(None, keys) is None
    own = keyed(list(loader), keys)
    assert isinstance(own, KeyedLoader)
    assert len(pickle.loads(pickle.dumps(own))) == 3
    assert keyed(own, keys) is own
    assert keyed(picked, keys) is picked
    with pytest.raises(AttributeError):
        _ = own.nothing


class Fields(NamedTuple):
    label: Tensor
    x: Tensor


@dataclass
class Columns:
    x: Tensor
    label: Tensor
    id: int = 0


NAMED: dict[str, Any] = {"a dict": dict, "like a dict": UserDict, "a named tuple": Fields, "a dataclass": Columns}


def named_batch(kind: Any, items: list[Any]) -> Any:
    return kind(x=torch.stack([item["x"] for item in items]), label=torch.tensor([item["label"] for item in items]))


@pytest.mark.parametrize("kind", NAMED.values(), ids=NAMED)
def test_a_collate_fn_may_return_anything_with_names(kind: Any) -> None:
    loader = DataLoader(ITEMS, 4, collate_fn=partial(named_batch, kind))
    dls = DataBunch.from_loaders(loader, loader, classes=["a", "b"], inputs="x", target="label")
    learn = Learner(dls, nn.Linear(2, 2), metrics="accuracy")
    learn.fit(1)
    preds, targets = learn.get_preds()
    torch.testing.assert_close(preds, learn.model(X).softmax(1).detach())
    assert torch.equal(targets, Y)
    assert torch.equal(dls.one_input("valid", 5), X[5:6])


@pytest.mark.parametrize("of_items", [True, False], ids=["datasets", "loaders"])
def test_several_inputs_without_a_target_are_all_inputs(of_items: bool) -> None:
    unlabeled = [{"x": x, "z": x + 1} for x in X]
    names: Any = {"classes": ["a", "b"], "inputs": ["x", "z"], "target": "label"}
    if of_items:
        dls = DataBunch.from_datasets(ITEMS, None, unlabeled, bs=4, **names)
    else:
        dls = DataBunch.from_loaders(DataLoader(ITEMS, 4), None, DataLoader(unlabeled, 4), **names)
    learn = Learner(dls, Adds())
    preds, targets = learn.get_preds("test")
    assert targets is None
    torch.testing.assert_close(preds, learn.model(X, X + 1).softmax(1).detach())


@pytest.mark.parametrize("part", ["valid_dl", "test_dl", "train_dl"])
@pytest.mark.parametrize("make", LOADERS.values(), ids=LOADERS)
def test_a_loader_that_a_bunch_is_given_later_is_read_alike(make: Any, part: str) -> None:
    dls = DataBunch.from_loaders(list(DataLoader(ITEMS, 4)), inputs="x", target="label", classes=["a", "b"])
    setattr(dls, part, make())
    assert [entry.shape for entry in dls.one_batch(part.removesuffix("_dl"))] == [(4, 2), (4,)]
