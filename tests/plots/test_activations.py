"""Outputs of modules over a fit: what is drawn is what was given."""

import matplotlib.colors
import numpy as np
import pytest

from learnkit.plots.activations import activation_curves, activation_histogram
from tests.doubles import refused

ROWS = {"first": [(0, 0.0, 1.0, 0.5), (4, 0.25, 2.0, 0.75)], "": [(0, -1.0, 3.0, 0.0), (4, -2.0, 4.0, 1.0)]}


def test_mean_deviation_and_share_have_a_panel_each() -> None:
    figure = activation_curves(ROWS)
    assert [axes.get_ylabel() for axes in figure.axes] == ["mean", "standard deviation", "share near zero"]
    for column, axes in enumerate(figure.axes, 1):
        assert axes.get_xlabel() == "batches"
        for line, rows in zip(axes.lines, ROWS.values(), strict=True):
            assert list(line.get_xdata()) == [0, 4]
            assert list(line.get_ydata()) == [row[column] for row in rows]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["first", "model"]


def test_the_first_module_is_the_lightest() -> None:
    lines = activation_curves(ROWS).axes[0].lines
    first, last = (sum(matplotlib.colors.to_rgb(line.get_color())) for line in lines)
    assert first > last


@pytest.mark.parametrize(("n", "legends"), [(12, 1), (13, 0)])
def test_many_modules_have_no_legend(n: int, legends: int) -> None:
    assert len(activation_curves({f"m{k}": [(0, 0.0, 1.0, 0.5)] for k in range(n)}).legends) == legends


def test_no_modules_are_refused() -> None:
    with refused("activation_curves: nothing to draw", fix="Fit with this callback first."):
        activation_curves({})


@pytest.mark.parametrize(("batches", "sides"), [([10, 30, 50], (0, 60)), ([7], (6.5, 7.5))])
def test_a_histogram_has_a_column_per_batch(batches: list[int], sides: tuple[float, float]) -> None:
    counts = np.random.default_rng(0).random((len(batches), 4), dtype=np.float32)
    axes = activation_histogram(batches, counts, 8.0).axes[0]
    (image,) = axes.get_images()
    assert np.array_equal(image.get_array(), np.log1p(counts).T)
    assert tuple(image.get_extent()) == (*sides, 0, 8)
    assert image.origin == "lower"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("batches", "activation")
