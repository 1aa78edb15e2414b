"""The interpretation that goes with the task of a learner's data."""

from learnkit.errors import WrongTypeError
from learnkit.interpretation.classification import ClassificationInterpretation
from learnkit.interpretation.items import Interpretation
from learnkit.interpretation.learners import Predicts
from learnkit.interpretation.multilabel import MultiLabelInterpretation
from learnkit.interpretation.points import PointsInterpretation
from learnkit.interpretation.regression import RegressionInterpretation
from learnkit.interpretation.segmentation import SegmentationInterpretation
from learnkit.types import DatasetType

__all__ = ["interpretation_for"]

KINDS: tuple[type[Interpretation], ...] = (
    ClassificationInterpretation,
    MultiLabelInterpretation,
    RegressionInterpretation,
    PointsInterpretation,
    SegmentationInterpretation,
)


def interpretation_for(learn: Predicts, ds_type: DatasetType = DatasetType.Valid) -> Interpretation:
    """Predict a part of the learner's data and interpret it according to its task.

    Raises:
        WrongTypeError: a custom task without an interpretation.
        UsageError: the part has no labels, or the data has no task.
    """
    task = learn.dls.task
    for kind in KINDS:
        if task is None or isinstance(task, kind.kind):
            return kind.from_learner(learn, ds_type)  # which refuses data without a task
    raise WrongTypeError(
        "interpret: no interpretation for this task",
        got=type(task).__name__,
        expected="Classification, MultiLabel, Regression, Points or Segmentation",
        fix="Use learn.get_preds(with_loss=True).",
    )
