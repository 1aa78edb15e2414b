"""Data: whatever is on disk or in memory becomes a DataBunch."""

from learnkit.data.bunch import DataBunch
from learnkit.data.image_bunch import ImageDataBunch
from learnkit.data.tasks import Classification, MultiLabel, Regression, Task

__all__ = ["Classification", "DataBunch", "ImageDataBunch", "MultiLabel", "Regression", "Task"]
