"""What the pixel values of mask files mean: from numbers or colors to class indices."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from learnkit.checks import is_int, plain
from learnkit.data.classes import label_text
from learnkit.errors import DataError, ImageError, UsageError

__all__ = ["IGNORED", "Color", "Pixel", "codes_of", "dark_or_light", "ignored_values", "to_classes"]

IGNORED = 255  # the target of ignored pixels without a class
Color: TypeAlias = tuple[int, int, int]
Pixel: TypeAlias = int | Color
JPEG = (".jpg", ".jpeg", ".jfif")
MAX_SHOWN = 20


def codes_of(codes: Any) -> dict[Pixel, str]:
    """{pixel value: name of its class} in the order of the outputs.

    Args:
        codes: names, pixel value 0 the first, or {pixel value: name}, where several values may have the same name.

    Raises:
        UsageError: neither; no or more than 255 classes; names twice in a list; invalid pixel values.
        DataError: a name that is not text.
    """
    codes = plain(codes)
    if isinstance(codes, str | bytes) or not isinstance(codes, Mapping | Sequence):
        raise UsageError("codes", got=codes, expected="names of the classes, or {pixel value: name}")
    pairs = codes.items() if isinstance(codes, Mapping) else enumerate(codes)
    table = {_pixel(value, "codes", codes): label_text(name, "codes") for value, name in pairs}
    classes = set(table.values())
    if not 1 <= len(classes) <= IGNORED or (not isinstance(codes, Mapping) and len(classes) < len(table)):
        raise UsageError(
            "codes", got=codes, expected=f"1 to {IGNORED} different names, or {{pixel value: name}}",
            fix="Several pixel values of one class are {0: 'sky', 1: 'car', 2: 'car'}.",
        )  # fmt: skip
    if len({type(value) for value in table}) > 1:
        raise UsageError("codes", got=list(table), expected="pixel values from 0 to 65535, or all (red, green, blue)")
    return table


def ignored_values(ignore_index: Any, codes: Mapping[Pixel, str]) -> tuple[Pixel, ...]:
    """The pixel values that `ignore_index` names: one as in `codes`, or several.

    Raises:
        UsageError: other values, a value twice, or only some of the values of a class.
    """
    if ignore_index is None:
        return ()
    ignore_index = plain(ignore_index)
    are_colors = isinstance(next(iter(codes)), tuple)
    is_one = (are_colors and _is_color(ignore_index)) or not isinstance(ignore_index, Iterable)
    given = [ignore_index] if is_one or isinstance(ignore_index, str | Mapping) else list(ignore_index)
    values = tuple(_pixel(value, "ignore_index", ignore_index) for value in given)
    if not values or len(set(values)) < len(values) or any(isinstance(value, tuple) != are_colors for value in values):
        raise UsageError("ignore_index", got=ignore_index, expected="a pixel value as in codes, several, or None")
    names = {codes[value] for value in values if value in codes}
    left = [value for value, name in codes.items() if name in names and value not in values]
    if len(names) > 1 or left:
        expected = "all pixel values of one class, or values without a class"
        raise UsageError("ignore_index", got=ignore_index, expected=expected)
    return values


def to_classes(
    pixels: "npt.NDArray[Any]", numbers: Mapping[Pixel, int], named: str, classes: Sequence[str]
) -> "npt.NDArray[np.uint8]":
    """The class index of each pixel, (H, W), of gray levels (H, W) or colors (H, W, 3).

    White of 1 bit is 1, or 255 if the codes have no 1.

    Raises:
        DataError: pixel values without a class.
    """
    is_gray = pixels.ndim == 2
    if pixels.dtype == bool:
        pixels = pixels * np.uint8(255 if 1 not in numbers and 255 in numbers else 1)
    if not is_gray:
        pixels = pixels.astype(np.int64) @ (65536, 256, 1)
    table = {_packed(value): number for value, number in numbers.items()}
    is_identity = list(table) == list(table.values()) and pixels.dtype.kind == "u"
    if is_identity and int(pixels.max(initial=0)) < len(classes):
        return pixels.astype(np.uint8)
    found, inverse = np.unique(pixels, return_inverse=True)
    if any(value not in table for value in found.tolist()):
        raise _unknown(found, is_gray, table, numbers, named, classes)
    indices = np.array([table[value] for value in found.tolist()], dtype=np.uint8)
    return indices[inverse].reshape(pixels.shape)


def dark_or_light(
    pixels: "npt.NDArray[Any]", threshold: float, numbers: Mapping[Pixel, int], named: str
) -> "npt.NDArray[np.uint8]":
    """The class index of each pixel of a soft mask (H, W): light is above the threshold, a share of white.

    Raises:
        ImageError: pixels of which it is not known what is white.
    """
    white = {"u1": 255, "u2": 65535, "b1": 1}.get(pixels.dtype.str[1:], 1 if pixels.dtype.kind == "f" else 0)
    if not white or not (pixels.min(initial=0) >= 0 and pixels.max(initial=0) <= white):
        raise ImageError(
            f"{named}: a mask for threshold=", got=f"{pixels.dtype} from {pixels.min()} to {pixels.max()}",
            expected="uint8, uint16 or floats in [0, 1]", fix="Convert it in mask_reader=.",
        )  # fmt: skip
    light = pixels > threshold * white
    dark_class, light_class = (numbers[value] for value in sorted(numbers, key=_packed))
    return np.where(light, light_class, dark_class).astype(np.uint8)


def _unknown(
    found: "npt.NDArray[Any]", is_gray: bool, table: Mapping[int, int], numbers: Mapping[Pixel, int], named: str,
    classes: Sequence[str],
) -> DataError:  # fmt: skip
    values = [value if is_gray else (value >> 16, value >> 8 & 255, value & 255) for value in found.tolist()]
    unknown = [shown for shown, value in zip(values, found.tolist(), strict=True) if value not in table]
    codes = [value for value, number in numbers.items() if number != IGNORED]
    fix = f"Add {unknown[0]} to codes, map values with codes={{value: name}}, or pass ignore_index={unknown[0]}."
    if named.split(" (")[0].lower().endswith(JPEG):
        fix = "JPEG changes pixel values: save masks as PNG."
    if len(classes) == 2 and is_gray and len(found) > 2:
        fix += " A soft mask of two classes needs threshold=0.5."
    return DataError(
        f"{named}: pixel values {{{', '.join(map(str, values[:MAX_SHOWN]))}}}",
        expected=f"those of the {len(codes)} codes: {', '.join(map(str, codes[:MAX_SHOWN]))}",
        fix=fix,
    )


def _pixel(value: Any, what: str, got: Any) -> Pixel:
    """The pixel value with Python's numbers."""
    if _is_color(value):
        return int(value[0]), int(value[1]), int(value[2])
    if not is_int(value) or not 0 <= value <= 65535:
        raise UsageError(what, got=got, expected="pixel values from 0 to 65535, or all (red, green, blue)")
    return int(value)


def _is_color(value: Any) -> bool:
    return isinstance(value, tuple | list) and len(value) == 3 and all(is_int(one) and 0 <= one <= 255 for one in value)


def _packed(value: Pixel) -> int:
    return value if isinstance(value, int) else value[0] * 65536 + value[1] * 256 + value[2]
