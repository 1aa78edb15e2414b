"""Data: whatever is on disk or in memory becomes a DataBunch."""

from learnkit.data.bunch import DataBunch
from learnkit.data.download import download
from learnkit.data.image_bunch import ImageDataBunch
from learnkit.data.points import Points
from learnkit.data.segmentation import Segmentation
from learnkit.data.table.files import get_image_files
from learnkit.data.table.verify import verify_images
from learnkit.data.tasks import Classification, MultiLabel, Regression, Task

__all__ = [
    "Classification",
    "DataBunch",
    "ImageDataBunch",
    "MultiLabel",
    "Points",
    "Regression",
    "Segmentation",
    "Task",
    "download",
    "get_image_files",
    "verify_images",
]
