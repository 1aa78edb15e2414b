"""Pictures with what a model says of them beside what they are."""

from typing import TYPE_CHECKING

import torch
from torch import nn

from learnkit.checks import check_int
from learnkit.data.bunch import DataBunch
from learnkit.data.image.draw import draw_results, drawable
from learnkit.device import Compute
from learnkit.errors import DataError, UsageError
from learnkit.inference.predictions import predict_stream
from learnkit.types import Activation, DatasetType

if TYPE_CHECKING:
    from learnkit.plots.figure import Figure

__all__ = ["show_predictions"]


def show_predictions(
    model: nn.Module, dls: DataBunch, ds_type: DatasetType, compute: Compute, activation: Activation, rows: int
) -> "Figure":
    """rows x rows evenly spaced items of a part, their targets, where it has them, and predictions; see `draw_results`.

    Raises:
        UsageError: rows is not an integer above 0, or the items have no pictures.
        DataError: there are no items.
    """
    check_int("rows", rows, 1)
    if dls.task is None:
        raise UsageError("show_results: the data does not say what an output means", fix="Give the bunch task=.")
    loader = dls.ordered_dl(ds_type)
    if getattr(loader, "n_items", None) == 0:
        raise DataError("this set has no items to show")
    dls.picture(ds_type, 0)  # says so where there are none
    n = min(loader.n_items, rows * rows)
    items = (
        torch.linspace(0, loader.n_items - 1, n).round().long().tolist()
    )  # of every class, also where they are sorted
    pixels, *targets = loader.dataset.batch(items)
    x = loader.preprocess.batch(pixels.to(dls.device))
    preds, _, _ = next(predict_stream(model, [(x,)], compute, activation))
    pictures = drawable(loader.preprocess.scale(pixels))
    return draw_results(pictures, preds, targets[0] if targets else None, dls.task, columns=min(rows, n))
