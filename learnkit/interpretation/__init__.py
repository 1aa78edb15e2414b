"""Interpretation: what a trained model gets right and wrong."""

from learnkit.interpretation.classification import ClassificationInterpretation

__all__ = ["ClassificationInterpretation"]
