"""What a classifier gets right and wrong: top losses, confusion matrix, most confused classes."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from torch import Tensor

from learnkit.data.tasks import Classification
from learnkit.errors import DataError, UsageError, WrongTypeError
from learnkit.types import DatasetType

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["ClassificationInterpretation"]

RIGHT, WRONG = "#0072B2", "#B3471B"


@dataclass(frozen=True, eq=False)  # tensors have no single answer to ==
class ClassificationInterpretation:
    """Predictions, made once, and the questions one asks of them.

    Attributes:
        probs: (N, C), rows sum to 1.
        targets: (N,), int64 class numbers.
        losses: (N,).
        classes: C names.
        picture: gives item i as uint8 (H, W, 3), where there are pictures.
        name: gives what item i is called.

    Raises:
        UsageError: the shapes, the targets and the classes do not fit each other.
    """

    probs: Tensor
    targets: Tensor
    losses: Tensor
    classes: tuple[str, ...]
    picture: Callable[[int], "np.ndarray[Any, Any]"] | None = field(default=None, repr=False)
    name: Callable[[int], str] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        n, c = len(self.targets), len(self.classes)
        if self.probs.shape != (n, c):  # a column too many would be counted in the next class's row
            expected = f"{(n, c)}: {n} items, {c} classes"
            fix = "Give the model one output a class, and the data every class there is."
            raise UsageError("probs: the shape", got=tuple(self.probs.shape), expected=expected, fix=fix)
        if self.losses.shape != (n,):
            raise UsageError("losses: the shape", got=tuple(self.losses.shape), expected=f"{(n,)}: one an item")
        if self.targets.dtype != torch.int64 or self.targets.ndim != 1:
            got = f"{self.targets.dtype} of shape {tuple(self.targets.shape)}"
            raise UsageError(f"targets: got {got}, expected class numbers, torch.int64 of shape {(n,)}")
        wrong = self.targets[(self.targets < 0) | (self.targets >= c)]
        if len(wrong):
            raise UsageError("targets", got=int(wrong[0]), expected=f"class numbers from 0 to {c - 1}")

    @classmethod
    def from_learner(cls, learn: Any, ds_type: DatasetType = DatasetType.Valid) -> Self:
        """Predict a part of the learner's data.

        Raises:
            WrongTypeError: the data's task is not one class an item.
            UsageError: the part has no labels, or the data has no classes.
        """
        task = learn.dls.task
        if task is None:
            raise UsageError("interpret: the data does not say what its classes are", fix="Give the bunch classes=.")
        if not isinstance(task, Classification):
            kind = type(task).__name__
            raise WrongTypeError(
                f"ClassificationInterpretation: got data of task {kind}, expected Classification",
                fix=f"Use {kind}Interpretation.",
            )
        try:
            probs, targets, losses = learn.get_preds(ds_type, with_loss=True)
        except DataError as error:
            if learn.get_preds(ds_type, n_batch=1)[1] is not None:
                raise
            name = DatasetType(ds_type).name
            raise UsageError(f"interpret: the set {name} has no labels", fix="Use learn.get_preds.") from error
        dls = learn.dls
        return cls(
            probs,
            targets if targets.is_floating_point() else targets.long(),  # bytes would overflow when pairs are counted
            losses,
            tuple(dls.classes),
            picture=lambda i: dls.picture(ds_type, i),
            name=lambda i: dls.item_name(ds_type, i),
        )

    @property
    def preds(self) -> Tensor:
        """(N,), the most probable class of each item."""
        return self.probs.argmax(1)

    def top_losses(self, k: int | None = None, largest: bool = True) -> tuple[Tensor, Tensor]:
        """(losses, indices) of the k items with the largest (or smallest) losses, sorted; all of them without k.

        Raises:
            UsageError: k is not between 1 and the number of items.
        """
        n = len(self.losses)
        if k is not None and (isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= n):
            raise UsageError("k", got=k, expected=f"from 1 to {n}, the number of items")
        losses, indices = self.losses.sort(descending=largest, stable=True)
        return losses[:k], indices[:k]

    def plot_top_losses(self, k: int, largest: bool = True) -> "Figure":
        """The k pictures with the largest losses, titled predicted / actual, loss, probability of the actual class.

        All of them when there are fewer; blue titles where the prediction is right, rust-red ones where it is wrong.

        Raises:
            UsageError: k is not a whole number above 0, or the items have no pictures.
        """
        from learnkit.plots import image_grid

        if self.picture is None:
            raise UsageError("plot_top_losses: these items have no pictures", fix="Use top_losses.")
        if isinstance(k, bool) or not isinstance(k, int) or k < 1:
            raise UsageError("k", got=k, expected="a whole number, 1 or more")
        losses, indices = self.top_losses(min(k, len(self.losses)), largest)
        titles, colours = [], []
        for loss, i in zip(losses.tolist(), indices.tolist(), strict=True):
            actual, predicted = int(self.targets[i]), int(self.preds[i])
            titles.append(
                f"{self.classes[predicted]} / {self.classes[actual]}\nloss {loss:.2f}, p {self.probs[i, actual]:.2f}"
            )
            colours.append(RIGHT if actual == predicted else WRONG)
        figure = image_grid([self.picture(i) for i in indices.tolist()], titles, title_colors=colours)
        figure.suptitle("predicted / actual, loss, probability of the actual class", fontsize=10)
        return figure

    def confusion_matrix(self) -> Tensor:
        """Counts, int64 (C, C): row is the actual class, column the predicted one."""
        n = len(self.classes)
        return torch.bincount(self.targets * n + self.preds, minlength=n * n).view(n, n)

    def plot_confusion_matrix(self, normalize: bool = False) -> "Figure":
        """The confusion matrix, as counts or as shares of each actual class."""
        from learnkit.plots import confusion_matrix

        return confusion_matrix(self.confusion_matrix().numpy(), self.classes, normalize)

    def most_confused(self, min_val: int = 1) -> list[tuple[str, str, int]]:
        """(actual, predicted, times) of the classes taken for another at least `min_val` times, most often first."""
        counts = self.confusion_matrix().fill_diagonal_(0)
        pairs = [(row, column, int(counts[row, column])) for row, column in counts.nonzero().tolist()]
        pairs.sort(key=lambda pair: -pair[2])  # stable: ties stay in the order of the classes
        return [(self.classes[row], self.classes[column], times) for row, column, times in pairs if times >= min_val]
