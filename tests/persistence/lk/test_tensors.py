"""Tensors as safetensors writes them, and the checksum of their names, types, shapes and bytes."""

import hashlib

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from learnkit.persistence.lk.tensors import dtype_name, plain_tensors, table_of, tensors_sha256
from tests.doubles import refused


def test_the_table_has_names_shapes_and_types() -> None:
    state = {"b": torch.zeros(2, 3), "a": torch.zeros((), dtype=torch.int64)}
    assert table_of(state) == {"b": ((2, 3), torch.float32), "a": ((), torch.int64)}
    assert dtype_name(torch.bfloat16) == "bfloat16"


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (torch.zeros(2, dtype=torch.complex64), "complex64"), (torch.zeros(2, dtype=torch.uint16), "uint16"),
        (torch.eye(2).to_sparse(), "float32"), (3, "int"), (None, "NoneType"),
    ],
)  # fmt: skip
def test_what_is_not_a_plain_tensor_is_refused(value: object, kind: str) -> None:
    with refused("odd of the model's state dict", got=kind):
        table_of({"fine": torch.zeros(1), "odd": value})


def test_at_most_20_000_tensors_are_written() -> None:
    tensor = torch.zeros(1)
    assert len(table_of({str(number): tensor for number in range(20_000)})) == 20_000
    with refused("tensors of the model's state dict", got=20_001):
        table_of({str(number): tensor for number in range(20_001)})


def test_shared_memory_is_copied_and_the_rest_is_not() -> None:
    whole, alone = torch.arange(4.0), torch.ones(2)
    plain = plain_tensors({"whole": whole, "view": whole[1:3], "same": whole, "alone": alone})
    assert plain["whole"].data_ptr() == whole.data_ptr()
    assert plain["alone"].data_ptr() == alone.data_ptr()
    assert len({tensor.untyped_storage().data_ptr() for tensor in plain.values()}) == 4
    assert plain["view"].tolist() == [1.0, 2.0]
    assert torch.equal(plain["same"], whole)


def test_tensors_become_contiguous_and_have_no_gradient() -> None:
    layer = nn.Linear(3, 2)
    plain = plain_tensors({"across": torch.arange(6.0).view(2, 3).t(), "weight": layer.weight})
    assert plain["across"].is_contiguous()
    assert plain["across"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert not plain["weight"].requires_grad


def test_the_checksum_is_that_of_lines_and_bytes_in_the_order_of_names() -> None:
    first, second = torch.tensor([[1.5, -2.0]]), torch.tensor(7)
    content = b"a int64 ()\n" + np.int64(7).tobytes() + b"b float32 (1, 2)\n" + np.float32([1.5, -2]).tobytes()
    assert tensors_sha256({"b": first, "a": second}) == hashlib.sha256(content).hexdigest()


def test_the_checksum_depends_on_everything() -> None:
    def sha256(**tensors: Tensor) -> str:
        return tensors_sha256(tensors)

    x = torch.arange(4, dtype=torch.int32)
    others = [
        sha256(a=x), sha256(b=x), sha256(a=x.view(2, 2)), sha256(a=x.view(torch.float32)), sha256(a=x + 1),
        sha256(a=x, b=x), sha256(a=x, b=torch.empty(0)), sha256(),
    ]  # fmt: skip
    assert len(set(others)) == len(others)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.bool, torch.uint8, torch.float64])
def test_every_type_has_a_checksum(dtype: torch.dtype) -> None:
    tensor = torch.tensor([0, 1, 1]).to(dtype)
    raw = tensor.view(torch.uint8).numpy().tobytes()
    line = f"t {str(dtype).removeprefix('torch.')} (3,)\n".encode()
    assert tensors_sha256({"t": tensor}) == hashlib.sha256(line + raw).hexdigest()
