"""A batch as inputs and target: a tuple by its places, anything with names by its keys."""

from collections import UserDict
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from learnkit.data.loading.batch_parts import Keys, chosen_keys, parts_of
from learnkit.errors import DataError, UsageError

X, Y = torch.arange(6.0).view(3, 2), torch.tensor([0, 1, 0])


class Pair(NamedTuple):
    x: Tensor
    label: Tensor


@dataclass
class Columns:
    x: Tensor
    label: Tensor


NAMED: list[Any] = [dict(x=X, label=Y), UserDict(x=X, label=Y), Columns(X, Y)]  # noqa: C408


@pytest.mark.parametrize(("batch", "n"), [((X, Y), 2), ([X, Y], 2), (Pair(X, Y), 2), ((X,), 1), (X, 1)])
def test_places_are_kept(batch: Any, n: int) -> None:
    parts = parts_of(batch)
    assert type(parts) is tuple
    assert [id(part) for part in parts] == [id(X), id(Y)][:n]


@pytest.mark.parametrize("batch", NAMED, ids=lambda batch: type(batch).__name__)
def test_names_need_keys(batch: Any) -> None:
    kind = type(batch).__name__
    with pytest.raises(DataError, match=rf"a batch of it is a {kind}: .* Name its entries: .* of x, label"):
        parts_of(batch, " of it")


@pytest.mark.parametrize("batch", [*NAMED, Pair(X, Y)], ids=lambda batch: type(batch).__name__)
def test_keys_pick_by_name(batch: Any) -> None:
    assert Keys("x", "label").pick(batch) == (X, Y)
    assert Keys(["label", "x"], None).pick(batch) == (Y, X, None)
    assert Keys("x", "other").pick(batch, needs_target=False) == (X,)
    with pytest.raises(DataError, match=r"a batch has no 'other': got \['x', 'label'\], expected the keys x, other"):
        Keys("x", "other").pick(batch)
    with pytest.raises(DataError, match="a batch has no 'other'"):
        Keys("other", "label").pick(batch, needs_target=False)


@pytest.mark.parametrize("batch", [(X, Y), [X, Y]], ids=["tuple", "list"])
def test_keys_are_for_names(batch: Any) -> None:
    with pytest.raises(DataError, match=rf"names keys, but a batch is a {type(batch).__name__}"):
        Keys("x", "label").pick(batch)
    assert Keys("x", "label").pick(batch, needs_names=False) == (X, Y)


@pytest.mark.parametrize(("inputs", "target"), [([], "y"), (3, "y"), ("x", 3), ([1], None)])
def test_keys_are_text(inputs: Any, target: Any) -> None:
    with pytest.raises((UsageError, TypeError)):
        chosen_keys(inputs, target)


def test_a_target_needs_inputs() -> None:
    assert chosen_keys(None, None) is None
    with pytest.raises(UsageError, match="inputs: got None"):
        chosen_keys(None, "label")


@pytest.mark.parametrize("batch", [None, "ab", b"ab", 3, 0.5, {1, 2}, (), []], ids=repr)
def test_what_holds_no_inputs_is_refused(batch: Any) -> None:
    with pytest.raises(DataError, match=rf"a batch of it is a {type(batch).__name__}.*: expected a tuple"):
        parts_of(batch, " of it")


@pytest.mark.parametrize(
    "batch", [X.numpy(), (X.numpy(),), (X.numpy(), Y), (X, X.numpy(), Y)], ids=lambda b: f"{len(b)}"
)
def test_an_input_is_no_array(batch: Any) -> None:
    with pytest.raises(DataError, match=r"an input in a batch of it is a NumPy array: .* Use torch.from_numpy"):
        parts_of(batch, " of it")


def test_other_entries_are_up_to_the_model_and_the_loss() -> None:
    for batch in ((X, Y.numpy()), (X, 0.5, Y), (["a", "b", "c"], Y), ({"x": X}, Y), (X, None)):
        assert parts_of(batch) == batch
