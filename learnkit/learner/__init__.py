"""Learners: the façade over data, model, training and inference."""

from learnkit.learner.learner import Learner
from learnkit.learner.vision import cnn_learner

__all__ = ["Learner", "cnn_learner"]
