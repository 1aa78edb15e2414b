"""What a report needs of an interpretation, whose module is above it."""

from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
from torch import Tensor

from learnkit.interpretation.calibration import Calibration
from learnkit.interpretation.item_source import ItemSource

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Reported", "ReportedClasses", "ReportedLabels", "ReportedMasks", "ReportedNumbers", "ReportedScores"]


class Reported(Protocol):
    """Any interpretation."""

    kind: ClassVar[type]

    @property
    def losses(self) -> Tensor: ...

    @property
    def source(self) -> ItemSource: ...

    def main_numbers(self) -> dict[str, object]: ...

    def top_losses(self, k: int | None = None, /) -> tuple[Tensor, Tensor]: ...

    def top_losses_table(self, k: int | None = None, /) -> "pd.DataFrame": ...

    def unfamiliar(self) -> "pd.DataFrame": ...


class ReportedScores(Reported, Protocol):
    """One with a probability for each class."""

    @property
    def probs(self) -> Tensor: ...

    @property
    def targets(self) -> Tensor: ...

    @property
    def classes(self) -> tuple[str, ...]: ...

    @property
    def preds(self) -> Tensor: ...

    def classification_report(self) -> "pd.DataFrame": ...

    def grad_cam(self, i: int, /) -> "np.ndarray[Any, Any]": ...


class ReportedClasses(ReportedScores, Protocol):
    """One with one class per item."""

    def calibration(self) -> Calibration: ...


class ReportedLabels(ReportedScores, Protocol):
    """One with any number of classes per item."""


class ReportedNumbers(Reported, Protocol):
    """One of a regression."""

    @property
    def names(self) -> tuple[str, ...]: ...

    @property
    def residuals(self) -> Tensor: ...

    def regression_report(self) -> "pd.DataFrame": ...


class ReportedMasks(Reported, Protocol):
    """One of a segmentation."""

    @property
    def classes(self) -> tuple[str, ...]: ...

    def iou(self) -> "pd.DataFrame": ...

    def error_image(self, i: int, /) -> "np.ndarray[Any, Any]": ...
