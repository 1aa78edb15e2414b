"""What pixel values mean: one class for several, several ignored, soft masks, and unknown values named."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from learnkit.data.image.mask_values import codes_of, dark_or_light, ignored_values, to_classes
from learnkit.errors import DataError, ImageError
from tests.doubles import refused

NAMES = ["sky", "road"]


@pytest.mark.parametrize(
    "codes",
    [
        NAMES, tuple(NAMES), np.array(NAMES), np.array(NAMES, dtype=object), np.array(NAMES, dtype="S"),
        pd.Series(NAMES), pd.Index(NAMES), {0: "sky", 1: "road"}, {np.int64(0): "sky", np.uint8(1): "road"},
        {0: np.str_("sky"), 1: np.str_("road")},
    ],
)  # fmt: skip
def test_codes_of_every_form_are_the_same(codes: Any) -> None:
    found = codes_of(codes)
    assert found == {0: "sky", 1: "road"}
    assert {type(value) for value in found} == {int}
    assert {type(name) for name in found.values()} == {str}


@pytest.mark.parametrize("codes", [{0: "bg", 1: "fg", 255: "fg"}, {(0, 0, 0): "bg", (9, 9, 9): "fg", (1, 0, 0): "fg"}])
def test_values_of_one_name_are_one_class(codes: Any) -> None:
    assert codes_of(codes) == codes


@pytest.mark.parametrize("codes", [set(NAMES), "sky", None, 3, [], {}, ["a", "a"], ["a", 0.5], {0.5: "a"}, {"0": "a"}])
def test_what_are_no_codes_is_refused(codes: Any) -> None:
    with pytest.raises((DataError, ValueError), match=r"^codes"):
        codes_of(codes)


GRAY = codes_of({0: "a", 1: "b", 2: "b", 7: "void"})
COLORS = codes_of({(0, 0, 0): "a", (9, 0, 0): "b"})


@pytest.mark.parametrize(
    ("codes", "ignore_index", "values"),
    [
        (GRAY, None, ()), (GRAY, 255, (255,)), (GRAY, np.uint8(255), (255,)), (GRAY, [250, 255], (250, 255)),
        (GRAY, (250, 255), (250, 255)), (GRAY, np.array([250, 255]), (250, 255)), (GRAY, 7, (7,)),
        (GRAY, [7, 255], (7, 255)), (GRAY, [1, 2], (1, 2)), (GRAY, (3, 4, 5), (3, 4, 5)),
        (COLORS, (1, 2, 3), ((1, 2, 3),)), (COLORS, [1, 2, 3], ((1, 2, 3),)),
        (COLORS, [(1, 2, 3), (4, 5, 6)], ((1, 2, 3), (4, 5, 6))),
    ],
)  # fmt: skip
def test_one_value_or_several_are_ignored(codes: Any, ignore_index: Any, values: Any) -> None:
    assert ignored_values(ignore_index, codes) == values


@pytest.mark.parametrize(
    ("codes", "ignore_index"),
    [
        (GRAY, -1), (GRAY, True), (GRAY, "255"), (GRAY, []), (GRAY, [255, 255]), (GRAY, [[1, 2, 3]]), (GRAY, 1.5),
        (GRAY, 1), (GRAY, [0, 7]), (COLORS, 3), (COLORS, (1, 2)), (COLORS, [(1, 2, 3), 4]), (COLORS, {}),
    ],
)  # fmt: skip
def test_values_that_cannot_be_ignored_are_refused(codes: Any, ignore_index: Any) -> None:
    """Among them one of the two values of a class, and those of two classes."""
    with refused("ignore_index"):
        ignored_values(ignore_index, codes)


def test_pixels_become_class_indices() -> None:
    numbers = {0: 0, 1: 1, 255: 1, 254: 255}
    pixels = np.array([[0, 1, 255, 254]], dtype=np.uint8)
    for dtype in (np.uint8, np.uint16, np.int32, np.float32):
        found = to_classes(pixels.astype(dtype), numbers, "m.png", NAMES)
        assert (found.dtype, found.tolist()) == (np.uint8, [[0, 1, 1, 255]])
    colors = np.array([[[0, 0, 9], [0, 9, 0]]], dtype=np.uint8)
    assert to_classes(colors, {(0, 0, 9): 1, (0, 9, 0): 0}, "m.png", NAMES).tolist() == [[1, 0]]


@pytest.mark.parametrize(("white", "numbers"), [(1, {0: 0, 1: 1}), (255, {0: 0, 255: 1}), (1, {0: 1, 1: 0, 255: 0})])
def test_white_of_one_bit_is_1_or_255_as_in_the_codes(white: int, numbers: Any) -> None:
    found = to_classes(np.array([[False, True]]), numbers, "m.png", NAMES)
    assert found.tolist() == [[numbers[0], numbers[white]]]


@pytest.mark.parametrize("n_ignored", [0, 1])
def test_a_value_below_an_ignored_one_is_not_taken_for_a_class(n_ignored: int) -> None:
    numbers = {0: 0, 1: 1} | ({255: 255} if n_ignored else {})
    with pytest.raises(DataError, match=r"m\.png: pixel values \{0, 2\}: expected .*codes: 0, 1\. Add 2 to codes"):
        to_classes(np.array([[0, 2]], dtype=np.uint8), numbers, "m.png", NAMES)


def test_the_advice_is_that_for_the_kind_of_mask() -> None:
    soft = np.array([[0, 3, 255]], dtype=np.uint8)
    with pytest.raises(DataError, match=r"JPEG changes pixel values: .* threshold=0\.5"):
        to_classes(soft, {0: 0, 255: 1}, "m.JPG (row 3)", NAMES)
    with pytest.raises(DataError, match=r"Add 3 to codes.* threshold=0\.5"):
        to_classes(soft, {0: 0, 255: 1}, "m.png (row 3)", NAMES)
    with pytest.raises(DataError, match=r"save masks as PNG\.(\n|$)"):
        to_classes(soft, {0: 0, 255: 1, 9: 2}, "m.jpeg", [*NAMES, "car"])


@pytest.mark.parametrize("white", [True, np.uint8(255), np.uint16(65535), np.float32(1), 1.0])
@pytest.mark.parametrize("threshold", [0.25, 0.5])
def test_light_is_above_a_share_of_white(white: Any, threshold: float) -> None:
    levels = [0, 1] if white is True else [0, 0.2, 0.3, 0.49, 0.51, 1]
    pixels = np.array([[level * white for level in levels]]).astype(np.asarray(white).dtype)
    expected = [int(level > threshold) for level in levels]
    assert dark_or_light(pixels, threshold, {0: 0, 1: 1}, "m.png").tolist() == [expected]
    turned = dark_or_light(pixels, threshold, {255: 0, 0: 1}, "m.png")
    assert (turned.dtype, turned.tolist()) == (np.uint8, [[1 - one for one in expected]])


def test_how_light_a_number_of_no_range_is_cannot_be_known() -> None:
    for pixels in (np.array([[0, 300]], dtype=np.int32), np.array([[0, 3.5]]), np.array([[0, np.nan]])):
        with pytest.raises(ImageError, match=r"m\.tiff"):
            dark_or_light(pixels, 0.5, {0: 0, 1: 1}, "m.tiff")
