"""learnkit: five lines to a trained vision model, plain PyTorch's speed, and files you can trust."""

from learnkit.data.bunch import DataBunch
from learnkit.data.download import download
from learnkit.data.image_bunch import ImageDataBunch
from learnkit.data.table.verify import verify_images
from learnkit.errors import LearnkitError, LearnkitWarning
from learnkit.interpretation.classification import ClassificationInterpretation
from learnkit.interpretation.multilabel import MultiLabelInterpretation
from learnkit.interpretation.regression import RegressionInterpretation
from learnkit.interpretation.segmentation import SegmentationInterpretation
from learnkit.learner.learner import Learner
from learnkit.learner.load import load_learner
from learnkit.learner.vision import cnn_learner, unet_learner
from learnkit.training.callback import Callback
from learnkit.types import DatasetType

__all__ = [
    "Callback",
    "ClassificationInterpretation",
    "cnn_learner",
    "DataBunch",
    "DatasetType",
    "download",
    "ImageDataBunch",
    "Learner",
    "LearnkitError",
    "LearnkitWarning",
    "load_learner",
    "MultiLabelInterpretation",
    "RegressionInterpretation",
    "SegmentationInterpretation",
    "unet_learner",
    "verify_images",
]  # fmt: skip

__version__ = "0.1.0"
