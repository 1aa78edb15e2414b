"""Predictions from a trained model."""

from learnkit.inference.predictions import predict_batches, predict_loader

__all__ = ["predict_batches", "predict_loader"]
