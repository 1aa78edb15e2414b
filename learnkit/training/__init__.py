"""The training loop, its state and its hooks."""

from learnkit.training.callback import Callback, CallbackList, Order
from learnkit.training.loop import fit, validate
from learnkit.training.state import TrainState

__all__ = ["Callback", "CallbackList", "Order", "TrainState", "fit", "validate"]
