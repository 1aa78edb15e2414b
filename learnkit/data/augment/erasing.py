"""Random erasing: a rectangle of an image is overwritten, so that a model learns to use more than one part of it."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from learnkit.checks import check_choice, check_number
from learnkit.data.augment.random import happens, noise, signed
from learnkit.device import to_device

__all__ = ["N_COLUMNS", "RandomErasing"]

MAX_RATIO = 10 / 3  # of height to width, and of width to height
N_COLUMNS = 6  # top, bottom, left and right of the rectangle, and the two numbers that its noise depends on


@dataclass(frozen=True)
class RandomErasing:
    """Random erasing (Zhong et al., Random Erasing Data Augmentation, 2017); masks do not change.

    Args:
        p: probability of changing an item.
        min_area: area of the smallest rectangle, as a fraction of the image.
        max_area: area of the largest; the area is uniform, the aspect ratio log-uniform between 0.3 and 1 / 0.3, and
            sides longer than those of the image are shortened.
        fill: "noise" for uniform noise in [0, 1), "gray" for the mean of all pixels of the image.
    """

    n_numbers: ClassVar[int] = 7

    p: float = 0.25
    min_area: float = 0.02
    max_area: float = 0.33
    fill: Literal["noise", "gray"] = "noise"

    def __post_init__(self) -> None:
        check_number("p", self.p, "[0, 1]")
        check_number("max_area", self.max_area, "[0, 1]")
        check_number("min_area", self.min_area, f"[0, {self.max_area}]")
        check_choice("fill", self.fill, ("noise", "gray"))

    def apply(self, x: Tensor, numbers: Tensor) -> Tensor:
        """x, float (N, C, H, W) in [0, 1], changed by uniform numbers, float32 (N, n_numbers), on the CPU."""
        columns = self.columns(numbers, x.shape[-2], x.shape[-1])
        return self.erase(x, columns.numpy(), to_device(columns, x.device))

    def columns(self, numbers: Tensor, height: int, width: int) -> Tensor:
        """The rectangle of each item and the numbers of its noise, float32 (N, 6), whole and in pixels; 0 for none.

        Args:
            numbers: uniform in [0, 1), float32 (N, n_numbers), on the CPU.
            height: of the images.
            width: of the images.
        """
        u = numbers.double()
        area = (self.min_area + u[:, 1] * (self.max_area - self.min_area)) * height * width
        ratio = MAX_RATIO ** signed(u[:, 2])
        tall, wide = (area * ratio).sqrt().round().clamp(1, height), (area / ratio).sqrt().round().clamp(1, width)
        top, left = (u[:, 3] * (height - tall + 1)).floor(), (u[:, 4] * (width - wide + 1)).floor()
        columns = torch.stack([top, top + tall, left, left + wide, u[:, 5], u[:, 6]], 1)
        return torch.where(happens(numbers[:, :1], self.p), columns, 0.0).float()

    def erase(self, x: Tensor, rows: npt.NDArray[np.float32], table: Tensor, *, in_place: bool = False) -> Tensor:
        """A float batch (N, C, H, W) whose rectangles are overwritten; x itself if there are none.

        Args:
            x: the batch.
            rows: the columns, in the memory of the host.
            table: the same on the device of x.
            in_place: whether x may be overwritten.
        """
        if not (rows[:, 1] > 0).any():
            return x
        return self._erased_one_by_one(x, rows, table, in_place) if x.is_cpu else self._erased(x, table)

    def _erased(self, x: Tensor, table: Tensor) -> Tensor:
        """All items at once: few calls, and nothing that would have to be copied."""
        top, bottom, left, right = table[:, :4].T[..., None, None, None]
        down = torch.arange(x.shape[-2], device=x.device)[:, None]
        across = torch.arange(x.shape[-1], device=x.device)
        is_inside = (down >= top) & (down < bottom) & (across >= left) & (across < right)
        if self.fill == "gray":
            return torch.where(is_inside, x.mean((1, 2, 3), keepdim=True), x)
        places = torch.arange(x[0].numel(), device=x.device, dtype=torch.int32).view(x.shape[1:])
        return torch.where(is_inside, noise(table[:, 4:], places).to(x.dtype), x)

    def _erased_one_by_one(self, x: Tensor, rows: npt.NDArray[np.float32], table: Tensor, in_place: bool) -> Tensor:
        """The same on the CPU, where only the rectangles are computed."""
        out = x if in_place else x.clone()
        places = torch.arange(x[0].numel(), dtype=torch.int32).view(x.shape[1:])
        for i, (top, bottom, left, right) in enumerate(rows[:, :4].astype(int).tolist()):
            if bottom:
                hole = (slice(None), slice(top, bottom), slice(left, right))
                out[i][hole] = x[i].mean() if self.fill == "gray" else noise(table[i : i + 1, 4:], places[hole])[0]
        return out
