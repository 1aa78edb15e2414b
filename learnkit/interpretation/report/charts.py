"""Charts as inline SVG, drawn in the colours of the page, so that they are sharp at any size and dark when it is."""

import math
from collections.abc import Sequence

from learnkit.interpretation.report.content import Chart, Line, Reliability
from learnkit.interpretation.report.elements import Markup, named, plain, tag

__all__ = ["chance_text", "line_chart", "number_text", "reliability_chart", "tick_text", "ticks"]

WIDTH, HEIGHT = 460, 270
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 12, 40
MOST_POINTS = 400
COLOURS = 6  # that the style has


class Frame:
    """Axes: from numbers to places in the picture."""

    def __init__(self, xs: tuple[float, float], ys: tuple[float, float], bottom: float = HEIGHT - BOTTOM) -> None:
        self.xs, self.ys, self.bottom = _apart(xs), _apart(ys), bottom

    def x(self, value: float) -> float:
        low, high = self.xs
        return round(LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT), 1)

    def y(self, value: float) -> float:
        low, high = self.ys
        share = min(1.0, max(0.0, (value - low) / (high - low)))
        return round(self.bottom - share * (self.bottom - TOP), 1)

    def grid(self, x_ticks: Sequence[float], y_ticks: Sequence[float]) -> list[Markup]:
        """Light lines across, and the numbers beside them."""
        parts = []
        for value in y_ticks:
            y = self.y(value)
            parts.append(tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="grid"))
            parts.append(tag("text", tick_text(value), x=LEFT - 7, y=y + 4, text_anchor="end"))
        for value in x_ticks:
            parts.append(tag("text", tick_text(value), x=self.x(value), y=HEIGHT - 22, text_anchor="middle"))
        parts.append(tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=self.bottom, y2=self.bottom, class_="axis"))
        return parts


def line_chart(chart: Chart) -> Markup:
    """A figure of lines with a legend; nan and infinity leave gaps."""
    xs = [x for line in chart.lines for x in line.xs]
    ys = [y for line in chart.lines for y in line.ys if math.isfinite(y)]
    if not xs or not ys:
        return Markup()
    low, high = min(ys), max(ys)
    low = 0.0 if 0 < low < 0.4 * high else low  # near enough to zero to stand on it
    courses = [y for line in chart.lines if line.look == "strong" for y in line.ys if math.isfinite(y)]
    high = min(high, 1.5 * max(courses)) if courses and max(courses) > 0 else high  # one wild batch must not flatten it
    y_ticks = ticks(low, high)
    frame = Frame((min(xs), max(xs)), (min(low, y_ticks[0]), max(high, y_ticks[-1])))
    whole = all(float(x).is_integer() for x in xs)
    x_ticks = [x for x in ticks(*frame.xs, 6) if frame.xs[0] <= x <= frame.xs[1] and (not whole or x == int(x))]
    numbers = {line.name: place % COLOURS for place, line in enumerate(line for line in chart.lines if line.name)}
    drawn = [_drawn(line, frame, numbers.get(line.name, 0), chart.x) for line in chart.lines]
    label = tag("text", chart.x, x=(LEFT + WIDTH - RIGHT) / 2, y=HEIGHT - 5, text_anchor="middle", class_="unit")
    ends = "; ".join(f"{line.name} ends at {number_text(line.ys[-1])}" for line in chart.lines if line.name and line.ys)
    told = f"{chart.title}: {chart.y} by {chart.x}. {ends}"
    legend = [
        tag("span", tag("i", class_=f"key c{number}", aria_hidden="true"), named(name), class_="entry")
        for name, number in numbers.items()
        if len(numbers) > 1
    ]
    caption = tag("figcaption", tag("strong", named(chart.title)), tag("span", legend, class_="legend"))
    return tag("figure", caption, _svg(told, frame.grid(x_ticks, y_ticks), drawn, label), class_="chart card")


