"""Structures of tensors: one walk for all of them."""

from collections import OrderedDict, defaultdict, namedtuple
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from learnkit.errors import DataError
from learnkit.tree import concatenate, count_items, cut, leaves, map_tensors


class Pair(NamedTuple):
    image: Tensor
    weight: Tensor


@dataclass(frozen=True)
class Output:
    logits: Tensor
    hidden: tuple[Tensor, ...] = ()
    loss: Tensor | None = None


class ModelOutput(OrderedDict[str, Any]):
    """Like those of transformers: a dict whose entries are attributes too."""

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        super().__setattr__(key, value)


Old = namedtuple("Old", "x y")
ROWS = torch.arange(8.0).view(4, 2)
TREES = {
    "tensor": ROWS,
    "tuple": (ROWS, ROWS),
    "list": [ROWS, ROWS],
    "named tuple": Pair(ROWS, ROWS),
    "old named tuple": Old(ROWS, ROWS),
    "dict": {"a": ROWS, "b": ROWS},
    "ordered dict": OrderedDict(a=ROWS, b=ROWS),
    "default dict": defaultdict(list, a=ROWS, b=ROWS),
    "model output": ModelOutput(logits=ROWS, hidden=(ROWS, ROWS)),
    "dataclass": Output(ROWS, (ROWS, ROWS)),
    "nested": {"views": ((ROWS, [ROWS]), None), "n": 3, "names": "abcd"},
    "torch's own": torch.max(ROWS, 1),
}


def tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in leaves(tree) if isinstance(leaf, Tensor)]


@pytest.mark.parametrize("tree", TREES.values(), ids=TREES)
def test_every_tensor_is_changed_and_the_structure_kept(tree: Any) -> None:
    changed = map_tensors(lambda t: t + 1, tree)
    assert type(changed) is type(tree)
    assert len(tensors(changed)) == len(tensors(tree)) > 0
    for after, before in zip(tensors(changed), tensors(tree), strict=True):
        assert torch.equal(after, before + 1)
    others = [leaf for leaf in leaves(tree) if not isinstance(leaf, Tensor)]
    assert [leaf for leaf in leaves(changed) if not isinstance(leaf, Tensor)] == others


@pytest.mark.parametrize("tree", TREES.values(), ids=TREES)
def test_what_is_cut_apart_is_joined_again(tree: Any) -> None:
    parts = [cut(tree, start, start + 1, 4) for start in range(4)]
    assert all(len(tensor) == 1 for part in parts for tensor in tensors(part))
    joined = concatenate(parts)
    assert type(joined) is type(tree)
    for after, before in zip(tensors(joined), tensors(tree), strict=True):
        assert torch.equal(after, before)


@pytest.mark.parametrize("tree", TREES.values(), ids=TREES)
def test_items_of_any_structure_are_counted(tree: Any) -> None:
    assert count_items(tree) == 4


def test_the_original_is_left_alone() -> None:
    output = ModelOutput(logits=ROWS.clone())
    changed = map_tensors(torch.zeros_like, output)
    assert torch.equal(output.logits, ROWS)
    assert torch.equal(changed.logits, changed["logits"])
    assert not changed.logits.any()


def test_a_mapping_that_cannot_be_written_to_becomes_a_dict() -> None:
    frozen: Mapping[str, Tensor] = MappingProxyType({"a": ROWS})
    assert list(map_tensors(torch.zeros_like, frozen)) == ["a"]


