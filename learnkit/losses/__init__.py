"""What can be known about a loss: the activation that belongs to it, and its value for each item."""

from learnkit.losses.activations import activation_of, identity, softmax
from learnkit.losses.per_item import per_item_loss

__all__ = ["activation_of", "identity", "per_item_loss", "softmax"]
