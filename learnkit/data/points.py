"""Key points: places in an image, which move with it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from learnkit.checks import is_int, nearest
from learnkit.data.image.coordinates import from_view, in_pixels, to_view
from learnkit.data.image.resize import View
from learnkit.errors import DataError, UsageError
from learnkit.losses.points import PointsLoss
from learnkit.metrics.points import point_distance
from learnkit.text import counted
from learnkit.tree import map_tensors

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Points", "as_points", "label_points"]

Pairs = Iterable[tuple[str, str]]
SIDES = ("left", "right")


@dataclass(frozen=True)
class Points:
    """Key points per item.

    A label is x and y of every point, in pixels of the original image: rows (x, y) or one row x, y, x, y, ...; nan or
    None for a point that is missing. (0, 0) is the center of the first pixel. Targets are float32 (N, points, 2), x and
    y in [-1, 1] of the image the model sees, and nan for a missing point, which counts neither in the loss nor in the
    metric; a point that an augmentation moves out of the image is missing. Predictions for one image are in pixels of
    that image again.

    Args:
        names: one name per point, or how many there are.
        swaps: pairs of names of points that change places in a mirror image, such as ("left eye", "right eye"); () if
            none do.
        size: (height, width) of the images the model sees; set by the bunch.
        view: what is seen of one image; set for a prediction.

    Raises:
        UsageError: no names, or the same twice, or swaps of points that are not there.
    """

    names: Sequence[str] | int = 1
    swaps: Pairs | None = None
    size: tuple[int, int] | None = None
    view: View | None = None

    def __post_init__(self) -> None:
        names: Any = self.names
        if is_int(names):
            names = tuple(f"point {number}" for number in range(int(names)))
        if isinstance(names, str) or not isinstance(names, Sequence) or not all(isinstance(n, str) for n in names):
            raise UsageError("Points: names", got=self.names, expected="a list of names, or how many points there are")
        if not names or len(set(names)) < len(names):
            raise UsageError("Points: names", got=self.names, expected="one name or more, each once")
        object.__setattr__(self, "names", tuple(names))
        if self.swaps is not None:
            object.__setattr__(self, "swaps", _checked_swaps(self.swaps, tuple(names)))

    @property
    def point_names(self) -> tuple[str, ...]:
        """One name per point."""
        assert isinstance(self.names, tuple)
        return self.names

    @property
    def classes(self) -> tuple[str, ...]:
        return ()

    @property
    def n_out(self) -> int:
        return 2 * len(self.point_names)

    @property
    def columns(self) -> tuple[str, ...]:
        """One name per number: "nose x", "nose y", ..."""
        return tuple(f"{name} {axis}" for name in self.point_names for axis in "xy")

    @property
    def mirrored(self) -> tuple[int, ...] | None:
        """The point that each one is in a mirror image; None if all stay."""
        if not self.swaps:
            return None
        other = {name: twin for pair in self.swaps for name, twin in (pair, pair[::-1])}
        return tuple(self.point_names.index(other.get(name, name)) for name in self.point_names)

    @property
    def says_swaps(self) -> bool:
        """Whether it is known which points change places: `swaps` is given, or no name speaks of left or right."""
        return self.swaps is not None or not any(side in name.lower() for name in self.point_names for side in SIDES)

    @property
    def metrics(self) -> tuple[Any, ...]:
        return (point_distance(self.size),)

    def parse(self, label: Any, where: str = "label") -> "np.ndarray[Any, np.dtype[np.float32]]":
        """A label as an array, float32 (points, 2); a point of which one coordinate is missing is missing.

        `where` names the label in an error.

        Raises:
            DataError: not two numbers for each point, or an infinite one.
        """
        n = len(self.point_names)
        expected = f"x and y of {counted(n, 'point')}: {', '.join(self.point_names[:5])}"
        try:
            numbers = np.array(map_tensors(Tensor.tolist, label), dtype=np.float32)
        except (OverflowError, TypeError, ValueError) as error:
            raise DataError(where, got=label, expected=expected) from error
        if numbers.shape not in ((n, 2), (2 * n,)):
            raise DataError(where, got=f"numbers of shape {numbers.shape}", expected=expected)
        if np.isinf(numbers).any():
            raise DataError(where, got=label, expected="finite numbers, or nan for a missing point")
        points = numbers.reshape(n, 2)
        return np.where(np.isnan(points).any(1, keepdims=True), np.float32(np.nan), points)

    def place(self, label: Any, view: View) -> "np.ndarray[Any, np.dtype[np.float32]]":
        """A label as a target of this view of its image, float32 (points, 2)."""
        return to_view(self.parse(label), view).astype(np.float32)

    def encode(self, label: Any) -> Tensor:
        """A label that is in [-1, 1] already, as a target (points, 2)."""
        return torch.from_numpy(self.parse(label))

    def loss(self) -> nn.Module:
        return PointsLoss()

    def activation(self, raw: Tensor) -> Tensor:
        return as_points(raw)

    def decode(self, activated: Tensor) -> tuple[tuple[tuple[float, float], ...], Tensor]:
        """((x, y) of each point, the same as a target): in pixels of the image predicted; in [-1, 1] without one."""
        target = activated.reshape(-1, 2)
        points = target.double().numpy()
        if self.view is not None:
            points = from_view(points, self.view)
        return tuple((float(x), float(y)) for x, y in points.tolist()), target

    def text(self, target: Tensor) -> str:
        """The points, in pixels of what the model sees; how many are known if there are more than two."""
        points = target.reshape(-1, 2).double().cpu().numpy()
        shown = points if self.size is None else in_pixels(points, *self.size)
        if len(shown) > 2:
            n_known = int(np.isfinite(points).all(1).sum())
            return f"{n_known} of {len(points)} points" if n_known < len(points) else f"{n_known} points"
        lines = zip(self.point_names, shown.tolist(), strict=True)
        return "\n".join(f"{name} missing" if x != x else f"{name} {x:.4g}, {y:.4g}" for name, (x, y) in lines)

    def of(self, view: View) -> "Points":
        """This task for one image, of which `view` is seen."""
        return replace(self, view=view)


def as_points(raw: Tensor) -> Tensor:
    """Outputs (N, 2 P) as points (N, P, 2)."""
    return raw.reshape(raw.shape[0], -1, 2)


def label_points(samples: "pd.DataFrame", task: Points) -> "pd.DataFrame":
    """The table with its targets as tuples of (x, y); those of an unlabeled test set stay missing.

    Raises:
        DataError: labels that are not points, with their rows, or none at all in the training set.
    """
    targets = np.empty(len(samples), dtype=object)
    for place, (row, label, split) in enumerate(zip(samples.index, samples["target"], samples["split"], strict=True)):
        is_missing = label is None or (isinstance(label, float) and label != label)
        if split == "test" and is_missing:
            continue
        points = task.parse(label, f"row {row} ({samples['input'][row]}): label")
        targets[place] = tuple((float(x), float(y)) for x, y in points.tolist())
    train = [target for target, split in zip(targets, samples["split"], strict=True) if split == "train"]
    if train and not np.isfinite(np.array(train)).any():
        raise DataError("no training image has a point", fix="Check label_col, or the function of the labels.")
    return samples.assign(target=targets)


def _checked_swaps(swaps: Any, names: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    expected = "pairs of names, each point in one pair at most"
    try:
        pairs = tuple((str(one), str(other)) for one, other in swaps)
    except (TypeError, ValueError) as error:
        raise UsageError("Points: swaps", got=swaps, expected=expected) from error
    named = [name for pair in pairs for name in pair]
    if unknown := [name for name in named if name not in names]:
        fix = f"Nearest: {nearest(unknown[0], names)}."
        raise UsageError("Points: swaps", got=unknown[0], expected="the name of a point", fix=fix)
    if len(set(named)) < len(named):
        raise UsageError("Points: swaps", got=swaps, expected=expected)
    return pairs
