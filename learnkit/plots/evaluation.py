"""How good predictions are: confusion matrix, ROC and precision-recall curves, counts by label, residuals."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, Unpack

import numpy as np
import numpy.typing as npt

from learnkit.errors import UsageError
from learnkit.plots.curves import panel
from learnkit.plots.images import label_text
from learnkit.plots.layout import FigSize, Panels, grid_shape

if TYPE_CHECKING:
    from learnkit.plots.figure import Figure

__all__ = ["confusion_matrix", "label_bars", "predicted_against_actual", "ranking_curves", "residual_histograms"]

Floats: TypeAlias = npt.NDArray[np.float64]
Line: TypeAlias = tuple[str, Floats, Floats, float]  # name, x rising, y, area

# Okabe and Ito's colors, without the yellow; from the eighth line on they are repeated, dashed.
LINE_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MAX_LINES = 10
N_WORST = 5
NO_ITEMS = "#EEEEEE"  # the row of a class without items
MAX_POINTS = 1000  # of a line: more are not seen
MAX_BARS = 30
MAX_DOTS = 5000
MAX_NAMED = 3
MAX_NUMBERED = 25  # classes up to which the cells of a confusion matrix hold their numbers
MAX_TICKS = 60
SCALE_WIDTH = 1.3  # inches of the color scale of a confusion matrix
DARK = 0.72  # the shade of Blues above which white is easier to read than black


def ranking_curves(
    lines: Iterable[Line],
    xlabel: str,
    ylabel: str,
    area_name: str,
    *,
    has_diagonal: bool = False,
    figsize: FigSize = None,
) -> "Figure":
    """One curve per class; for more than ten their mean and the five of the smallest area.

    A class whose area is nan is left out, and named in the title.

    Args:
        lines: (name, x, y, area) of each class, x and y from 0 to 1, x never falling.
        xlabel: what x is.
        ylabel: what y is.
        area_name: what the area is called in the legend.
        has_diagonal: draw the line of random guessing.
        figsize: width and height in inches.
    """
    from learnkit.plots.figure import new_figure

    kept: list[Line] = []
    missing: list[str] = []
    for name, x, y, area in lines:
        if np.isnan(area):
            missing.append(name)
        else:
            kept.append((name, *_thinned(x, y), area))
    figure = new_figure(6.4, 5.6, figsize)
    axes = panel(figure, xlabel, ylabel)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    if has_diagonal:
        axes.plot([0, 1], [0, 1], color="#888888", linewidth=1, linestyle=":", label="chance")
    drawn = kept
    if len(kept) > MAX_LINES:
        drawn = sorted(kept, key=lambda line: line[3])[:N_WORST]
        areas = float(np.mean([area for *_, area in kept]))
        label = f"mean of {len(kept)} classes ({area_name} {areas:.3f})"
        axes.plot(*_mean_line(kept), color="black", linewidth=3, label=label)
    for number, (name, x, y, area) in enumerate(drawn):
        axes.plot(
            x, y, color=LINE_COLORS[number % len(LINE_COLORS)], linestyle="--" if number >= len(LINE_COLORS) else "-",
            linewidth=1.6, label=f"{label_text(name)} ({area_name} {area:.3f})",
        )  # fmt: skip
    if kept:
        figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    title = "each class against the others" if drawn is kept else f"the {N_WORST} worst classes and the mean"
    if missing:
        names = ", ".join(map(label_text, missing[:MAX_NAMED])) + (", …" if len(missing) > MAX_NAMED else "")
        title += f"\nleft out, without items or without others: {len(missing)} of {len(missing) + len(kept)}, {names}"
    figure.suptitle(title, fontsize=10)
    return figure


def confusion_matrix(
    counts: npt.NDArray[np.int64], classes: Sequence[str], normalize: bool = False, figsize: FigSize = None
) -> "Figure":
    """Rows are the actual classes, columns the predicted ones; the shade of a cell is its share of the row.

    The row of a class without items is gray.

    Args:
        counts: (C, C).
        classes: C names.
        normalize: show shares of each row; a row without items stays empty.
        figsize: width and height in inches; None for one that fits the classes.
    """
    from learnkit.plots.figure import new_figure

    n = len(classes)
    sums = counts.sum(1, keepdims=True)
    shares = np.divide(counts, sums, out=np.zeros(counts.shape), where=sums > 0)
    names = [label_text(name) for name in classes]
    longest = max(map(len, names))
    side = min(14.0, max(4.5, 1.6 + 0.42 * n + 0.075 * longest))
    figure = new_figure(side + SCALE_WIDTH, side, figsize)
    axes = figure.add_subplot()
    shades = axes.imshow(np.ma.masked_array(shares, np.repeat(sums == 0, n, 1)), cmap="Blues", vmin=0, vmax=1)
    axes.set_facecolor(NO_ITEMS)
    scale = figure.colorbar(shades, ax=axes, shrink=0.6, ticks=(0, 0.5, 1))
    scale.set_label("share of the actual class", fontsize=8)
    scale.ax.tick_params(labelsize=8)
    scale.outline.set_visible(False)
    step = -(-n // MAX_TICKS)
    small = 9 if n <= MAX_NUMBERED else 7
    axes.set_xticks(range(0, n, step), names[::step], rotation=90 if longest > 2 else 0, fontsize=small)
    axes.set_yticks(range(0, n, step), names[::step], fontsize=small)
    axes.set_xlabel("predicted")
    axes.set_ylabel("actual")
    # Over the whole figure, not over the axes: long class names leave those too narrow for it.
    figure.suptitle("Confusion matrix" + (", share of each actual class" if normalize else ""), fontsize=11)
    if n <= MAX_NUMBERED:
        _write_numbers(axes, counts, shares, sums[:, 0], normalize)
    return figure


def _write_numbers(
    axes: Any,
    counts: npt.NDArray[np.int64],
    shares: npt.NDArray[np.float64],
    sums: npt.NDArray[np.int64],
    normalize: bool,
) -> None:
    for (row, column), count in np.ndenumerate(counts):
        if normalize and not sums[row]:
            continue
        text = f"{shares[row, column]:.2f}" if normalize else str(count)
        if not count:
            text = "" if not normalize else "0"
        color = "white" if shares[row, column] > DARK else "black"
        axes.text(column, row, text, ha="center", va="center", fontsize=8, color=color)


def label_bars(
    classes: Sequence[str],
    found: npt.NDArray[np.int64],
    spurious: npt.NDArray[np.int64],
    missed: npt.NDArray[np.int64],
    figsize: FigSize = None,
) -> "Figure":
    """One bar per class: items found, then missed, and to the left of 0 those for which it is spurious.

    Args:
        classes: C names; of more than thirty, those with the most mistakes are shown.
        found: (C,).
        spurious: (C,).
        missed: (C,).
        figsize: width and height in inches.
    """
    from learnkit.plots.figure import BLUE, ORANGE, new_figure

    chosen = np.arange(len(classes))
    if len(classes) > MAX_BARS:
        chosen = np.sort(np.argsort(-(spurious + missed), kind="stable")[:MAX_BARS])
    figure = new_figure(7, 1.4 + 0.26 * len(chosen), figsize)
    axes = panel(figure, "items", "")
    axes.set_axisbelow(True)
    places = np.arange(len(chosen))
    axes.barh(places, found[chosen], color=BLUE, label="found")
    axes.barh(places, missed[chosen], left=found[chosen], color="#9AC6E0", label="missed")
    axes.barh(places, -spurious[chosen], color=ORANGE, label="spurious")
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(places, [label_text(classes[c]) for c in chosen.tolist()], fontsize=8)
    axes.invert_yaxis()
    axes.xaxis.set_major_formatter(lambda value, _: f"{abs(value):g}")
    axes.xaxis.get_major_locator().set_params(integer=True)
    if len(chosen) < len(classes):
        axes.set_title(f"the {len(chosen)} of {len(classes)} classes with the most mistakes", fontsize=10)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    return figure


def predicted_against_actual(
    actual: Floats, predicted: Floats, names: Sequence[str], **layout: Unpack[Panels]
) -> "Figure":
    """One panel per name: one dot per item, or shades for how many; a line where both agree.

    Args:
        actual: (N, n).
        predicted: (N, n).
        names: n names.
        **layout: figsize, nrows, ncols.
    """
    from learnkit.plots.figure import BLUE, ORANGE

    figure, panels = _panels(names, "actual", "predicted", **layout)
    for place, axes in enumerate(panels):
        x, y = actual[:, place], predicted[:, place]
        is_known = np.isfinite(x) & np.isfinite(y)
        x, y = x[is_known], y[is_known]
        if len(x) > MAX_DOTS:
            cells = axes.hexbin(x, y, gridsize=50, bins="log", cmap="Blues", linewidths=0.1)
            figure.colorbar(cells, ax=axes, label="items")
        else:
            axes.scatter(x, y, s=14, color=BLUE, alpha=0.5, linewidths=0)
        if len(x):
            ends = [min(x.min(), y.min()), max(x.max(), y.max())]
            axes.plot(ends, ends, color=ORANGE, linewidth=1.2)
    return figure


def residual_histograms(residuals: Floats, names: Sequence[str], **layout: Unpack[Panels]) -> "Figure":
    """One panel per name: how often predictions are off by how much; a line at their mean.

    Args:
        residuals: (N, n), predicted minus actual.
        names: n names.
        **layout: figsize, nrows, ncols.
    """
    from learnkit.plots.figure import BLUE, ORANGE

    figure, panels = _panels(names, "predicted minus actual", "items", **layout)
    for place, axes in enumerate(panels):
        known = residuals[:, place][np.isfinite(residuals[:, place])]
        axes.set_axisbelow(True)
        axes.hist(known, bins=min(50, max(5, int(len(known) ** 0.5))), color=BLUE)
        axes.axvline(0, color="black", linewidth=1)
        if len(known):
            axes.axvline(known.mean(), color=ORANGE, linewidth=2, linestyle="--", label=f"mean {known.mean():.3g}")
            axes.legend(fontsize=8, frameon=False)
    return figure


def _panels(names: Sequence[str], xlabel: str, ylabel: str, **layout: Unpack[Panels]) -> tuple["Figure", list[Any]]:
    from learnkit.plots.figure import new_figure

    if not names:
        raise UsageError("no numbers to draw")
    rows, columns = grid_shape(len(names), layout.get("nrows"), layout.get("ncols"))
    figure = new_figure(max(5, 4 * columns), 4 * rows, layout.get("figsize"))
    panels = [panel(figure, xlabel, ylabel, (rows, columns, place)) for place in range(1, len(names) + 1)]
    for axes, name in zip(panels, names, strict=True):
        axes.set_title(label_text(name), fontsize=10)
    return figure, panels


def _thinned(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """At most about MAX_POINTS points of a line, evenly along its way, the first and the last among them."""
    if len(x) <= MAX_POINTS:
        return x, y
    way = np.concatenate([[0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))])
    chosen = np.unique(np.searchsorted(way, np.linspace(0, way[-1], MAX_POINTS)).clip(max=len(x) - 1))
    return x[chosen], y[chosen]


def _mean_line(lines: Sequence[Line]) -> tuple[Floats, Floats]:
    grid = np.linspace(0, 1, MAX_POINTS)
    return grid, np.mean([np.interp(grid, x, y) for _, x, y, _ in lines], axis=0)
