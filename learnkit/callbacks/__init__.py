"""Optional parts of a fit: schedules, stopping, saving, precision, mixing, averaging, records and reports."""

from learnkit.callbacks.accumulation import GradientAccumulation
from learnkit.callbacks.averaging import EMA, SWA
from learnkit.callbacks.control import StopAfterNBatches, TerminateOnNaN
from learnkit.callbacks.csv_logger import CSVLogger
from learnkit.callbacks.early_stopping import EarlyStopping
from learnkit.callbacks.freezing import BnFreeze
from learnkit.callbacks.general_scheduler import GeneralScheduler, TrainingPhase
from learnkit.callbacks.hooks import ActivationStats, Hooks
from learnkit.callbacks.lr_finder import LRFinder
from learnkit.callbacks.memory import PeakMemory
from learnkit.callbacks.micro_batches import MicroBatches
from learnkit.callbacks.mixing import CutMix, MixUp
from learnkit.callbacks.one_cycle import OneCycle
from learnkit.callbacks.plateau import ReduceLROnPlateau
from learnkit.callbacks.precision import GradientClipping, MixedPrecision
from learnkit.callbacks.progress import Progress
from learnkit.callbacks.pruning import OptunaPruning
from learnkit.callbacks.recorder import Recorder
from learnkit.callbacks.rnn import RNNRegularizer
from learnkit.callbacks.save_model import SaveModel
from learnkit.callbacks.show_graph import ShowGraph
from learnkit.callbacks.tensorboard import TensorBoard
from learnkit.callbacks.torch_scheduler import TorchScheduler
from learnkit.callbacks.trackers import MLflow, Trackio, WandB
from learnkit.callbacks.train_metrics import TrainMetrics
from learnkit.training.callback import Callback, Order

__all__ = [
    "EMA",
    "SWA",
    "ActivationStats",
    "BnFreeze",
    "CSVLogger",
    "Callback",
    "CutMix",
    "EarlyStopping",
    "GeneralScheduler",
    "GradientAccumulation",
    "GradientClipping",
    "Hooks",
    "LRFinder",
    "MLflow",
    "MicroBatches",
    "MixUp",
    "MixedPrecision",
    "OneCycle",
    "OptunaPruning",
    "Order",
    "PeakMemory",
    "Progress",
    "RNNRegularizer",
    "Recorder",
    "ReduceLROnPlateau",
    "SaveModel",
    "ShowGraph",
    "StopAfterNBatches",
    "TensorBoard",
    "TerminateOnNaN",
    "TorchScheduler",
    "Trackio",
    "TrainMetrics",
    "TrainingPhase",
    "WandB",
]
