"""Copies of nested values as plain ones."""

from collections import OrderedDict, deque
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from learnkit.errors import UsageError
from learnkit.training.snapshot import Copies


class Level(IntEnum):
    HIGH = 3


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (np.float32(0.5), 0.5),
        (np.float64(0.5), 0.5),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.str_("a"), "a"),
        (Level.HIGH, 3),
        (Path("a") / "b", "a/b"),
        (deque([1, 2], maxlen=2), [1, 2]),
        ({7}, [7]),
        (OrderedDict(a=(1, None)), {"a": (1, None)}),
        (torch.Size([2, 3]), (2, 3)),
        (True, True),
    ],
)
def test_values_become_plain(value: Any, plain: Any) -> None:
    found = Copies().take({"it": value})["it"]
    assert found == plain
    assert type(found) is type(plain)


def test_arrays_become_tensors() -> None:
    found = Copies().take(np.arange(3.0)[::-1])
    assert found.tolist() == [2.0, 1.0, 0.0]
    assert found.dtype == torch.float64


@pytest.mark.parametrize(
    ("value", "match"),
    [
        ({"a": [nn.Linear(1, 1)]}, r"a\[0\] cannot be saved in a checkpoint: got 'Linear'"),
        ({"a": b"bytes"}, "got 'bytes'"),
        ({"a": np.array(["text"])}, "got 'ndarray'"),
        ({"a": {(1, 2): 3}}, r"a: a key: got \(1, 2\)"),
        ({"a": iter([1])}, "got 'list_iterator'"),
    ],
)
def test_other_values_are_refused_by_name(value: Any, match: str) -> None:
    with pytest.raises(UsageError, match=match):
        Copies().take(value)


def test_memory_is_used_again_where_it_fits() -> None:
    copies = Copies()
    first = copies.take({"w": torch.ones(3, requires_grad=True)})["w"]
    second = copies.take({"w": torch.zeros(3)})["w"]
    assert first is second
    assert not second.requires_grad
    third = copies.take({"w": torch.ones(4)})["w"]
    assert third.tolist() == [1.0] * 4
    assert second.tolist() == [0.0] * 3


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.int8, torch.bool, torch.complex64])
def test_every_type_of_tensor_is_copied(dtype: torch.dtype) -> None:
    tensor = torch.ones(2, 3, dtype=dtype)[:, ::2]
    found = Copies().take(tensor)
    assert found.dtype == dtype
    assert torch.equal(found, tensor)


def test_places_whose_names_look_alike_have_a_copy_each() -> None:
    value = {"a.b": torch.tensor(1), "a": {"b": torch.tensor(2)}, "1": torch.tensor(3), 1: torch.tensor(4)}
    assert Copies().take(value) == {"a.b": torch.tensor(1), "a": {"b": torch.tensor(2)}, "1": torch.tensor(3), 1: 4}
