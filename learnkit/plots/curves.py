"""Curves of a training run: losses, the rate finder, schedules, metrics."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Unpack

from learnkit.errors import UsageError
from learnkit.plots.layout import FigSize, Panels, grid_shape

if TYPE_CHECKING:
    from learnkit.plots.figure import Figure

__all__ = ["epoch_curves", "loss_curves", "lr_curve", "metric_curves", "panel", "schedule_curves"]


def loss_curves(
    train: Sequence[float], smoothed: Sequence[float], valid: Sequence[tuple[int, float]], figsize: FigSize = None
) -> "Figure":
    """The training loss of each batch, thin and smoothed, and the validation loss at (batches seen, loss)."""
    from learnkit.plots.figure import BLUE, ORANGE, new_figure

    figure = new_figure(7, 4, figsize)
    axes = panel(figure, "batches", "loss")
    batches = range(1, len(train) + 1)
    axes.plot(batches, train, color=BLUE, alpha=0.25, linewidth=0.8)
    axes.plot(batches, smoothed, color=BLUE, linewidth=2, label="training, smoothed")
    if valid:
        axes.plot(*zip(*valid, strict=True), color=ORANGE, linewidth=2, marker="o", markersize=4, label="validation")
    finite = sorted(filter(math.isfinite, [*smoothed, *(loss for _, loss in valid)]))
    if finite and finite[-1] > finite[0]:
        axes.set_ylim(min(0, finite[0]), finite[-1] * 1.1)  # one wild batch must not flatten the curve
    axes.legend(frameon=False)
    return figure


def epoch_curves(train: Sequence[float], valid: Sequence[float]) -> "Figure":
    """The training and the validation loss of each epoch, numbered from 0; `valid` may be empty."""
    from learnkit.plots.figure import BLUE, ORANGE, new_figure

    figure = new_figure(7, 4)
    axes = panel(figure, "epoch", "loss")
    for losses, color, label in ((train, BLUE, "training"), (valid, ORANGE, "validation")):
        if len(losses):
            axes.plot(range(len(losses)), losses, color=color, linewidth=2, marker="o", markersize=4, label=label)
    axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    axes.legend(frameon=False)
    return figure


def lr_curve(
    lrs: Sequence[float],
    losses: Sequence[float],
    suggestions: Mapping[str, tuple[float, float]],
    figsize: FigSize = None,
) -> "Figure":
    """Loss against learning rate, the rate on a log scale; suggestions, name -> (rate, loss), as growing shapes.

    So each is seen where several are at one place.
    """
    from learnkit.plots.figure import BLUE, new_figure

    figure = new_figure(7, 4, figsize)
    axes = panel(figure, "learning rate", "smoothed loss")
    axes.set_xscale("log")
    axes.plot(lrs, losses, color=BLUE, linewidth=2)
    marks = itertools.cycle((("#D55E00", "o", 5), ("#009E73", "D", 10), ("#CC79A7", "s", 15), ("#000000", "o", 22)))
    for (name, (lr, loss)), (color, shape, size) in zip(suggestions.items(), marks, strict=False):
        look = {"marker": shape, "markerfacecolor": "none" if size > 5 else color, "markeredgewidth": 1.8}
        axes.plot([lr], [loss], color=color, linestyle="none", markersize=size, label=f"{name} {lr:.2g}", **look)
    if suggestions:
        legend = axes.legend(frameon=False)
        for handle in legend.legend_handles:
            handle.set_markersize(7)  # as large as the text, whatever the size of the mark
    return figure


def schedule_curves(lrs: Sequence[float], momenta: Sequence[float] | None, figsize: FigSize = None) -> "Figure":
    """The learning rate of each batch, and the momentum next to it when there is one."""
    from learnkit.plots.figure import BLUE, ORANGE, new_figure

    figure = new_figure(10 if momenta is not None else 6, 3.5, figsize)
    columns = 1 if momenta is None else 2
    axes = panel(figure, "batches", "learning rate", (1, columns, 1))
    axes.plot(range(1, len(lrs) + 1), lrs, color=BLUE, linewidth=2)
    if momenta is not None:
        other = panel(figure, "batches", "momentum", (1, 2, 2))
        other.plot(range(1, len(momenta) + 1), momenta, color=ORANGE, linewidth=2)
    return figure


def metric_curves(history: Mapping[str, Sequence[float]], **layout: Unpack[Panels]) -> "Figure":
    """One panel per metric, epoch by epoch.

    Raises:
        UsageError: no metrics.
    """
    from learnkit.plots.figure import BLUE, new_figure

    if not history:
        raise UsageError("metric_curves: no metrics to draw")
    rows, columns = grid_shape(len(history), layout.get("nrows"), layout.get("ncols"))
    figure = new_figure(max(5, 4 * columns), 3.2 * rows, layout.get("figsize"))
    for place, (name, values) in enumerate(history.items(), 1):
        axes = panel(figure, "epoch", name, (rows, columns, place))
        axes.plot(range(len(values)), values, color=BLUE, linewidth=2, marker="o", markersize=4)
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    return figure


def panel(figure: "Figure", xlabel: str, ylabel: str, place: tuple[int, int, int] = (1, 1, 1)) -> Any:
    """New axes with labels and a light grid, at (rows, columns, number) of the figure."""
    from learnkit.plots.figure import GRID

    axes = figure.add_subplot(*place)
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.grid(color=GRID, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    return axes
