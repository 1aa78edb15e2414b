"""Interpretation: what a trained model gets right and wrong."""

from learnkit.interpretation.classification import ClassificationInterpretation
from learnkit.interpretation.for_task import interpretation_for
from learnkit.interpretation.multilabel import MultiLabelInterpretation
from learnkit.interpretation.regression import RegressionInterpretation
from learnkit.interpretation.segmentation import SegmentationInterpretation

__all__ = [
    "ClassificationInterpretation",
    "MultiLabelInterpretation",
    "RegressionInterpretation",
    "SegmentationInterpretation",
    "interpretation_for",
]