@pytest.mark.parametrize(
    ("trees", "n"),
    [
        ((torch.zeros(3), torch.zeros(6, 2)), 3),
        ((torch.tensor(1), torch.zeros(6, 2)), 6),  # a target without an axis
        (({"boxes": torch.zeros(4), "scale": 2.0}, torch.zeros(9)), 4),
        ((["cat", "dog"], ()), 2),
        ((7,), 1),
        ((torch.tensor(7),), 1),
        (({},), 1),
        (([],), 0),
        ((("cat", "dog"), (torch.zeros(2, 3),)), 2),
        (((torch.tensor(1.0), torch.tensor(1)),), 1),  # two numbers of one batch
        (([torch.zeros(5, 4), torch.zeros(1, 4)],), 2),  # one tensor per item
        (
            ([{"boxes": torch.zeros(1, 4)}] * 3, ([torch.zeros(3, 8, 8), torch.zeros(3, 9, 9), torch.zeros(3, 7, 7)],)),
            3,
        ),
        (([torch.zeros(6), torch.zeros(6)], (torch.zeros(6, 2),)), 6),  # two columns
        (([torch.zeros(6, 4)] * 2, (torch.zeros(2, 3, 8, 8),)), 2),  # six boxes of each of two images
        ((torch.zeros(3), ([torch.zeros(9, 2), torch.zeros(9, 2)],)), 3),
    ],
)
def test_items_are_counted_by_the_first_structure_that_has_any(trees: tuple[Any, ...], n: int) -> None:
    assert count_items(*trees) == n


def test_leaves_with_one_entry_per_item_are_cut_and_others_kept() -> None:
    other, zero = torch.arange(3), torch.tensor(5)
    assert cut(ROWS, 1, 3, 4).tolist() == [[2, 3], [4, 5]]
    assert cut(other, 1, 3, 4) is other
    assert cut(zero, 1, 3, 4) is zero
    assert cut("abcd", 1, 3, 4) == "abcd"
    assert cut(list("abcd"), 1, 3, 4) == ["b", "c"]
    assert cut(list("abc"), 1, 3, 4) == list("abc")
    columns = cut([ROWS, ROWS[:, 0], 1, 2], 1, 3, 4)  # four columns, not four items
    assert [columns[0].tolist(), columns[1].tolist(), *columns[2:]] == [[[2, 3], [4, 5]], [2, 4], 1, 2]


def test_a_list_of_one_tensor_per_item_is_cut_and_joined_as_such() -> None:
    images = [torch.zeros(3, 8, 8), torch.zeros(3, 9, 9), torch.zeros(3, 7, 7), torch.zeros(3, 5, 5)]
    boxes = [{"boxes": torch.zeros(n, 4)} for n in (4, 1, 0, 2)]  # the first has as many as there are items
    for items in (images, boxes):
        parts = [cut(items, start, start + 2, 4) for start in (0, 2)]
        assert parts == [items[:2], items[2:]]
        assert concatenate(parts, [2, 2]) == items
        assert concatenate([cut(items, start, start + 1, 4) for start in range(4)], [1] * 4) == items


def test_names_in_a_tuple_are_joined_as_those_in_a_list() -> None:
    assert concatenate([("a", "b"), ("c",)], [2, 1]) == ("a", "b", "c")
    assert concatenate([{"id": ["a", "b"]}, {"id": ["c"]}], [2, 1]) == {"id": ["a", "b", "c"]}


@pytest.mark.parametrize("part", [torch.zeros(2), {"a": torch.zeros(2, 3)}, (torch.zeros(2), torch.zeros(2, 1))])
def test_a_list_that_may_hold_columns_or_items_is_refused(part: Any) -> None:
    with pytest.raises(DataError, match="a list of 2 tensors of 2 rows each, in a batch of 2 items"):
        cut([part, part], 0, 1, 2)
    assert count_items(cut((part, part), 0, 1, 2)) == 1  # as the error advises
    assert count_items(cut({"a": part, "b": part}, 0, 1, 2)) == 1
    assert len(cut([part, part, part], 0, 1, 2)) == 3  # columns, in another size
    assert cut([part], 0, 1, 1) == [cut(part, 0, 1, 1)]


def test_names_and_numbers_are_joined_too() -> None:
    parts = [
        {"names": ["a", "b"], "loss": torch.tensor(1.0), "n": 2},
        {"names": ["c"], "loss": torch.tensor(3.0), "n": 2},
    ]
    joined = concatenate(parts)
    assert joined["names"] == ["a", "b", "c"]
    assert joined["loss"].item() == 1
    assert joined["n"] == 2
