"""The item stage: one size, then numbers, always the same."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from learnkit.data.transforms import Normalize, Preprocess, Resize
from learnkit.errors import UsageError


def halves(width: int, height: int) -> Image.Image:
    """Left half red, right half blue."""
    image = Image.new("RGB", (width, height), "red")
    image.paste((0, 0, 255), (width // 2, 0, width, height))
    return image


def test_crop_keeps_the_centre() -> None:
    image = Image.new("RGB", (30, 10), "red")
    image.paste((0, 255, 0), (10, 0, 20, 10))
    cropped = np.asarray(Resize((10, 10), "crop")(image))
    assert (cropped == [0, 255, 0]).all()


def test_squish_keeps_everything() -> None:
    squished = Resize((4, 4), "squish")(halves(40, 10))
    assert squished.size == (4, 4)
    assert [squished.getpixel((x, 2)) for x in (0, 3)] == [(255, 0, 0), (0, 0, 255)]


def test_pad_adds_borders() -> None:
    padded = np.asarray(Resize((8, 8), "pad")(Image.new("RGB", (8, 4), "white")))
    assert padded[:2].max() == 0
    assert padded[6:].max() == 0
    assert padded[2:6].min() == 255


def test_height_comes_before_width() -> None:
    assert Preprocess(Resize((6, 9)), None).item(halves(20, 20)).shape == (3, 6, 9)


@pytest.mark.parametrize("size", [(1, 500), (500, 1), (1, 1)])
@pytest.mark.parametrize("method", ["crop", "squish", "pad"])
def test_extreme_shapes_get_the_size(size: tuple[int, int], method: str) -> None:
    assert Resize((16, 16), method)(Image.new("RGB", size)).size == (16, 16)  # type: ignore[arg-type]


def test_normalisation_is_minus_mean_over_std() -> None:
    normalize = Normalize((0.5, 0.0, 0.25), (0.5, 1.0, 0.25))
    x = torch.full((2, 3, 1, 1), 0.75)
    assert normalize(x)[0].flatten().tolist() == [0.5, 0.75, 2.0]
    torch.testing.assert_close(normalize.undo(normalize(x)), x)
    with pytest.raises(UsageError, match="normalize"):
        Normalize((0.5,), (0.0,))


def test_every_kind_of_item_gives_the_same_pixels() -> None:
    preprocess = Preprocess(Resize((8, 8)), None)
    image = halves(20, 16)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    expected = preprocess.item(image)
    array = np.asarray(image)
    for item in (
        buffer.getvalue(),
        array,
        array.astype(np.float64) / 255,
        array.astype(np.uint16) * 257,
        torch.from_numpy(array.copy()).permute(2, 0, 1),
        image.convert("RGBA"),
    ):
        assert torch.equal(preprocess.item(item), expected)
    assert expected.dtype == torch.uint8
    torch.testing.assert_close(preprocess.batch(expected[None]), expected[None].float() / 255)


@pytest.mark.parametrize(
    "bad", [np.zeros((4, 4, 7), np.uint8), np.zeros(5, np.uint8), np.full((4, 4), 3.0), np.zeros((4, 4), bool)]
)
def test_arrays_that_are_no_image_are_refused(bad: object) -> None:
    with pytest.raises(UsageError, match="image array: got"):
        Preprocess(Resize((8, 8)), None).item(bad)


def test_other_numbers_of_channels_are_refused() -> None:
    with pytest.raises(UsageError, match="channels: got 4"):
        Preprocess(Resize((8, 8)), None, channels=4)
