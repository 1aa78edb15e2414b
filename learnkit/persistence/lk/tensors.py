"""Tensors as bytes: the safetensors format, whose header is a function of a table of names, shapes and types.

A reader that knows the table needs no header: it computes the one that must be there and compares. So the size and
the place of every tensor are checked before any of them is made.
"""

import hashlib
import json
import math
import zlib
from collections.abc import Iterable, Iterator, Mapping
from io import BufferedReader
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from learnkit.errors import CorruptFileError, UsageError
from learnkit.persistence.lk.archive import not_complete
from learnkit.safe_load import MAX_TENSORS

__all__ = ["Digest", "Table", "checked_table", "chunks", "digest", "read_tensors", "table_of", "table_size", "verify"]

Table: TypeAlias = dict[str, tuple[tuple[int, ...], str]]  # name -> shape, type

MAX_NAME = 500  # characters
CHUNK = 1 << 20  # bytes
TYPES: dict[str, tuple[str, torch.dtype]] = {
    "float64": ("F64", torch.float64),
    "int64": ("I64", torch.int64),
    "float32": ("F32", torch.float32),
    "int32": ("I32", torch.int32),
    "float16": ("F16", torch.float16),
    "bfloat16": ("BF16", torch.bfloat16),
    "int16": ("I16", torch.int16),
    "int8": ("I8", torch.int8),
    "uint8": ("U8", torch.uint8),
    "bool": ("BOOL", torch.bool),
}  # the widest first: tensors stand in this order, so that each is aligned


class Digest(NamedTuple):
    """What tells whether bytes are those that were written."""

    sha256: str
    crc: int | None  # None where only the others are known
    size: int


def table_of(state: Mapping[str, Any]) -> Table:
    """The table of a state dict, in the order in which its tensors are written.

    Raises:
        UsageError: something in it is no plain tensor.
    """
    names = {dtype: name for name, (_, dtype) in TYPES.items()}
    for name, tensor in state.items():
        if not isinstance(tensor, Tensor) or tensor.layout != torch.strided or tensor.dtype not in names:
            kind = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
            raise UsageError(
                f"export: {name} of the model's state dict", got=kind, expected=f"a plain tensor of {', '.join(TYPES)}"
            )
    if len(state) > MAX_TENSORS or not all(map(_is_name, state)):
        raise UsageError(f"export: more than {MAX_TENSORS:,} tensors, or names of more than {MAX_NAME} characters")
    order = {dtype: number for number, (_, dtype) in enumerate(TYPES.values())}
    ordered = sorted(state, key=lambda name: (order[state[name].dtype], name))
    return {name: (tuple(state[name].shape), names[state[name].dtype]) for name in ordered}


def checked_table(content: object, where: str) -> Table:
    """A table as JSON gives it: {name: [[sizes], type]}.

    Raises:
        CorruptFileError: anything else, or more than bounds allow.
    """
    if not isinstance(content, dict) or len(content) > MAX_TENSORS or not all(map(_is_row, content.items())):
        raise CorruptFileError(f"{where}: the table of tensors is none", fix="Export again or copy it again.")
    return {name: (tuple(shape), dtype) for name, (shape, dtype) in content.items()}


def _is_row(row: tuple[str, Any]) -> bool:
    name, entry = row
    if not _is_name(name) or not isinstance(entry, list) or len(entry) != 2:
        return False
    shape, dtype = entry
    return (
        isinstance(dtype, str)
        and dtype in TYPES
        and isinstance(shape, list)
        and len(shape) <= 16
        and all(type(size) is int and 0 <= size < 1 << 40 for size in shape)
    )


def _is_name(name: str) -> bool:
    return len(name) <= MAX_NAME and name.isprintable() and name != "__metadata__"


def table_size(table: Table) -> int:
    """The bytes of the whole, header included."""
    return len(_header(table)) + sum(_n_bytes(*row) for row in table.values())


def chunks(state: Mapping[str, Tensor], table: Table) -> Iterator[bytes | memoryview]:
    """The bytes of a safetensors file of these tensors, tensor by tensor."""
    yield _header(table)
    for name in table:
        if state[name].numel():
            yield state[name].detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data


def digest(parts: Iterable[bytes | memoryview]) -> Digest:
    """The checksums and the size of bytes that come in parts."""
    sha256, crc, size = hashlib.sha256(), 0, 0
    for part in parts:
        sha256.update(part)
        crc, size = zlib.crc32(part, crc), size + len(part)
    return Digest(sha256.hexdigest(), crc, size)


def verify(file: BufferedReader, path: Path, start: int, table: Table, expected: Digest) -> None:
    """Compare what stands in an open file from `start` on with its table and checksums; no tensor is made.

    Raises:
        CorruptFileError: something is not as it was written.
    """
    total = file.seek(0, 2)
    header = _header(table)
    file.seek(start)
    if table_size(table) != expected.size or file.read(len(header)) != header:
        raise not_complete(path, total, "its weights are not those of its manifest")
    file.seek(start)
    found = digest(_read_in_chunks(file, expected.size))
    if found != expected._replace(crc=found.crc if expected.crc is None else expected.crc):
        raise not_complete(path, total, "the checksum of its weights is wrong")


def read_tensors(file: BufferedReader, path: Path, start: int, table: Table) -> dict[str, Tensor]:
    """The tensors of a verified file, each in memory of its own, on the CPU."""
    file.seek(start + len(_header(table)))
    tensors = {}
    for name, (shape, dtype) in table.items():
        buffer = torch.empty(_n_bytes(shape, dtype), dtype=torch.uint8, device="cpu")
        if buffer.numel() and file.readinto(buffer.numpy().data) != buffer.numel():
            raise not_complete(path, file.seek(0, 2), "the file seems truncated")
        tensors[name] = buffer.view(TYPES[dtype][1]).reshape(shape)
    return tensors


def _read_in_chunks(file: BufferedReader, size: int) -> Iterator[bytes]:
    while size > 0 and (part := file.read(min(CHUNK, size))):
        size -= len(part)
        yield part


def _n_bytes(shape: tuple[int, ...], dtype: str) -> int:
    return math.prod(shape) * TYPES[dtype][1].itemsize


def _header(table: Table) -> bytes:
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, (shape, dtype) in table.items():
        begin, end = end, end + _n_bytes(shape, dtype)
        entries[name] = {"dtype": TYPES[dtype][0], "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text
