"""Charts as inline SVG, drawn in the colors of the page, so that they are sharp at any size and dark when it is."""

import math
from collections.abc import Sequence
from itertools import groupby

from markupsafe import Markup

from learnkit.interpretation.report.content import Chart, Coverage, Line, Reliability
from learnkit.interpretation.report.formatting import number_text, printed, tick_text

__all__ = ["coverage_chart", "legend_of", "line_chart", "reliability_chart", "ticks"]

WIDTH, HEIGHT = 460, 270
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 12, 40
MAX_POINTS = 400
MAX_DOTS = 60  # with a tooltip each
N_COLORS = 6  # in the style
MIN_OPACITY = 0.2  # of the bar of a bin that has hardly any items

EMPTY = Markup()


class Frame:
    """Axes: from numbers to places in the drawing."""

    def __init__(self, xs: tuple[float, float], ys: tuple[float, float], bottom: float = HEIGHT - BOTTOM) -> None:
        self.xs: tuple[float, float] = _apart(xs)
        self.ys: tuple[float, float] = _apart(ys)
        self.bottom: float = bottom

    def x(self, value: float) -> float:
        low, high = self.xs
        return round(LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT), 1)

    def y(self, value: float) -> float:
        low, high = self.ys
        share = min(1.0, max(0.0, (value - low) / (high - low)))
        return round(self.bottom - share * (self.bottom - TOP), 1)

    def grid(self, x_ticks: Sequence[float], y_ticks: Sequence[float]) -> Markup:
        """Light lines across, and the numbers next to them."""
        parts = []
        for value in y_ticks:
            y = self.y(value)
            parts.append(_line(LEFT, WIDTH - RIGHT, y, y, "grid"))
            parts.append(_text(tick_text(value), LEFT - 7, y + 4, "end"))
        parts += [_text(tick_text(value), self.x(value), HEIGHT - 22) for value in x_ticks]
        parts.append(_line(LEFT, WIDTH - RIGHT, self.bottom, self.bottom, "axis"))
        return EMPTY.join(parts)


def legend_of(chart: Chart) -> dict[str, int]:
    """The number of the color of each line that has a name."""
    return {line.name: place % N_COLORS for place, line in enumerate(line for line in chart.lines if line.name)}


def line_chart(chart: Chart) -> Markup:
    """Lines over their axes; nan and infinity leave gaps. Empty without finite numbers."""
    xs = [x for line in chart.lines for x in line.xs]
    ys = [y for line in chart.lines for y in line.ys if math.isfinite(y)]
    if not xs or not ys:
        return EMPTY
    low, high = min(ys), max(ys)
    low = 0.0 if 0 < low < 0.4 * high else low  # near enough to zero to start there
    strong = [y for line in chart.lines if line.look == "strong" for y in line.ys if math.isfinite(y)]
    high = min(high, 1.5 * max(strong)) if strong and max(strong) > 0 else high  # one wild batch must not flatten it
    y_ticks = ticks(low, high)
    frame = Frame((min(xs), max(xs)), (min(low, y_ticks[0]), max(high, y_ticks[-1])))
    are_counts = all(float(x).is_integer() for x in xs)
    x_ticks = [x for x in ticks(*frame.xs, 6) if frame.xs[0] <= x <= frame.xs[1] and (not are_counts or x == int(x))]
    colors = legend_of(chart)
    drawn = EMPTY.join(_drawn(line, frame, colors.get(line.name, 0), chart.x) for line in chart.lines)
    ends = "; ".join(f"{line.name} ends at {number_text(line.ys[-1])}" for line in chart.lines if line.name and line.ys)
    label = f"{chart.title}: {chart.y} by {chart.x}. {ends}"
    return _svg(label, frame.grid(x_ticks, y_ticks) + drawn + _unit(chart.x))


def reliability_chart(reliability: Reliability) -> Markup:
    """Accuracy by confidence as bars, the diagonal they should touch, and below how many predictions there are.

    The fewer predictions a bar represents, the paler it is.
    """
    floor, strip = HEIGHT - BOTTOM - 44, 34
    frame = Frame((0.0, 1.0), (0.0, 1.0), floor)
    most = max((part.n for part in reliability.bins), default=0)
    bars = []
    for part in reliability.bins:
        if not part.n or not math.isfinite(part.accuracy):
            continue
        left, right = frame.x(part.lower) + 1, frame.x(part.upper) - 1
        times = f"{part.n:,} prediction{'s' if part.n != 1 else ''}"
        tooltip = f"confidence {part.confidence:.0%}, accuracy {part.accuracy:.0%}, {times}"
        top, should = frame.y(part.accuracy), frame.y(part.confidence)
        tall = max(1.0, round(strip * part.n / most, 1))
        shown = EMPTY.join(
            [
                _rect(left, right, top, floor - top, "bar"),
                _rect(left, right, min(top, should), abs(top - should), "gap"),
                _line(left, right, should, should, "confidence"),
            ]
        )
        opacity = round(MIN_OPACITY + (1 - MIN_OPACITY) * part.n / most, 2)
        bars.append(
            _filled(
                '<g><title>{}</title><g opacity="{}">{}</g>{}</g>',
                tooltip,
                opacity,
                shown,
                _rect(left, right, HEIGHT - BOTTOM - tall, tall, "count"),
            )
        )
    diagonal = _line(frame.x(0), frame.x(1), frame.y(0), frame.y(1), "ideal")
    counts = _text("items", LEFT - 7, HEIGHT - BOTTOM, "end", "unit")
    steps = [0.0, 0.25, 0.5, 0.75, 1.0]
    label = f"Accuracy by confidence; expected calibration error {reliability.ece:.3f}"
    return _svg(label, frame.grid(steps, steps) + EMPTY.join(bars) + diagonal + _unit("confidence") + counts)


