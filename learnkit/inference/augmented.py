"""Test-time augmentation: predictions averaged over several augmented copies of each image."""

from torch import nn

from learnkit.checks import check_int, check_number
from learnkit.data.augment.targets import moving_noun
from learnkit.data.bunch import DataBunch
from learnkit.device import Compute
from learnkit.errors import UsageError
from learnkit.inference.predictions import PerItemLoss, Predictions, predict_loader, predict_stream
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
) -> Predictions:
    """beta * (predictions without augmentation) + (1 - beta) * (mean of the predictions of n augmented passes).

    Predictions are averaged after the activation, and losses of the raw outputs of each pass with the same weights. The
    augmentation of an item in pass k depends only on (seed, k, the index of the item).

    Args:
        model: called in eval mode.
        dls: images with an augmentation, which is applied to this split too.
        ds_type: the split.
        compute: the device and precision.
        activation: applied to the raw outputs.
        n: number of augmented passes, 1 or more.
        beta: the weight of the plain pass, from 0 to 1.
        seed: the seed of the augmentation.
        loss: losses per item from raw outputs and targets.

    Raises:
        UsageError: invalid n or beta; data without an augmentation; masks or key points, which would have to be
            transformed back.
    """
    check_int("n", n, 1)
    check_number("beta", beta, "[0, 1]")
    if (noun := moving_noun(dls.task)) is not None:
        raise UsageError(f"tta: {noun} of augmented images would have to be transformed back", fix="Use get_preds.")
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
