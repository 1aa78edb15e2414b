"""Random crops of training images, each determined by seed, epoch and item."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy.typing as npt

from learnkit.checks import check_number, check_sides, is_number
from learnkit.data.image.resize import View, resize_pixels
from learnkit.errors import UsageError
from learnkit.seeds import Stream, uniforms

__all__ = ["Bounded", "RandomResizedCrop", "crop_and_resize"]


@dataclass(frozen=True)
class Bounded:
    """Downscales images to what random crops need: a shorter side of at most twice the longer side of `size`."""

    margin: ClassVar[int] = 1  # the result is twice the size that the model sees

    size: tuple[int, int]

    def view(self, height: int, width: int) -> View:
        """The view of an image of this size: all of it."""
        scale = min(1.0, 2 * max(self.size) / min(height, width))
        shape = max(1, round(height * scale)), max(1, round(width * scale))
        return View((0, 0, width, height), shape, interpolation="torch_bilinear")


@dataclass(frozen=True)
class RandomResizedCrop:
    """A random crop of a training image, resized to `size`; validation and prediction use `resize=`.

    Szegedy et al., Going deeper with convolutions (2015). Images whose shorter side is more than twice the longer side
    of `size` are downscaled to that first.

    Args:
        size: a side or (height, width) in pixels.
        min_scale, max_scale: limits of the area of the crop, as a fraction of the image; the area is uniform.
        ratio: the smallest and largest width / height of the crop, which is log-uniform.
    """

    is_item_stage: ClassVar[bool] = True
    n_numbers: ClassVar[int] = 2 * 10 + 2  # ten attempts at area and aspect ratio, and a position

    size: int | tuple[int, int]
    min_scale: float = 0.08
    max_scale: float = 1.0
    ratio: tuple[float, float] = (3 / 4, 4 / 3)

    def __post_init__(self) -> None:
        sides = check_sides("RandomResizedCrop: size", self.size)
        if isinstance(self.size, list):
            object.__setattr__(self, "size", sides)
        check_number("min_scale", self.min_scale, "(0, 1]")
        check_number("max_scale", self.max_scale, "(0, 1]")
        if self.min_scale > self.max_scale:
            raise UsageError(
                "min_scale, max_scale",
                got=(self.min_scale, self.max_scale),
                expected="fractions in (0, 1], the smaller first",
            )
        ratio: Any = self.ratio
        is_pair = isinstance(ratio, tuple | list) and len(ratio) == 2 and all(map(is_number, ratio))
        if not is_pair or not 0 < ratio[0] <= ratio[1] < math.inf:
            raise UsageError("ratio", got=self.ratio, expected="(smallest, largest) width / height, above 0")

    @property
    def sides(self) -> tuple[int, int]:
        """(height, width) of the result."""
        return check_sides("RandomResizedCrop: size", self.size)

    def view(self, height: int, width: int, seed: int, epoch: int, index: int) -> View:
        """The random view of an image of this size for these coordinates."""
        return self.drawn_view(height, width, self.draws(seed, epoch, [index])[0])

    def draws(self, seed: int, epoch: int, indices: Sequence[int]) -> list[list[float]]:
        """The numbers that decide the views of these items."""
        drawn: list[list[float]] = uniforms(seed, Stream.CROP, epoch, indices, self.n_numbers).tolist()
        return drawn

    def drawn_view(self, height: int, width: int, numbers: Sequence[float]) -> View:
        """The view of an image of this size for these numbers."""
        low, high = math.log(self.ratio[0]), math.log(self.ratio[1])
        for u, v in zip(numbers[0:20:2], numbers[1:20:2], strict=True):
            area = height * width * (self.min_scale + u * (self.max_scale - self.min_scale))
            aspect = math.exp(low + v * (high - low))
            wide, tall = round((area * aspect) ** 0.5), round((area / aspect) ** 0.5)
            if 0 < wide <= width and 0 < tall <= height:
                break
        else:  # a long strip: the largest crop within the limits of the aspect ratio
            aspect = min(max(width / height, self.ratio[0]), self.ratio[1])
            wide, tall = max(1, min(width, round(height * aspect))), max(1, min(height, round(width / aspect)))
        left, top = int(numbers[20] * (width - wide + 1)), int(numbers[21] * (height - tall + 1))
        return View((left, top, left + wide, top + tall), self.sides)


def crop_and_resize(pixels: npt.NDArray[Any], view: View) -> npt.NDArray[Any]:
    """A view with an integer box of an image (H, W, C), uint8 or float32.

    The filter is Pillow's, but pixels outside the box are not used, unlike in Pillow.
    """
    left, top, right, bottom = map(int, view.box)
    return resize_pixels(pixels[top:bottom, left:right], view.shape)
