"""The outputs of a model's modules, batch by batch."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from learnkit.errors import UsageError
from learnkit.plots.curves import panel
from learnkit.plots.layout import FigSize

if TYPE_CHECKING:
    from learnkit.plots.figure import Figure

__all__ = ["activation_curves", "activation_histogram"]

MAX_NAMED = 12  # modules up to which each has a name in the legend


def activation_curves(
    of_modules: Mapping[str, Sequence[tuple[int, float, float, float]]], figsize: FigSize = None
) -> "Figure":
    """Three panels with one line per module, the first lightest: mean, standard deviation and share near zero.

    Args:
        of_modules: by module name, (batch, mean, deviation, share) of each batch.

    Raises:
        UsageError: no modules.
    """
    import matplotlib

    from learnkit.plots.figure import new_figure

    if not of_modules:
        raise UsageError("activation_curves: nothing to draw", fix="Fit with this callback first.")
    figure = new_figure(12, 3.8, figsize)
    shades = matplotlib.colormaps["viridis_r"](np.linspace(0.1, 1, len(of_modules)))
    for place, label in enumerate(("mean", "standard deviation", "share near zero"), 1):
        axes = panel(figure, "batches", label, (1, 3, place))
        for shade, (name, rows) in zip(shades, of_modules.items(), strict=True):
            axes.plot([row[0] for row in rows], [row[place] for row in rows], color=shade, linewidth=1.2, label=name)
    if len(of_modules) <= MAX_NAMED:
        handles = figure.axes[0].get_lines()
        names = [name or "model" for name in of_modules]
        figure.legend(handles, names, loc="outside lower center", ncols=min(6, len(names)), fontsize=8, frameon=False)
    return figure


def activation_histogram(
    batches: Sequence[int], counts: npt.NDArray[np.float32], highest: float, figsize: FigSize = None
) -> "Figure":
    """One column per batch, from 0 at the bottom to `highest`; the darker, the more numbers, on a log scale.

    Args:
        batches: the numbers of the batches, in even steps.
        counts: (batches, bins).
        highest: where the last bin ends.
    """
    from learnkit.plots.figure import new_figure

    figure = new_figure(7, 4, figsize)
    axes = panel(figure, "batches", "activation")
    axes.grid(False)
    step = batches[1] - batches[0] if len(batches) > 1 else 1
    sides = (batches[0] - step / 2, batches[-1] + step / 2, 0, highest)
    axes.imshow(np.log1p(counts).T, origin="lower", aspect="auto", extent=sides, cmap="Blues", interpolation="nearest")
    axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    return figure
