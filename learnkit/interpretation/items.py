"""What every interpretation shares: its items, their losses, and the items the model finds hardest."""

import math
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self, SupportsIndex, Unpack

import numpy as np
from torch import Tensor

from learnkit.arguments import checks_keywords
from learnkit.atomic_files import named_file
from learnkit.checks import check_int
from learnkit.data.image.draw import RIGHT, WRONG
from learnkit.data.loading.items import checked_item
from learnkit.errors import DataError, UsageError, WrongTypeError, warn
from learnkit.interpretation.item_source import ItemSource
from learnkit.interpretation.learners import Predicts, Trained
from learnkit.interpretation.naming import named_items, plain_number
from learnkit.plots.layout import Panels
from learnkit.text import facts
from learnkit.types import DatasetType, PathLike

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


__all__ = ["Interpretation", "no_labels"]

COLORS: dict[bool | None, str] = {True: RIGHT, False: WRONG, None: "black"}  # right, wrong, neither


def no_labels(ds_type: DatasetType) -> UsageError:
    """The error for a part of the data without labels."""
    name = DatasetType(ds_type).name
    return UsageError("ds_type", got=name, expected="a part of the data that has labels", fix="Use learn.get_preds.")


class Interpretation(ABC):
    """Predictions over a part of the data, made once, with methods to analyze them.

    Each kind is a frozen dataclass that has these attributes and its own.

    Attributes:
        losses: (N,), the loss of each item.
        targets: (N, ...), as in the data.
        source: images, names and inputs of the items, and the model; any may be missing.
    """

    kind: ClassVar[type]  # of task
    caption: ClassVar[str] = "loss"  # what the titles of plot_top_losses contain

    losses: Tensor
    targets: Tensor
    source: ItemSource

    @classmethod
    @abstractmethod
    def from_learner(cls, learn: Predicts, ds_type: DatasetType = DatasetType.Valid) -> Self:
        """Predict a part of the learner's data."""

    @abstractmethod
    def main_numbers(self) -> dict[str, object]:
        """What to look at first, as names and values."""

    @abstractmethod
    def _prediction_columns(self, indices: Tensor) -> dict[str, Any]:
        """The columns `prediction` and `target` of these items."""

    @abstractmethod
    def _title(self, i: int, loss: float) -> tuple[str, bool | None]:
        """The title above the image of item i, and whether its prediction is right (None: neither)."""

    def _details(self, indices: Tensor) -> dict[str, Any]:
        """Further columns of these items, after the loss."""
        return {}

    def _image(self, i: int) -> "np.ndarray[Any, Any]":
        """The image of item i, uint8 (H, W, 3)."""
        if self.source.image is None:
            raise UsageError("plot_top_losses: these items have no images", fix="Use top_losses.")
        return self.source.image(i)

    @classmethod
    def _task(cls, learn: Predicts) -> Any:
        """The learner's task, if it is of the kind interpreted here."""
        task = learn.dls.task
        if task is None:
            raise UsageError(
                "interpret: the data does not specify its classes", fix="Pass the bunch classes= or task=."
            )
        if not isinstance(task, cls.kind):
            got = type(task).__name__
            raise WrongTypeError(
                f"{cls.__name__}: the task of the data",
                got=got,
                expected=cls.kind.__name__,
                fix=f"Use {got}Interpretation, or learn.interpret().",
            )
        return task

    @staticmethod
    def _predicted(learn: Predicts, ds_type: DatasetType) -> tuple[Tensor, Tensor, Tensor]:
        """(activated outputs, targets, losses) of a part of the data, in its order, on the CPU."""
        try:
            preds, targets, losses = learn.get_preds(ds_type, with_loss=True)
        except DataError as error:
            if learn.get_preds(ds_type, n_batch=1)[1] is not None:
                raise
            raise no_labels(ds_type) from error
        if not isinstance(targets, Tensor):
            raise UsageError("interpret: the targets", got=type(targets).__name__, expected="one tensor")
        bad = preds[:, None].flatten(1).isnan().any(1).nonzero()[:, 0].tolist()
        if bad:  # nan is the highest number to argmax, and the lowest to a threshold
            warn(
                f"interpret: the predictions of {len(bad)} of {len(preds)} items are nan, the first of them item"
                f" {bad[0]}, and cannot be interpreted. Look at these items, or at the weights of the model."
            )
        return preds, targets, losses

    def top_losses(self, k: int | None = None, largest: bool = True) -> tuple[Tensor, Tensor]:
        """(losses, indices) of the k items with the largest (or smallest) losses, sorted; all of them without k.

        Raises:
            UsageError: k is not between 1 and the number of items.
        """
        n = len(self.losses)
        if k is not None:
            k = check_int("k", k, 1, n, expected=f"an integer from 1 to {n}, the number of items")
        losses, indices = self.losses.sort(descending=largest, stable=True)
        return losses[:k], indices[:k]

    def top_losses_table(self, k: int | None = None, largest: bool = True) -> "pd.DataFrame":
        """One row per item, that with the largest (or smallest) loss first; all of them without k.

        Columns: item (its index in the data set), path, prediction, target, loss, and those of the task. All items when
        there are fewer than k.

        Raises:
            UsageError: k is not an integer above 0.
        """
        import pandas as pd

        if k is not None:
            k = min(check_int("k", k, 1), len(self.losses))
        losses, indices = self.top_losses(k, largest)
        items = indices.tolist()
        return pd.DataFrame(
            {
                "item": items,
                "path": named_items(items, self.source.name),
                **self._prediction_columns(indices),
                "loss": losses.double().numpy(),
                **self._details(indices),
            }
        )

    def unfamiliar(self) -> "pd.DataFrame":
        """The items unlike those the model knows, the strangest first; columns item, path, prediction, target, score.

        The score is below 0; see `Learner.fit_conformal`, by which 5 % of the part it was fitted on are in this table.

        Raises:
            UsageError: `learn.fit_conformal` has not been called, or these predictions have no learner.
        """
        import pandas as pd

        if self.source.familiarity is None:
            raise UsageError("unfamiliar: these items have no learner", fix="Use learn.interpret().")
        scores, order = self.source.familiarity().sort(stable=True)
        order, scores = order[scores < 0], scores[scores < 0]
        items = order.tolist()
        columns = {"item": items, "path": named_items(items, self.source.name), **self._prediction_columns(order)}
        return pd.DataFrame({**columns, "score": scores.numpy()})

    @checks_keywords
    def plot_top_losses(self, k: int, largest: bool = True, **layout: Unpack[Panels]) -> "Figure":
        """The k images with the largest (or smallest) losses; all of them when there are fewer.

        Where a prediction is right or wrong, its title is blue or rust-red. `layout` takes nrows, ncols and figsize,
        in inches.

        Raises:
            UsageError: k is not an integer above 0, or the items have no images.
        """
        from learnkit.plots import image_grid
        from learnkit.plots.layout import grid_shape

        check_int("k", k, 1)
        shape = grid_shape(k, layout.get("nrows"), layout.get("ncols"), widest=math.ceil(k**0.5))
        losses, indices = (part.tolist() for part in self.top_losses(min(k, len(self.losses)), largest))
        images = [self._image(i) for i in indices]
        titles = [self._title(i, loss) for i, loss in zip(indices, losses, strict=True)]
        figure = image_grid(
            images,
            [title for title, _ in titles],
            min(shape[1], len(images)),
            [COLORS[is_right] for _, is_right in titles],
            figsize=layout.get("figsize"),
        )
        figure.suptitle(self.caption, fontsize=10)
        return figure

    def report(self, path: PathLike, learn: Trained | None = None, *, duplicates: bool = False) -> Path:
        """Write one HTML page that shows all of this, and return its path.

        Args:
            path: path of the file.
            learn: the learner, for its settings, its history and what `fit_conformal` has fitted.
            duplicates: also show near-duplicates and outliers, by a pass over all items of the learner's data.

        Raises:
            UsageError: a path without a name; duplicates without a learner.
        """
        from learnkit.interpretation.report.build import content_of
        from learnkit.interpretation.report.render import write_report

        file = named_file("path", path)
        return write_report(file, content_of(self, learn=learn, duplicates=duplicates))

    def _checked(self, i: SupportsIndex) -> int:
        return checked_item(plain_number(i), len(self.losses))

    def _check_kinds(self) -> None:
        """Refuse parts of the wrong type, such as a learner, before their shapes are compared."""
        made = f"{type(self).__name__}.from_learner(learn)"
        for name, part in vars(self).items():
            is_tensor = name in ("probs", "preds", "targets", "losses")
            if (is_tensor and not isinstance(part, Tensor)) or (
                name in ("classes", "names") and not isinstance(part, tuple | list)
            ):
                expected = "a tensor" if is_tensor else "a tuple of names"
                raise WrongTypeError(name, got=type(part).__name__, expected=expected, fix=f"{made} makes all parts.")

    def _check_losses(self, n: int) -> None:
        if self.losses.shape != (n,):
            raise UsageError("losses: the shape", got=tuple(self.losses.shape), expected=f"{(n,)}: one per item")
        if not n:
            raise UsageError(f"{type(self).__name__}: no items to interpret")

    def _repr_html_(self) -> str:
        return facts(type(self).__name__, {"items": f"{len(self.losses):,}", **self.main_numbers()})
