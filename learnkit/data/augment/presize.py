"""Presizing: training images are read larger than the model sees them, so that a warp has something to show."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from learnkit.checks import check_number, check_sides
from learnkit.data.augment.geometry import Padding
from learnkit.data.augment.random import signed
from learnkit.errors import UsageError

__all__ = ["Presize"]


@dataclass(frozen=True)
class Presize:
    """Training images are resized to `size`; one warp of the batch then does all that follows and crops to the bunch's.

    The crop has the aspect ratio of the bunch's size and lies anywhere in the image. Rotations and tilts after it show
    what is beside the crop instead of a mirrored border, and an image is interpolated once. Validation and prediction
    use `resize=` as always.

    Args:
        size: of the training images before the crop, a side or (height, width); no smaller than that of the bunch.
        min_scale: the smallest area of the crop, as a fraction of the largest possible; the area is uniform.
        padding_mode: as for Rotate.
    """

    is_item_stage: ClassVar[bool] = True
    n_numbers: ClassVar[int] = 3

    size: int | tuple[int, int]
    min_scale: float = 0.75
    padding_mode: Padding = "reflection"

    def __post_init__(self) -> None:
        sides = check_sides("Presize: size", self.size)
        if isinstance(self.size, list):
            object.__setattr__(self, "size", sides)
        check_number("Presize: min_scale", self.min_scale, "(0, 1]")

    @property
    def sides(self) -> tuple[int, int]:
        """(height, width) of the training images before the crop."""
        return check_sides("Presize: size", self.size)

    def check_fits(self, height: int, width: int) -> None:
        """Refuse a bunch whose images are larger.

        Raises:
            UsageError: naming both sizes.
        """
        if self.sides[0] < height or self.sides[1] < width:
            expected = f"{(height, width)}, the size of the bunch, or more"
            raise UsageError("Presize: size", got=self.size, expected=expected, fix="Twice the size is usual.")

    def matrices(self, numbers: Tensor, height: int, width: int) -> Tensor:
        """Homographies (N, 3, 3) from the output, height x width, to the image of `size`; uniform `numbers` (N, 3)."""
        tall, wide = self.sides
        largest = min(tall / height, wide / width)
        share = (self.min_scale + numbers[:, 0].double() * (1 - self.min_scale)).sqrt() * largest
        across, down = share * width / wide, share * height / tall
        matrices = torch.eye(3, dtype=torch.float64).repeat(len(numbers), 1, 1)
        matrices[:, 0, 0], matrices[:, 1, 1] = across, down
        matrices[:, 0, 2] = signed(numbers[:, 1].double()) * (1 - across)
        matrices[:, 1, 2] = signed(numbers[:, 2].double()) * (1 - down)
        return matrices
