"""What a multi-label model gets right and wrong: missed classes and spurious ones (false positives)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from learnkit.arguments import checks_keywords
from learnkit.certainty.curve import ALPHAS, conformal_curve
from learnkit.data.tasks import MultiLabel
from learnkit.errors import UsageError
from learnkit.interpretation.item_source import ItemSource
from learnkit.interpretation.learners import Predicts
from learnkit.interpretation.probabilistic import ProbabilisticInterpretation
from learnkit.interpretation.thresholds import beta_of, fit_thresholds
from learnkit.metrics.rates import RATES, class_report, mean_of, most_frequent_pairs, rates
from learnkit.text import shortened
from learnkit.types import DatasetType

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from learnkit.plots.layout import FigSize

__all__ = ["MultiLabelInterpretation"]

MAX_NAMED = 5  # classes above an image
CHUNK = 65536  # items whose pairs are counted at a time: float32 counts them exactly


@dataclass(frozen=True, eq=False)  # tensors have no single truth value
class MultiLabelInterpretation(ProbabilisticInterpretation):
    """Predictions of any number of classes per item, made once, with methods to analyze them.

    Attributes:
        probs: (N, C), each from 0 to 1.
        targets: (N, C), float 0 or 1.
        losses: (N,).
        classes: C names.
        threshold: an item has the classes whose probability is above it; one number, or one per class.
        source: images, names and inputs of the items, and the model; any may be missing.

    Raises:
        UsageError: the shapes, the targets, the threshold and the classes do not fit each other.
    """

    kind: ClassVar[type] = MultiLabel
    caption: ClassVar[str] = "actual, missed and spurious classes, loss"

    probs: Tensor
    targets: Tensor
    losses: Tensor
    classes: tuple[str, ...]
    threshold: float | tuple[float, ...] = 0.5
    source: ItemSource = field(default=ItemSource(), repr=False)

    def __post_init__(self) -> None:
        self._check_kinds()
        n, c = len(self.targets), len(self.classes)
        self._check_probs(n)
        self._check_losses(n)
        if self.targets.shape != (n, c):
            raise UsageError("targets: the shape", got=tuple(self.targets.shape), expected=f"that of probs, {(n, c)}")
        wrong = self.targets[(self.targets != 0) & (self.targets != 1)]
        if len(wrong):
            raise UsageError("targets", got=wrong[0].item(), expected="0 or 1 for each class")
        MultiLabel(self.classes, self.threshold)  # refuses what is not a threshold

    @classmethod
    def from_learner(cls, learn: Predicts, ds_type: DatasetType = DatasetType.Valid) -> Self:
        """Predict a part of the learner's data; the thresholds are the task's.

        Raises:
            WrongTypeError: the data's task is not any number of classes per item.
            UsageError: the part has no labels, or the data has no classes.
        """
        task = cls._task(learn)
        probs, targets, losses = cls._predicted(learn, ds_type)
        return cls(probs, targets, losses, tuple(task.classes), task.threshold, ItemSource.from_learner(learn, ds_type))

    @property
    def preds(self) -> Tensor:
        """(N, C), bool: the classes above their threshold."""
        return MultiLabel(self.classes, self.threshold).chosen(self.probs)

    def main_numbers(self) -> dict[str, object]:
        """Exact matches, F1 over all classes and in the mean, the classes confused most often."""
        averages = self.classification_report()["f1-score"].iloc[len(self.classes) :]  # a class may have their names
        micro, macro = averages.iloc[:2]
        pairs = [f"{missed} missed, {spurious} spurious: {n}" for missed, spurious, n in self.most_confused()[:3]]
        return {
            "task": f"any of {len(self.classes)} classes",
            "all classes right": f"{(self.preds == self._truth).all(1).double().mean():.4f}",
            "F1, micro": f"{micro:.4f}",
            "F1, macro": f"{macro:.4f}",
            "mean loss": f"{self.losses.double().mean():.4f}",
            "most confused": "; ".join(pairs) or "none",
            **self._without_items(),
        }

    def confusion_table(self) -> "pd.DataFrame":
        """One row per class, columns tn, fp (spurious), fn (missed), tp: how many items."""
        import pandas as pd

        right, spurious, missed = self._counts(0)
        neither = len(self.targets) - right - spurious - missed
        columns = {"tn": neither, "fp": spurious, "fn": missed, "tp": right}
        return pd.DataFrame({name: counts.numpy() for name, counts in columns.items()}, list(self.classes))

    @checks_keywords
    def plot_confusion(self, *, figsize: "FigSize" = None) -> "Figure":
        """Items of each class found, missed and spurious; for many classes the thirty with the most mistakes."""
        from learnkit.plots.evaluation import label_bars

        found, spurious, missed = (counts.numpy() for counts in self._counts(0))
        return label_bars(self.classes, found, spurious, missed, figsize)

    def most_confused(self, min_val: int = 1) -> list[tuple[str, str, int]]:
        """(missed, spurious, times): classes of one item, at least `min_val` times; the most frequent first."""
        pairs = torch.zeros(len(self.classes), len(self.classes), dtype=torch.float64)
        for start in range(0, len(self.targets), CHUNK):
            chosen, truth = self.preds[start : start + CHUNK], self._truth[start : start + CHUNK]
            pairs += (truth & ~chosen).float().T @ (chosen & ~truth).float()
        return most_frequent_pairs(pairs, self.classes, min_val)

    def classification_report(self) -> "pd.DataFrame":
        """Columns precision, recall, f1-score, support; one row per class, then micro, macro, weighted and samples avg.

        0 / 0 is nan and left out of the averages, as with scikit-learn's `zero_division=np.nan`.
        """
        import pandas as pd

        table = class_report(*self._counts(0), self.classes, "micro avg")
        of_items = pd.DataFrame([mean_of(rates(*self._counts(1))).tolist()], ["samples avg"], list(RATES))
        return pd.concat([table, of_items.assign(support=table["support"].iloc[-1])])

    def fit_thresholds(self, metric: str = "f1") -> tuple[float, ...]:
        """The threshold of each class with the best F score ("f1", "f2", ...) on these items.

        A class without items keeps its threshold. Use them with `dataclasses.replace(interp, threshold=...)`.

        Raises:
            UsageError: a metric that is not an F score.
        """
        each = self.threshold if isinstance(self.threshold, tuple) else (self.threshold,) * len(self.classes)
        return fit_thresholds(self.probs, self.targets, beta_of(metric), each)

    @property
    def _truth(self) -> Tensor:
        return self.targets > 0.5

    def _counts(self, dim: int) -> tuple[Tensor, Tensor, Tensor]:
        """Right, spurious and missed predictions of each class (dim 0) or item (dim 1)."""
        chosen, truth = self.preds, self._truth
        return (chosen & truth).sum(dim), (chosen & ~truth).sum(dim), (truth & ~chosen).sum(dim)

    def conformal_curve(
        self, alphas: Sequence[float] = ALPHAS, *, n_splits: int = 20, seed: int = 0
    ) -> "pd.DataFrame":  # fmt: skip
        """Coverage and size of sets of labels for each alpha, fitted on one half of the items, measured on the other.

        Columns: alpha, coverage (mean over the splits), deviation (of the coverage of one fit), size (labels in a
        set), empty (share of sets without a label).

        Args:
            alphas: shares of truths that may be missed; those that half of the items are too few for are left out.
            n_splits: random splits into halves.
            seed: of the splits.
        """
        import pandas as pd

        scores, is_true = 1 - self.probs.double(), self.targets > 0
        points = conformal_curve(scores, is_true, alphas, per_class=True, n_splits=n_splits, seed=seed)
        return pd.DataFrame(points).drop(columns="threshold")

    @checks_keywords
    def plot_conformal(self, *, figsize: "FigSize" = None) -> "Figure":
        """`conformal_curve` as two curves: coverage beside where it should be, and the mean size of the sets."""
        return self._coverage_figure(self.conformal_curve(), "labels in a set", figsize)

    def _items_of_class(self, c: int) -> Tensor:
        return self.targets[:, c] > 0.5

    def _prediction_columns(self, indices: Tensor) -> dict[str, Any]:
        chosen, truth = self.preds[indices], self._truth[indices]
        return {"prediction": self._named(chosen), "target": self._named(truth)}

    def _details(self, indices: Tensor) -> dict[str, Any]:
        chosen, truth = self.preds[indices], self._truth[indices]
        return {
            "missed": self._named(truth & ~chosen),
            "spurious": self._named(chosen & ~truth),
            "probabilities": self.probs[indices].double().tolist(),
        }

    def _title(self, i: int, loss: float) -> tuple[str, bool]:
        chosen, truth = self.preds[i], self._truth[i]
        actual, missed, spurious = self._named(torch.stack([truth, truth & ~chosen, chosen & ~truth]))
        lines = [shortened(actual, MAX_NAMED) or "(none)"]
        for what, names in (("missed", missed), ("spurious", spurious)):
            lines += [f"{what} {shortened(names, MAX_NAMED)}"] if names else []
        return "\n".join([*lines, f"loss {loss:.2f}"]), torch.equal(chosen, truth)

    def _named(self, chosen: Tensor) -> list[tuple[str, ...]]:
        """The names in each row of bool (N, C); a combination is put together once."""
        packed = np.packbits(chosen.numpy(), axis=1)
        keys = np.pad(packed, ((0, 0), (0, -packed.shape[1] % 8))).view(np.uint64)  # 64 classes per number
        axis = 0 if keys.shape[1] > 1 else None  # plain numbers are sorted much faster than rows of them
        _, first, places = np.unique(keys, axis=axis, return_index=True, return_inverse=True)
        names = [tuple(self.classes[c] for c in chosen[row].nonzero()[:, 0].tolist()) for row in first.tolist()]
        return [names[place] for place in places.reshape(-1).tolist()]
