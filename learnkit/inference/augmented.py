"""Test-time augmentation: predictions averaged over several augmented copies of each image."""

from collections.abc import Sequence
from typing import Any

from torch import nn

from learnkit.checks import check_int, check_number
from learnkit.data.augment.targets import moving_noun
from learnkit.data.bunch import DataBunch
from learnkit.data.loading.loaders import ImageLoader
from learnkit.device import Compute
from learnkit.errors import UsageError
from learnkit.inference.predictions import PerItemLoss, Predictions, predict_loader, predict_stream
from learnkit.seeds import Stream, derive
from learnkit.types import Activation, DatasetType

__all__ = ["augmented_pair", "predict_augmented"]


def augmented_pair(dls: DataBunch, source: DatasetType | str | Sequence[Any] | ImageLoader) -> tuple[Any, ImageLoader]:
    """The images of a part of the data, of new ones, or of a loader of these: as they are, and augmented.

    Raises:
        UsageError: data without images or without augmentation; masks or key points, which would have to be
            transformed back; a shuffled loader.
    """
    if (noun := moving_noun(dls.task)) is not None:
        raise UsageError(f"tta: {noun} of augmented images would have to be transformed back", fix="Use get_preds.")
    if source is dls.train_dl:
        source = DatasetType.Train
    if isinstance(source, str) or not isinstance(source, Sequence | ImageLoader):
        part = DatasetType.of(source)
        return dls.ordered_dl(part), dls.augmented_dl(part)
    if dls.preprocess is None:
        raise UsageError("tta: this bunch holds no images to augment", fix="Use an ImageDataBunch.")
    plain = source if isinstance(source, ImageLoader) else dls.test_dl_from(source)
    if plain.order.shuffle:
        raise UsageError("tta: a shuffled loader has no order to average in", fix="Pass one in order.")
    return plain, plain.augmented_as(dls.train_dl)


def predict_augmented(
    model: nn.Module,
    plain: Any,
    augmented: ImageLoader,
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
        plain: the items as they are, in their order.
        augmented: the same, changed at random.
        compute: the device and precision.
        activation: applied to the raw outputs.
        n: number of augmented passes, 1 or more.
        beta: the weight of the plain pass, from 0 to 1.
        seed: the seed of the augmentation.
        loss: losses per item from raw outputs and targets.

    Raises:
        UsageError: invalid n or beta.
    """
    check_int("n", n, 1)
    check_number("beta", beta, "[0, 1]")
    preds, targets, losses = predict_loader(model, plain, compute, activation, loss=loss)
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
