"""The passes of an augmentation over a batch: several steps on one chunk after another, or a function on all of it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from learnkit.data.augment.others import call
from learnkit.data.augment.random import chunks, to_float
from learnkit.data.augment.recycling import empty
from learnkit.data.augment.steps import Columns, Step, WarpStep, join
from learnkit.data.augment.targets import Moving, describe
from learnkit.errors import UsageError
from learnkit.seeds import Stream, derive, preserve_rng, uniforms

__all__ = ["CallPass", "Coordinates", "Finish", "FusedPass"]


class Coordinates(NamedTuple):
    """What the random numbers of a batch depend on.

    Attributes:
        seed: of the run.
        epoch: its number.
        indices: of the items in their dataset, int64 (N,).
    """

    seed: int
    epoch: int
    indices: npt.NDArray[np.int64]

    def uniforms(self, place: int, n: int) -> Tensor:
        """n numbers in [0, 1) for each item and the transform at this place, float32 (N, n), on the CPU."""
        seed = derive(self.seed, Stream.AUGMENT, place)
        return torch.from_numpy(uniforms(seed, Stream.AUGMENT, self.epoch, self.indices, n))

    def seed_of_batch(self, place: int) -> int:
        """The seed of a transform that draws for the batch as a whole: that of its first item."""
        return derive(self.seed, Stream.AUGMENT, place, self.epoch, *self.indices[:1].tolist())


class Finish(Protocol):
    """What is done to a chunk last: see `Preprocess.batch`."""

    def __call__(self, x: Tensor, /, *, in_place: bool, out: Tensor | None) -> Tensor: ...


class FusedPass:
    """Steps that follow each other: on the CPU all of them change one chunk, which stays in the cache, after another.

    Attributes:
        steps: in their order.
        places: of the transforms of each step in the list of all.
    """

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.places: list[list[int]] = []

    def add(self, step: Step, place: int) -> None:
        """Append a step of the transform at this place, or extend the last one by it."""
        joined = join(self.steps[-1], step) if self.steps else None
        if joined is None:
            self.steps.append(step)
            self.places.append([place])
        else:
            self.steps[-1] = joined
            self.places[-1].append(place)

    def columns(self, at: Coordinates, height: int, width: int) -> Tensor:
        """What the steps will do to images of this size: their columns side by side, float32 (N, n), on the CPU."""
        parts = [torch.empty(len(at.indices), 0)]
        for step, places in zip(self.steps, self.places, strict=True):
            drawn = [at.uniforms(place, one.n_numbers) for place, one in zip(places, step.transforms, strict=True)]
            parts.append(step.columns(drawn, height, width))
            height, width = _size_after(step, height, width)
        return torch.cat(parts, 1)

    def run(
        self, x: Tensor, columns: Columns, moving: Moving | None, *, in_place: bool, finish: Finish | None
    ) -> tuple[Tensor, Moving | None]:
        """The changed batch, and what moved with it.

        Args:
            x: (N, C, H, W), float32 in [0, 1] or uint8, contiguous or channels_last.
            columns: what was drawn.
            moving: what moves with the images.
            in_place: whether x may be overwritten.
            finish: changes each chunk last.
        """
        size = height, width = x.shape[-2], x.shape[-1]
        for step, part in self._with_columns(columns):
            if isinstance(step, WarpStep) and moving is not None:
                moving = step.carry(moving, part, *size)
            size = _size_after(step, *size)
        parts = list(chunks(x))
        if len(parts) < 2:
            return self._change(x, columns, in_place=in_place, finish=finish, out=None), moving
        keeps_bytes = finish is None and all(step.keeps_bytes for step in self.steps)
        dtype = torch.float32 if x.dtype == torch.uint8 and not keeps_bytes else x.dtype
        out = x if in_place and dtype == x.dtype and size == (height, width) else _empty_like(x, size, dtype)
        for items in parts:
            given = x[items]
            place = given if out is x else out[items]
            made = self._change(given, columns.part(items), in_place=in_place, finish=finish, out=place)
            if made is not place:
                place.copy_(made)
        return out, moving

    def _change(
        self, x: Tensor, columns: Columns, *, in_place: bool, finish: Finish | None, out: Tensor | None
    ) -> Tensor:
        """One chunk changed by all steps: x itself, `out`, or a new tensor."""
        for number, (step, part) in enumerate(self._with_columns(columns), 1):
            if x.dtype == torch.uint8 and not step.keeps_bytes:
                x, in_place = to_float(x), True
            is_last = finish is None and number == len(self.steps)
            made = step.change(x, part, in_place=in_place, out=out if is_last else None)
            x, in_place = made, in_place or made is not x  # no one else holds a new tensor
        return x if finish is None else finish(x, in_place=in_place, out=out)

    def _with_columns(self, columns: Columns) -> Iterator[tuple[Step, Columns]]:
        """Each step with its own columns."""
        start = 0
        for step in self.steps:
            own = slice(start, start := start + step.n_columns)
            yield step, Columns(columns.rows[:, own], columns.table[:, own])


@dataclass(frozen=True)
class CallPass:
    """A transform that is given the whole batch: a function, or an object like learnkit's with an `apply`.

    Attributes:
        transform: the transform.
        place: in the list of all.
        draws: whether it is given random numbers for each item; else torch's global generator is seeded.
    """

    transform: Any
    place: int
    draws: bool

    def run(self, x: Tensor, at: Coordinates, moving: Moving | None) -> tuple[Tensor, Moving | None]:
        """The changed batch, and what moved with it.

        Raises:
            UsageError: a function that fails, or does not return a batch.
        """
        x = to_float(x)
        if self.draws:
            return self.transform.apply(x, at.uniforms(self.place, self.transform.n_numbers)), moving
        with preserve_rng():
            torch.default_generator.manual_seed(at.seed_of_batch(self.place))
            out, moved = call(self.transform, x, moving)
        if not isinstance(out, Tensor) or out.ndim != 4 or len(out) != len(x) or not out.is_floating_point():
            fn = getattr(self.transform, "fn", self.transform)
            raise UsageError(f"augment: {fn!r} returned", got=describe(out), expected=f"floats ({len(x)}, C, H, W)")
        return out.contiguous(), moved


def _size_after(step: Step, height: int, width: int) -> tuple[int, int]:
    return (isinstance(step, WarpStep) and step.crop) or (height, width)


def _empty_like(x: Tensor, size: tuple[int, int], dtype: torch.dtype) -> Tensor:
    is_last = not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)
    if x.is_cpu and dtype == torch.float32 and not is_last:
        return empty(*x.shape[:2], *size)
    layout = torch.channels_last if is_last else torch.contiguous_format
    return torch.empty(*x.shape[:2], *size, dtype=dtype, device=x.device, memory_format=layout)
