"""Confusion matrices, bars and residuals: what is drawn is what was given."""

import matplotlib.colors
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from learnkit.plots import confusion_matrix
from learnkit.plots.evaluation import label_bars, predicted_against_actual, ranking_curves, residual_histograms
from tests.doubles import refused, slow


def test_a_confusion_matrix_shows_counts_or_shares() -> None:
    counts = np.array([[3, 1], [0, 0]])
    figure = confusion_matrix(counts, ["cat", "dog"])
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.texts] == ["3", "1", "", ""]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["cat", "dog"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "actual")
    shares = confusion_matrix(counts, ["cat", "dog"], normalize=True).axes[0]
    assert [text.get_text() for text in shares.texts] == ["0.75", "0.25"]
    assert shares.get_images()[0].get_array().tolist() == [[0.75, 0.25], [None, None]]


@pytest.mark.parametrize(("n", "ticks"), [(2, 2), (25, 25), (26, 26), (60, 60), (61, 31), (130, 44)])
def test_any_number_of_classes_can_be_drawn(n: int, ticks: int) -> None:
    figure = confusion_matrix(np.eye(n, dtype=np.int64), [f"class {i}" for i in range(n)])
    axes = figure.axes[0]
    assert len(axes.texts) == (n * n if n <= 25 else 0)
    names = [label.get_text() for label in axes.get_xticklabels()]
    assert names == [label.get_text() for label in axes.get_yticklabels()]
    assert len(names) == ticks
    assert [f"class {place}" for place in axes.get_xticks()] == names
    figure.canvas.draw()


def test_the_title_states_whether_cells_are_counts_or_shares() -> None:
    titles = [confusion_matrix(np.eye(2, dtype=np.int64), "ab", share).get_suptitle() for share in (False, True)]
    assert titles == ["Confusion matrix", "Confusion matrix, share of each actual class"]


def luminance(rgb: tuple[float, ...]) -> float:
    """Relative luminance of a color, as WCAG 2 defines it."""
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in rgb]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.slow
def test_numbers_can_be_read_on_every_shade() -> None:
    for share in range(101):
        axes = confusion_matrix(np.array([[share, 100 - share], [0, 1]]), ["a", "b"]).axes[0]
        (image,) = axes.get_images()
        for text in axes.texts[:2]:
            column, row = text.get_position()
            cell = image.to_rgba(image.get_array())[int(row), int(column), :3]
            dark, light = sorted([luminance(cell), luminance(matplotlib.colors.to_rgb(text.get_color()))])
            assert (light + 0.05) / (dark + 0.05) >= 4.5, share  # WCAG 2, level AA


def test_a_long_class_name_keeps_its_beginning() -> None:
    names = ["german_shorthaired_pointer_dog", "a very long name of a single class", "cat"]
    axes = confusion_matrix(np.eye(3, dtype=np.int64), names).axes[0]
    shown = [label.get_text() for label in axes.get_yticklabels()]
    assert shown == ["german_shorthaired_poin…", "a very long name of a s…", "cat"]


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("n", [2, 5, slow(40)])
@pytest.mark.parametrize("name", ["c", "german_shorthaired_pointer_dog"])
def test_all_text_of_a_confusion_matrix_is_inside_the_figure(n: int, name: str, normalize: bool) -> None:
    figure = confusion_matrix(np.eye(n, dtype=np.int64), [name] * n, normalize)
    assert isinstance(figure.canvas, FigureCanvasAgg)
    figure.canvas.draw()
    box, renderer = figure.bbox, figure.canvas.get_renderer()
    axes, scale = figure.axes
    assert scale.get_ylabel() == "share of the actual class"
    texts = [
        *figure.texts,
        axes.title,
        *axes.get_xticklabels(),
        *axes.get_yticklabels(),
        axes.xaxis.label,
        axes.yaxis.label,
    ]
    extents = [text.get_window_extent(renderer) for text in texts]
    assert all(text.x0 >= 0 and text.y0 >= 0 and text.x1 <= box.x1 and text.y1 <= box.y1 for text in extents)


STAIRS = np.array([0.0, 0.5, 1.0]), np.array([0.0, 1.0, 1.0])


@pytest.mark.parametrize(("n", "drawn"), [(7, 7), (8, 8), (10, 10), (11, 6)])
def test_more_than_ten_classes_are_drawn_as_their_mean_and_five(n: int, drawn: int) -> None:
    figure = ranking_curves([(f"class {c}", *STAIRS, 0.5 + c / 100) for c in range(n)], "x", "y", "AUC")
    lines = figure.axes[0].get_lines()
    assert len(lines) == drawn
    looks = {(line.get_color(), line.get_linestyle()) for line in lines}
    assert len(looks) == drawn  # all look different
    if n > 10:
        assert np.allclose(lines[0].get_ydata(), np.interp(lines[0].get_xdata(), *STAIRS))


