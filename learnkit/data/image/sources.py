"""Where an image comes from: its file, or what holds an image that has no file."""

import contextlib
import io
import os
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np
from torch import Tensor

from learnkit.data.image.read import exif_transposed, read_size
from learnkit.data.image.resize import shape_of
from learnkit.errors import ImageError, LearnkitError

__all__ = ["HeldImage", "NamedBytes", "Source", "as_file", "held", "image_size", "is_image", "opened"]


class HeldImage:
    """An image in memory, or one that a dataset makes: item `index` of `items`, read when it is needed.

    Two are equal if they are the same item of the same items.

    Args:
        items: anything with items by number; an item is an image, or a tuple that begins with one.
        index: the number of the item.
        name: what it is called in results and errors, such as "train[3]".
    """

    __slots__ = ("index", "items", "name")

    def __init__(self, items: Any, index: int, name: str) -> None:
        self.items: Any = items
        self.index: int = index
        self.name: str = name

    def read(self) -> Any:
        """The PIL image, array, tensor or encoded bytes.

        Raises:
            ImageError: the items could not make it.
        """
        try:
            item = self.items[self.index]
        except (LearnkitError, MemoryError):
            raise
        except Exception as error:  # a dataset may fail in any way
            raise ImageError(f"{self.name}: the dataset cannot read it ({type(error).__name__}: {error})") from error
        return item[0] if isinstance(item, tuple | list) and item else item

    def __eq__(self, other: object) -> bool:
        return isinstance(other, HeldImage) and self.items is other.items and self.index == other.index

    def __hash__(self) -> int:
        return hash((id(self.items), self.index))

    def __str__(self) -> str:
        return self.name

    __repr__ = __str__


Source: TypeAlias = str | HeldImage  # a path, or an image without a file


def is_image(value: Any) -> bool:
    """Whether a value is an image without a file: PIL, encoded bytes, an array or a tensor, or held already."""
    from PIL import Image

    return isinstance(value, Image.Image | np.ndarray | Tensor | bytes | bytearray | memoryview | HeldImage)


def held(values: Iterable[Any], name: str) -> list[Any]:
    """Values with every image without a file held by one object, named after its place; others are unchanged.

    PIL images that were only opened are read now: a file that is open in two processes at once is read at wrong places.
    """
    from PIL import Image

    values = list(values)
    for value in values:
        if isinstance(value, Image.Image):
            with contextlib.suppress(OSError, ValueError):  # a damaged one fails when it is needed, and can be skipped
                value.load()
    return [
        HeldImage(values, i, f"{name}[{i}]") if is_image(value) and not isinstance(value, HeldImage) else value
        for i, value in enumerate(values)
    ]


def opened(source: Any) -> Any:
    """What an image is decoded from: its path, or the image that is held."""
    return source.read() if isinstance(source, HeldImage) else source


class NamedBytes(io.BytesIO):
    """The bytes of a file, with a name for errors."""

    def __init__(self, content: bytes, name: str) -> None:
        super().__init__(content)
        self._name = name

    def __str__(self) -> str:
        return self._name


def as_file(source: Any) -> Any:
    """The file of a mask: its path, or the bytes that are held in memory or by a dataset."""
    content = opened(source)
    return NamedBytes(content, str(source)) if isinstance(content, bytes) else content


def image_size(source: Any) -> tuple[int, int]:
    """(height, width) of an upright image, without decoding a file.

    Raises:
        ImageError: a file, or bytes, that are not an image.
    """
    from PIL import Image

    image = opened(source)
    if isinstance(image, bytes | bytearray | memoryview):
        image = io.BytesIO(image)
    if isinstance(image, str | os.PathLike) or hasattr(image, "read"):
        return read_size(image)
    if isinstance(image, Image.Image):
        return shape_of(exif_transposed(image))
    shape: Sequence[int] = image.shape
    height, width = shape[-2:] if isinstance(image, Tensor) else shape[:2]
    return int(height), int(width)
