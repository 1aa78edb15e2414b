"""Batches that are dicts become (inputs..., target) by their keys, for any loader."""

import pickle
from collections import UserDict
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from learnkit import DataBunch, Learner
from learnkit.data.loading.dict_batches import KeyedLoader, Keys, chosen_keys, keyed
from learnkit.errors import DataError, UsageError

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
    assert len(Keys("x", "label").pick({"x": X, "label": Y}, needs_target=False)) == 2
    with pytest.raises(DataError, match=r"a batch has no 'label': got \['x'\], expected the keys x, label"):
        DataBunch.from_loaders([{"x": X}], inputs="x", target="label").one_batch()


@pytest.mark.parametrize(("inputs", "target"), [([], "y"), (3, "y"), ("x", 3), ([1], None)])
def test_keys_are_text(inputs: Any, target: Any) -> None:
    with pytest.raises((UsageError, TypeError)):
        chosen_keys(inputs, target)


def test_what_is_no_dict_is_refused() -> None:
    assert chosen_keys(None, None) is None
    with pytest.raises(UsageError, match="inputs: got None"):
        chosen_keys(None, "label")
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
    with pytest.raises(AttributeError):
        _ = own.nothing
