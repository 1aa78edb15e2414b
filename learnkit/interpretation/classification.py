"""What a classifier gets right and wrong: top losses, confusion matrix, most confused classes, report, curves."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import torch
from torch import Tensor

from learnkit.arguments import checks_keywords
from learnkit.certainty.conformal import METHODS, class_scores
from learnkit.certainty.curve import ALPHAS, conformal_curve
from learnkit.checks import check_choice, check_int
from learnkit.data.tasks import Classification
from learnkit.errors import UsageError
from learnkit.interpretation.item_source import ItemSource
from learnkit.interpretation.learners import Predicts
from learnkit.interpretation.probabilistic import ProbabilisticInterpretation
from learnkit.metrics.rates import class_report, most_frequent_pairs
from learnkit.types import DatasetType

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from learnkit.interpretation.calibration import Calibration
    from learnkit.plots.layout import FigSize

__all__ = ["ClassificationInterpretation"]


@dataclass(frozen=True, eq=False)  # tensors have no single truth value
class ClassificationInterpretation(ProbabilisticInterpretation):
    """Predictions of one class per item, made once, with methods to analyze them.

    Attributes:
        probs: (N, C), rows sum to 1.
        targets: (N,), int64 class indices.
        losses: (N,).
        classes: C names.
        source: images, names and inputs of the items, and the model; any may be missing.

    Raises:
        UsageError: the shapes, the targets and the classes do not fit each other.
    """

    kind: ClassVar[type] = Classification
    caption: ClassVar[str] = "actual / predicted, loss, probability of the actual class"

    probs: Tensor
    targets: Tensor
    losses: Tensor
    classes: tuple[str, ...]
    source: ItemSource = field(default=ItemSource(), repr=False)

    def __post_init__(self) -> None:
        self._check_kinds()
        n, c = len(self.targets), len(self.classes)
        self._check_probs(n)
        self._check_losses(n)
        if self.targets.dtype != torch.int64 or self.targets.ndim != 1:
            got = (self.targets.dtype, tuple(self.targets.shape))
            raise UsageError("targets", got=got, expected=f"class indices, torch.int64 of shape {(n,)}")
        wrong = self.targets[(self.targets < 0) | (self.targets >= c)]
        if len(wrong):
            raise UsageError("targets", got=int(wrong[0]), expected=f"class indices from 0 to {c - 1}")

    @classmethod
    def from_learner(cls, learn: Predicts, ds_type: DatasetType = DatasetType.Valid) -> Self:
        """Predict a part of the learner's data.

        Raises:
            WrongTypeError: the data's task is not one class per item.
            UsageError: the part has no labels, or the data has no classes.
        """
        task = cls._task(learn)
        probs, targets, losses = cls._predicted(learn, ds_type)
        if not targets.is_floating_point():
            targets = targets.long()  # bytes would overflow when pairs are counted
        return cls(probs, targets, losses, tuple(task.classes), ItemSource.from_learner(learn, ds_type))

    @property
    def preds(self) -> Tensor:
        """(N,), the most probable class of each item."""
        return self.probs.argmax(1)

    @property
    def accuracy(self) -> float:
        """Share of the items whose most probable class is the actual one."""
        return float((self.preds == self.targets).double().mean())

    def main_numbers(self) -> dict[str, object]:
        """Accuracy, the classes confused most often, and classes without items."""
        pairs = [f"{actual} taken for {predicted}: {times}" for actual, predicted, times in self.most_confused()[:3]]
        return {
            "task": f"one of {len(self.classes)} classes",
            "accuracy": f"{self.accuracy:.4f}",
            "mean loss": f"{self.losses.double().mean():.4f}",
            "most confused": "; ".join(pairs) or "none",
            **self._without_items(),
        }

    def confusion_matrix(self, normalize: bool = False) -> Tensor:
        """How often each class (row) was predicted as each (column), (C, C).

        Args:
            normalize: float64 shares of each row, nan in a row without items, instead of int64 counts.
        """
        n = len(self.classes)
        counts = torch.bincount(self.targets * n + self.preds, minlength=n * n).view(n, n)
        return counts.double() / counts.sum(1, keepdim=True) if normalize else counts

    @checks_keywords
    def plot_confusion_matrix(
        self, normalize: bool = False, *, figsize: "FigSize" = None, dpi: int | None = None
    ) -> "Figure":
        """The confusion matrix as a picture.

        Args:
            normalize: shares of each actual class, not counts.
            figsize: inches.
            dpi: dots an inch.
        """
        from learnkit.plots import confusion_matrix

        figure = confusion_matrix(self.confusion_matrix().numpy(), self.classes, normalize, figsize)
        if dpi is not None:
            figure.set_dpi(check_int("dpi", dpi, 1))
        return figure

    def most_confused(self, min_val: int = 1) -> list[tuple[str, str, int]]:
        """(actual, predicted, times) of the classes taken for another at least `min_val` times, most often first."""
        return most_frequent_pairs(self.confusion_matrix().fill_diagonal_(0), self.classes, min_val)

    def classification_report(self) -> "pd.DataFrame":
        """Columns precision, recall, f1-score, support; one row per class, then accuracy, macro avg, weighted avg.

        0 / 0 is nan and left out of the averages: the precision of a class never predicted, the recall
        of a class without items. These are scikit-learn's numbers with `zero_division=np.nan`. In the row accuracy all
        three are the accuracy, which they are over all classes together.
        """
        counts = self.confusion_matrix()
        right = counts.diagonal()
        return class_report(right, counts.sum(0) - right, counts.sum(1) - right, self.classes, "accuracy")

    def calibration(self, n_bins: int = 15) -> "Calibration":
        """How far the probabilities of the predicted classes are from how often these are right, in `n_bins` bins."""
        from learnkit.interpretation.calibration import calibration_of

        return calibration_of(self.probs, self.targets, n_bins)

    @checks_keywords
    def plot_calibration(self, n_bins: int = 15, *, figsize: "FigSize" = None) -> "Figure":
        """The reliability diagram: accuracy against confidence, in `n_bins` equal bins of confidence."""
        return self.calibration(n_bins).plot(figsize=figsize)

    def conformal_curve(
        self, alphas: Sequence[float] = ALPHAS, method: Literal["lac", "raps"] = "lac", *, n_splits: int = 20,
        seed: int = 0,
    ) -> "pd.DataFrame":  # fmt: skip
        """Coverage and size of conformal sets for each alpha, fitted on one half of the items, measured on the other.

        Columns: alpha, coverage (mean over the splits), deviation (of the coverage of one fit), size (classes in a
        set), empty (share of sets without a class).

        Args:
            alphas: shares of truths that may be missed; those that half of the items are too few for are left out.
            method: of the scores, see `Learner.fit_conformal`.
            n_splits: random splits into halves.
            seed: of the splits.
        """
        import pandas as pd

        check_choice("method", method, METHODS)
        is_true = torch.nn.functional.one_hot(self.targets, len(self.classes)).bool()
        scores = class_scores(self.probs, method)
        points = conformal_curve(scores, is_true, alphas, n_splits=n_splits, seed=seed)
        return pd.DataFrame(points).drop(columns="threshold")

    @checks_keywords
    def plot_conformal(self, method: Literal["lac", "raps"] = "lac", *, figsize: "FigSize" = None) -> "Figure":
        """`conformal_curve` of a `method`: coverage beside where it should be, and the mean size of the sets."""
        return self._coverage_figure(self.conformal_curve(method=method), "classes in a set", figsize)

    def label_issues(self) -> "pd.DataFrame":
        """All items, those whose label is most suspicious first: item, path, label, suggestion, score, is_issue.

        As many as are probably wrong, by confident learning, have True in `is_issue`. Written to a CSV file and edited,
        the table goes into `dls.relabel`; the rows to leave out go into `dls.drop`.

        Only a model that has not seen these labels can doubt them: use the validation set, or folds. For the training
        set there is `learn.label_issues()`.
        """
        from learnkit.interpretation.label_issues import label_issues_table

        return label_issues_table(self.probs, self.targets, self.classes, self.source.name)

    def _items_of_class(self, c: int) -> Tensor:
        return self.targets == c

    def _prediction_columns(self, indices: Tensor) -> dict[str, Any]:
        return {
            name: self._named(part[indices]) for name, part in (("prediction", self.preds), ("target", self.targets))
        }

    def _details(self, indices: Tensor) -> dict[str, Any]:
        probs = self.probs[indices].double()
        return {
            "p_prediction": probs.amax(1).numpy(),
            "p_target": probs.gather(1, self.targets[indices, None])[:, 0].numpy(),
            "probabilities": probs.tolist(),
        }

    def _title(self, i: int, loss: float) -> tuple[str, bool]:
        from learnkit.plots.images import joined

        actual, predicted = int(self.targets[i]), int(self.probs[i].argmax())
        p = float(self.probs[i, actual])
        text = joined(self.classes[actual], self.classes[predicted])
        return f"{text}\nloss {loss:.2f}, p {p:.2f}", actual == predicted

    def _named(self, numbers: Tensor) -> list[str]:
        return [self.classes[number] for number in numbers.tolist()]
