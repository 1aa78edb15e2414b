"""The tensors of an export: which kinds it holds, their names, shapes and types, and one SHA-256 of all of it."""

import hashlib
from collections.abc import Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor

from learnkit.errors import UsageError
from learnkit.safe_load import MAX_TENSORS

__all__ = ["DTYPES", "Table", "dtype_name", "plain_tensors", "table_of", "tensors_sha256"]

Table: TypeAlias = dict[str, tuple[tuple[int, ...], torch.dtype]]  # name -> shape, type

DTYPES: dict[str, torch.dtype] = {  # by what safetensors calls them
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


def dtype_name(dtype: torch.dtype) -> str:
    """ "float32" for torch.float32."""
    return str(dtype).removeprefix("torch.")


def table_of(state: Mapping[str, Any]) -> Table:
    """The names, shapes and types of a state dict.

    Raises:
        UsageError: something in it is not a plain tensor.
    """
    for name, value in state.items():
        if not isinstance(value, Tensor) or value.layout != torch.strided or value.dtype not in DTYPES.values():
            kind = dtype_name(value.dtype) if isinstance(value, Tensor) else type(value).__name__
            known = ", ".join(map(dtype_name, DTYPES.values()))
            raise UsageError(f"{name} of the model's state dict", got=kind, expected=f"a plain tensor of {known}")
    if len(state) > MAX_TENSORS:
        raise UsageError("tensors of the model's state dict", got=len(state), expected=f"at most {MAX_TENSORS:,}")
    return {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in state.items()}


def plain_tensors(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors as safetensors writes them: on the CPU, contiguous, none sharing memory with another.

    Raises:
        UsageError: as `table_of`.
    """
    plain: dict[str, Tensor] = {}
    storages: set[int] = set()
    for name in table_of(state):
        tensor = state[name].detach().cpu().contiguous()
        place = tensor.untyped_storage().data_ptr()
        plain[name] = tensor.clone() if place in storages else tensor
        storages.add(place)
    return plain


def tensors_sha256(tensors: Mapping[str, Tensor]) -> str:
    """The SHA-256 of the names, types, shapes and bytes of contiguous tensors on the CPU, in the order of their names.

    Each tensor adds the line "NAME TYPE SHAPE" ("0.weight float32 (3, 2)", ended by a line feed), then its bytes as
    they are in the file.
    """
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {dtype_name(tensor.dtype)} {tuple(tensor.shape)}\n".encode())
        if tensor.numel():
            digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
