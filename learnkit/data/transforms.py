"""The item stage, the same for training, validation, prediction and export: one size, then numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from learnkit.data.images import open_image, to_mode
from learnkit.errors import UsageError

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["IMAGENET", "Normalize", "Preprocess", "Resize"]

Method = Literal["crop", "squish", "pad"]
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass(frozen=True)
class Resize:
    """A picture at one size, always in the same way: nothing here is random.

    Args:
        size: height and width in pixels.
        method: "crop" keeps the proportions and the centre, "squish" keeps everything and bends the proportions, "pad"
            keeps both and adds black borders.
    """

    size: tuple[int, int]
    method: Method = "crop"

    def __post_init__(self) -> None:
        if self.method not in ("crop", "squish", "pad"):
            raise UsageError("resize", got=self.method, expected="'crop', 'squish' or 'pad'")

    def __call__(self, image: "Image") -> "Image":
        from PIL import Image, ImageOps

        size = (self.size[1], self.size[0])  # Pillow's order: width, height
        if image.size == size:
            return image
        if self.method == "squish":
            return image.resize(size, Image.Resampling.BILINEAR)
        shape = ImageOps.fit if self.method == "crop" else ImageOps.pad
        return shape(image, size, Image.Resampling.BILINEAR)


@dataclass(frozen=True)
class Normalize:
    """(x - mean) / std per channel, of pixels in [0, 1]."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std) or not all(std > 0 for std in self.std):
            raise UsageError(
                "normalize", got=(self.mean, self.std), expected="a mean and a std above 0 for each channel"
            )

    def __call__(self, x: Tensor) -> Tensor:
        """x float (N, C, H, W) in [0, 1]."""
        return (x - self._column(self.mean, x)) / self._column(self.std, x)

    def undo(self, x: Tensor) -> Tensor:
        """Pixels in [0, 1] again."""
        return (x * self._column(self.std, x) + self._column(self.mean, x)).clamp(0, 1)

    def _column(self, values: Sequence[float], x: Tensor) -> Tensor:
        return torch.tensor(values, dtype=x.dtype, device=x.device)[:, None, None]


@dataclass(frozen=True)
class Preprocess:
    """From anything a user may hand in to what the model sees: `item` in the workers, `batch` on the device."""

    resize: Resize
    normalize: Normalize | None
    channels: int = 3

    def __post_init__(self) -> None:
        if self.channels not in (1, 3):
            raise UsageError("channels", got=self.channels, expected="3 or 1")

    def item(self, source: Any, where: str = "") -> Tensor:
        """uint8 (C, H, W) of a path, PIL image, bytes, array (H, W[, C]) or tensor (C, H, W).

        Raises:
            ImageError: an image that cannot be read.
        """
        image = self.resize(self._picture(source, where))
        pixels = torch.from_numpy(np.array(image))
        return pixels[None] if self.channels == 1 else pixels.permute(2, 0, 1).contiguous()

    def scale(self, batch: Tensor) -> Tensor:
        """float32 in [0, 1] of a uint8 batch."""
        return batch.float().div_(255)

    def batch(self, batch: Tensor) -> Tensor:
        """float32 (N, C, H, W), normalised, of a uint8 batch."""
        x = self.scale(batch)
        return x if self.normalize is None else self.normalize(x)

    def _picture(self, source: Any, where: str) -> "Image":
        import io

        from PIL import Image, ImageOps

        if isinstance(source, Image.Image):
            return to_mode(ImageOps.exif_transpose(source), self.channels)
        if isinstance(source, bytes | bytearray | memoryview):
            return open_image(io.BytesIO(source), self.channels, where=where)
        if isinstance(source, Tensor):
            source = source.detach().cpu().numpy()
            source = np.moveaxis(source, 0, -1) if source.ndim == 3 else source
        if isinstance(source, np.ndarray):
            return to_mode(Image.fromarray(_eight_bit_array(source)), self.channels)
        return open_image(source, self.channels, where=where)


def _eight_bit_array(pixels: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] not in (2, 3, 4)):
        raise UsageError("image array", got=pixels.shape, expected="(H, W), (H, W, 3) or (H, W, 4); tensors (C, H, W)")
    if np.issubdtype(pixels.dtype, np.floating):
        if pixels.min(initial=0) < 0 or pixels.max(initial=0) > 1:
            raise UsageError(
                "image array", got=f"floats from {pixels.min():.3g} to {pixels.max():.3g}", expected="floats in [0, 1]",
                fix="Pass uint8 pixels, or undo the normalisation.",
            )  # fmt: skip
        pixels = np.rint(pixels * 255).astype(np.uint8)
    elif pixels.dtype == np.uint16:
        pixels = np.rint(pixels / 257).astype(np.uint8)
    if pixels.dtype != np.uint8:
        raise UsageError("image array", got=str(pixels.dtype), expected="uint8, uint16, or floats in [0, 1]")
    return pixels
