"""Test-time augmentation: the answers to several changed copies of each picture, averaged."""

from torch import nn

from learnkit.checks import check_int
from learnkit.data.bunch import DataBunch
from learnkit.data.segmentation import Segmentation
from learnkit.device import Compute
from learnkit.errors import UsageError
from learnkit.inference.predictions import Answers, PerItemLoss, predict_loader, predict_stream
from learnkit.seeds import Stream, derive
from learnkit.types import Activation, DatasetType

__all__ = ["predict_augmented"]


def predict_augmented(
    model: nn.Module,
    dls: DataBunch,
    ds_type: DatasetType,
    compute: Compute,
    activation: Activation,
    *,
    n: int,
    beta: float,
    seed: int,
    loss: PerItemLoss | None = None,
) -> Answers:
    """beta * (answers to the pictures as they are) + (1 - beta) * (mean of the answers to n augmented passes).

    Answers are averaged after the activation; losses, of the raw outputs of each pass, with the same weights. What
    pass k draws for an item depends on (seed, k, the item's number) alone.

    Args:
        model: called in eval mode.
        dls: images with an augmentation, which is used for this part of them too.
        ds_type: the part.
        compute: the device and precision.
        activation: applied to the raw outputs.
        n: augmented passes, 1 or more.
        beta: the weight of the plain pass, from 0 to 1.
        seed: of the draws.
        loss: losses per item from raw outputs and targets.

    Raises:
        UsageError: n or beta that cannot work; data without an augmentation; masks, which would have to be moved back.
    """
    check_int("n", n, 1, expected="a number of passes, 1 or more")
    if isinstance(beta, bool) or not isinstance(beta, int | float) or not 0 <= beta <= 1:
        raise UsageError("beta", got=beta, expected="the weight of the plain pass, from 0 to 1")
    if isinstance(dls.task, Segmentation):
        raise UsageError("tta: the masks of moved pictures would have to be moved back", fix="Use get_preds.")
    augmented = dls.augmented_dl(ds_type)
    preds, targets, losses = predict_loader(model, dls.ordered_dl(ds_type), compute, activation, loss=loss)
    preds.mul_(beta)
    if losses is not None:
        losses.mul_(beta)
    share = (1 - beta) / n
    for number in range(n):
        augmented.seed_epoch(derive(seed, Stream.AUGMENT), number)
        start = 0
        for outputs, _, of_items in predict_stream(model, augmented, compute, activation, loss=loss):
            end = start + len(outputs)
            preds[start:end].add_(outputs, alpha=share)
            if losses is not None and of_items is not None:
                losses[start:end].add_(of_items, alpha=share)
            start = end
    return preds, targets, losses
