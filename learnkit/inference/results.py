"""Pictures with what a model says of them beside what they are."""

from typing import TYPE_CHECKING

import torch
from torch import nn

from learnkit.data.bunch import DataBunch
from learnkit.data.drawing import draw_results
from learnkit.device import Compute
from learnkit.errors import UsageError
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
        UsageError: rows is not a whole number above 0, or the items have no pictures.
    """
    if isinstance(rows, bool) or not isinstance(rows, int) or rows < 1:
        raise UsageError("rows", got=rows, expected="a whole number, 1 or more")
    if dls.task is None:
        raise UsageError("show_results: the data does not say what an output means", fix="Give the bunch task=.")
    dls.picture(ds_type, 0)  # says so where there are none
    dataset = dls.ordered_dl(ds_type).dataset
    n = min(len(dataset), rows * rows)
    items = torch.linspace(0, len(dataset) - 1, n).round().long().tolist()  # of every class, also where they are sorted
    x = torch.cat([dls.one_input(ds_type, i) for i in items])
    known = torch.stack([dataset[i][1] for i in items]) if len(dataset[0]) > 1 else None
    preds, _, _ = next(predict_stream(model, [(x,)], compute, activation))
    pictures = [dls.picture(ds_type, i) for i in items]
    return draw_results(pictures, preds, known, dls.task, columns=min(rows, n))
