"""Reading one image or mask: conversion of every mode to RGB or gray."""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from learnkit.data.image.depth import Depth, to_depth
from learnkit.data.image.jpeg import JPEGS, Decoded, plain_pixels, shrunk
from learnkit.data.image.opening import load, name_of_source, open_header
from learnkit.data.image.resize import HowSeen, ImageLike
from learnkit.errors import ImageError
from learnkit.types import PathLike

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

__all__ = ["EXTENSIONS", "array_pixels", "exif_transposed", "full_depth", "is_sixteen_bit",
           "open_image", "open_mask", "read_image", "read_size", "read_with", "to_pixels"]  # fmt: skip

EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
ORIENTATION = 0x0112  # the EXIF tag of the camera's orientation
BITS_PER_SAMPLE = 258  # the tag of TIFF
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow's gray


def open_image(source: Any, channels: int = 3, *, where: str = "", depth: Depth | None = None) -> ImageLike:
    """An upright RGB (or, with one channel, gray) image; the first frame of an animation.

    Args:
        source: a path, or a file object.
        channels: 3 or 1.
        where: description of the item for errors: its class and row.
        depth: what was declared for the set; see `to_depth`.

    Returns:
        a Pillow image; with a depth other than 8 bits, float32 (H, W) or (H, W, 3) in [0, 1].

    Raises:
        ImageError: not an image, damaged, of an unsupported format, of more than 100 million pixels, or of pixels
            whose range is not known.
    """
    return read_image(source, channels, where=where, depth=depth).image


def read_image(
    source: Any,
    channels: int = 3,
    *,
    where: str = "",
    depth: Depth | None = None,
    how: HowSeen | None = None,
    in_full: bool = False,
) -> Decoded:
    """What `open_image` returns; of a JPEG, only as much as is needed.

    Args:
        source, channels, where, depth: as for `open_image`.
        how: what will be seen of the image; None for the whole as a Pillow image.
        in_full: never decode a JPEG at a smaller size.

    Raises:
        ImageError: as for `open_image`.
    """
    with open_header(source, where) as image:
        named = f"{name_of_source(source)}{where}"
        found: Decoded | None = None
        if how is not None and image.format in JPEGS:
            orientation = image.getexif().get(ORIENTATION, 1)
            size = _upright(image, orientation)
            view = how.view(*size)
            if not in_full and (factor := view.factor(how.margin)) > 1:
                found = shrunk(image, size, factor, orientation)
            elif view.is_whole(*size) and channels == 3 and depth in (None, 8) and orientation == 1:
                pixels = plain_pixels(image)
                if pixels is not None:
                    return Decoded.whole(pixels)
        load(image)
        upright = to_pixels(image, channels, depth, named)
        return Decoded.whole(upright) if found is None else found._replace(image=upright)


def to_pixels(image: "Image", channels: int, depth: Depth | None, where: str) -> ImageLike:
    """What `open_image` returns, of an image that is open already."""
    bits = _bits(image)
    image = exif_transposed(image)
    is_wide = image.mode.startswith(("I", "F"))
    if not is_wide and depth in (None, 8):
        return _to_mode(image, channels)
    pixels = np.asarray(image if is_wide else _to_mode(image, channels))
    pixels = to_depth(pixels, depth, where, bits=bits, is_file=True)
    return array_pixels(pixels, channels, depth)


def given_pixels(image: "Image", channels: int, depth: Depth | None, where: str) -> ImageLike:
    """What `open_image` returns, of an image of the user, which Pillow may not have decoded yet.

    Raises:
        ImageError: as for `open_image`, and an image whose file is closed.
    """
    try:
        image.load()
    except MemoryError:
        raise
    except Exception as error:  # Pillow has many ways to report a damaged file
        fix = "An image that is only opened needs its file: call image.load() before it is closed, or pass its path."
        raise ImageError(f"{where} cannot be read ({error})", fix=fix) from error
    return to_pixels(image, channels, depth, where)


def array_pixels(pixels: "npt.NDArray[Any]", channels: int, depth: Depth | None) -> ImageLike:
    """Pixels from `to_depth`, (H, W) or (H, W, 2, 3 or 4), with 3 or 1 channels; as `open_image` returns them."""
    from PIL import Image

    if depth is None and pixels.dtype != np.uint8:
        pixels = np.rint(pixels * 255).astype(np.uint8)
    if pixels.dtype == np.uint8:
        return _to_mode(Image.fromarray(pixels), channels)
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    if pixels.shape[2] in (2, 4):
        pixels = pixels[..., :-1] * pixels[..., -1:] + (1 - pixels[..., -1:])  # white behind what is transparent
    if channels == 1:
        return pixels[..., 0] if pixels.shape[2] == 1 else pixels @ np.array(LUMA, dtype=np.float32)
    return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels


def open_mask(source: Any, *, colors: bool = False, soft: bool = False, where: str = "") -> "npt.NDArray[Any]":
    """The pixel values of a mask, (H, W): gray levels or palette indices; bool for 1 bit.

    Args:
        source: a path, or a file object.
        colors: return uint8 (H, W, 3).
        soft: return how light the pixels are, also those of a palette or of colors.
        where: description of the item for errors.

    Raises:
        ImageError: as for `open_image`, a mask in colors without `colors`, or one whose transparency means something.
    """
    with open_header(source, where) as image:
        load(image)
        mask = exif_transposed(image)
        if soft and mask.mode != "1" and not mask.mode.startswith(("I", "F")):
            _check_alpha(mask, f"the mask {source}{where}")
            return np.asarray(mask.convert("L"))
        return _mask_pixels(mask, colors, f"the mask {source}{where}")