def reliability_chart(reliability: Reliability) -> Markup:
    """Accuracy by confidence as bars, the diagonal they should touch, and below how many predictions there are."""
    floor, strip = HEIGHT - BOTTOM - 44, 34
    frame = Frame((0.0, 1.0), (0.0, 1.0), floor)
    most = max((part.n for part in reliability.bins), default=0)
    bars = []
    for part in reliability.bins:
        if not part.n or not math.isfinite(part.accuracy):
            continue
        left, right = frame.x(part.lower) + 1, frame.x(part.upper) - 1
        told = (
            f"said {part.confidence:.0%}, right {part.accuracy:.0%}, {part.n:,} prediction{'s' if part.n != 1 else ''}"
        )
        top, should = frame.y(part.accuracy), frame.y(part.confidence)
        gap_top, gap = min(top, should), abs(top - should)
        tall = max(1.0, round(strip * part.n / most, 1))
        bars.append(
            tag(
                "g",
                tag("title", told),
                _rect(left, right, top, floor - top, "bar"),
                _rect(left, right, gap_top, gap, "gap"),
                tag("line", x1=left, x2=right, y1=should, y2=should, class_="said"),
                _rect(left, right, HEIGHT - BOTTOM - tall, tall, "count"),
            )
        )
    diagonal = tag("line", x1=frame.x(0), y1=frame.y(0), x2=frame.x(1), y2=frame.y(1), class_="ideal")
    label = tag("text", "confidence", x=(LEFT + WIDTH - RIGHT) / 2, y=HEIGHT - 5, text_anchor="middle", class_="unit")
    counts = tag("text", "items", x=LEFT - 7, y=HEIGHT - BOTTOM, text_anchor="end", class_="unit")
    steps = [0.0, 0.25, 0.5, 0.75, 1.0]
    told = f"Accuracy by confidence; expected calibration error {reliability.ece:.3f}"
    entries = (("bar", "accuracy"), ("gap", "distance from the confidence"), ("ideal", "well calibrated"))
    legend = [
        tag("span", tag("i", class_=f"key {key}", aria_hidden="true"), text, class_="entry") for key, text in entries
    ]
    caption = tag("figcaption", tag("strong", "Accuracy by confidence"), tag("span", legend, class_="legend"))
    return tag(
        "figure", caption, _svg(told, frame.grid(steps, steps), bars, diagonal, label, counts), class_="chart card"
    )


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers from at or below `low` to at or above `high`, about `most` of them.

    >>> ticks(0, 0.93)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    low, high = _apart((low, high))
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{number * step:.12g}") for number in range(first, last + 1)]


def number_text(value: float) -> str:
    """A number in few characters: 0.25, 1,200, 3e-05; an en dash for one that is none.

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


def chance_text(chance: float) -> str:
    """A probability in percent, with a decimal where it is small.

    >>> [chance_text(chance) for chance in (0.874, 0.0042, 0.0001, 0)]
    ['87%', '0.4%', '<0.1%', '0%']
    """
    if 0 < chance < 0.001:
        return "<0.1%"
    return f"{chance:.1%}" if 0 < chance < 0.0095 else f"{chance:.0%}"


def _drawn(line: Line, frame: Frame, colour: int, x_name: str) -> Markup:
    step = max(1, -(-len(line.xs) // MOST_POINTS))
    points = [
        (frame.x(x), frame.y(y), x, y)
        for x, y in zip(line.xs[::step], line.ys[::step], strict=True)
        if math.isfinite(y)
    ]
    path = "M" + "L".join(f"{x:g} {y:g}" for x, y, _, _ in points) if points else ""
    dots = [
        tag("g", tag("title", f"{plain(line.name)}, {x_name} {number_text(x)}: {value:.4g}"),
            tag("circle", cx=left, cy=top, r=3.2))
        for left, top, x, value in points
    ] if line.look == "dots" and len(points) <= 60 else []  # fmt: skip
    return tag("g", tag("path", d=path), dots, class_=f"line {line.look} c{colour}")


def _svg(told: str, *children: Markup | list[Markup]) -> Markup:
    return tag("svg", *children, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=told)


def _rect(left: float, right: float, top: float, height: float, kind: str) -> Markup:
    width = round(max(0.5, right - left), 1)
    return tag("rect", x=round(left, 1), y=round(top, 1), width=width, height=round(max(0.0, height), 1), class_=kind)


def _apart(ends: tuple[float, float]) -> tuple[float, float]:
    low, high = ends
    if high > low:
        return ends
    room = abs(low) * 0.1 or 0.5
    return low - room, high + room
