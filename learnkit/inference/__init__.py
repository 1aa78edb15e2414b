"""Predictions of a trained model: gathered, streamed, tabulated, averaged, with uncertainty, or served."""

from learnkit.inference.augmented import predict_augmented
from learnkit.inference.dropout import DropoutPreds, predict_with_dropout
from learnkit.inference.predictions import predict_loader, predict_stream
from learnkit.inference.predictor import Predictor
from learnkit.inference.show import show_predictions
from learnkit.inference.tables import write_table

__all__ = [
    "DropoutPreds",
    "Predictor",
    "predict_augmented",
    "predict_loader",
    "predict_stream",
    "predict_with_dropout",
    "show_predictions",
    "write_table",
]
