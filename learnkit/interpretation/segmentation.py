"""What a segmentation model gets right and wrong, pixel by pixel: IoU per class, confusions, errors per image."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Self, Unpack

import numpy as np
import torch
from torch import Tensor

from learnkit.arguments import checks_keywords
from learnkit.checks import check_int
from learnkit.data.segmentation import Segmentation
from learnkit.errors import DataError, UsageError
from learnkit.interpretation.item_source import ItemSource
from learnkit.interpretation.items import Interpretation, no_labels
from learnkit.interpretation.learners import Predicts
from learnkit.metrics.counts import f_of, jaccard_of, precision_of, recall_of
from learnkit.metrics.rates import most_frequent_pairs
from learnkit.plots.layout import FigSize, Panels
from learnkit.types import Activation, DatasetType

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


__all__ = ["SegmentationInterpretation"]

MAX_NAMED = 3  # classes of a mask in the table


@dataclass(frozen=True, eq=False)  # tensors have no single truth value
class SegmentationInterpretation(Interpretation):
    """Predicted masks, made once, with methods to analyze them; probabilities are not kept.

    Attributes:
        preds: (N, H, W), uint8, the most probable class of each pixel.
        targets: (N, H, W), uint8 class indices.
        losses: (N,), the mean over the pixels of an item that are not ignored.
        classes: C names.
        ignored: the target of pixels that do not count; it may be one of the classes, which then is not measured.
        source: images, names and inputs of the items, and the model; any may be missing.

    Raises:
        UsageError: shapes that do not fit each other, or numbers that are not class indices.
    """

    kind: ClassVar[type] = Segmentation

    preds: Tensor
    targets: Tensor
    losses: Tensor
    classes: tuple[str, ...]
    ignored: int | None = None
    source: ItemSource = field(default=ItemSource(), repr=False)

    def __post_init__(self) -> None:
        self._check_kinds()
        if self.preds.ndim != 3 or self.preds.shape != self.targets.shape:
            shapes = (tuple(self.preds.shape), tuple(self.targets.shape))
            raise UsageError("preds and targets: the shapes", got=shapes, expected="(N, H, W) of both")
        self._check_losses(len(self.preds))
        for name, masks in (("preds", self.preds), ("targets", self.targets)):
            if masks.dtype != torch.uint8:
                raise UsageError(f"{name}: the type", got=masks.dtype, expected="torch.uint8")
            found = torch.bincount(masks.flatten().int(), minlength=256).nonzero().flatten().tolist()
            known = {*range(len(self.classes)), *([self.ignored] if name == "targets" else [])}
            wrong = [number for number in found if number not in known]
            if wrong:
                raise UsageError(name, got=wrong[0], expected=f"class indices from 0 to {len(self.classes) - 1}")

    @classmethod
    def from_learner(cls, learn: Predicts, ds_type: DatasetType = DatasetType.Valid) -> Self:
        """Predict a part of the learner's data, batch by batch: only the masks and losses are kept.

        Raises:
            WrongTypeError: the data's task is not one class per pixel.
            UsageError: the part has no labels, or outputs and masks are of different sizes.
        """
        task = cls._task(learn)
        try:
            batches = [
                (preds, task.indices(targets).to(torch.uint8), losses)
                for preds, targets, losses in learn.predict_iter(ds_type, activ=_predicted_by(task), with_loss=True)
            ]
        except DataError as error:
            if any(targets is not None for _, targets in learn.predict_iter(ds_type, n_batch=1)):
                raise
            raise no_labels(ds_type) from error
        preds, targets, losses = (torch.cat(parts) for parts in zip(*batches, strict=True))
        return cls(
            preds,
            targets,
            losses,
            tuple(task.classes),
            task.ignored,
            ItemSource.from_learner(learn, ds_type),
        )

    def main_numbers(self) -> dict[str, object]:
        """Mean IoU and Dice, pixel accuracy, mean loss."""
        table = self.iou()
        return {
            "mean IoU": f"{table['iou'].iloc[-1]:.3f}",
            "mean dice": f"{table['dice'].iloc[-1]:.3f}",
            "pixel accuracy": f"{_accuracy(self.confusion_matrix()):.3f}",
            "mean loss": f"{self.losses.mean():.4g}",
        }

    def confusion_matrix(self) -> Tensor:
        """Pixels, int64 (C, C): row is the actual class, column the predicted one; ignored pixels are left out."""
        counts = torch.zeros(len(self.classes), len(self.classes), dtype=torch.int64)
        for i in range(len(self.losses)):
            counts += self._counts(i)
        return counts

    @checks_keywords
    def plot_confusion_matrix(self, normalize: bool = True, *, figsize: "FigSize" = None) -> "Figure":
        """The confusion matrix of the pixels, as shares of each actual class, or counts (`normalize=False`)."""
        from learnkit.plots import confusion_matrix

        return confusion_matrix(self.confusion_matrix().numpy(), self.classes, normalize, figsize)

    def most_confused(self, min_val: int = 1) -> list[tuple[str, str, int]]:
        """(actual, predicted, pixels) of the classes taken for another in `min_val` pixels or more, most first."""
        return most_frequent_pairs(self.confusion_matrix().fill_diagonal_(0), self.classes, min_val)

    def iou(self) -> "pd.DataFrame":
        """One row per class, and their mean: iou, dice, precision, recall, pixels (of the target), over all items.

        A class neither in the targets nor predicted has nan, like the ignored class; the mean leaves them
        out, as well as a precision without predictions and a recall without targets.
        """
        import pandas as pd

        counts = self.confusion_matrix()
        right, wanted, chosen = (part.double() for part in (counts.diagonal(), counts.sum(1), counts.sum(0)))
        wrong, missed = chosen - right, wanted - right
        columns = {
            name: (top / bottom).numpy()  # 0 / 0 is nan
            for name, (top, bottom) in {
                "iou": jaccard_of(right, wrong, missed),
                "dice": f_of(1)(right, wrong, missed),
                "precision": precision_of(right, wrong, missed),
                "recall": recall_of(right, wrong, missed),
            }.items()
        }
        table = pd.DataFrame(columns, index=list(self.classes))
        if self.ignored is not None and self.ignored < len(self.classes):
            table.iloc[self.ignored] = np.nan
        table = pd.concat([table, table.mean().to_frame("mean").T])  # a class may have the name
        table["pixels"] = [*counts.sum(1).tolist(), int(counts.sum())]
        return table

    @checks_keywords
    def plot_top_losses(self, k: int, largest: bool = True, **layout: Unpack[Panels]) -> "Figure":
        """One row per item, that with the largest (or smallest) loss first: image, target, prediction, errors.

        All of them when there are fewer than k. Errors are vermilion, ignored pixels gray. `layout` takes figsize, and
        nrows and ncols of items.

        Raises:
            UsageError: k is not an integer above 0, or the items have no images.
        """
        from learnkit.plots.layout import grid_shape

        check_int("k", k, 1)
        _, indices = self.top_losses(min(k, len(self.losses)), largest)
        _, columns = grid_shape(k, layout.get("nrows"), layout.get("ncols"), widest=1)
        return self._rows_of(indices.tolist(), layout.get("figsize"), columns)

    @checks_keywords
    def plot_errors(self, i: int, *, figsize: "FigSize" = None) -> "Figure":
        """Image, target, prediction and errors of item i.

        Raises:
            UsageError: i is out of range, or the item has no image.
        """
        return self._rows_of([self._checked(i)], figsize)

    def _rows_of(self, items: list[int], figsize: "FigSize", columns: int = 1) -> "Figure":
        from learnkit.plots import image_grid, overlaid

        images, titles = [], []
        for i in items:
            image, masks = self._image(i), (self.targets[i].numpy(), self.preds[i].numpy())
            images += [image, *(overlaid(image, mask, self.ignored) for mask in masks), self.error_image(i)]
            titles += [f"loss {self.losses[i]:.3g}", "target", "prediction", self._summary(i)]
        shown = np.unique(torch.stack([self.targets[items], self.preds[items]]).numpy())
        names = [name if number in shown and number != self.ignored else "" for number, name in enumerate(self.classes)]
        return image_grid(images, titles, columns=4 * columns, legend=names, figsize=figsize)

    def error_image(self, i: int) -> "np.ndarray[Any, Any]":
        """The image of item i with its errors laid over it, uint8 (H, W, 3)."""
        from learnkit.plots.overlays import mistakes_over

        return mistakes_over(self._image(i), self.preds[i].numpy(), self.targets[i].numpy(), self.ignored)

    def _prediction_columns(self, indices: Tensor) -> dict[str, Any]:
        masks = {"prediction": self.preds, "target": self.targets}
        return {name: [self._named(mask[i]) for i in indices.tolist()] for name, mask in masks.items()}

    def _details(self, indices: Tensor) -> dict[str, Any]:
        counts = [self._counts(i) for i in indices.tolist()]
        worst = [self._worst(count) for count in counts]
        return {
            "pixel_accuracy": [_accuracy(count) for count in counts],
            "worst_class": [name for name, _ in worst],
            "worst_iou": [iou for _, iou in worst],
        }

    def _title(self, i: int, loss: float) -> tuple[str, bool | None]:
        return f"loss {loss:.3g}\n{self._summary(i)}", None

    def _summary(self, i: int) -> str:
        counts = self._counts(i)
        name, iou = self._worst(counts)
        return f"{_accuracy(counts):.1%} right\nworst {name}, IoU {iou:.2f}" if counts.any() else "all ignored"

    def _counts(self, i: int) -> Tensor:
        """The confusion matrix of one item."""
        n = len(self.classes)
        target, pred = self.targets[i].flatten().long(), self.preds[i].flatten().long()
        if self.ignored is not None:
            target, pred = target[target != self.ignored], pred[target != self.ignored]
        return torch.bincount(target * n + pred, minlength=n * n).view(n, n)

    def _worst(self, counts: Tensor) -> tuple[str, float]:
        """The class with the lowest IoU among those in the target of an item; "" if all of it is ignored."""
        wanted, right = counts.sum(1), counts.diagonal()
        if not int(wanted.sum()):
            return "", float("nan")
        iou = torch.where(wanted > 0, right / (wanted + counts.sum(0) - right), torch.inf)
        return self.classes[int(iou.argmin())], float(iou.min())

    def _named(self, mask: Tensor) -> str:
        """The largest classes of a mask."""
        counts = torch.bincount(mask.flatten().int(), minlength=256)[: len(self.classes)]
        if self.ignored is not None and self.ignored < len(counts):
            counts[self.ignored] = 0
        order = counts.argsort(descending=True, stable=True)[:MAX_NAMED].tolist()
        return ", ".join(self.classes[number] for number in order if counts[number])


def _predicted_by(task: Segmentation) -> Activation:
    """From raw outputs (N, n_out, H, W) to the class of each pixel, uint8 (N, H, W)."""
    return lambda raw: task.predicted(raw.sigmoid() if task.binary else raw).to(torch.uint8)


def _accuracy(counts: Tensor) -> float:
    """Share of the counted pixels that are right; nan if all are ignored."""
    return float(counts.diagonal().sum() / counts.sum())
