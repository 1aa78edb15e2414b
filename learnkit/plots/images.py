"""Images in a grid, each with a title."""

import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from learnkit.errors import UsageError
from learnkit.plots.layout import FigSize
from learnkit.plots.overlays import class_colors, heat_map_over
from learnkit.text import ellipsized

if TYPE_CHECKING:
    from learnkit.plots.figure import Figure

__all__ = ["escape_math", "heat_map_figure", "image_grid", "joined", "label_text", "wrapped_line"]

MAX_WIDE = 3.2  # of an image: wider ones are drawn smaller
MAX_TITLE = 48  # characters of two names on one line
MAX_LINE = 26  # characters above an image
MAX_LINES = 3  # that one line of a title may take when it is wrapped
BREAK = "\u200b"  # where a name may be broken: a space of no width
MAX_LABEL = 24  # characters of a name next to a row


def image_grid(
    images: Sequence[npt.NDArray[np.uint8]],
    titles: Sequence[str],
    columns: int | None = None,
    title_colors: Sequence[str] | None = None,
    legend: Sequence[str] = (),
    figsize: FigSize = None,
) -> "Figure":
    """Images, uint8 (H, W, 3), each with its title above it; long lines are wrapped, and cut after the third.

    Args:
        images: of any sizes.
        titles: one per image.
        columns: images in a row; None for about as many as rows.
        title_colors: one per title.
        legend: names of the class colors below the images; an empty one is left out.
        figsize: width and height in inches; None for one that fits.

    Raises:
        UsageError: no images.
    """
    from learnkit.plots.figure import new_figure

    if not len(images):
        raise UsageError("image_grid: no images to draw")
    columns = columns or math.ceil(len(images) ** 0.5)
    rows = -(-len(images) // columns)
    wrapped = ["\n".join(map(wrapped_line, title.split("\n"))) for title in titles]
    lines = max(title.count("\n") + 1 for title in wrapped)
    wide = min(MAX_WIDE, max(1.0, *(image.shape[1] / image.shape[0] for image in images)))
    figure = new_figure(max(4, columns * (2.1 * wide + 0.2)), rows * (2.1 + 0.17 * lines), figsize)
    for place, (image, title) in enumerate(zip(images, wrapped, strict=True)):
        axes = figure.add_subplot(rows, columns, place + 1)
        axes.imshow(image, interpolation="nearest")
        axes.set_axis_off()
        axes.set_title(escape_math(title), fontsize=9, color=title_colors[place] if title_colors else "black")
    if any(legend):
        _draw_legend(figure, legend)
    return figure


def heat_map_figure(
    image: npt.NDArray[np.uint8], heat: npt.NDArray[np.floating], title: str, figsize: FigSize = None
) -> "Figure":
    """An image, and next to it the same with its heat map and a title such as "cat, p 0.93"."""
    return image_grid([image, heat_map_over(image, heat)], ["", title], columns=2, figsize=figsize)


def joined(first: str, second: str, joint: str = " /") -> str:
    """Two parts of a title on one line, long ones on lines of their own, so that the second is not cut off.

    >>> joined("cat", "dog"), joined("cat", "p 0.93", joint=",")
    ('cat / dog', 'cat, p 0.93')
    """
    between = " " if len(first) + len(second) < MAX_TITLE else "\n"
    return f"{first}{joint}{between}{second}"


def wrapped_line(line: str) -> str:
    """A line of a title in at most three, each as wide as an image; broken at spaces, or after underscores.

    >>> print(wrapped_line("german_shorthaired_pointer / cat"))
    german_shorthaired_
    pointer / cat
    """
    breakable = line.replace("_", f"_{BREAK} ")
    lines = textwrap.wrap(breakable, MAX_LINE, max_lines=MAX_LINES, placeholder="…")
    return "\n".join(lines).replace(f"_{BREAK} ", "_").replace(BREAK, "")


def _draw_legend(figure: "Figure", names: Sequence[str]) -> None:
    from matplotlib.patches import Patch

    colors = class_colors(len(names)) / 255
    patches = [Patch(color=color, label=label_text(name)) for color, name in zip(colors, names, strict=True) if name]
    across = max(1, int(figure.get_figwidth() / 1.6))
    figure.legend(handles=patches, loc="outside lower center", ncols=min(across, len(patches)), fontsize=8)


def label_text(name: str) -> str:
    """A name shortened to leave room for what is next to it."""
    return escape_math(ellipsized(name, MAX_LABEL))


def escape_math(text: str) -> str:
    """Text that matplotlib draws unchanged: it would render text between two dollar signs as a formula."""
    return text.replace("$", r"\$")
