"""Files that can be trusted: weights written completely and read without running anything."""

from learnkit.persistence.weights import load_weights, save_weights

__all__ = ["load_weights", "save_weights"]
