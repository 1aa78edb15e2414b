"""Charts: lines and bars are at their numbers."""

import math
import re

import numpy as np
import pytest

from learnkit.interpretation.report.charts import coverage_chart, legend_of, line_chart, reliability_chart, ticks
from learnkit.interpretation.report.content import Bin, Chart, Coverage, Line, Reliability
from learnkit.interpretation.report.formatting import tick_text


@pytest.mark.parametrize("ends", [(0, 1), (-3, 7), (0.001, 0.0012), (5, 5), (0, 0), (1e6, 3e6), (-1e-9, 1e-9)])
def test_ticks_are_round_and_hold_the_ends(ends: tuple[float, float]) -> None:
    found = ticks(*ends)
    assert found[0] <= ends[0]
    assert found[-1] >= ends[1]
    assert 3 <= len(found) <= 8
    steps = np.diff(found)
    assert np.allclose(steps, steps[0])


@pytest.mark.parametrize(
    "ends", [(0.998, 0.9995), (2.6012, 2.6018), (1_000_100, 1_000_500), (1.25e9, 1.5e9), (-1e-9, 1e-9)]
)
def test_ticks_are_labeled_with_their_values(ends: tuple[float, float]) -> None:
    for value in ticks(*ends):
        text = tick_text(value)
        assert float(text.replace(",", "")) == value
        assert len(text) <= 12


def points(svg: str) -> list[tuple[float, float]]:
    path = re.findall(r'<path d="M([^"]*)"', svg)[0]
    return [(float(x), float(y)) for x, y in (point.split() for point in path.split("L"))]


def test_a_line_goes_through_its_points() -> None:
    svg = line_chart(Chart("Loss", "batches", "loss", (Line("train", (0.0, 1.0, 2.0), (0.0, 1.0, 0.5)),)))
    (x0, y0), (x1, y1), (x2, y2) = points(svg)
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2)
    assert y0 > y2 > y1  # SVG counts from the top
    assert y2 == pytest.approx((y0 + y1) / 2, abs=0.2)


def test_nan_and_infinity_leave_gaps_and_long_lines_are_thinned() -> None:
    values = (1.0, 2.0, math.nan, math.inf, 3.0)
    svg = line_chart(Chart("a", "x", "y", (Line("a", (0.0, 1.0, 2.0, 3.0, 4.0), values),)))
    (path,) = re.findall(r'<path d="([^"]*)"', svg)
    assert re.fullmatch(r"M[\d. ]+L[\d. ]+M[\d. ]+h0", path)  # nothing from the second point to the last, a dot
    steps = tuple(float(i) for i in range(10_000))
    assert len(points(line_chart(Chart("a", "x", "y", (Line("a", steps, steps),))))) <= 400
    assert line_chart(Chart("a", "x", "y", (Line("a", (0.0,), (math.nan,)),))) == ""


def test_one_wild_epoch_does_not_flatten_the_others() -> None:
    lines = (Line("train", (0.0, 1.0), (2.0, 1.0)), Line("valid", (0.0, 1.0), (1e9, 1.5), "dots"))
    svg = line_chart(Chart("Loss", "x", "loss", lines))
    (_, high), (_, low) = points(svg)
    assert low - high > 50
    assert "1e+09" in svg  # where the pointer rests


def test_losses_of_batches_below_the_smoothed_ones_are_in_the_chart() -> None:
    lines = (Line("", (0.0, 1.0, 2.0), (2.0, 0.5, 1.0), "thin"), Line("train", (0.0, 1.0, 2.0), (2.0, 1.9, 1.8)))
    (_, top), (_, lowest), (_, last) = points(line_chart(Chart("Loss", "batches", "loss", lines)))
    assert top < last < lowest  # SVG counts from the top
    assert (lowest - top) / (last - top) == pytest.approx(1.5 / 1.0, rel=0.02)


def test_bars_are_as_high_as_the_accuracy() -> None:
    bins = (Bin(0.0, 0.5, 0.25, 0.5, 4), Bin(0.5, 1.0, 0.75, 1.0, 2), Bin(1.0, 1.0, math.nan, math.nan, 0))
    svg = reliability_chart(Reliability(0.25, bins))
    heights = [float(h) for h in re.findall(r'height="([\d.]+)" class="bar"', svg)]
    assert heights[0] == pytest.approx(heights[1] / 2, abs=0.2)
    assert "confidence 25%, accuracy 50%, 4 predictions" in svg
    counts = [float(h) for h in re.findall(r'height="([\d.]+)" class="count"', svg)]
    assert counts[0] == pytest.approx(2 * counts[1])


def test_bars_of_few_predictions_are_pale() -> None:
    bins = (Bin(0.0, 0.5, 0.25, 0.5, 100), Bin(0.5, 1.0, 0.75, 1.0, 25))
    assert re.findall(r'opacity="([\d.]+)"', reliability_chart(Reliability(0.25, bins))) == ["1.0", "0.4"]


