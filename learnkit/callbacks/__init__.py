"""What some fits need: schedules, stopping, saving, precision, records and reports."""

from learnkit.callbacks.early_stopping import EarlyStopping
from learnkit.callbacks.lr_finder import LRFinder
from learnkit.callbacks.one_cycle import OneCycle
from learnkit.callbacks.precision import GradientClipping, MixedPrecision
from learnkit.callbacks.progress import Progress
from learnkit.callbacks.recorder import Recorder
from learnkit.callbacks.save_model import SaveModel
from learnkit.training.callback import Callback, Order

__all__ = [
    "Callback",
    "EarlyStopping",
    "GradientClipping",
    "LRFinder",
    "MixedPrecision",
    "OneCycle",
    "Order",
    "Progress",
    "Recorder",
    "SaveModel",
]
