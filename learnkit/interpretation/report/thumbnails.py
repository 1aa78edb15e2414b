"""Pictures as data URIs, small enough that a page of a thousand of them can be mailed."""

import base64
import contextlib
import io
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from learnkit.errors import DataError
from learnkit.interpretation.report.elements import Markup, tag

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["LEVELS", "Level", "Thumbnails", "heated"]

LARGEST = 160  # pixels of the longer side in a gallery
ENLARGED = 64  # a picture below this is shown in whole pixels
QUALITY = 75  # in a gallery

# Black through red to white, readable without colour too: its brightness rises all the way.
HEAT = np.array([(0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164)], dtype=np.float32)


@dataclass(frozen=True)
class Level:
    """How much room the small pictures may take: the longer side, the quality of WEBP, and how many there are."""

    side: int
    quality: int
    count: int = 1000


LEVELS = (Level(112, 75), Level(96, 65), Level(96, 45), Level(80, 40), Level(64, 35), Level(64, 30, 500),
          Level(48, 25, 400), Level(48, 25, 100))  # fmt: skip


@dataclass
class Thumbnails:
    """Elements for pictures; each is read once, whatever the sizes it is shown at."""

    picture: Callable[[int], npt.NDArray[Any]] | None
    level: Level = LEVELS[0]
    _small: "dict[int, tuple[Image, bool] | None]" = field(default_factory=dict)
    _encoded: dict[tuple[int, int, int], str] = field(default_factory=dict)

    def small(self, number: int, alt: str) -> Markup | None:
        """A picture in a list; None where the items have none."""
        return self._shown(number, alt, self.level.side, self.level.quality)

    def large(self, number: int, alt: str) -> Markup | None:
        """A picture in a gallery; None where the items have none."""
        return self._shown(number, alt, LARGEST, QUALITY)

    def beside(self, pixels: npt.NDArray[np.uint8], alt: str) -> Markup:
        """A picture that is no item's own, in a gallery."""
        image, is_tiny = _reduced(pixels)
        return _element(_uri(image, QUALITY), image.size, is_tiny, alt)

    def pixels(self, number: int) -> "npt.NDArray[np.uint8] | None":
        """A picture at the size of a gallery, uint8 (H, W, 3)."""
        found = self._read(number)
        return None if found is None else np.asarray(found[0])

    def _shown(self, number: int, alt: str, side: int, quality: int) -> Markup | None:
        found = self._read(number)
        if found is None:
            missing = tag("span", "cannot be read", class_="missing", role="img", aria_label=f"{alt}: cannot be read")
            return missing if self.picture else None
        image = _fitted(found[0], side)
        key = (number, side, quality)
        if key not in self._encoded:
            self._encoded[key] = _uri(image, quality)
        return _element(self._encoded[key], image.size, found[1], alt)

    def _read(self, number: int) -> "tuple[Image, bool] | None":
        if number not in self._small:
            self._small[number] = None
            if self.picture is not None:
                with contextlib.suppress(DataError, OSError):  # gone or damaged since: the rest is still worth having
                    self._small[number] = _reduced(self.picture(number))
        return self._small[number]


def heated(pixels: npt.NDArray[np.uint8], heat: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """A grey picture, uint8 (H, W, 3), under the colours of a heat map, float (H, W) in [0, 1] of any size."""
    from PIL import Image

    values = np.nan_to_num(np.asarray(heat, dtype=np.float32)).clip(0, 1)
    size = (pixels.shape[1], pixels.shape[0])
    warmth = np.asarray(Image.fromarray(values).resize(size, Image.Resampling.BILINEAR)).clip(0, 1)
    stops = np.linspace(0, 1, len(HEAT))
    colours = np.stack([np.interp(warmth, stops, HEAT[:, channel]) for channel in range(3)], axis=2)
    grey = pixels.astype(np.float32).mean(axis=2, keepdims=True)
    share = 0.35 + 0.35 * warmth[..., None]
    mixed: npt.NDArray[np.uint8] = np.rint(grey * (1 - share) + colours * share).astype(np.uint8)
    return mixed


def _reduced(pixels: npt.NDArray[Any]) -> "tuple[Image, bool]":
    """The picture no larger than a gallery needs, and whether it is so small that its pixels should be seen."""
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(pixels))
    return _fitted(image, LARGEST), max(image.size) < ENLARGED


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


def _element(uri: str, size: tuple[int, int], is_tiny: bool, alt: str) -> Markup:
    return tag("img", src=uri, width=size[0], height=size[1], alt=alt, class_="tiny" if is_tiny else None)
