"""Pictures in a grid, and tables drawn as one."""

import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from learnkit.errors import UsageError
from learnkit.plots.masks import class_colours

if TYPE_CHECKING:
    from learnkit.plots.figure import Figure

__all__ = ["confusion_matrix", "image_grid", "plain", "shortened"]

MOST_NUMBERED = 25  # classes up to which the cells hold their numbers
MOST_TICKS = 60
LONGEST_LINE = 26  # characters above a picture
LONGEST_NAME = 24  # characters beside a row
DARK = 0.72  # the shade of Blues above which white is easier to read than black


def image_grid(
    pictures: Sequence[npt.NDArray[np.uint8]],
    titles: Sequence[str],
    columns: int | None = None,
    title_colors: Sequence[str] | None = None,
    legend: Sequence[str] = (),
) -> "Figure":
    """Pictures, uint8 (H, W, 3), each with its title above it; long lines of a title are wrapped.

    Args:
        pictures: of any sizes.
        titles: one a picture.
        columns: pictures in a row; None for about as many as rows.
        title_colors: one a title.
        legend: names of the class colours below the pictures; an empty one is left out.

    Raises:
        UsageError: there are no pictures.
    """
    from learnkit.plots.figure import new_figure

    if not len(pictures):
        raise UsageError("image_grid: there are no pictures to draw")
    columns = columns or math.ceil(len(pictures) ** 0.5)
    rows = -(-len(pictures) // columns)
    wrapped = ["\n".join(textwrap.fill(line, LONGEST_LINE) for line in title.split("\n")) for title in titles]
    lines = max(title.count("\n") + 1 for title in wrapped)
    figure = new_figure(max(4, 2.3 * columns), rows * (2.1 + 0.17 * lines))
    for place, (picture, title) in enumerate(zip(pictures, wrapped, strict=True)):
        axes = figure.add_subplot(rows, columns, place + 1)
        axes.imshow(picture, interpolation="nearest")
        axes.set_axis_off()
        axes.set_title(plain(title), fontsize=9, color=title_colors[place] if title_colors else "black")
    if any(legend):
        _draw_legend(figure, legend)
    return figure


def _draw_legend(figure: "Figure", names: Sequence[str]) -> None:
    from matplotlib.patches import Patch

    colours = class_colours(len(names)) / 255
    patches = [
        Patch(color=colour, label=plain(shortened(name))) for colour, name in zip(colours, names, strict=True) if name
    ]
    across = max(1, int(figure.get_figwidth() / 1.6))
    figure.legend(handles=patches, loc="outside lower center", ncols=min(across, len(patches)), fontsize=8)


def confusion_matrix(counts: npt.NDArray[np.int64], classes: Sequence[str], normalize: bool = False) -> "Figure":
    """Rows are the actual classes, columns the predicted ones; the shade of a cell is its share of the row.

    Args:
        counts: (C, C).
        classes: C names.
        normalize: show shares of each row; a row without items stays empty.
    """
    from learnkit.plots.figure import new_figure

    n = len(classes)
    sums = counts.sum(1, keepdims=True)
    shares = np.divide(counts, sums, out=np.zeros(counts.shape), where=sums > 0)
    names = [plain(shortened(name)) for name in classes]
    longest = max(map(len, names))
    side = min(14.0, max(4.5, 1.6 + 0.42 * n + 0.075 * longest))
    figure = new_figure(side, side)
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    step = -(-n // MOST_TICKS)
    small = 9 if n <= MOST_NUMBERED else 7
    axes.set_xticks(range(0, n, step), names[::step], rotation=90 if longest > 2 else 0, fontsize=small)
    axes.set_yticks(range(0, n, step), names[::step], fontsize=small)
    axes.set_xlabel("predicted")
    axes.set_ylabel("actual")
    # Over the whole figure, not over the axes: long class names leave those too narrow for it.
    figure.suptitle("Confusion matrix" + (", share of each actual class" if normalize else ""), fontsize=11)
    if n <= MOST_NUMBERED:
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
        colour = "white" if shares[row, column] > DARK else "black"
        axes.text(column, row, text, ha="center", va="center", fontsize=8, color=colour)


def shortened(name: str) -> str:
    """A name that leaves room for what it stands beside."""
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1].rstrip() + "…"


def plain(text: str) -> str:
    """Text of which matplotlib makes no formulas: it would of what stands between two dollars."""
    return text.replace("$", r"\$")
