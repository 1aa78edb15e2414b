"""A matplotlib figure without pyplot: nothing global, nothing to close, shown once by a notebook."""

import io

import matplotlib.figure
from matplotlib.backends.backend_agg import FigureCanvasAgg

__all__ = ["BLUE", "GRID", "ORANGE", "Figure", "new_figure"]

BLUE, ORANGE, GRID = "#0072B2", "#D55E00", "#D9D9D9"  # distinguishable for color-blind readers too (Okabe, Ito)


class Figure(matplotlib.figure.Figure):
    """A figure that a notebook shows when a cell ends with it."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png")
        return buffer.getvalue()


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, inches wide and high, that lays itself out."""
    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    return figure
