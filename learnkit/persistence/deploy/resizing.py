"""Resizing as a network: Pillow's antialiasing filters as two matrices made from the size of the image.

A pass of Pillow multiplies pixels by integers (weights times 2 to the power 22), adds, and rounds to 8 bits. These sums
are exact in float64, so that every program that keeps to it returns Pillow's pixels.
"""

import torch
from torch import Tensor, nn

from learnkit.data.image.resize import Interpolation, Resize

__all__ = ["ResizeImages"]

BITS = 22  # after the point of Pillow's weights, for pixels of 8 bits
SUPPORT = {"bilinear": 1.0, "bicubic": 2.0}  # pixels to each side of the center


class ResizeImages(nn.Module):
    """Images uint8 (N, H, W, C) of any size -> uint8 (N, C, height, width), the pixels of `Resize` in Pillow."""

    def __init__(self, how: Resize) -> None:
        super().__init__()
        self.how = how

    def forward(self, images: Tensor) -> Tensor:
        n_rows, n_columns = sides = images.shape[1:3]
        height, width = (torch.full((), side, dtype=torch.float64, device=images.device) for side in sides)
        tall, broad = self._resized(height, width)
        box_h, box_w = self._seen(height, width)
        (high, wide), kind = self.how.size, self.how.interpolation
        rows = _matrix((height - box_h) / 2, box_h, tall, high, n_rows, kind)  # (height, H)
        columns = _matrix((width - box_w) / 2, box_w, broad, wide, n_columns, kind).mT.contiguous()  # (W, width)
        lost_rows, lost_columns = height - tall, width - broad
        pixels = images.permute(0, 3, 1, 2).double()
        # As Pillow 13.0 does; 10.4 to 12.3 always resize the width first. Known from outputs alone: see docs/deploy.md.
        vertical_first = (lost_rows > 0) & (lost_rows > 2 * lost_columns)
        resized: Tensor = torch.cond(vertical_first, _vertical_first, _horizontal_first, (rows, pixels, columns))
        return resized

    def _resized(self, height: Tensor, width: Tensor) -> tuple[Tensor, Tensor]:
        """The rows and columns that are not borders."""
        high, wide = self.how.size
        if self.how.method == "pad":
            scale = torch.minimum(high / height, wide / width)
            return (height * scale).round().clamp(min=1), (width * scale).round().clamp(min=1)
        return torch.full_like(height, high), torch.full_like(width, wide)

    def _seen(self, height: Tensor, width: Tensor) -> tuple[Tensor, Tensor]:
        """The height and width of the box of the image, around its center."""
        if self.how.method != "crop":
            return height, width
        high, wide = self.how.size
        scale = torch.minimum(height / high, width / wide)
        return torch.minimum(height, high * scale), torch.minimum(width, wide * scale)


def _matrix(start: Tensor, length: Tensor, n_out: Tensor, canvas: int, n_in: int, kind: Interpolation) -> Tensor:
    """The weights (canvas, n_in) of the pixels of a side for each of its `n_out`, centered on a canvas; else zeros.

    Args:
        start, length: of the box in pixels of the image, shape ().
        n_out: the pixels that the box becomes, shape ().
        canvas: the rows or columns of the result.
        n_in: those of the image.
        kind: the filter.
    """
    begin, end = start.float(), (start + length).float()  # Pillow keeps boxes in 32 bits
    scale = (end - begin).double() / n_out
    row = torch.arange(canvas, device=start.device)[:, None].double() - ((canvas - n_out) / 2).floor()
    centers = begin.double() + (row + 0.5) * scale
    pixels = torch.arange(n_in, device=start.device)[None].double()
    distances = ((pixels - centers + 0.5) * (1 / scale.clamp(min=1))).abs()
    weights = _triangle(distances) if kind == "bilinear" else _cubic(distances)
    weights = weights / weights.sum(1, keepdim=True)
    whole = (weights * 2**BITS).abs().add(0.5).floor() * weights.sign()  # halves away from 0, as Pillow
    return torch.where((row >= 0) & (row < n_out), whole, 0.0)


def _triangle(x: Tensor) -> Tensor:
    return (1 - x).clamp(min=0)


def _cubic(x: Tensor) -> Tensor:
    """Keys, Cubic convolution interpolation for digital image processing (1981)."""
    a = -0.5  # the slope at 1
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return torch.where(x < 1, near, torch.where(x < 2, far, 0.0))


def _horizontal_first(rows: Tensor, pixels: Tensor, columns: Tensor) -> Tensor:
    return _round(rows @ _round(pixels @ columns)).to(torch.uint8)


def _vertical_first(rows: Tensor, pixels: Tensor, columns: Tensor) -> Tensor:
    return _round(_round(rows @ pixels) @ columns).to(torch.uint8)


def _round(sums: Tensor) -> Tensor:
    return sums.add(1 << (BITS - 1)).div(1 << BITS).floor().clamp(0, 255)
