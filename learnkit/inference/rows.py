"""Rows gathered batch by batch into one tensor: peak memory is the result and one batch."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from learnkit.errors import DataError, UsageError
from learnkit.tree import concatenate, map_tensors

__all__ = ["Gathered", "Rows", "as_rows"]

MAX_BUFFER = 1 << 20  # bytes of small batches that are written together
MAX_PARTS = 16  # more of them would fragment the heap


def as_rows(out: Any, n_rows: int | None) -> Tensor:
    """A user's `out` as a tensor that shares its memory.

    Args:
        out: a float tensor, or a NumPy array of float16, float32 or float64, memory-mapped or not.
        n_rows: number of rows that will be written; None if it is not known yet.

    Raises:
        UsageError: not writable, not an array of floats, or the wrong number of rows.
    """
    if not isinstance(out, Tensor | np.ndarray) or not out.ndim:
        raise UsageError("out", got=type(out).__name__, expected="a float tensor or NumPy array of shape (N, ...)")
    if isinstance(out, np.ndarray):
        out = _shared(out)
    if not out.is_floating_point():
        raise UsageError("out", got=str(out.dtype), expected="floats: float16, float32 or float64")
    if n_rows is not None and len(out) != n_rows:
        raise UsageError("out", got=tuple(out.shape), expected=f"{n_rows} rows, one per item")
    return torch.as_tensor(out)


def _shared(out: "np.ndarray[Any, Any]") -> Tensor:
    if not out.flags.writeable:
        raise UsageError("out: the array is read-only", fix="Open a memory-mapped file with mode='r+' or 'w+'.")
    if isinstance(out, np.memmap) and out.mode == "c":
        raise UsageError("out: with mode='c' nothing would be written to the file", fix="Open it with mode='r+'.")
    try:
        return torch.from_numpy(out)
    except (TypeError, ValueError) as error:  # a type, byte order or stride that torch does not support
        raise UsageError(f"out: {error}", fix="Pass an array of float16, float32 or float64.") from error


class Rows:
    """Rows written into one tensor batch by batch: small batches a megabyte at a time, large ones one by one.

    Args:
        what: name of the rows, for errors.
        n_rows: number of rows to expect; None if unknown, which takes twice the memory.
        out: a tensor to write into.
        at_once: write every batch immediately: for loaders that reuse the memory of their batches.
    """

    def __init__(self, what: str, n_rows: int | None, out: Tensor | None = None, *, at_once: bool = False) -> None:
        self.what = what
        self._max_parts = 1 if at_once else MAX_PARTS
        self._n_rows = n_rows
        self._all = out
        self._is_given = out is not None
        self._shape: torch.Size | None = None  # of a row
        self._parts: list[Tensor] = []  # not written yet
        self._kept: list[Tensor] = []  # everything, if the number of rows is unknown
        self._parts_per_write = 0  # batches that are written together
        self._n = 0  # rows added
        self._n_written = 0

    def add(self, batch: Tensor) -> None:
        """Add the next rows, (n, ...).

        Raises:
            UsageError: `out` has no room for them, or the rows have the wrong shape.
            DataError: their shape differs from that of the rows before.
        """
        if batch.shape[1:] != self._shape:
            self._begin(batch)
        self._parts.append(batch)
        self._n += batch.shape[0]
        if len(self._parts) == self._parts_per_write:
            self._write()

    def result(self) -> Tensor | None:
        """All rows; None if there are none."""
        if not self._n:
            return None
        self._write()
        if self._all is None:
            return torch.cat(self._kept)
        return self._all if self._n == len(self._all) else self._all[: self._n]

    def _begin(self, batch: Tensor) -> None:
        if self._shape is not None:
            got, wanted = tuple(batch.shape[1:]), f"{tuple(self._shape)}, as in the batches before"
            raise DataError(f"{self.what} per item: the shape", got=got, expected=wanted, fix="Use predict_iter.")
        self._shape = batch.shape[1:]
        self._parts_per_write = min(self._max_parts, max(1, MAX_BUFFER // max(1, batch.nbytes)))
        if self._all is None and self._n_rows is not None:
            self._all = torch.empty(self._n_rows, *self._shape, dtype=batch.dtype)
        if self._is_given:
            self._check_room(len(batch))

    def _write(self) -> None:
        if not self._parts:
            return
        if self._is_given:
            self._check_room(self._n)
        is_one = len(self._parts) == 1
        rows = self._parts[0] if is_one else torch.cat(self._parts)
        self._parts = []
        if self._all is not None and self._n > len(self._all):  # the loader yields more than its length
            self._kept, self._all = [self._all[: self._n_written]], None
        if self._all is None:
            self._kept.append(rows.to("cpu", copy=is_one))
        else:
            self._all[self._n_written : self._n].copy_(rows)
        self._n_written = self._n

    def _check_room(self, n: int) -> None:
        assert self._all is not None
        if n > len(self._all) or self._all.shape[1:] != self._shape:
            wanted = f"room for rows of shape {tuple(self._shape or ())}, at least {n} of them"
            raise UsageError("out", got=tuple(self._all.shape), expected=wanted)


class Gathered:
    """Rows of tensors as `Rows` gathers them, or of structures of tensors (tuples, dicts), joined at the end."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._trees: list[Any] = []
        self._sizes: list[int] = []

    def add(self, batch: Any, n: int) -> None:
        """Add the n rows of a batch; see `Rows.add`."""
        if isinstance(batch, Tensor):
            self._rows.add(batch)
        else:
            self._trees.append(map_tensors(lambda tensor: tensor.to("cpu", copy=True), batch))
            self._sizes.append(n)

    def result(self) -> Any:
        """All rows, in the structure of a batch; None if there are none."""
        return concatenate(self._trees, self._sizes) if self._trees else self._rows.result()
