"""Opening the file of one image safely: supported formats, limits, and one error for all that can be wrong."""

import functools
import os
import stat
import struct
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from learnkit.errors import ImageError, LearnkitError

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

__all__ = ["MAX_PIXELS", "REMEDY", "load", "name_of_source", "open_header"]

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")  # no format for which Pillow runs another program
MAX_PIXELS = 100_000_000  # checked before decoding: a small file can hold a huge image
WARNED_PIXELS = 89_000_000  # Pillow warns of more, in words of its own
REMEDY = "Remove or replace the file; `learnkit verify DIR` or verify_images(folder) lists all such files."

_one_at_a_time = threading.Lock()  # filters of warnings are those of all threads


@contextmanager
def open_header(source: Any, where: str) -> "Iterator[ImageFile]":
    """Read the header and check the size; all of Pillow's errors become an ImageError."""
    from PIL import Image

    is_path = isinstance(source, str | os.PathLike)
    named = f"{name_of_source(source)}{where}"
    try:
        if is_path:
            status = os.stat(source)
            if not stat.S_ISREG(status.st_mode):  # reading a pipe would block
                raise OSError("not a regular file")
            if not status.st_size:
                raise OSError("the file is empty")
        with open(source, "rb") if is_path else nullcontext(source) as file, _identified(file, named) as image:
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


def name_of_source(source: Any) -> str:
    return str(source) if isinstance(source, str | os.PathLike) else "the given bytes"


@functools.cache
def _formats() -> list[tuple[Callable[..., "ImageFile"], Callable[[bytes], bool | str] | None]]:
    """How a file of each format is opened, and whether its first bytes are of that format."""
    from PIL import Image

    Image.init()
    return [Image.OPEN[name] for name in FORMATS]


def _identified(file: Any, named: str) -> "ImageFile":
    """As Pillow's `Image.open`, whose own limit of pixels is another one and warns."""
    from PIL import UnidentifiedImageError

    file.seek(0)
    start = file.read(16)
    for factory, accept in _formats():
        if accept is None or accept(start) is True:
            file.seek(0)
            try:
                return factory(file, "")  # without a name, by which it would be mapped into memory
            except (SyntaxError, IndexError, TypeError, struct.error):  # another format
                continue
    raise UnidentifiedImageError(f"cannot identify image file {named!r}")


def load(image: "ImageFile") -> None:
    """Decode an image that is open."""
    if image.width * image.height > WARNED_PIXELS:  # some formats check again when they decode
        with _one_at_a_time, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image.load()
    image.load()
