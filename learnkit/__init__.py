"""learnkit: five lines to a trained vision model, plain PyTorch's speed, and files you can trust."""

from learnkit import callbacks, distributed, errors, losses, metrics, models, neighbors, schedules, splits, transforms
from learnkit.data.augment.presets import get_transforms
from learnkit.data.bunch import DataBunch
from learnkit.data.download import download
from learnkit.data.download_images import download_images
from learnkit.data.image.clear_cache import clear_cache
from learnkit.data.image_bunch import ImageDataBunch
from learnkit.data.points import Points
from learnkit.data.segmentation import Segmentation
from learnkit.data.stream.pack import pack
from learnkit.data.table.files import get_image_files
from learnkit.data.tasks import Classification, MultiLabel, Regression
from learnkit.errors import LearnkitError, LearnkitWarning
from learnkit.interpretation.classification import ClassificationInterpretation
from learnkit.interpretation.multilabel import MultiLabelInterpretation
from learnkit.interpretation.points import PointsInterpretation
from learnkit.interpretation.regression import RegressionInterpretation
from learnkit.interpretation.segmentation import SegmentationInterpretation
from learnkit.learner.learner import Learner
from learnkit.learner.load import load_learner
from learnkit.learner.verify import verify_images
from learnkit.learner.vision import cnn_learner, unet_learner
from learnkit.training.callback import Callback
from learnkit.training.state import TrainState
from learnkit.types import DatasetType, LayerDecay

__all__ = [
    "Callback",
    "Classification",
    "ClassificationInterpretation",
    "clear_cache",
    "cnn_learner",
    "DataBunch",
    "DatasetType",
    "download",
    "download_images",
    "get_image_files",
    "get_transforms",
    "ImageDataBunch",
    "LayerDecay",
    "Learner",
    "LearnkitError",
    "LearnkitWarning",
    "load_learner",
    "MultiLabel",
    "MultiLabelInterpretation",
    "pack",
    "Points",
    "PointsInterpretation",
    "Regression",
    "RegressionInterpretation",
    "Segmentation",
    "SegmentationInterpretation",
    "TrainState",
    "unet_learner",
    "verify_images",
]  # fmt: skip

__version__ = "0.1.0"

_NAMESPACES = (callbacks, distributed, errors, losses, metrics, models, neighbors, schedules, splits, transforms)


def __dir__() -> list[str]:
    """The public names, and the namespaces of all others."""
    return [*__all__, *(module.__name__.rpartition(".")[2] for module in _NAMESPACES)]
