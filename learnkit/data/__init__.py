"""Data: whatever is on disk or in memory becomes a DataBunch."""

from learnkit.data.bunch import DataBunch
from learnkit.data.fetching import download
from learnkit.data.image_bunch import ImageDataBunch
from learnkit.data.segmentation import Segmentation
from learnkit.data.tasks import Classification, MultiLabel, Regression, Task
from learnkit.data.verify import verify_images

__all__ = [
    "Classification",
    "DataBunch",
    "ImageDataBunch",
    "MultiLabel",
    "Regression",
    "Segmentation",
    "Task",
    "download",
    "verify_images",
]
