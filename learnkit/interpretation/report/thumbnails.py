"""Images as data URIs, small enough that a page of a thousand of them can be mailed."""

import base64
import contextlib
import io
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from learnkit.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["LEVELS", "Level", "Thumbnail", "Thumbnails", "heated"]

MAX_SIDE = 160  # pixels of the longer side in a gallery
TINY = 64  # an image below this is shown in visible pixels
QUALITY = 75  # in a gallery

# Black through red to pale yellow, readable without color too: its brightness rises all the way.
HEAT = np.array([(0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164)], dtype=np.float32)


@dataclass(frozen=True)
class Level:
    """The size of the small images: the longer side, the quality of WEBP, and how many there are."""

    side: int
    quality: int
    count: int = 1000


LEVELS = (Level(112, 75), Level(96, 65), Level(96, 45), Level(80, 40), Level(64, 35), Level(64, 30, 500),
          Level(48, 25, 400), Level(48, 25, 100))  # fmt: skip


@dataclass(frozen=True)
class Thumbnail:
    """What an `<img>` needs; `is_tiny` if its pixels should be visible."""

    uri: str
    width: int
    height: int
    is_tiny: bool


@dataclass
class Thumbnails:
    """Thumbnails of the items' images; each is read once, whatever the sizes it is shown at.

    Attributes:
        image: returns item i as uint8 (H, W, 3); None if the items have no images.
        level: size and number of the small ones.
    """

    image: Callable[[int], npt.NDArray[Any]] | None
    level: Level = LEVELS[0]
    _small: "dict[int, tuple[Image, bool] | None]" = field(default_factory=dict)
    _encoded: dict[tuple[int, int, int], str] = field(default_factory=dict)

    def small(self, number: int) -> Thumbnail | None:
        """An item's image in a list; None if it cannot be read."""
        return self._shown(number, self.level.side, self.level.quality)

    def large(self, number: int) -> Thumbnail | None:
        """An item's image in a gallery; None if it cannot be read."""
        return self._shown(number, MAX_SIDE, QUALITY)

    def heat(self, number: int, heat: npt.NDArray[np.float32]) -> Thumbnail | None:
        """An item's image under its heat map, in a gallery; None if it cannot be read."""
        found = self._read(number)
        return None if found is None else self.of(heated(np.asarray(found[0]), heat))

    def of(self, pixels: npt.NDArray[np.uint8]) -> Thumbnail:
        """Any other pixels, in a gallery."""
        image, is_tiny = _reduced(pixels)
        return Thumbnail(_uri(image, QUALITY), *image.size, is_tiny)

    def _shown(self, number: int, side: int, quality: int) -> Thumbnail | None:
        found = self._read(number)
        if found is None:
            return None
        image = _fitted(found[0], side)
        key = (number, side, quality)
        if key not in self._encoded:
            self._encoded[key] = _uri(image, quality)
        return Thumbnail(self._encoded[key], *image.size, found[1])

    def _read(self, number: int) -> "tuple[Image, bool] | None":
        if number not in self._small:
            self._small[number] = None
            if self.image is not None:
                with contextlib.suppress(DataError, OSError):  # removed or damaged since: the others are still shown
                    self._small[number] = _reduced(self.image(number))
        return self._small[number]


def heated(pixels: npt.NDArray[np.uint8], heat: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """A gray image, uint8 (H, W, 3), under the colors of a heat map, float (H, W) in [0, 1] of any size."""
    from PIL import Image

    values = np.nan_to_num(np.asarray(heat, dtype=np.float32)).clip(0, 1)
    size = (pixels.shape[1], pixels.shape[0])
    warmth = np.asarray(Image.fromarray(values).resize(size, Image.Resampling.BILINEAR)).clip(0, 1)
    stops = np.linspace(0, 1, len(HEAT))
    colors = np.stack([np.interp(warmth, stops, HEAT[:, channel]) for channel in range(3)], axis=2)
    gray = pixels.astype(np.float32).mean(axis=2, keepdims=True)
    share = 0.35 + 0.35 * warmth[..., None]
    mixed: npt.NDArray[np.uint8] = np.rint(gray * (1 - share) + colors * share).astype(np.uint8)
    return mixed


def _reduced(pixels: npt.NDArray[Any]) -> "tuple[Image, bool]":
    """The image no larger than a gallery needs, and whether it is so small that its pixels should be seen."""
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(pixels))
    return _fitted(image, MAX_SIDE), max(image.size) < TINY


def _fitted(image: "Image", side: int) -> "Image":
    from PIL import Image

    longer = max(image.size)
    if longer <= side:
        return image
    width, height = (max(1, round(length * side / longer)) for length in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS)


def _uri(image: "Image", quality: int) -> str:
    file = io.BytesIO()
    image.convert("RGB").save(file, "WEBP", quality=quality, method=2)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
