"""The resizing network: Pillow's pixels, for every method and filter, up and down, of any shape."""

import itertools

import numpy as np
import pytest
import torch
from PIL import Image

from learnkit.data.image.resize import Interpolation, Method, Resize
from learnkit.persistence.deploy.resizing import ResizeImages

SIZES = [(40, 60), (37, 53), (300, 31), (7, 400), (64, 48), (1, 1), (1, 90), (33, 2), (200, 210)]
FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def by_pillow(pixels: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]", how: Resize) -> Image.Image:
    """A crop, a squish or a pad by Pillow's own calls."""
    image, (high, wide) = Image.fromarray(pixels), how.size
    width, height, kind = image.width, image.height, FILTERS[how.interpolation]
    if how.method == "squish":
        return image.resize((wide, high), kind)
    if how.method == "crop":
        scale = min(height / high, width / wide)
        tall, broad = min(height, high * scale), min(width, wide * scale)
        left, top = (width - broad) / 2, (height - tall) / 2
        return image.resize((wide, high), kind, box=(left, top, left + broad, top + tall))
    scale = min(high / height, wide / width)
    part = image.resize((max(1, round(width * scale)), max(1, round(height * scale))), kind)
    canvas = Image.new("RGB", (wide, high))
    canvas.paste(part, ((wide - part.width) // 2, (high - part.height) // 2))
    return canvas


@pytest.mark.parametrize("size", [(48, 48), (31, 70)])
@pytest.mark.parametrize(
    ("method", "interpolation"), list(itertools.product(["crop", "squish", "pad"], ["bilinear", "bicubic"]))
)
def test_the_pixels_are_those_of_pillow(method: Method, interpolation: Interpolation, size: tuple[int, int]) -> None:
    how, numbers = Resize(size, method, interpolation), np.random.default_rng(0)
    network = ResizeImages(how)
    for height, width in SIZES:
        pixels = numbers.integers(0, 256, (height, width, 3), dtype=np.uint8)
        found = network(torch.from_numpy(pixels)[None])
        assert (found.dtype, tuple(found.shape)) == (torch.uint8, (1, 3, *size))
        expected = np.asarray(by_pillow(pixels, how))
        worst = np.abs(found[0].permute(1, 2, 0).numpy().astype(int) - expected).max()
        assert worst == 0, (height, width)


@pytest.mark.slow
def test_several_gray_images_at_once() -> None:
    pixels = torch.randint(0, 256, (3, 50, 20, 1), dtype=torch.uint8)
    network = ResizeImages(Resize((10, 12)))
    assert torch.equal(network(pixels), torch.cat([network(one[None]) for one in pixels]))


def test_an_image_of_the_size_stays_as_it_is() -> None:
    pixels = torch.randint(0, 256, (1, 30, 20, 3), dtype=torch.uint8)
    assert torch.equal(ResizeImages(Resize((30, 20), "crop", "bicubic"))(pixels), pixels.permute(0, 3, 1, 2))
