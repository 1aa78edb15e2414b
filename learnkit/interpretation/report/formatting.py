"""Formats names and numbers for the page."""

import math
from typing import Any

from learnkit.interpretation.report.content import Column

__all__ = [
    "cell_text",
    "class_text",
    "file_text",
    "number_text",
    "percent_text",
    "plain",
    "printed",
    "probability_text",
    "share_text",
    "short_text",
    "tick_text",
    "value_text",
]

MAX_LISTED = 4  # numbers or labels of an item
CONTROLS = {number: chr(0x2400 + number) for number in range(32)} | {0x7F: "␡"}
CONTROLS |= dict.fromkeys([*range(0x80, 0xA0), *range(0xD800, 0xE000)], "�")
CONTROLS |= dict.fromkeys([0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A)], "�")  # lines, directions


def plain(text: str) -> str:
    """Text whose control characters are visible symbols: no line break, no escape code, nothing right to left.

    >>> plain("a\\n" + chr(27) + "[31mb")
    'a␊␛[31mb'
    """
    return text.translate(CONTROLS)


def printed(value: Any) -> Any:
    """A value on the page: plain text; markup and numbers are unchanged."""
    return plain(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def class_text(name: str) -> str:
    """The name of a class in a sentence: one that is a number is introduced.

    >>> class_text("9"), class_text("cat")
    ('class 9', 'cat')
    """
    return f"class {name}" if name.strip().lstrip("+-").replace(".", "", 1).isdecimal() else name


def number_text(value: float) -> str:
    """A number in few characters: 0.25, 1,200, 3e-05; an en dash for nan.

    >>> number_text(0.00003), number_text(1200.0), number_text(float("nan"))
    ('3e-05', '1,200', '–')
    """
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    if 1000 <= abs(value) < 1e6:
        return f"{value:,.0f}"
    return f"{value:.4g}" if abs(value) >= 1e6 else f"{value:.3g}"


def tick_text(value: float) -> str:
    """A round number, all of its digits: ticks may differ in the last of many.

    >>> [tick_text(value) for value in (0.9985, 1200.0, 1_250_000_000.0)]
    ['0.9985', '1,200', '1.25e+09']
    """
    if abs(value) < 1e6:
        return f"{value:,.12g}"
    digits, power = f"{value:.11e}".split("e")
    return f"{digits.rstrip('0').rstrip('.')}e{power}"


def probability_text(probability: float) -> str:
    """A probability in percent, with a decimal if it is small.

    >>> [probability_text(value) for value in (0.874, 0.0042, 0.0001, 0)]
    ['87%', '0.4%', '<0.1%', '0%']
    """
    if 0 < probability < 0.001:
        return "<0.1%"
    return f"{probability:.1%}" if 0 < probability < 0.0095 else f"{probability:.0%}"


def share_text(part: int, whole: int) -> str:
    """A share in percent: 0.4%, 12%; 0% and 100% are exact.

    >>> [share_text(n, 10_000) for n in (0, 4, 40, 1200, 9990, 9996, 10_000)]
    ['0%', '<0.1%', '0.4%', '12%', '99.9%', '>99.9%', '100%']
    """
    share = part / whole if whole else 0.0
    if 0 < share < 0.0005:
        return "<0.1%"
    if 0.9995 <= share < 1:
        return ">99.9%"
    return f"{share:.1%}" if 0 < share < 0.0995 or 0.99 < share < 1 else f"{share:.0%}"


def cell_text(value: float, column: Column) -> str:
    """A number with the decimals of its column; one that these would make 0 or very long is shortened instead.

    >>> [cell_text(value, Column("loss", 3)) for value in (0.25, 0.00042, 1_250_000_000.0)]
    ['0.250', '0.00042', '1.25e+09']
    """
    is_usual = column.is_share or not column.digits or not value or 0.1**column.digits <= abs(value) < 1e6
    return f"{value:,.{column.digits}f}" if is_usual and math.isfinite(value) else number_text(value)


def percent_text(part: int, whole: int) -> str:
    """A share in percent with a decimal; 0.0% and 100.0% are exact.

    >>> [percent_text(n, 10_000) for n in (0, 1, 1234, 9999, 10_000)]
    ['0.0%', '<0.1%', '12.3%', '>99.9%', '100.0%']
    """
    text = f"{100 * part / whole:.1f}%"
    return share_text(part, whole) if text in ("0.0%", "100.0%") and 0 < part < whole else text


def short_text(value: float) -> str:
    """Three digits, an en dash for a number that is not finite.

    >>> short_text(0.12345), short_text(float("inf"))
    ('0.123', '–')
    """
    return f"{value:.3g}" if math.isfinite(value) else "–"


def value_text(value: Any) -> str:
    """A target or a prediction: a number in four digits, the first of many names or numbers.

    >>> value_text(0.123456), value_text(("a", "b")), value_text(()), value_text(list("abcdef"))
    ('0.1235', 'a, b', '(none)', 'a, b, c, d, and 2 more')
    """
    if isinstance(value, list | tuple):
        more = [f"and {len(value) - MAX_LISTED} more"] if len(value) > MAX_LISTED + 1 else []
        return ", ".join([*map(value_text, value[:MAX_LISTED] if more else value), *more]) or "(none)"
    if isinstance(value, float):
        return f"{value:.0f}" if 1e4 <= abs(value) < 1e6 else f"{value:.4g}"
    return str(value)


def file_text(name: str) -> str:
    """The last two parts of a path, as the folder often is the class; for an item without one, its index.

    >>> file_text("data/cat/1.png"), file_text("7")
    ('cat/1.png', 'item 7')
    """
    if name.isdecimal():
        return f"item {name}"
    parts = name.replace("\\", "/").split("/")
    return "/".join(parts[-2:])