def _mask_pixels(mask: "Image", colors: bool, named: str) -> "npt.NDArray[Any]":
    _check_alpha(mask, named)
    if colors:
        return np.asarray(mask.convert("RGB"))
    pixels = np.asarray(mask)
    if pixels.ndim == 2:
        return pixels
    gray: npt.NDArray[Any] = pixels[..., 0]
    n = 1 if mask.mode == "LA" else 3
    if mask.mode not in ("RGB", "RGBA", "LA") or (pixels[..., :n] != gray[..., None]).any():
        raise ImageError(
            f"{named} is in colors ({mask.mode})", expected="one number per pixel",
            fix="Map colors with codes={(red, green, blue): name}.",
        )  # fmt: skip
    return gray


def _check_alpha(mask: "Image", named: str) -> None:
    """Refuse a mask in which pixels of one color differ in transparency: that would be lost."""
    if mask.mode not in ("RGBA", "LA", "PA"):
        return
    rgba = np.asarray(mask.convert("RGBA"))
    colors = rgba.astype(np.int64) @ (1 << 16, 1 << 8, 1, 0)
    both = (colors << 8) | rgba[..., 3]
    if len(np.unique(both)) > len(np.unique(colors)):
        raise ImageError(
            f"{named} has pixels that differ only in transparency (alpha)", expected="classes as gray levels or colors",
            fix="Save the alpha channel as a mask of its own, or pass mask_reader=.",
        )  # fmt: skip


def read_size(source: Any) -> tuple[int, int]:
    """(height, width) of an upright image, read from the header of its file: a path, or a file object.

    Raises:
        ImageError: a file that is not an image.
    """
    with open_header(source, "") as image:
        return _upright(image, 1 if image.format == "TIFF" else image.getexif().get(ORIENTATION))  # TIFFs are rotated


def _upright(image: "ImageFile", orientation: Any) -> tuple[int, int]:
    return image.size if orientation in (5, 6, 7, 8) else image.size[::-1]


def is_sixteen_bit(source: PathLike) -> bool:
    """Whether a file says that it is gray of 16 bits; cameras and scanners store 10, 12 or 14 bits in such files.

    Raises:
        ImageError: a file that is not an image.
    """
    with open_header(source, "") as image:
        return image.mode.startswith("I;16") and _bits(image) in (None, 16)


def read_with(
    reader: Callable[[str], Any], file: Any, where: str = "", *, name: str = "the reader"
) -> "npt.NDArray[Any]":
    """The array that a function of the user reads from a file.

    Raises:
        ImageError: the function fails, however it does so, or returns something else.
    """
    try:
        read = reader(os.fspath(file))
        pixels = np.asarray(read)
    except (ImageError, MemoryError):
        raise
    except Exception as error:
        shown = f"{type(error).__name__}: {error}"
        raise ImageError(f"{file}{where}: {name} failed ({shown})", fix="Remove or replace the file.") from error
    if pixels.dtype.kind in "biufc":
        return pixels
    got = str(read.dtype) if isinstance(read, np.ndarray) else type(read).__name__
    raise ImageError(f"{file}{where}: {name} returned", got=got, expected="an array of numbers")


def _bits(image: "Image") -> int | None:
    """The bits of a pixel, where a TIFF says so."""
    stated: Any = image.tag_v2.get(BITS_PER_SAMPLE) if hasattr(image, "tag_v2") else None
    return int(stated[0]) if stated else None


def exif_transposed(image: "Image") -> "Image":
    """The image rotated as its EXIF orientation specifies; without one, the image itself."""
    from PIL import ImageOps

    return ImageOps.exif_transpose(image) if image.getexif().get(ORIENTATION, 1) != 1 else image


def _to_mode(image: "Image", channels: int) -> "Image":
    """Any Pillow mode of 8 bits as RGB or L; transparency is blended with white."""
    from PIL import Image

    mode = "RGB" if channels == 3 else "L"
    is_transparent = "A" in image.getbands() or "transparency" in image.info
    if image.mode == mode and not is_transparent:
        return image
    if is_transparent:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert(mode)


def full_depth(source: Any) -> "npt.NDArray[np.float32]":
    """A reader for `reader=`: gray of 8 or 16 bits or floats in [0, 1], as float32 (H, W, 1), not rounded to 8 bits.

    `source` is a path, or an open file.

    Raises:
        ImageError: as for `open_image`, floats outside [0, 1], or 32-bit numbers.
    """
    with open_header(source, "") as image:
        load(image)
        bits = _bits(image)
        pixels = _mask_pixels(exif_transposed(image), False, str(source))
    pixels = pixels * np.uint8(255) if pixels.dtype == bool else pixels
    scaled: npt.NDArray[np.float32] = to_depth(pixels, None, str(source), bits=bits)[..., None].astype(np.float32)
    return scaled / np.float32(255) if pixels.dtype == np.uint8 else scaled
