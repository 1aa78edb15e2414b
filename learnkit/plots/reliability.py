"""Reliability diagrams: how often predictions are right, by confidence."""

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from learnkit.plots.curves import panel
from learnkit.plots.layout import FigSize

if TYPE_CHECKING:
    from learnkit.plots.figure import Figure

__all__ = ["reliability_diagram"]

Column = npt.NDArray[np.float64]

MIN_OPACITY = 0.2  # of the bar of a bin that has hardly any items


def reliability_diagram(
    lower: Column,
    upper: Column,
    confidence: Column,
    accuracy: Column,
    n: Column,
    *,
    ece: float,
    figsize: FigSize = None,
) -> "Figure":
    """Accuracy of each bin of confidence, the gap to perfect calibration, and below it the share of items a bin holds.

    The fewer items a bin has, the paler its bar.

    Args:
        lower, upper: edges of the bins, (B,).
        confidence, accuracy: means of each bin, (B,), nan without items.
        n: items in each bin, (B,).
        ece: expected calibration error, written above.
    """
    from matplotlib.patches import Patch

    from learnkit.plots.figure import BLUE, GRID, ORANGE, new_figure

    figure = new_figure(5, 6, figsize)
    upper_axes = panel(figure, "", "accuracy", (2, 1, 1))
    lower_axes = panel(figure, "confidence", "share of items", (2, 1, 2))
    upper_axes.get_gridspec().set_height_ratios((3, 1))
    held = n > 0
    middle, width = ((lower + upper) / 2)[held], (upper - lower)[held]
    weights = MIN_OPACITY + (1 - MIN_OPACITY) * n[held] / max(1.0, n.max(initial=0))
    shades = [(BLUE, min(weight, 1.0)) for weight in weights.tolist()]  # rounding may exceed 1
    upper_axes.bar(middle, accuracy[held], width, color=shades, edgecolor="white", linewidth=0.5)
    gaps = (confidence - accuracy)[held]
    look: dict[str, Any] = {"facecolor": ORANGE, "edgecolor": ORANGE, "alpha": 0.35, "hatch": "//"}
    upper_axes.bar(middle, gaps, width, bottom=accuracy[held], linewidth=0.5, **look)
    upper_axes.plot([0, 1], [0, 1], color="black", linewidth=1, linestyle="--")
    handles = [Patch(color=BLUE), Patch(**look)]
    labels = ["accuracy", "gap to confidence"]
    upper_axes.legend(handles, labels, loc="upper left", frameon=False, fontsize=9)
    lower_axes.bar(middle, n[held] / max(1.0, n.sum()), width, color="#777777", edgecolor="white", linewidth=0.5)
    for axes in (upper_axes, lower_axes):
        axes.set_xlim(0, 1)
        axes.set_axisbelow(True)
        axes.grid(color=GRID, linewidth=0.6)
    upper_axes.set_ylim(0, 1)
    lower_axes.set_ylim(0, 1)
    upper_axes.set_title(f"expected calibration error {ece:.3f}, {int(n.sum()):,} items", fontsize=11)
    return figure
