"""A matplotlib figure without pyplot: nothing global, nothing to close, shown once by a notebook."""

import io

import matplotlib.figure
from matplotlib.backends.backend_agg import FigureCanvasAgg

from learnkit.plots.layout import FigSize, check_figsize

__all__ = ["BLUE", "GRID", "ORANGE", "Figure", "new_figure"]

BLUE, ORANGE, GRID = "#0072B2", "#D55E00", "#D9D9D9"  # distinguishable for color-blind readers too (Okabe, Ito)


class Figure(matplotlib.figure.Figure):
    """A figure that a notebook shows when a cell ends with it."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png")
        return buffer.getvalue()


def new_figure(width: float, height: float, figsize: FigSize = None) -> Figure:
    """An empty figure that lays itself out, inches wide and high, unless a size is given.

    Raises:
        UsageError: a size that is not two numbers above 0.
    """
    figure = Figure(figsize=check_figsize(figsize) or (width, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    return figure
