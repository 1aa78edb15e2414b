"""Thumbnails and heat maps: the right pixels at the right size."""

import base64
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from learnkit.errors import ImageError
from learnkit.interpretation.report.thumbnails import Level, Thumbnail, Thumbnails, heated


def decoded(thumbnail: Thumbnail | None) -> Any:
    assert thumbnail is not None
    data = thumbnail.uri.removeprefix("data:image/webp;base64,")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


def test_a_thumbnail_is_the_image_made_smaller(photo: Callable[[int], Any]) -> None:
    asked = []

    def image(i: int) -> Any:
        asked.append(i)
        return photo(i)[:112]  # twice as wide as high

    thumbnails = Thumbnails(image)
    small = decoded(thumbnails.small(7))
    assert small.shape == (56, 112, 3)
    assert decoded(thumbnails.large(7)).shape == (80, 160, 3)
    assert asked == [7]
    expected = np.asarray(Image.fromarray(photo(7)[:112]).resize((112, 56), Image.Resampling.LANCZOS))
    assert np.abs(small.astype(int) - expected.astype(int)).mean() < 6
    assert Thumbnails(None).small(0) is None


def test_heat_is_bright_where_the_map_is_high() -> None:
    heat = np.zeros((4, 4), np.float32)
    heat[:, 2:] = 1
    mixed = heated(np.full((40, 40, 3), 100, np.uint8), heat)
    assert mixed.shape == (40, 40, 3)
    assert mixed[20, 36].mean() > mixed[20, 4].mean() + 50
    assert heated(np.zeros((1, 1, 3), np.uint8), np.full((7, 7), np.nan, np.float32)).shape == (1, 1, 3)


@pytest.mark.parametrize(("side", "is_tiny"), [(63, True), (64, False)])
def test_small_images_show_their_pixels(side: int, is_tiny: bool) -> None:
    found = Thumbnails(lambda i: np.zeros((side, 1, 3), np.uint8)).large(0)
    assert found is not None
    assert (found.width, found.height, found.is_tiny) == (1, side, is_tiny)


def test_the_level_makes_small_thumbnails_smaller_and_leaves_large_ones(photo: Callable[[int], Any]) -> None:
    thumbnails = Thumbnails(photo)
    before = thumbnails.small(0), thumbnails.large(0)
    thumbnails.level = Level(48, 25)
    after = thumbnails.small(0), thumbnails.large(0)
    assert [found and found.width for found in (*before, *after)] == [112, 160, 48, 160]
    assert before[1] == after[1]


def test_an_unreadable_image_is_read_only_once() -> None:
    asked: list[int] = []

    def image(i: int) -> Any:
        asked.append(i)
        raise ImageError("gone.png: no such file")

    thumbnails = Thumbnails(image)
    assert (thumbnails.small(3), thumbnails.large(3), thumbnails.heat(3, np.ones((2, 2), np.float32))) == (None,) * 3
    assert asked == [3]


def test_without_heat_an_image_is_dark_and_gray() -> None:
    mixed = heated(np.full((4, 4, 3), (30, 60, 90), np.uint8), np.zeros((2, 2), np.float32)).astype(int)
    assert np.abs(mixed - (0.65 * 60 + 0.35 * np.array([0, 0, 4]))).max() <= 0.5


@pytest.mark.parametrize(
    ("side", "large", "small"), [(100, 100, 100), (112, 112, 112), (159, 159, 112), (161, 160, 112)]
)
def test_images_are_never_enlarged(side: int, large: int, small: int) -> None:
    thumbnails = Thumbnails(lambda i: np.zeros((side, side, 3), np.uint8))
    assert [found and found.width for found in (thumbnails.large(0), thumbnails.small(0))] == [large, small]