def test_chance_is_drawn_on_request() -> None:
    labels = [
        [
            line.get_label()
            for line in ranking_curves([("a", *STAIRS, 0.75)], "x", "y", "AUC", has_diagonal=asked).axes[0].lines
        ]
        for asked in (False, True)
    ]
    assert labels == [["a (AUC 0.750)"], ["chance", "a (AUC 0.750)"]]


@pytest.mark.parametrize(("n", "names"), [(3, "c0, c1, c2"), (4, "c0, c1, c2, …")])
def test_classes_without_an_area_are_named(n: int, names: str) -> None:
    lines = [(f"c{c}", *STAIRS, np.nan) for c in range(n)] + [("there", *STAIRS, 0.75)]
    title = ranking_curves(lines, "x", "y", "AUC").get_suptitle()
    assert title.endswith(f"{n} of {n + 1}, {names}")


def test_without_curves_the_figure_is_empty() -> None:
    figure = ranking_curves([("a", *STAIRS, np.nan)], "x", "y", "AUC")
    figure.canvas.draw()
    assert (len(figure.axes[0].lines), figure.legends) == (0, [])


@pytest.mark.parametrize("n", [30, 31])
def test_bars_of_the_classes_with_the_most_mistakes(n: int) -> None:
    found, missed = np.full(n, 2), np.zeros(n, dtype=np.int64)
    spurious = np.arange(n)  # class 0 has none
    axes = label_bars([f"class {c}" for c in range(n)], found, spurious, missed).axes[0]
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == [f"class {c}" for c in range(n - 30, n)]
    assert axes.get_title() == ("" if n == 30 else "the 30 of 31 classes with the most mistakes")
    assert [bar.get_width() for bar in axes.containers[2]] == [-c for c in range(n - 30, n)]
    assert axes.xaxis.get_major_formatter()(-3.0, 0) == "3"  # a number of items, to the left too


def test_missed_items_begin_where_found_ones_end() -> None:
    axes = label_bars(["a", "b"], np.array([3, 1]), np.array([0, 2]), np.array([1, 4])).axes[0]
    found, missed, _ = axes.containers
    assert [bar.get_x() for bar in missed] == [bar.get_width() for bar in found] == [3, 1]
    assert [bar.get_y() for bar in missed] == [bar.get_y() for bar in found]


@pytest.mark.parametrize("n", [5000, 5001])
def test_dots_or_shades_represent_all_items(n: int) -> None:
    actual = np.random.default_rng(0).normal(size=(n, 1))
    axes = predicted_against_actual(actual, actual + 1, ["x"]).axes[0]
    drawn = axes.collections[0]
    if n == 5000:
        assert np.array_equal(drawn.get_offsets(), np.hstack([actual, actual + 1]))
    else:
        assert drawn.get_array().sum() == n
    (line,) = axes.get_lines()
    ends = [actual.min(), actual.max() + 1]
    assert (list(line.get_xdata()), list(line.get_ydata())) == (ends, ends)


def test_residuals_have_lines_at_zero_and_at_their_mean() -> None:
    axes = residual_histograms(np.array([[1.0], [2.0], [np.nan], [6.0]]), ["x"]).axes[0]
    assert [line.get_xdata()[0] for line in axes.get_lines()] == [0, 3]
    assert axes.get_legend().get_texts()[0].get_text() == "mean 3"
    assert len(axes.patches) == 5


def test_numbers_without_a_name_are_refused() -> None:
    with refused("no numbers to draw"):
        residual_histograms(np.zeros((3, 0)), [])


def test_a_long_line_is_thinned_evenly_and_keeps_its_ends() -> None:
    x = np.linspace(0, 1, 20_001)
    y = np.minimum(4 * x, 1)  # steep, then flat
    (line,) = ranking_curves([("a", x, y, 0.875)], "x", "y", "AUC").axes[0].get_lines()
    points = line.get_xydata()
    assert 900 < len(points) <= 1000
    assert (points[0].tolist(), points[-1].tolist()) == ([0, 0], [1, 1])
    assert np.allclose(points[:, 1], np.minimum(4 * points[:, 0], 1))
    assert np.abs(np.diff(points, axis=0)).sum(1).max() < 2 * 2 / 1000  # the way is 2 long
