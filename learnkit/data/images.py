"""Opening one image safely: what is read, what is refused, and how every mode becomes RGB or gray."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from learnkit.errors import ImageError

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["EXTENSIONS", "MAX_PIXELS", "open_image", "to_mode"]

EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")  # no format that needs another program to read
MAX_PIXELS = 100_000_000  # looked at before decoding: a small file can hold a huge picture


def open_image(source: Any, channels: int = 3, *, where: str = "") -> "Image":
    """An upright RGB (or, with one channel, gray) picture.

    Args:
        source: a path, or a file object.
        channels: 3 or 1.
        where: what to say of the item in an error: its class and number.

    Raises:
        ImageError: not an image, damaged, of a format that is not read, or of more than 100 million pixels.
    """
    from PIL import Image, ImageOps

    named = f"{source}{where}" if isinstance(source, str | Path) else f"the given bytes{where}"
    try:
        with Image.open(source, formats=FORMATS) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise Image.DecompressionBombError(f"{width} x {height} pixels")
            image.load()
            return to_mode(ImageOps.exif_transpose(image), channels)
    except FileNotFoundError as error:
        raise ImageError(f"{named} is not there", fix="Look for what moved or deleted it.") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        fewer = f"an image of at most {MAX_PIXELS:,} pixels"
        raise ImageError(f"{named} is too large ({error})", expected=fewer, fix="Shrink it.") from error
    except (OSError, ValueError, SyntaxError) as error:  # Pillow's ways to say that a file is damaged
        raise ImageError(f"{named} cannot be read as an image ({error})", fix="Remove or replace the file.") from error


def to_mode(image: "Image", channels: int) -> "Image":
    """Any Pillow mode as RGB or L: transparency is laid on white, 16-bit and float gray are scaled to 8 bits."""
    from PIL import Image

    mode = "RGB" if channels == 3 else "L"
    if image.mode == mode:
        return image
    if image.mode.startswith(("I", "F")):
        image = _eight_bits(image)
    elif "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert(mode)


def _eight_bits(image: "Image") -> "Image":
    """Gray of more than 8 bits, scaled; Pillow's own conversion would cut everything above 255 off to white."""
    from PIL import Image

    pixels = np.asarray(image, dtype=np.float64)
    if image.mode == "F" and pixels.max(initial=0) <= 1 and pixels.min(initial=0) >= 0:
        pixels = pixels * 255
    elif pixels.max(initial=0) > 255:
        pixels = pixels / 257  # 65535 -> 255
    return Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))
