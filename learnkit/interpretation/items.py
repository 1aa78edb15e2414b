"""What every interpretation shares: its items, their losses, and the items the model finds hardest."""

import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self, SupportsIndex

import numpy as np
from torch import Tensor, nn

from learnkit.atomic_files import named_file
from learnkit.checks import check_int
from learnkit.data.image.draw import RIGHT, WRONG
from learnkit.data.loading.peek import checked_item
from learnkit.errors import DataError, UsageError, WrongTypeError, warn
from learnkit.text import facts
from learnkit.types import DatasetType, PathLike

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["TRAINING", "Input", "Interpretation", "Name", "Picture", "named_items", "plain_number"]

Picture = Callable[[int], "np.ndarray[Any, Any]"]
Name = Callable[[int], str]
Input = Callable[[int], Tensor]

TRAINING = "training set"
PARTS = {
    DatasetType.Train: TRAINING,
    DatasetType.Fix: TRAINING,
    DatasetType.Valid: "validation set",
    DatasetType.Test: "test set",
}

COLOURS = {True: RIGHT, False: WRONG, None: "black"}  # right, wrong, neither


class Interpretation(ABC):
    """Predictions over a part of the data, made once, and the questions one asks of them.

    Each kind is a frozen dataclass that has these attributes and its own.

    Attributes:
        losses: (N,), the loss of each item.
        targets: (N, ...), as the data gives them.
        picture: gives item i as uint8 (H, W, 3), where there are pictures.
        name: gives what item i is called: its path, or its number.
        model: what made the predictions, as it is now; nothing here changes it or its mode.
        input: gives item i as the model sees it, (1, ...), on the device.
        part: of the data, such as "validation set"; empty where that is not known.
    """

    kind: ClassVar[type]  # of task
    caption: ClassVar[str] = "loss"  # what the titles of plot_top_losses say

    losses: Tensor
    targets: Tensor
    picture: Picture | None
    name: Name | None
    model: nn.Module | None
    input: Input | None
    part: str

    @classmethod
    @abstractmethod
    def from_learner(cls, learn: Any, ds_type: DatasetType = DatasetType.Valid) -> Self:
        """Predict a part of the learner's data."""

    @abstractmethod
    def main_numbers(self) -> dict[str, object]:
        """What to look at first, as names and values."""

    @abstractmethod
    def _answers(self, indices: Tensor) -> dict[str, Any]:
        """The columns `prediction` and `target` of these items."""

    @abstractmethod
    def _title(self, i: int, loss: float) -> tuple[str, bool | None]:
        """What stands above the picture of item i, and whether its prediction is right (None: neither)."""

    def _details(self, indices: Tensor) -> dict[str, Any]:
        """Further columns of these items, after the loss."""
        return {}

    def _drawn(self, i: int) -> "np.ndarray[Any, Any]":
        """What plot_top_losses shows of item i: uint8 (H, W, 3)."""
        if self.picture is None:
            raise UsageError("plot_top_losses: these items have no pictures", fix="Use top_losses.")
        return self.picture(i)

    @classmethod
    def _task(cls, learn: Any) -> Any:
        """The learner's task, which has to be of the kind that is interpreted here."""
        task = learn.dls.task
        if task is None:
            raise UsageError(
                "interpret: the data does not say what its classes are", fix="Give the bunch classes= or task=."
            )
        if not isinstance(task, cls.kind):
            got = type(task).__name__
            raise WrongTypeError(
                f"{cls.__name__}: got data of task {got}, expected {cls.kind.__name__}",
                fix=f"Use {got}Interpretation, or learn.interpret().",
            )
        return task

    @staticmethod
    def _predicted(learn: Any, ds_type: DatasetType) -> tuple[Tensor, Tensor, Tensor]:
        """(activated outputs, targets, losses) of a part of the data, in its order, on the CPU."""
        try:
            preds, targets, losses = learn.get_preds(ds_type, with_loss=True)
        except DataError as error:
            if learn.get_preds(ds_type, n_batch=1)[1] is not None:
                raise
            raise UsageError(
                f"interpret: the set {DatasetType(ds_type).name} has no labels", fix="Use learn.get_preds."
            ) from error
        bad = preds[:, None].flatten(1).isnan().any(1).nonzero()[:, 0].tolist()
        if bad:  # nan is the highest of numbers to argmax, and the lowest to a threshold
            warn(
                f"interpret: the predictions of {len(bad)} of {len(preds)} items are nan, the first of them item"
                f" {bad[0]}, and say nothing. Look at these items, or at the weights of the model."
            )
        return preds, targets, losses

    @staticmethod
    def _items(learn: Any, ds_type: DatasetType) -> dict[str, Any]:
        """picture, name, model, input and part of a part of the data."""
        dls = learn.dls
        return {
            "picture": lambda i: dls.picture(ds_type, i),
            "name": lambda i: dls.item_name(ds_type, i),
            "model": learn.model,
            "input": lambda i: dls.one_input(ds_type, i),
            "part": PARTS.get(ds_type, "") if isinstance(ds_type, int) else "",
        }

    def top_losses(self, k: int | None = None, largest: bool = True) -> tuple[Tensor, Tensor]:
        """(losses, indices) of the k items with the largest (or smallest) losses, sorted; all of them without k.

        Raises:
            UsageError: k is not between 1 and the number of items.
        """
        n = len(self.losses)
        if k is not None and (isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= n):
            raise UsageError("k", got=k, expected=f"an integer from 1 to {n}, the number of items")
        losses, indices = self.losses.sort(descending=largest, stable=True)
        return losses[:k], indices[:k]

    def top_losses_table(self, k: int | None = None, largest: bool = True) -> "pd.DataFrame":
        """One row an item, that with the largest (or smallest) loss first; all of them without k.

        Columns: item (its number in the data set), path, prediction, target, loss, and what the kind of task adds.

        Raises:
            UsageError: k is not between 1 and the number of items.
        """
        import pandas as pd

        losses, indices = self.top_losses(k, largest)
        items = indices.tolist()
        return pd.DataFrame(
            {
                "item": items,
                "path": named_items(items, self.name),
                **self._answers(indices),
                "loss": losses.double().numpy(),
                **self._details(indices),
            }
        )

    def plot_top_losses(self, k: int, largest: bool = True) -> "Figure":
        """The k pictures with the largest (or smallest) losses; all of them when there are fewer.

        Where an answer is right or wrong, its title is blue or rust-red.

        Raises:
            UsageError: k is not an integer above 0, or the items have no pictures.
        """
        from learnkit.plots import image_grid

        check_int("k", k, 1)
        losses, indices = (part.tolist() for part in self.top_losses(min(k, len(self.losses)), largest))
        pictures = [self._drawn(i) for i in indices]
        titles = [self._title(i, loss) for i, loss in zip(indices, losses, strict=True)]
        figure = image_grid(
            pictures, [title for title, _ in titles], title_colors=[COLOURS[is_right] for _, is_right in titles]
        )
        figure.suptitle(self.caption, fontsize=10)
        return figure

    def report(self, path: PathLike, learn: Any = None) -> Path:
        """Write one HTML page that says all of this, and return its path.

        Args:
            path: of the file.
            learn: the learner, for its settings and its history.

        Raises:
            UsageError: a path without a name.
        """
        from learnkit.interpretation.report.build import content_of
        from learnkit.interpretation.report.page import write_report

        file = named_file("path", path)
        return write_report(file, content_of(self, learn=learn))

    def _checked(self, i: SupportsIndex) -> int:
        return checked_item(plain_number(i), len(self.losses))

    def _check_losses(self, n: int) -> None:
        if self.losses.shape != (n,):
            raise UsageError("losses: the shape", got=tuple(self.losses.shape), expected=f"{(n,)}: one an item")
        if not n:
            raise UsageError(f"{type(self).__name__}: there are no items to interpret")

    def _repr_html_(self) -> str:
        return facts(type(self).__name__, {"items": f"{len(self.losses):,}", **self.main_numbers()})


def plain_number(number: Any) -> Any:
    """The whole number of a tensor or of NumPy, as tables and `top_losses` give them, as an int; all else as it is."""
    try:
        return number if isinstance(number, bool) else operator.index(number)
    except TypeError:
        return number


def named_items(items: Sequence[int], name: Name | None) -> "pd.Series[Any]":
    """What these items are called, their numbers without `name`, as a column: a path need not be valid UTF-8."""
    import pandas as pd

    return pd.Series([str(i) if name is None else name(i) for i in items], dtype=object)