def coverage_chart(curves: Sequence[Coverage]) -> Markup:
    """Measured coverage by the stated one, and the diagonal it should be on; a single curve has a band of a deviation.

    Bands of several curves would hide each other.
    """
    low = min(min(*curve.measured, *(1 - alpha for alpha in curve.alphas)) for curve in curves)
    steps = ticks(max(0.0, low - 0.02), 1.0)
    ends = (steps[0], 1.0)
    frame = Frame(ends, ends)
    parts = [frame.grid(steps, steps)]
    for place, curve in enumerate(curves):
        stated = [1 - alpha for alpha in curve.alphas]
        above = [(x, min(1.0, y + off)) for x, y, off in zip(stated, curve.measured, curve.deviation, strict=True)]
        below = [(x, y - off) for x, y, off in zip(stated, curve.measured, curve.deviation, strict=True)]
        edge = "L".join(f"{frame.x(x):g} {frame.y(y):g}" for x, y in [*above, *below[::-1]])
        if len(curves) == 1:
            parts.append(_filled('<g class="band c0"><path d="M{}Z"/></g>', edge))
        line = Line(curve.name or "measured", tuple(stated), curve.measured, "dots")
        parts.append(_drawn(line, frame, place % N_COLORS, "stated"))
    parts.append(_line(frame.x(ends[0]), frame.x(1), frame.y(ends[0]), frame.y(1), "ideal"))
    found = "; ".join(f"{curve.name or 'stated'} {1 - curve.alphas[0]:g}: {curve.measured[0]:.3g}" for curve in curves)
    return _svg(f"Coverage of the sets by the stated one. {found}", EMPTY.join(parts) + _unit("stated, 1 - alpha"))


def ticks(low: float, high: float, n: int = 5) -> list[float]:
    """Round numbers from at or below `low` to at or above `high`, about `n` of them.

    >>> ticks(0, 0.93)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    low, high = _apart((low, high))
    rough = (high - low) / n
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{number * step:.12g}") for number in range(first, last + 1)]


def _drawn(line: Line, frame: Frame, color: int, x_name: str) -> Markup:
    step = max(1, -(-len(line.xs) // MAX_POINTS))
    known = [(x, y, math.isfinite(y)) for x, y in zip(line.xs[::step], line.ys[::step], strict=True)]
    points = [(frame.x(x), frame.y(y), x, y) for x, y, is_known in known if is_known]
    runs = [[*run] for is_known, run in groupby(known, key=lambda point: point[2]) if is_known]
    path = "".join(_path([(frame.x(x), frame.y(y)) for x, y, _ in run]) for run in runs)
    dots = []
    if line.look == "dots" and len(points) <= MAX_DOTS:
        dots = [
            _filled(
                '<g><title>{}, {} {}: {:.4g}</title><circle cx="{}" cy="{}" r="3.2"/></g>',
                line.name,
                x_name,
                number_text(x),
                value,
                left,
                top,
            )
            for left, top, x, value in points
        ]
    return _filled('<g class="line {} c{}"><path d="{}"/>{}</g>', line.look, color, path, EMPTY.join(dots))


def _path(points: Sequence[tuple[float, float]]) -> str:
    """Straight lines through the points; one alone is a line of no length, whose round ends are a dot."""
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in points) + ("h0" if len(points) == 1 else "")


def _svg(label: str, inside: Markup) -> Markup:
    return _filled('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>', WIDTH, HEIGHT, label, inside)


def _filled(markup: str, *values: object) -> Markup:
    """Markup with values in its places: text is escaped and on one line."""
    return Markup(markup).format(*map(printed, values))


def _text(text: str, x: float, y: float, anchor: str = "middle", look: str = "tick") -> Markup:
    return _filled('<text x="{}" y="{}" text-anchor="{}" class="{}">{}</text>', x, y, anchor, look, text)


def _unit(text: str) -> Markup:
    """What the x axis counts."""
    return _text(text, (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 5, look="unit")


def _line(x1: float, x2: float, y1: float, y2: float, look: str) -> Markup:
    return _filled('<line x1="{}" x2="{}" y1="{}" y2="{}" class="{}"/>', x1, x2, y1, y2, look)


def _rect(left: float, right: float, top: float, height: float, look: str) -> Markup:
    width = round(max(0.5, right - left), 1)
    return _filled(
        '<rect x="{}" y="{}" width="{}" height="{}" class="{}"/>',
        round(left, 1),
        round(top, 1),
        width,
        round(max(0.0, height), 1),
        look,
    )


def _apart(ends: tuple[float, float]) -> tuple[float, float]:
    low, high = ends
    if high > low:
        return ends
    room = abs(low) * 0.1 or 0.5
    return low - room, high + room
