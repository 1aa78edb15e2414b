"""Numbers to predict that look like places in the image but are not, and key points that do not."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from learnkit.data.augment.presets import may_move
from learnkit.data.image.preprocess import Preprocess
from learnkit.data.tasks import Regression, Task
from learnkit.errors import ImageError, UsageError, warn

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["check_places", "look_like_places", "warn_if_elsewhere"]

MAX_LOOKED_AT = 20  # images whose size is compared with their points
MARGIN = 0.1  # of a side: points that are hidden may be estimated to lie this far outside

WORDS = {"left": "x", "right": "x", "col": "x", "column": "x", "top": "y", "bottom": "y", "row": "y"}
AXIS = re.compile(r"(?:c|min|max)?([xy])(?:\d*|c|min|max)")  # x, x1, cx, xmin, minx


def check_places(
    task: Task, inputs: Sequence[Any], targets: Sequence[Any], preprocess: Preprocess, augment: Any
) -> None:
    """Refuse an augmentation that moves pixels for numbers that look like places in the image.

    Args:
        task: only a Regression is looked at.
        inputs: the training images, of which one is measured.
        targets: their numbers.
        preprocess: reads the image.
        augment: what was passed for `augment=`.

    Raises:
        UsageError: with what there is to choose from.
    """
    if not isinstance(task, Regression) or task.n_out < 2:
        return
    if not may_move(augment, preprocess.resize.size, preprocess.channels):
        return
    if look_like_places(task, np.array(targets, dtype=float), max(preprocess.sides(inputs[0]))):
        names = ", ".join(task.names[:4])
        raise UsageError(
            f"the numbers of an item ({names}) look like places in the image, which augment= would move without them",
            fix="Pass task=Points(names), whose points move along, augment=[Brightness(), Contrast()], or, if they are "
            "not places, names that say what they are: task=Regression(names).",
        )


def warn_if_elsewhere(rows: "pd.DataFrame", preprocess: Preprocess) -> None:
    """Warn about key points that lie outside their images, as those of x and y in the wrong order, and fractions.

    Args:
        rows: of the training set: columns input and target, as `label_points` returns it.
        preprocess: reads images.
    """
    some = rows.iloc[:: max(1, -(-len(rows) // MAX_LOOKED_AT))]
    points = np.array(rows["target"].tolist(), dtype=float)
    if np.nanmax(points) <= 1 and np.nanmin(points) >= 0:
        warn("the key points look like fractions of the images: pixels are expected, (0, 0) the center of the first")
        return
    outside = []
    for row, source, target in zip(some.index, some["input"], some["target"], strict=True):
        try:
            height, width = preprocess.sides(source)
        except ImageError:  # it is named where the image is needed
            continue
        off = np.abs(np.array(target) / (width, height) - 0.5)
        if (off > 0.5 + MARGIN).any():
            outside.append(f"{source} (row {row}, {width} x {height}): {target}")
    if outside:
        warn(
            f"{len(outside)} of {len(some)} training images have points outside them, first {outside[0]}; a label is "
            "x and y of every point, in pixels of the original image"
        )


def look_like_places(task: Regression, targets: "np.ndarray[Any, Any]", side: int) -> bool:
    """Whether names such as x and y say so, or, of numbers without names, pairs that lie within an image.

    Args:
        task: with the names.
        targets: (N, n).
        side: the longer side of an image, pixels.

    >>> look_like_places(Regression(("nose_x", "nose_y")), np.zeros((1, 2)), 100)
    True
    >>> look_like_places(Regression(("age", "height")), np.array([[31.0, 170.0]]), 224)
    False
    """
    n = task.n_out
    if task.names == tuple(f"value {i}" for i in range(n)):
        return n % 2 == 0 and bool(((targets >= -1) & (targets <= side)).all())
    return {_axis(name) for name in task.names} >= {"x", "y"}


def _axis(name: str) -> str:
    """ "x" or "y" if the name is that of a coordinate, "" otherwise."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()
    for word in re.split(r"[^a-z0-9]+", spaced):
        if match := AXIS.fullmatch(word):
            return match[1]
        if word in WORDS:
            return WORDS[word]
    return ""
