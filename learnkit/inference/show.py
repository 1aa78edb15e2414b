"""Images with their predictions and targets."""

from typing import TYPE_CHECKING

import torch
from torch import nn

from learnkit.data.bunch import DataBunch
from learnkit.data.image.draw import draw_results, drawable
from learnkit.device import Compute
from learnkit.errors import DataError, UsageError
from learnkit.inference.predictions import predict_stream
from learnkit.types import Activation, DatasetType

if TYPE_CHECKING:
    from learnkit.plots.figure import Figure
    from learnkit.plots.layout import FigSize, Grid

__all__ = ["show_predictions"]


def show_predictions(
    model: nn.Module,
    dls: DataBunch,
    ds_type: DatasetType,
    compute: Compute,
    activation: Activation,
    grid: "Grid",
    figsize: "FigSize" = None,
) -> "Figure":
    """Evenly spaced items of a split, with predictions and, if any, targets; see `draw_results`.

    Raises:
        UsageError: the items cannot be shown as images.
        DataError: no items.
    """
    if dls.task is None:
        raise UsageError("show_results: the data has no task", fix="Pass the bunch task=.")
    loader = dls.ordered_dl(ds_type)
    if getattr(loader, "n_items", None) == 0:
        raise DataError("this set has no items to show")
    dls.image(ds_type, 0)  # raises if items have none
    n = min(loader.n_items, grid.n)
    items = torch.linspace(0, loader.n_items - 1, n).round().long().tolist()
    # of every class, even if items are sorted by class
    pixels, *targets = loader.dataset.batch(items)
    x = loader.preprocess.batch(pixels.to(dls.device))
    preds, _, _ = next(predict_stream(model, [(x,)], compute, activation))
    images = drawable(loader.preprocess.scale(pixels))
    return draw_results(
        images, preds, targets[0] if targets else None, dls.task, columns=min(grid.columns, n), figsize=figsize
    )