def test_the_gap_reaches_from_the_accuracy_to_the_confidence() -> None:
    svg = reliability_chart(Reliability(0.25, (Bin(0.0, 1.0, 0.5, 0.75, 4), Bin(0.0, 1.0, 0.5, 0.25, 4))))
    gaps = [
        tuple(map(float, found))
        for found in re.findall(r'y="([\d.]+)" width="[\d.]+" height="([\d.]+)" class="gap"', svg)
    ]
    confidences = [float(y) for y in re.findall(r'y1="([\d.]+)" y2="[\d.]+" class="confidence"', svg)]
    bars = [float(y) for y in re.findall(r'y="([\d.]+)" width="[\d.]+" height="[\d.]+" class="bar"', svg)]
    assert gaps[0] == pytest.approx((bars[0], confidences[0] - bars[0]))
    assert gaps[1] == pytest.approx((confidences[1], bars[1] - confidences[1]))


def test_lines_have_the_colors_of_the_legend() -> None:
    lines = (Line("", (0.0,), (1.0,), "thin"), Line("a", (0.0,), (1.0,)), Line("b", (0.0,), (1.0,), "dots"))
    chart = Chart("Loss", "x", "loss", lines)
    assert legend_of(chart) == {"a": 0, "b": 1}
    assert re.findall(r'class="line (\w+ c\d)"', line_chart(chart)) == ["thin c0", "strong c0", "dots c1"]
    many = Chart("", "", "", tuple(Line(str(k), (0.0,), (1.0,)) for k in range(8)))
    assert list(legend_of(many).values()) == [0, 1, 2, 3, 4, 5, 0, 1]


@pytest.mark.parametrize(("n", "circles"), [(60, 60), (61, 0)])
def test_dots_have_their_values_up_to_a_number(n: int, circles: int) -> None:
    xs = tuple(float(i) for i in range(n))
    svg = line_chart(Chart("a", "epoch", "y", (Line("a", xs, tuple(2 * x for x in xs), "dots"),)))
    assert svg.count("<circle") == circles
    assert ("<title>a, epoch 3: 6</title>" in svg) == bool(circles)


def test_the_chart_is_described() -> None:
    svg = line_chart(Chart("Loss", "batches", "loss", (Line("train", (0.0, 1.0), (2.0, 1.5)),)))
    assert 'aria-label="Loss: loss by batches. train ends at 1.5"' in svg


@pytest.mark.parametrize(("ys", "lowest"), [((0.3, 1.0), "0"), ((0.5, 1.0), "0.5"), ((-1.0, 1.0), "-1")])
def test_a_chart_near_zero_starts_at_zero(ys: tuple[float, float], lowest: str) -> None:
    svg = line_chart(Chart("a", "x", "y", (Line("a", (0.0, 1.0), ys),)))
    assert re.findall(r'text-anchor="end" class="tick">([^<]+)<', svg)[0] == lowest


def test_epochs_have_integer_ticks() -> None:
    svg = line_chart(Chart("a", "epoch", "y", (Line("a", (0.0, 1.0, 2.0), (1.0, 2.0, 3.0)),)))
    assert re.findall(r'text-anchor="middle" class="tick">([^<]+)<', svg) == ["0", "1", "2"]


def test_coverage_is_drawn_by_the_stated_one_with_its_band() -> None:
    svg = coverage_chart([Coverage("", (0.1, 0.3, 0.5), (0.9, 0.8, 0.5), (0.05, 0.1, 0.0), (1.0, 0.9, 0.5))])
    x1, x2, y1, y2 = map(
        float, re.findall(r'x1="([^"]*)" x2="([^"]*)" y1="([^"]*)" y2="([^"]*)" class="ideal"', svg)[0]
    )
    spots = [(float(x), float(y)) for x, y in re.findall(r'<circle cx="([^"]+)" cy="([^"]+)"', svg)]

    def on_the_diagonal(x: float) -> float:
        return y1 + (x - x1) / (x2 - x1) * (y2 - y1)

    first, second, last = spots
    assert first[1] == pytest.approx(on_the_diagonal(first[0]), abs=0.2)
    assert last[1] == pytest.approx(on_the_diagonal(last[0]), abs=0.2)
    assert second[1] < on_the_diagonal(second[0]) - 5  # more than stated: SVG counts from the top
    band = [
        tuple(map(float, point.split()))
        for point in re.findall(r'class="band c0"><path d="M([^Z]+)Z', svg)[0].split("L")
    ]
    assert [x for x, _ in band] == [x for x, _ in [*spots, *spots[::-1]]]
    assert [(above[1] + below[1]) / 2 for above, below in zip(band[:3], band[:2:-1], strict=True)] == pytest.approx(
        [y for _, y in spots], abs=0.2
    )
    assert "<title>measured, stated 0.7: 0.8</title>" in svg
    assert 'aria-label="Coverage of the sets by the stated one. stated 0.9: 0.9"' in svg


def test_coverage_of_everything_stays_in_the_chart() -> None:
    svg = coverage_chart([Coverage(str(k), (0.05,), (1.0,), (0.5,), (1.0,)) for k in range(7)])
    assert re.findall(r'class="line dots (c\d)"', svg) == ["c0", "c1", "c2", "c3", "c4", "c5", "c0"]
    assert "band" not in svg  # they would hide each other
    svg = coverage_chart([Coverage("", (0.05,), (1.0,), (0.5,), (1.0,))])
    numbers = [
        float(v) for path in re.findall(r'class="band c0"><path d="M([^Z]+)Z', svg) for v in re.split("[ L]", path)
    ]
    assert all(0 <= number <= 460 for number in numbers)
