"""Opening one image safely: supported formats, limits, and conversion of every mode to RGB or gray."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from learnkit.errors import ImageError, LearnkitError
from learnkit.types import PathLike

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

__all__ = [
    "EXTENSIONS",
    "MAX_PIXELS",
    "REMEDY",
    "exif_transposed",
    "full_depth",
    "open_image",
    "open_mask",
    "read_size",
    "to_mode",
]

EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")  # no format for which Pillow runs another program
ORIENTATION = 0x0112  # the EXIF tag of the camera's orientation
MAX_PIXELS = 100_000_000  # checked before decoding: a small file can hold a huge image
REMEDY = "Remove or replace the file; `learnkit verify DIR` or verify_images(folder) lists all such files."


def open_image(source: Any, channels: int = 3, *, where: str = "") -> "Image":
    """An upright RGB (or, with one channel, gray) image; the first frame of an animation.

    Args:
        source: a path, or a file object.
        channels: 3 or 1.
        where: description of the item for errors: its class and row.

    Raises:
        ImageError: not an image, damaged, of an unsupported format, or of more than 100 million pixels.
    """
    with _load(source, where) as image:
        return to_mode(exif_transposed(image), channels)


def open_mask(source: Any, *, colors: bool = False, where: str = "") -> "npt.NDArray[Any]":
    """The pixel values of a mask, (H, W): gray levels or palette indices; with `colors`, uint8 (H, W, 3).

    Raises:
        ImageError: as for `open_image`, or a mask in colors without `colors`.
    """
    with _load(source, where) as image:
        mask = exif_transposed(image)
        if colors:
            return np.asarray(mask.convert("RGB"))
        if mask.mode == "1":
            return np.asarray(mask, dtype=np.uint8)
        pixels = np.asarray(mask)
    if pixels.ndim == 3:
        gray = pixels[..., 0]
        if (
            mask.mode not in ("RGB", "RGBA", "LA")
            or (pixels[..., : 1 if mask.mode == "LA" else 3] != gray[..., None]).any()
        ):
            raise ImageError(
                f"the mask {source}{where} is in colors ({mask.mode})", expected="one number per pixel",
                fix="Map colors with codes={(red, green, blue): name}.",
            )  # fmt: skip
        pixels = gray
    return pixels


def read_size(source: PathLike) -> tuple[int, int]:
    """(height, width) of an upright image, read from the header of its file.

    Raises:
        ImageError: a file that is not an image.
    """
    with _open(source, "") as image:
        width, height = image.size
        is_rotated = image.format != "TIFF" and image.getexif().get(ORIENTATION) in (5, 6, 7, 8)  # TIFFs are rotated
    return (width, height) if is_rotated else (height, width)


@contextmanager
def _load(source: Any, where: str) -> "Iterator[Image]":
    with _open(source, where) as image:
        if image.format == "TIFF":
            image.filename = ""  # prevents memory-mapping, by which Pillow garbles uncompressed TIFFs that it rotates
        image.load()
        yield image


@contextmanager
def _open(source: Any, where: str) -> "Iterator[ImageFile]":
    """Read the header and check the size; all of Pillow's errors become an ImageError."""
    from PIL import Image

    is_path = isinstance(source, str | os.PathLike)
    named = f"{source}{where}" if is_path else f"the given bytes{where}"
    try:
        if is_path:
            status = os.stat(source)
            if not stat.S_ISREG(status.st_mode):  # reading a pipe would block
                raise OSError("not a regular file")
            if not status.st_size:
                raise OSError("the file is empty")
        with Image.open(source, formats=FORMATS) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise Image.DecompressionBombError(f"{width} x {height} pixels")
            yield image
    except (LearnkitError, MemoryError):
        raise
    except FileNotFoundError as error:
        raise ImageError(f"{named} does not exist", fix="Check whether it was moved or deleted.") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        fewer = f"an image of at most {MAX_PIXELS:,} pixels"
        raise ImageError(f"{named} is too large ({error})", expected=fewer, fix="Shrink it.") from error
    except Exception as error:  # Pillow has many ways to report a damaged file
        raise ImageError(f"{named} cannot be read as an image ({error})", fix=REMEDY) from error


def exif_transposed(image: "Image") -> "Image":
    """The image rotated as its EXIF orientation specifies; without one, the image itself."""
    from PIL import ImageOps

    return ImageOps.exif_transpose(image) if image.getexif().get(ORIENTATION, 1) != 1 else image


def to_mode(image: "Image", channels: int) -> "Image":
    """Any Pillow mode as RGB or L: transparency is blended with white, 16-bit and float gray are scaled to 8 bits."""
    from PIL import Image

    mode = "RGB" if channels == 3 else "L"
    is_transparent = "A" in image.getbands() or "transparency" in image.info
    if image.mode == mode and not is_transparent:
        return image
    if image.mode.startswith(("I", "F")):
        image = _to_eight_bits(image)
    elif is_transparent:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert(mode)


def _to_eight_bits(image: "Image") -> "Image":
    """Gray of more than 8 bits, scaled; Pillow's own conversion would clip everything above 255 to white."""
    from PIL import Image

    pixels = np.asarray(image, dtype=np.float64)
    if image.mode == "F" and pixels.max(initial=0) <= 1 and pixels.min(initial=0) >= 0:
        pixels = pixels * 255
    elif image.mode.startswith("I;16") or pixels.max(initial=0) > 255:
        pixels = pixels / 257  # 65535 -> 255
    return Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))


def full_depth(source: Any) -> "npt.NDArray[np.float32]":
    """A reader for `reader=`: gray of 16 bits or floats as float32 (H, W, 1) in [0, 1], without loss of precision.

    Raises:
        ImageError: as for `open_image`, or floats outside [0, 1].
    """
    pixels = open_mask(source)
    largest = 1 if np.issubdtype(pixels.dtype, np.floating) else 255 if pixels.dtype == np.uint8 else 65535
    scaled = pixels.astype(np.float32) / np.float32(largest)
    if scaled.min(initial=0) < 0 or scaled.max(initial=0) > 1:
        raise ImageError(f"{source}: values from {scaled.min():.4g} to {scaled.max():.4g}", expected="in [0, 1]")
    return scaled[..., None]
