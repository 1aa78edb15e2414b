"""Charts, places of sorted rows, the choice of items, and pictures, each alone."""

import base64
import io
import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from learnkit.interpretation.report.charts import line_chart, reliability_chart, tick_text, ticks
from learnkit.interpretation.report.content import Bin, Chart, Column, Item, Line, Matrix, Reliability, Table
from learnkit.interpretation.report.elements import named, shortened, tag
from learnkit.interpretation.report.selection import fewer, room
from learnkit.interpretation.report.tables import ranks, sortable_table
from learnkit.interpretation.report.thumbnails import Thumbnails, heated


def test_text_is_escaped_and_markup_is_not_escaped_twice() -> None:
    assert tag("p", tag("b", "<&>"), "'\"") == "<p><b>&lt;&amp;&gt;</b>&#x27;&quot;</p>"
    assert tag("input", checked=True, disabled=False, value=None) == "<input checked>"
    assert tag("line", x1=0) == '<line x1="0"/>'


def test_long_names_keep_their_start_and_end_and_are_whole_in_the_title() -> None:
    assert shortened("a" * 10 + "b" * 90 + "c" * 10, 21) == "a" * 10 + "…" + "c" * 10
    text = named("x" * 200)
    assert f'title="{"x" * 200}"' in text
    assert "title" not in named("short")


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
def test_ticks_say_what_they_are(ends: tuple[float, float]) -> None:
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


def test_numbers_that_are_none_leave_gaps_and_long_lines_are_thinned() -> None:
    values = (1.0, math.nan, math.inf, 2.0)
    assert len(points(line_chart(Chart("a", "x", "y", (Line("a", (0.0, 1.0, 2.0, 3.0), values),))))) == 2
    steps = tuple(float(i) for i in range(10_000))
    assert len(points(line_chart(Chart("a", "x", "y", (Line("a", steps, steps),))))) <= 400
    assert line_chart(Chart("a", "x", "y", (Line("a", (0.0,), (math.nan,)),))) == ""


def test_one_wild_epoch_does_not_flatten_the_others() -> None:
    lines = (Line("train", (0.0, 1.0), (2.0, 1.0)), Line("valid", (0.0, 1.0), (1e9, 1.5), "dots"))
    svg = line_chart(Chart("Loss", "x", "loss", lines))
    (_, high), (_, low) = points(svg)
    assert low - high > 50
    assert "1e+09" in svg  # where the pointer rests


def test_losses_of_batches_below_the_course_are_in_the_picture() -> None:
    lines = (Line("", (0.0, 1.0, 2.0), (2.0, 0.5, 1.0), "thin"), Line("train", (0.0, 1.0, 2.0), (2.0, 1.9, 1.8)))
    (_, top), (_, lowest), (_, last) = points(line_chart(Chart("Loss", "batches", "loss", lines)))
    assert top < last < lowest  # SVG counts from the top
    assert (lowest - top) / (last - top) == pytest.approx(1.5 / 1.0, rel=0.02)


def test_bars_are_as_high_as_the_accuracy() -> None:
    bins = (Bin(0.0, 0.5, 0.25, 0.5, 4), Bin(0.5, 1.0, 0.75, 1.0, 2), Bin(1.0, 1.0, math.nan, math.nan, 0))
    svg = reliability_chart(Reliability(0.25, bins))
    heights = [float(h) for h in re.findall(r'height="([\d.]+)" class="bar"', svg)]
    assert heights[0] == pytest.approx(heights[1] / 2, abs=0.2)
    assert "said 25%, right 50%, 4 predictions" in svg
    counts = [float(h) for h in re.findall(r'height="([\d.]+)" class="count"', svg)]
    assert counts[0] == pytest.approx(2 * counts[1])


def test_rows_carry_their_place_in_every_order() -> None:
    values = [0.5, math.nan, 0.9, 0.5]
    up, down = ranks(values)
    assert sorted(range(4), key=up.__getitem__) == [0, 3, 2, 1]
    assert sorted(range(4), key=down.__getitem__) == [2, 0, 3, 1]
    rows = tuple((f"class {i}", (value,)) for i, value in enumerate(values))
    html = sortable_table(Table("class", (Column("recall", 2, True),), rows), "sort")
    assert re.findall(r"--a1:(\d)", html) == [str(place) for place in up]
    assert re.findall(r"--d1:(\d)", html) == [str(place) for place in down]
    assert html.count("checked") == 1


def test_wrong_items_are_shown_first_and_every_cell_has_one() -> None:
    losses = {(0, 0): [0.5, 0.4, 0.3], (0, 1): [3.0, 2.0], (1, 1): [0.1]}
    assert room(losses, 3) == {(0, 0): 1, (0, 1): 1, (1, 1): 1}
    assert room(losses, 4) == {(0, 0): 1, (0, 1): 2, (1, 1): 1}
    assert room(losses, 5) == {(0, 0): 2, (0, 1): 2, (1, 1): 1}
    assert room(losses, 99) == {(0, 0): 3, (0, 1): 2, (1, 1): 1}
    items = {cell: tuple(Item(0, "", "", "", loss) for loss in values) for cell, values in losses.items()}
    less = fewer(Matrix(("a", "b"), {(0, 0): 3, (0, 1): 2, (1, 1): 1}, items), 4)
    assert [item.loss for item in less.items[0, 1]] == [3.0, 2.0]
    assert less.sums == (5, 1)


def decoded(element: str) -> Any:
    data = re.findall(r'src="data:image/webp;base64,([^"]*)"', element)[0]
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


def test_a_thumbnail_is_the_picture_made_smaller(photo: Callable[[int], Any]) -> None:
    asked = []

    def picture(i: int) -> Any:
        asked.append(i)
        return photo(i)[:112]  # twice as wide as high

    pictures = Thumbnails(picture)
    small = decoded(str(pictures.small(7, "a")))
    assert small.shape == (56, 112, 3)
    assert decoded(str(pictures.large(7, "a"))).shape == (80, 160, 3)
    assert asked == [7]
    expected = np.asarray(Image.fromarray(photo(7)[:112]).resize((112, 56), Image.Resampling.LANCZOS))
    assert np.abs(small.astype(int) - expected.astype(int)).mean() < 6
    assert Thumbnails(None).small(0, "a") is None


def test_heat_is_bright_where_the_map_is_high() -> None:
    heat = np.zeros((4, 4), np.float32)
    heat[:, 2:] = 1
    mixed = heated(np.full((40, 40, 3), 100, np.uint8), heat)
    assert mixed.shape == (40, 40, 3)
    assert mixed[20, 36].mean() > mixed[20, 4].mean() + 50
    assert heated(np.zeros((1, 1, 3), np.uint8), np.full((7, 7), np.nan, np.float32)).shape == (1, 1, 3)
