"""A cache of decoded images, in memory or on disk, so that each file is read and decoded once."""

import hashlib
import io
import os
import shutil
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from multiprocessing.context import get_spawning_popen
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from learnkit.atomic_files import write_atomically
from learnkit.data.home import home
from learnkit.device import usable_cpus
from learnkit.device_memory import free_memory
from learnkit.errors import DataError, UsageError, WriteError, warn

__all__ = ["MIN_FREE", "ONE_TYPE", "Arrays", "Kind", "Store", "Unreadable", "build_store", "content_key", "decode_all"]

Kind = Literal["memory", "disk"]
Arrays = tuple[npt.NDArray[Any], ...]
Index = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], list[str]]  # offsets, shapes, types
LAYOUT = 2  # version of the files and of the pixels in them; part of their key
CHUNK = 128  # items decoded at a time
ONE_TYPE = "Make the reader return one dtype for all files."
MIN_FREE = 0.1  # fraction of the free memory or disk that a cache leaves free


class Store:
    """Items of one or two arrays each (an image, its mask), concatenated in one block of bytes.

    Args:
        data: uint8 (n_bytes,).
        offsets: where each item starts, int64 (n + 1,).
        shapes: int64 (n, parts, 3), -1 for a missing axis.
        dtypes: one per part.
        file: the file of the block; None for memory.
    """

    def __init__(
        self,
        data: npt.NDArray[np.uint8],
        offsets: npt.NDArray[np.int64],
        shapes: npt.NDArray[np.int64],
        dtypes: Sequence[str],
        file: Path | None = None,
    ) -> None:
        self.data: npt.NDArray[np.uint8] = data
        self.offsets: npt.NDArray[np.int64] = offsets
        self.shapes: npt.NDArray[np.int64] = shapes
        self.file: Path | None = file
        self.dtypes: list[np.dtype[Any]] = [np.dtype(name) for name in dtypes]
        self._rows = self._same_shape()
        self._shared: Tensor | None = None

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, i: int) -> Arrays:
        if self._rows is not None:
            return (self._rows[i],)
        start, parts = int(self.offsets[i]), []
        for shape, dtype in zip(self.shapes[i], self.dtypes, strict=True):
            real = tuple(int(side) for side in shape if side >= 0)
            end = start + int(np.prod(real)) * dtype.itemsize
            parts.append(self.data[start:end].view(dtype).reshape(real))
            start = end
        return tuple(parts)

    def rows(self, indices: Sequence[int]) -> npt.NDArray[Any] | None:
        """Items as one array (len(indices), ...), if each is one array and all have the same shape; else None."""
        return None if self._rows is None else self._rows[indices]

    def _same_shape(self) -> npt.NDArray[Any] | None:
        if len(self.dtypes) != 1 or not len(self) or (self.shapes != self.shapes[0]).any():
            return None
        return self.data.view(self.dtypes[0]).reshape(
            len(self), *(int(side) for side in self.shapes[0, 0] if side >= 0)
        )

    def __reduce__(self) -> tuple[Any, ...]:
        if self.file is not None:
            return _open_store, (self.file,)  # a worker maps the file instead of receiving its bytes
        data = self._in_shared_memory() if get_spawning_popen() is not None else self.data
        return _in_memory, (data, self.offsets, self.shapes, [dtype.str for dtype in self.dtypes])

    def _in_shared_memory(self) -> "Tensor | npt.NDArray[np.uint8]":
        """The bytes, moved to memory that spawned workers map instead of receiving a copy each.

        Where shared memory is too small, as it is in many containers, workers do receive copies.
        """
        if self._shared is None:
            try:
                self._shared = torch.empty(len(self.data), dtype=torch.uint8).share_memory_()  # type: ignore[no-untyped-call]
            except RuntimeError:
                return self.data
            self._shared.numpy()[:] = self.data
            self.data = self._shared.numpy()
            self._rows = self._same_shape()
        return self._shared


def _in_memory(data: "Tensor | npt.NDArray[np.uint8]", *index: Any) -> Store:
    return Store(data.numpy() if isinstance(data, Tensor) else data, *index)


def build_store(kind: Kind, n: int, decode: Callable[[int], Arrays], key: str) -> Store | None:
    """The arrays of n items, decoded once by several threads; None, with a warning, if they do not fit.

    On disk they are stored in the cache folder of `home()` under their key. Files are written atomically, so two
    processes may build them at once; existing ones are used.

    Args:
        kind: "memory" or "disk".
        n: number of items.
        decode: returns the arrays of an item.
        key: identifies the items: their files, sizes and methods.
    """
    if kind not in ("memory", "disk"):
        raise UsageError("cache", got=kind, expected="'memory', 'disk' or None")
    file = home() / "cache" / f"{key}.u8"
    try:
        return (
            _build_in_memory(n, decode) if kind == "memory" else _open_existing(file) or _build_on_disk(file, n, decode)
        )
    except Unreadable as error:
        raise error.cause from None
    except OSError as error:
        place = "memory" if kind == "memory" else str(file.parent)
        why = error.__cause__ if isinstance(error, WriteError) else error
        warn(f"cache={kind!r}: {place} cannot hold it ({why}); files are read directly")
        return None


