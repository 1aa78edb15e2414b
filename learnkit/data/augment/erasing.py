"""Random erasing: a rectangle of an image is overwritten, so that a model learns to use more than one part of it."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from learnkit.checks import check_choice, check_number
from learnkit.data.augment.random import happens, signed
from learnkit.device import to_device

__all__ = ["RandomErasing"]

MAX_RATIO = 10 / 3  # of height to width, and of width to height


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
        rows = happens(numbers[:, 0], self.p).nonzero()[:, 0].tolist()
        if not rows:
            return x
        out = x.clone()
        for row in rows:
            top, left, height, width = self._rectangle(numbers[row].double(), *x.shape[-2:])
            hole = out[row, :, top : top + height, left : left + width]
            if self.fill == "noise":
                hole.copy_(to_device(torch.rand(hole.shape, generator=_generator(numbers[row])), x.device))
            else:
                hole.copy_(x[row].mean().expand_as(hole))
        return out

    def _rectangle(self, u: Tensor, height: int, width: int) -> tuple[int, int, int, int]:
        """Top, left, height and width in pixels, from the numbers of one item."""
        area = (self.min_area + u[1] * (self.max_area - self.min_area)) * height * width
        ratio = MAX_RATIO ** signed(u[2])
        tall = min(height, max(1, round((area * ratio).sqrt().item())))
        wide = min(width, max(1, round((area / ratio).sqrt().item())))
        return int(u[3] * (height - tall + 1)), int(u[4] * (width - wide + 1)), tall, wide


def _generator(numbers: Tensor) -> torch.Generator:
    """The generator of an item's noise, seeded with its last two numbers of 24 bits each."""
    high, low = (numbers[5:].double() * 2**24).long().tolist()
    return torch.Generator().manual_seed(high << 24 | low)
