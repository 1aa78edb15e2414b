"""The statistics images are normalized by: ImageNet's, passed ones, or those of the training images."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch

from learnkit.data.image.preprocess import IMAGENET, Normalize, Preprocess
from learnkit.data.image.sources import Source, opened
from learnkit.errors import UsageError

__all__ = ["Statistics", "measure", "normalize_by"]

Statistics = Literal["imagenet", "data"] | tuple[Sequence[float], Sequence[float]] | None
MAX_MEASURED = 1000  # images, evenly spaced


def normalize_by(statistics: Statistics, files: Sequence[Source], preprocess: Preprocess) -> Normalize | None:
    """The statistics that `normalize=` requests.

    Args:
        statistics: "imagenet" (for other channels than 3, the mean of its three), "data" to measure the files, (mean,
            std) with one number per channel, or None.
        files: those of the training set, or its held images.
        preprocess: how they are read.

    Raises:
        UsageError: something else.
        ImageError: a measured file that cannot be read.
    """
    n = preprocess.channels
    if statistics is None:
        return None
    if isinstance(statistics, str):
        if statistics == "data":
            return measure(files, preprocess)
        if statistics != "imagenet":
            raise UsageError("normalize", got=statistics, expected="'imagenet', 'data', (mean, std) or None")
        if n == 3:
            return Normalize(*IMAGENET)
        mean, std = (sum(values) / 3 for values in IMAGENET)
        return Normalize((mean,) * n, (std,) * n)
    expected = f"a mean and a std for each of {n} channels"
    try:
        given = [tuple(float(value) for value in np.atleast_1d(part)) for part in statistics]
    except (OverflowError, TypeError, ValueError) as error:
        raise UsageError("normalize", got=statistics, expected=expected) from error
    if len(given) != 2 or len(given[0]) != n:
        raise UsageError("normalize", got=statistics, expected=expected)
    return Normalize(*given)


def measure(files: Sequence[Source], preprocess: Preprocess) -> Normalize:
    """Mean and standard deviation per channel over all pixels of up to 1,000 evenly spaced files."""
    step = max(1, len(files) // MAX_MEASURED)
    total, squares = torch.zeros(preprocess.channels).double(), torch.zeros(preprocess.channels).double()
    n = 0
    for file in files[::step]:
        x = preprocess.scale(preprocess.item(opened(file))).double()
        total, squares, n = total + x.sum((1, 2)), squares + (x * x).sum((1, 2)), n + x[0].numel()
    mean = total / n
    std = (squares / n - mean**2).clamp(min=1e-8).sqrt()
    return Normalize(tuple(mean.tolist()), tuple(std.tolist()))
