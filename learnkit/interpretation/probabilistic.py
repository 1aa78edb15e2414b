"""What interpretations with a probability for each class share: curves, a report, heat maps."""

from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from learnkit.arguments import checks_keywords
from learnkit.errors import UsageError
from learnkit.interpretation.item_source import NewImage
from learnkit.interpretation.items import Interpretation
from learnkit.interpretation.naming import plain_number
from learnkit.metrics.curves import PRCurve, ROCCurve, pr_curve, roc_curve
from learnkit.text import shortened

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from learnkit.plots.layout import FigSize

__all__ = ["ProbabilisticInterpretation"]

MAX_NAMED = 10  # classes without items


class ProbabilisticInterpretation(Interpretation):
    """An interpretation of probabilities of classes.

    Attributes:
        probs: (N, C).
        classes: C names.
    """

    probs: Tensor
    classes: tuple[str, ...]

    @abstractmethod
    def classification_report(self) -> "pd.DataFrame":
        """Precision, recall, F1 and items of each class and over all."""

    @abstractmethod
    def _items_of_class(self, c: int) -> Tensor:
        """Which items are of class c, bool (N,)."""

    def roc_curves(self) -> dict[str, ROCCurve]:
        """The ROC curve of each class against all others; its area is nan without items of the class, or of others."""
        return {self.classes[c]: curve for c, curve in self._curves(roc_curve)}

    def pr_curves(self) -> dict[str, PRCurve]:
        """The precision-recall curve of each class against all others; its area is nan without items of the class."""
        return {self.classes[c]: curve for c, curve in self._curves(pr_curve)}

    @staticmethod
    def _coverage_figure(table: "pd.DataFrame", unit: str, figsize: "FigSize") -> "Figure":
        """A table of `conformal_curve` as curves; `unit` is what a size counts."""
        from learnkit.plots.coverage import coverage_curve

        columns = [table[name].to_numpy(float) for name in ("alpha", "coverage", "deviation", "size")]
        return coverage_curve(*columns, unit=unit, figsize=figsize)

    @checks_keywords
    def plot_roc(self, *, figsize: "FigSize" = None) -> "Figure":
        """The ROC curves; for more than ten classes their mean and the five of the smallest area."""
        from learnkit.plots.evaluation import ranking_curves

        lines = [(self.classes[c], curve.fpr, curve.tpr, curve.area) for c, curve in self._curves(roc_curve)]
        return ranking_curves(
            lines, "false positive rate", "true positive rate", "AUC", has_diagonal=True, figsize=figsize
        )

    @checks_keywords
    def plot_pr(self, *, figsize: "FigSize" = None) -> "Figure":
        """The precision-recall curves; for more than ten classes their mean and the five of the smallest area."""
        from learnkit.plots.evaluation import ranking_curves

        curves = self._curves(pr_curve)
        lines = [(self.classes[c], curve.recall[::-1], curve.precision[::-1], curve.area) for c, curve in curves]
        return ranking_curves(lines, "recall", "precision", "AP", figsize=figsize)

    def grad_cam(self, i: Any, class_index: int | None = None) -> npt.NDArray[np.float32]:
        """Where in an item the model sees a class: float32 (H, W) in [0, 1], of the size the model sees it.

        Selvaraju et al., Grad-CAM, 2017.

        Args:
            i: the index of an item; or a new image, as `learn.predict` takes it: a path, PIL image, array.
            class_index: the class; None for the most probable one.

        Raises:
            UsageError: an index that is out of range, or this was not made from a learner.
            ImageError: an image that cannot be read.
        """
        return self._heat(i, self._new(i), class_index)

    @checks_keywords
    def plot_grad_cam(self, i: Any, class_index: int | None = None, *, figsize: "FigSize" = None) -> "Figure":
        """An item, and next to it where the model sees a class; arguments and errors as for `grad_cam`."""
        from learnkit.plots.images import heat_map_figure, joined

        new = self._new(i)
        heat = self._heat(i, new, class_index)
        image = self._image(self._checked(i)) if new is None else new.image
        probs = self.probs[self._checked(i)] if new is None else new.probs
        c = int(probs.argmax()) if class_index is None else plain_number(class_index)
        return heat_map_figure(image, heat, joined(self.classes[c], f"p {probs[c]:.2f}", joint=","), figsize)

    def _new(self, item: Any) -> NewImage | None:
        """An image that is not in the data; None for the index of one that is."""
        if self.source.model is None or self.source.new is None:
            raise UsageError("grad_cam: no model here", fix="Make the interpretation with learn.interpret().")
        is_index = isinstance(plain_number(item), int | float) or getattr(item, "ndim", 1) == 0
        return None if is_index else self.source.new(item)

    def _heat(self, item: Any, new: NewImage | None, class_index: int | None) -> npt.NDArray[np.float32]:
        from learnkit.interpretation.grad_cam import grad_cam

        assert self.source.model is not None
        assert self.source.input is not None
        x = self.source.input(self._checked(item)) if new is None else new.x
        return grad_cam(self.source.model, x, plain_number(class_index), output=self.source.output)

    def _without_items(self) -> dict[str, object]:
        """The classes without items as a main number; empty if all have items."""
        missing = [name for c, name in enumerate(self.classes) if not self._items_of_class(c).any()]
        more = f" ({len(missing)} of {len(self.classes)})" if len(missing) > MAX_NAMED else ""
        return {"classes without items": shortened(missing, MAX_NAMED) + more} if missing else {}

    def _curves(self, curve_of: Callable[[Any, Any], Any]) -> Iterator[tuple[int, Any]]:
        for c in range(len(self.classes)):
            yield c, curve_of(self.probs[:, c].float().numpy(), self._items_of_class(c).numpy())

    def _check_probs(self, n: int) -> None:
        expected = (n, len(self.classes))
        if self.probs.shape != expected:  # a column too many would be counted in the next class's row
            raise UsageError(
                "probs: the shape",
                got=tuple(self.probs.shape),
                expected=f"{expected}: {expected[0]} items, {expected[1]} classes",
                fix="Let the model have one output per class, and the data name every class.",
            )
