"""Random crops of training images, each drawn by the coordinates of its item."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

from learnkit.data.image.resize import View
from learnkit.errors import UsageError
from learnkit.seeds import Stream, uniforms

__all__ = ["Bounded", "RandomResizedCrop", "crop_and_resize"]


@dataclass(frozen=True)
class Bounded:
    """An image no larger than random crops of it need: its shorter side at most twice that of `size`."""

    size: tuple[int, int]

    def view(self, height: int, width: int) -> View:
        """The view of an image of this shape: all of it."""
        scale = min(1.0, 2 * max(self.size) / min(height, width))
        return View((0, 0, width, height), (max(1, round(height * scale)), max(1, round(width * scale))))


@dataclass(frozen=True)
class RandomResizedCrop:
    """A random part of a training image, brought to `size`; validation and prediction go on as `resize=` says.

    Szegedy et al., Going deeper with convolutions (2015). Images whose shorter side is more than twice that of
    `size` are shrunk to that first.

    Args:
        size: height and width in pixels.
        min_scale, max_scale: the part's area as a share of the image's.
        ratio: the part's least and greatest width / height, drawn evenly on a log scale.
    """

    is_item_stage: ClassVar[bool] = True
    n_numbers: ClassVar[int] = 2 * 10 + 2  # ten tries of area and proportions, and a place

    size: tuple[int, int]
    min_scale: float = 0.08
    max_scale: float = 1.0
    ratio: tuple[float, float] = (3 / 4, 4 / 3)

    def __post_init__(self) -> None:
        if not 0 < self.min_scale <= self.max_scale <= 1:
            raise UsageError("min_scale, max_scale", got=(self.min_scale, self.max_scale), expected="shares in (0, 1]")
        if not 0 < self.ratio[0] <= self.ratio[1]:
            raise UsageError("ratio", got=self.ratio, expected="(least, greatest) width / height, above 0")

    def view(self, height: int, width: int, seed: int, epoch: int, index: int) -> View:
        """The view of an image of this shape that these coordinates draw."""
        numbers = uniforms(seed, Stream.CROP, epoch, [index], self.n_numbers)[0].tolist()
        low, high = math.log(self.ratio[0]), math.log(self.ratio[1])
        for u, v in zip(numbers[0:20:2], numbers[1:20:2], strict=True):
            area = height * width * (self.min_scale + u * (self.max_scale - self.min_scale))
            aspect = math.exp(low + v * (high - low))
            wide, tall = round((area * aspect) ** 0.5), round((area / aspect) ** 0.5)
            if 0 < wide <= width and 0 < tall <= height:
                break
        else:  # a long strip: the largest part that keeps to the proportions
            aspect = min(max(width / height, self.ratio[0]), self.ratio[1])
            wide, tall = max(1, min(width, round(height * aspect))), max(1, min(height, round(width / aspect)))
        left, top = int(numbers[20] * (width - wide + 1)), int(numbers[21] * (height - tall + 1))
        return View((left, top, left + wide, top + tall), self.size)


def crop_and_resize(pixels: npt.NDArray[Any], view: View) -> npt.NDArray[Any]:
    """A view on whole pixels of an image (H, W, C), uint8 or float32, several times as fast as Pillow has it.

    The filter is the same; where Pillow looks beyond the edge of the part, this does not.
    """
    left, top, right, bottom = map(int, view.box)
    part = torch.from_numpy(np.array(pixels[top:bottom, left:right]))
    planes = part[None].permute(0, 3, 1, 2)  # channels last: what torch resizes fastest
    resized = F.interpolate(planes, view.shape, mode="bilinear", antialias=True)
    return resized[0].permute(1, 2, 0).numpy()
