"""The container of an export: a zip file of exactly two stored members, the manifest and the weights.

Where every byte stands is a function of the sizes and checksums of the two. So a file is not searched for its parts:
its headers are computed anew and compared, and anything a zip file could otherwise hide (more members, two of one name,
compression, comments, bytes before or behind, a directory that says something else) is refused by the same comparison.
"""

import struct
import zlib
from collections.abc import Iterable
from io import BufferedReader
from pathlib import Path
from typing import IO, NamedTuple

from learnkit.errors import CorruptFileError, UnsafeFileError, UsageError
from learnkit.safe_load import code_in

__all__ = ["MANIFEST", "MAX_MANIFEST", "WEIGHTS", "Members", "not_complete", "read_members", "write_members"]

MANIFEST, WEIGHTS = b"manifest.json", b"weights.safetensors"
MAX_MANIFEST = 8_000_000  # bytes
MAX_SIZE = 0xFFFF_FFFF - 1  # bytes of the whole: what the plain zip format can say
FIRST_DAY = 0x21  # 1 January 1980: the same content gives the same bytes
_LOCAL, _CENTRAL, _END = struct.Struct("<4s5H3I2H"), struct.Struct("<4s6H3I5H2I"), struct.Struct("<4s4H2IH")
_END_SIZE = 2 * _CENTRAL.size + len(MANIFEST) + len(WEIGHTS) + _END.size


class Members(NamedTuple):
    """The manifest, and where the weights stand in the file."""

    manifest: bytes
    start: int  # of the weights
    size: int  # of the weights in bytes
    crc: int  # of the weights


def write_members(file: IO[bytes], manifest: bytes, weights: Iterable[bytes | memoryview], size: int, crc: int) -> None:
    """Write both members; `size` and `crc` are those of the weights.

    Raises:
        UsageError: more than the format holds.
    """
    if len(manifest) > MAX_MANIFEST:
        raise UsageError(f"export: a manifest of {len(manifest):,} bytes, at most {MAX_MANIFEST:,} can be read")
    if size + len(manifest) + 1000 > MAX_SIZE:
        raise UsageError(
            f"export: {size:,} bytes of weights, more than the 4 GiB that one file holds",
            fix="Use learn.push_to_hub(folder), or learn.model.half() before.",
        )
    first, second, end = _frame(len(manifest), zlib.crc32(manifest), size, crc)
    file.write(first)
    file.write(manifest)
    file.write(second)
    for chunk in weights:
        file.write(chunk)
    file.write(end)


def read_members(file: BufferedReader, path: Path) -> Members:
    """Find both members; of the weights nothing is read.

    Raises:
        UnsafeFileError: a file of another kind, that runs code when it is opened.
        CorruptFileError: a file cut short, damaged, or not written by `write_members`.
    """
    total = file.seek(0, 2)
    file.seek(0)
    head = file.read(_LOCAL.size + len(MANIFEST))
    if not head.startswith(b"PK\x03\x04") or not head.endswith(MANIFEST):
        _refuse_other(path, total, head)
    crc, size = _checksum_and_size(head)
    if size > MAX_MANIFEST:
        raise not_complete(path, total, f"its manifest is said to be {size:,} bytes, at most {MAX_MANIFEST:,} are read")
    manifest = file.read(size)
    before = file.read(_LOCAL.size + len(WEIGHTS))
    if len(before) < _LOCAL.size + len(WEIGHTS):
        raise not_complete(path, total, "the file seems truncated")
    weights_crc, weights_size = _checksum_and_size(before)
    start = len(head) + size + len(before)
    behind = start + weights_size
    if total < behind + _END_SIZE:
        raise not_complete(path, total, "the file seems truncated")
    file.seek(behind)
    end = file.read(_END_SIZE)
    fits = total == behind + _END_SIZE and total <= MAX_SIZE
    if not fits or (head, before, end) != _frame(size, crc, weights_size, weights_crc):
        raise not_complete(path, total, "it is not laid out as learnkit writes it")
    if zlib.crc32(manifest) != crc:
        raise not_complete(path, total, "the checksum of its manifest is wrong")
    return Members(manifest, start, weights_size, weights_crc)


def not_complete(path: Path, size: int, why: str) -> CorruptFileError:
    """The error for a damaged export."""
    return CorruptFileError(
        f"{path} is not a complete learnkit export ({size:,} bytes; {why})", fix="Export again or copy it again."
    )


def _refuse_other(path: Path, size: int, head: bytes) -> None:
    if not size:
        raise CorruptFileError(f"{path} is empty", fix="Export again or copy it again.")
    if (MANIFEST.startswith(head[_LOCAL.size :]) and head.startswith(b"PK\x03\x04")) or b"PK\x03\x04".startswith(head):
        raise not_complete(path, size, "the file seems truncated")
    if kind := code_in(path):
        raise UnsafeFileError(
            f"{path} is {kind}; learnkit does not run code from files",
            fix="Load weights with learn.load, and export again with learn.export where you trust the file.",
        )
    raise CorruptFileError(
        f"{path} is no learnkit export ({size:,} bytes)",
        fix="learn.export writes one; files of weights are read by learn.load.",
    )


def _frame(manifest_size: int, manifest_crc: int, size: int, crc: int) -> tuple[bytes, bytes, bytes]:
    """What stands before the manifest, between the two, and behind the weights."""
    first, second = _header(MANIFEST, manifest_size, manifest_crc), _header(WEIGHTS, size, crc)
    at = len(first) + manifest_size
    directory = _entry(MANIFEST, manifest_size, manifest_crc, 0) + _entry(WEIGHTS, size, crc, at)
    behind = at + len(second) + size
    end = _END.pack(b"PK\x05\x06", 0, 0, 2, 2, len(directory), behind, 0)
    return first, second, directory + end


def _header(name: bytes, size: int, crc: int) -> bytes:
    return _LOCAL.pack(b"PK\x03\x04", 20, 0, 0, 0, FIRST_DAY, crc, size, size, len(name), 0) + name


def _entry(name: bytes, size: int, crc: int, at: int) -> bytes:
    unix, mode = 3 << 8, 0o100644 << 16
    return (
        _CENTRAL.pack(
            b"PK\x01\x02", unix | 20, 20, 0, 0, 0, FIRST_DAY, crc, size, size, len(name), 0, 0, 0, 0, mode, at
        )
        + name
    )


def _checksum_and_size(header: bytes) -> tuple[int, int]:
    fields = _LOCAL.unpack_from(header)
    return fields[6], fields[8]
