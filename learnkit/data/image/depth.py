"""Depth: which pixel value is black and which is white, declared for a set of images and never measured in a file."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from learnkit.checks import is_int, is_number
from learnkit.errors import ImageError, UsageError
from learnkit.text import counted

__all__ = ["BITS", "DECLARE", "Depth", "check_depth", "to_depth"]

Depth: TypeAlias = int | tuple[float, float]
"""Bits of whole numbers, white being 2**bits - 1; or the values of black and white."""

BITS = (8, 10, 12, 14, 16)
LARGEST = 1e30
DECLARE = "Declare the range of all images: depth="
EXPECTED = "8, 10, 12, 14 or 16 bits, or (black, white) in pixel values"


def check_depth(depth: Any) -> Depth | None:
    """The depth with Python's numbers.

    Raises:
        UsageError: neither bits nor a range.
    """
    if depth is None:
        return None
    if is_int(depth) and depth in BITS:
        return int(depth)
    ends = list(depth) if isinstance(depth, Sequence | np.ndarray) and not isinstance(depth, str) else []
    if len(ends) != 2 or not all(is_number(end) and -LARGEST <= end <= LARGEST for end in ends) or ends[0] >= ends[1]:
        raise UsageError("depth", got=depth, expected=EXPECTED)
    return float(ends[0]), float(ends[1])


def to_depth(
    pixels: "npt.NDArray[Any]", depth: Depth | None, where: str, *, bits: int | None = None, is_file: bool = False
) -> "npt.NDArray[Any]":
    """Pixels of any shape as uint8, or as float32 in [0, 1], never rounded to 8 bits.

    Without a depth, it is that of the type: 8 bits for uint8, 16 (or `bits`) for uint16, and [0, 1] for the floats of
    an array, which is what functions exchange. A file of floats or of 32-bit numbers says nothing of its range.

    Args:
        pixels: numbers.
        depth: what was declared for the set.
        where: what they are, for errors.
        bits: of uint16 pixels, as their file says.
        is_file: they were read by Pillow.

    Raises:
        ImageError: pixels whose range is not known, or that are not in it; a nan.
    """
    kind, size = pixels.dtype.kind, pixels.dtype.itemsize
    has_range = pixels.dtype in (np.uint8, np.uint16) or (kind == "f" and not is_file)
    if kind not in "uif" or (depth is None and not has_range):
        expected = "8 or 16 bits, or a declared range" if is_file else "uint8, uint16 or floats in [0, 1]"
        fix = f"{DECLARE}{'(0, 1)' if kind == 'f' else '12 for 12 bits'}, or depth=(black, white)."
        raise ImageError(f"{where}: dtype", got=str(pixels.dtype), expected=expected, fix=fix if kind in "uif" else "")
    if isinstance(depth, int) and (kind == "f" or (size == 1 and depth > 8)):
        got = "floats" if kind == "f" else "8-bit pixels"
        raise ImageError(
            f"{where}: depth={depth}", got=got, expected=f"whole numbers of {depth} bits",
            fix="Pass depth=(black, white), such as (0, 1)." if kind == "f" else "Leave the file out or convert it.",
        )  # fmt: skip
    if pixels.dtype == np.uint8 and depth in (None, 8):
        return pixels
    low, high = _range(pixels, depth, bits)
    _check_range(pixels, low, high, where)
    if depth == 8:
        return pixels.astype(np.uint8)
    scaled = (pixels.astype(np.float64) - low) / (high - low) if low or size > 4 else pixels / np.float32(high)
    return scaled.astype(np.float32)


def _range(pixels: "npt.NDArray[Any]", depth: Depth | None, bits: int | None) -> tuple[float, float]:
    if isinstance(depth, tuple):
        return depth
    if depth is None and pixels.dtype.kind == "f":
        return 0.0, 1.0
    return 0.0, 2.0 ** (depth or bits or 16) - 1


def _check_range(pixels: "npt.NDArray[Any]", low: float, high: float, where: str) -> None:
    least, most = pixels.min(), pixels.max()
    if low <= least and most <= high:  # false for nan
        return
    if pixels.dtype.kind == "f" and not np.isfinite([least, most]).all():
        wrong = ~np.isfinite(pixels)
        row, column = np.argwhere(wrong)[0][:2].tolist()
        n = int(np.isnan(pixels).sum())
        kind = "nan" if n else "infinite"
        n_wrong = counted(n or int(wrong.sum()), f"pixel is {kind}", f"pixels are {kind}")
        raise ImageError(
            f"{where}: {n_wrong}, the first at row {row}, column {column}",
            fix="Fill them before, or in a reader= of your own.",
        )
    kind = "floats" if pixels.dtype.kind == "f" else "pixels"
    raise ImageError(
        f"{where}: range of {kind}", got=(least.item(), most.item()), expected=f"[{low:.10g}, {high:.10g}]",
        fix="Pass the depth= of all images, or clip them in a reader= of your own.",
    )  # fmt: skip
