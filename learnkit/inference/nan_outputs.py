"""Outputs that are nan: argmax and thresholds name a class for them all the same, so they are told of."""

import math

from torch import Tensor

from learnkit.errors import warn

__all__ = ["tell_of_nan"]

FEW = 100  # numbers


def tell_of_nan(outputs: Tensor) -> None:
    """Warn of items whose outputs, activated, (N, ...), are nan: what they are decoded to means nothing.

    Warns:
        LearnkitWarning: how many, and the first of them.
    """
    are_few = outputs.ndim == 2 and outputs.numel() < FEW
    if are_few and not any(math.isnan(sum(row)) for row in outputs.tolist()):  # in less time than torch takes
        return
    if not bool(outputs.isnan().any()):
        return
    rows = outputs.reshape(len(outputs), -1).isnan().any(1)
    first = int(rows.int().argmax())
    warn(
        f"the outputs of {int(rows.sum())} of {len(rows)} items are nan, the first of them item {first}: "
        "their labels mean nothing. Look at these items, or at the weights of the model."
    )
