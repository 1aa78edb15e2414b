"""Conformal sets: coverage and size by the share of truths that may be missed."""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from learnkit.plots.curves import panel
from learnkit.plots.layout import FigSize

if TYPE_CHECKING:
    from learnkit.plots.figure import Figure

__all__ = ["coverage_curve"]

Column = npt.NDArray[np.float64]


def coverage_curve(
    alpha: Column, coverage: Column, deviation: Column, size: Column, *, unit: str, figsize: FigSize = None
) -> "Figure":
    """The share of truths in their set, beside the line where it should be, and below it how large the sets are.

    Args:
        alpha: the share that may be missed, (A,).
        coverage: the share that is not, (A,).
        deviation: of the coverage of one fit, (A,), drawn as a band.
        size: of the sets, (A,).
        unit: what the size counts.
    """
    from learnkit.plots.figure import BLUE, GRID, ORANGE, new_figure

    figure = new_figure(5, 6, figsize)
    above = panel(figure, "", "share of truths in their set", (2, 1, 1))
    below = panel(figure, "alpha: share that may be missed", unit, (2, 1, 2))
    above.plot(alpha, 1 - alpha, color="black", linewidth=1, linestyle="--", label="stated, 1 - alpha")
    above.plot(alpha, coverage, color=BLUE, linewidth=2, marker="o", markersize=4, label="measured")
    above.fill_between(alpha, coverage - deviation, coverage + deviation, color=BLUE, alpha=0.2, linewidth=0)
    below.plot(alpha, size, color=ORANGE, linewidth=2, marker="o", markersize=4)
    above.legend(frameon=False, fontsize=9)
    below.set_ylim(bottom=0)
    for axes in (above, below):
        axes.set_axisbelow(True)
        axes.grid(color=GRID, linewidth=0.6)
    return figure
