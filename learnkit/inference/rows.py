"""Rows gathered batch by batch into one tensor, so that peak memory is the result and one batch."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from learnkit.errors import DataError, UsageError

__all__ = ["Rows", "as_rows"]

TOGETHER = 1 << 20  # bytes
MOST_PARTS = 16  # more of them would leave the heap in pieces


def as_rows(out: Any, n_rows: int | None) -> Tensor:
    """What a user gave as `out`, as a tensor that shares its memory.

    Args:
        out: a float tensor, or a NumPy array of float16, float32 or float64, memory-mapped files welcome.
        n_rows: how many rows will be written; None when that is not known yet.

    Raises:
        UsageError: what cannot be written to, is no array of floats, or has another number of rows.
    """
    if not isinstance(out, Tensor | np.ndarray) or not out.ndim:
        raise UsageError("out", got=type(out).__name__, expected="a float tensor or NumPy array of shape (N, ...)")
    if isinstance(out, np.ndarray):
        out = _shared(out)
    if not out.is_floating_point():
        raise UsageError("out", got=str(out.dtype), expected="floats: float16, float32 or float64")
    if n_rows is not None and len(out) != n_rows:
        raise UsageError("out", got=tuple(out.shape), expected=f"{n_rows} rows, one an item")
    return torch.as_tensor(out)


def _shared(out: "np.ndarray[Any, Any]") -> Tensor:
    if not out.flags.writeable:
        raise UsageError("out: this array is read-only", fix="Open a memory-mapped file with mode='r+' or 'w+'.")
    if isinstance(out, np.memmap) and out.mode == "c":
        raise UsageError("out: opened with mode='c', nothing would reach the file", fix="Open it with mode='r+'.")
    try:
        return torch.from_numpy(out)
    except (TypeError, ValueError) as error:  # a type, byte order or stride that torch does not have
        raise UsageError(f"out: {error}", fix="Give an array of float16, float32 or float64.") from error


class Rows:
    """Rows written into one tensor as they come: small batches a megabyte at a time, large ones one by one.

    Args:
        what: what they are, for errors.
        n_rows: how many will come; None when that is not known, which costs twice the memory.
        out: a tensor to write into.
        at_once: write every batch when it comes: for tensors that somebody else may write over.
    """

    def __init__(self, what: str, n_rows: int | None, out: Tensor | None = None, *, at_once: bool = False) -> None:
        self.what = what
        self._most_parts = 1 if at_once else MOST_PARTS
        self._n_rows = n_rows
        self._all = out
        self._is_given = out is not None
        self._shape: torch.Size | None = None  # of a row
        self._parts: list[Tensor] = []  # not written yet
        self._kept: list[Tensor] = []  # all of them, where the number of rows is not known
        self._at_once = 0  # parts that are written together
        self._n = 0  # rows that came
        self._n_written = 0

    def add(self, batch: Tensor) -> None:
        """Take the next rows, (n, ...).

        Raises:
            UsageError: `out` has no room for them, or they are of another shape than its rows.
            DataError: they are of another shape than the rows before.
        """
        if batch.shape[1:] != self._shape:
            self._begin(batch)
        self._parts.append(batch)
        self._n += batch.shape[0]
        if len(self._parts) == self._at_once:
            self._write()

    def done(self) -> Tensor | None:
        """All rows; None when none came."""
        if not self._n:
            return None
        self._write()
        if self._all is None:
            return torch.cat(self._kept)
        return self._all if self._n == len(self._all) else self._all[: self._n]

    def _begin(self, batch: Tensor) -> None:
        if self._shape is not None:
            got, wanted = tuple(batch.shape[1:]), f"{tuple(self._shape)}, as in the batches before"
            raise DataError(f"{self.what} of an item: the shape", got=got, expected=wanted, fix="Use predict_iter.")
        self._shape = batch.shape[1:]
        self._at_once = min(self._most_parts, max(1, TOGETHER // max(1, batch.nbytes)))
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
        if self._all is not None and self._n > len(self._all):  # the loader gives more than it said
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
