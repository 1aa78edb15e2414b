"""Metrics: numbers that say how good a model is, exact over a whole set."""

from learnkit.metrics.functions import (
    METRICS,
    accuracy,
    accuracy_multi,
    error_rate,
    mae,
    mse,
    rmse,
    top_k_accuracy,
)
from learnkit.metrics.metric import Metric, make_metrics

__all__ = [
    "METRICS",
    "Metric",
    "accuracy",
    "accuracy_multi",
    "error_rate",
    "mae",
    "make_metrics",
    "mse",
    "rmse",
    "top_k_accuracy",
]
