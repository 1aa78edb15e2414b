"""How far off predicted key points are: errors by coordinate, in pixels of what the model sees, and by distance."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from learnkit.data.image.coordinates import in_pixels, of_pixels
from learnkit.data.points import Points
from learnkit.interpretation.item_source import ItemSource
from learnkit.interpretation.learners import Predicts
from learnkit.interpretation.regression import RegressionInterpretation
from learnkit.types import DatasetType

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["PointsInterpretation"]


@dataclass(frozen=True, eq=False)
class PointsInterpretation(RegressionInterpretation):
    """Predictions of key points, made once: a regression of their coordinates, drawn on the images.

    Attributes:
        preds: (N, 2 P), x and y of each point, in pixels of the images the model sees.
        targets: (N, 2 P), nan for a missing point.
        losses: (N,).
        names: 2 P names, "nose x", "nose y", ...
        source: images, names and inputs of the items, and the model; any may be missing.
        size: (height, width) of the images the model sees.
    """

    kind: ClassVar[type] = Points
    caption: ClassVar[str] = "blue: actual, orange: predicted; distance, loss"

    preds: Tensor
    targets: Tensor
    losses: Tensor
    names: tuple[str, ...] = ("point x", "point y")
    source: ItemSource = field(default=ItemSource(), repr=False)
    size: tuple[int, int] = (2, 2)

    @classmethod
    def from_learner(cls, learn: Predicts, ds_type: DatasetType = DatasetType.Valid) -> Self:
        """Predict a part of the learner's data.

        Raises:
            WrongTypeError: the data's task is not Points.
            UsageError: the part has no labels, or the data does not specify what its targets are.
        """
        task = cls._task(learn)
        preds, targets, losses = cls._predicted(learn, ds_type)
        size = task.size or (2, 2)

        def pixels(points: Tensor) -> Tensor:
            return torch.from_numpy(in_pixels(points.reshape(len(losses), -1, 2).numpy(), *size)).float().flatten(1)

        source = ItemSource.from_learner(learn, ds_type)
        return cls(pixels(preds), pixels(targets), losses, task.columns, source, size)

    def distances(self) -> "pd.DataFrame":
        """The distance of every point of every item from its true place, pixels; a column per point, nan if missing."""
        import pandas as pd

        off = self.residuals.reshape(len(self.losses), -1, 2).square().sum(-1).sqrt()
        return pd.DataFrame(off.numpy(), columns=[name.removesuffix(" x") for name in self.names[::2]])

    def main_numbers(self) -> dict[str, object]:
        """The mean distance, of all points and of each."""
        off = self.distances()
        texts = {str(name): f"{mean:.4g} px off" for name, mean in off.mean().items()}
        whole = f"{np.nanmean(off.to_numpy()):.4g} px" if off.notna().any(axis=None) else "no known points"
        task = f"key points: {', '.join(map(str, off.columns))}"
        return {"task": task, "mean loss": f"{self.losses.double().mean():.4g}", "mean distance": whole, **texts}

    def _image(self, i: int) -> "np.ndarray[Any, Any]":
        from learnkit.plots.points import PREDICTED, TRUE, points_over

        layers = [
            (of_pixels(part[i].reshape(-1, 2).numpy(), *self.size), color)
            for part, color in ((self.targets, TRUE), (self.preds, PREDICTED))
        ]
        return points_over(super()._image(i), layers)

    def _title(self, i: int, loss: float) -> tuple[str, None]:
        off = self.residuals[i].reshape(-1, 2).square().sum(-1).sqrt()
        distance = off.nanmean().item()
        return f"{'no known points' if distance != distance else f'{distance:.3g} px'}\nloss {loss:.2g}", None
