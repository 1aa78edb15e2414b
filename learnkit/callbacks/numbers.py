"""Numbers of a fit's batches, one after the other: 8 bytes each or fewer, however many there are."""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload

import torch
from torch import Tensor

from learnkit.training.snapshot import Finished

__all__ = ["BLOCK", "Numbers"]

BLOCK = 1 << 16  # numbers that are kept, and written to a checkpoint, together


class Numbers(Sequence[float]):
    """A sequence of numbers that only grows; equal to a list of the same numbers, and a slice of it is a list.

    Full blocks never change again, so a checkpoint writes each of them once. They are kept in single precision where
    that loses nothing, and as one number where all are the same.

    >>> numbers = Numbers([1.0, 2.0])
    >>> numbers.append(3.0)
    >>> numbers, numbers[-1], numbers[:2]
    ([1.0, 2.0, 3.0], 3.0, [1.0, 2.0])
    """

    def __init__(self, values: Iterable[float] = ()) -> None:
        self._blocks: list[Finished] = []  # float32 or float64, (BLOCK,) or (1,)
        self._tail = array("d")
        for value in values:
            self.append(value)

    def append(self, value: float) -> None:
        self._tail.append(value)
        if len(self._tail) == BLOCK:
            self._blocks.append(Finished(_compact(_tensor_of(self._tail))))
            self._tail = array("d")

    def __len__(self) -> int:
        return len(self._blocks) * BLOCK + len(self._tail)

    def __iter__(self) -> Iterator[float]:
        for block in self._blocks:
            yield from block.tensor.expand(BLOCK).tolist()
        yield from self._tail

    @overload
    def __getitem__(self, at: int) -> float: ...
    @overload
    def __getitem__(self, at: slice) -> list[float]: ...
    def __getitem__(self, at: int | slice) -> float | list[float]:
        if isinstance(at, slice):
            return list(self)[at]
        number = range(len(self))[at]  # negative ones too; raises IndexError
        block, place = divmod(number, BLOCK)
        if block == len(self._blocks):
            return self._tail[place]
        return float(self._blocks[block].tensor.expand(BLOCK)[place])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Numbers | list):
            return NotImplemented
        return len(self) == len(other) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(list(self))

    def state_dict(self) -> dict[str, Any]:
        """The full blocks, which a checkpoint does not copy, and the rest."""
        rest = _tensor_of(self._tail).clone() if self._tail else torch.zeros(0, dtype=torch.float64)
        return {"blocks": list(self._blocks), "rest": rest}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        self._blocks, self._tail = list(saved["blocks"]), array("d", saved["rest"].tolist())


def _tensor_of(values: "array[float]") -> Tensor:
    """The same memory; the array cannot grow while the tensor exists."""
    return torch.frombuffer(values, dtype=torch.float64)


def _compact(values: Tensor) -> Tensor:
    """The same numbers in fewer bytes; always a copy."""
    if bool((values == values[0]).all()) or bool(values.isnan().all()):
        return values[:1].clone()
    single = values.float()
    return single if torch.equal(single.double(), values) else values.clone()
