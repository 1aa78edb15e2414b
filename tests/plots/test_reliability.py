"""Reliability diagrams: what is drawn is what was given."""

import numpy as np
import pytest
import torch

from learnkit.interpretation.calibration import calibration_of
from learnkit.plots.reliability import reliability_diagram


def test_the_bars_are_the_accuracies_the_gaps_and_the_shares() -> None:
    nan = float("nan")
    figure = reliability_diagram(
        np.array([0.0, 0.25, 0.5, 0.75]),
        np.array([0.25, 0.5, 0.75, 1.0]),
        np.array([nan, 0.4, 0.6, 0.9]),
        np.array([nan, 0.5, 0.2, 0.8]),
        np.array([0.0, 2, 5, 3]),
        ece=0.234,
    )
    above, below = figure.axes
    heights = [[bar.get_height() for bar in bars] for bars in (*above.containers, *below.containers)]
    assert heights[0] == [0.5, 0.2, 0.8]
    assert heights[1] == pytest.approx([-0.1, 0.4, 0.1])
    assert heights[2] == pytest.approx([0.2, 0.5, 0.3])
    assert [gap.get_y() for gap in above.containers[1]] == [0.5, 0.2, 0.8]  # from the accuracy on
    assert above.get_title() == "expected calibration error 0.234, 10 items"
    assert (above.get_xlim(), above.get_ylim()) == ((0, 1), (0, 1))
    assert list(above.lines[0].get_xdata()) == list(above.lines[0].get_ydata()) == [0, 1]
    figure.canvas.draw()


def test_a_calibration_draws_itself() -> None:
    found = calibration_of(torch.tensor([[0.8, 0.2], [0.3, 0.7]]), torch.tensor([0, 0]), n_bins=10)
    assert [bar.get_height() for bar in found.plot().axes[0].containers[0]] == [0, 1]


def test_bars_of_few_items_are_pale() -> None:
    column = np.array([0.25, 0.5, 0.75, 1.0])
    figure = reliability_diagram(column - 0.25, column, column, column, np.array([0.0, 1, 50, 100]), ece=0.0)
    opacities = [bar.get_facecolor()[3] for bar in figure.axes[0].containers[0]]
    assert opacities == pytest.approx([0.208, 0.6, 1.0])
    (one,) = reliability_diagram(*[column[:1]] * 4, np.array([0.0]), ece=0.0).axes[0].containers[:1]
    assert len(one) == 0


@pytest.mark.parametrize("n", range(1, 40))
def test_the_fullest_bin_is_drawn_whatever_its_size(n: int) -> None:
    column = np.array([0.5, 1.0])
    figure = reliability_diagram(column - 0.5, column, column, column, np.array([n, n / 3]), ece=0.0)
    assert figure.axes[0].containers[0][0].get_facecolor()[3] == 1