def content_key(files: Iterable[str], *how: object) -> str:
    """A hash of the files (path, size, modification time) and of how they are decoded."""
    import PIL

    digest = hashlib.sha256(repr((LAYOUT, PIL.__version__, *how)).encode())
    for file in files:
        try:
            status = os.stat(file)
            entry = (os.path.abspath(file), status.st_size, status.st_mtime_ns)
        except OSError:
            entry = (os.path.abspath(file), -1, -1)
        digest.update(repr(entry).encode(errors="surrogateescape"))
    return digest.hexdigest()[:32]


class Unreadable(Exception):
    """Of `decode_all`; wraps a decoding error, to distinguish it from a write error."""

    def __init__(self, cause: Exception) -> None:
        self.cause = cause


def _build_in_memory(n: int, decode: Callable[[int], Arrays]) -> Store:
    sink = io.BytesIO()
    index = _write_items(sink, n, decode, free_memory())
    return Store(np.frombuffer(sink.getbuffer(), np.uint8), *index)


def _build_on_disk(file: Path, n: int, decode: Callable[[int], Arrays]) -> Store:
    file.parent.mkdir(parents=True, exist_ok=True)
    written: list[Index] = []
    room = shutil.disk_usage(file.parent).free
    write_atomically(file, lambda data: written.append(_write_items(data, n, decode, room)))
    offsets, shapes, dtypes = written[0]
    table = file.with_suffix(".npz")  # last: the data is valid only with it
    try:
        write_atomically(table, lambda to: np.savez(to, offsets=offsets, shapes=shapes, dtypes=np.array(dtypes)))
    except OSError:
        if not table.exists():
            file.unlink(missing_ok=True)
        raise
    return _open_store(file)


def _open_existing(file: Path) -> Store | None:
    """The store in this file; None if it is missing or incomplete."""
    try:
        return _open_store(file)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def _open_store(file: Path) -> Store:
    with open(file.with_suffix(".npz"), "rb") as source, np.load(source, allow_pickle=False) as table:
        offsets, shapes, dtypes = table["offsets"], table["shapes"], table["dtypes"].tolist()
    if os.path.getsize(file) != offsets[-1]:
        raise ValueError(f"{file} is incomplete")
    with suppress(OSError):
        os.utime(file.with_suffix(".npz"))  # `clear_cache` keeps what was used last
    return Store(np.memmap(file, np.uint8, "r"), offsets, shapes, dtypes, file)


def _write_items(sink: Any, n: int, decode: Callable[[int], Arrays], room: int) -> Index:
    """Write all items into the sink; returns their offsets, shapes and dtypes.

    Raises:
        OSError: they will not fit into `room` bytes.
    """
    sizes: list[int] = []
    shapes: list[list[tuple[int, ...]]] = []
    dtypes: list[str] = []
    for arrays in decode_all(n, decode):
        for array in arrays:
            sink.write(np.ascontiguousarray(array).data)
        sizes.append(sum(array.nbytes for array in arrays))
        shapes.append([(*array.shape, *[-1] * (3 - array.ndim)) for array in arrays])
        types = [array.dtype.str for array in arrays]
        dtypes = dtypes or types
        if types != dtypes:
            raise DataError(
                f"dtypes of item {len(sizes) - 1}", got=types, expected=f"{dtypes}, as of the others", fix=ONE_TYPE
            )
        if len(sizes) in (CHUNK, n) and (need := sum(sizes) * n // len(sizes)) > room * (1 - MIN_FREE):
            raise OSError(f"it needs {need / 1e9:.1f} GB, and {room / 1e9:.1f} GB are free")
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64), np.array(shapes, dtype=np.int64), dtypes


def decode_all(n: int, decode: Callable[[int], Arrays]) -> Iterator[Arrays]:
    """The arrays of n items in their order, decoded by several threads.

    Raises:
        Unreadable: the cause is that of an item that cannot be read.
    """
    with ThreadPoolExecutor(usable_cpus()) as threads:
        for start in range(0, n, CHUNK):
            try:
                yield from threads.map(decode, range(start, min(n, start + CHUNK)))
            except OSError as error:  # of reading an image, not of writing the cache
                raise Unreadable(error) from error
