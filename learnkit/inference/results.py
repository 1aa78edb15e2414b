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
    """The first rows x rows items of a part, with targets, where it has them, and predictions; see `draw_results`.

    Raises:
        UsageError: rows is not a whole number above 0, or the items have no pictures.
    """
    if isinstance(rows, bool) or not isinstance(rows, int) or rows < 1:
        raise UsageError("rows", got=rows, expected="a whole number, 1 or more")
    if dls.task is None:
        raise UsageError("show_results: the data does not say what an output means", fix="Give the bunch task=.")
    preds, targets = [], []
    n = 0
    for outputs, batch_targets, _ in predict_stream(model, dls.ordered_dl(ds_type), compute, activation):
        preds.append(outputs)
        targets += [] if batch_targets is None else [batch_targets]
        n += len(outputs)
        if n >= rows * rows:
            break
    n = min(n, rows * rows)
    pictures = [dls.picture(ds_type, i) for i in range(n)]
    known = torch.cat(targets)[:n] if targets else None
    return draw_results(pictures, torch.cat(preds)[:n], known, dls.task, columns=min(rows, n))
