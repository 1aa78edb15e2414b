"""Transforms for `augment=`, of single images and of whole batches, and normalization."""

from learnkit.data.augment.color import Brightness, Contrast, Hue, Saturation
from learnkit.data.augment.erasing import RandomErasing
from learnkit.data.augment.geometry import Dihedral, Flip, FlipVertical, Rotate, Warp, Zoom
from learnkit.data.augment.others import Albumentations, OnBatch, OnItem
from learnkit.data.augment.presets import default_augment, get_transforms
from learnkit.data.augment.presize import Presize
from learnkit.data.image.crops import RandomResizedCrop
from learnkit.data.image.preprocess import IMAGENET, Normalize
from learnkit.data.image.read import full_depth

__all__ = [
    "IMAGENET",
    "Albumentations",
    "Brightness",
    "Contrast",
    "Dihedral",
    "Flip",
    "FlipVertical",
    "Hue",
    "Normalize",
    "OnBatch",
    "OnItem",
    "Presize",
    "RandomErasing",
    "RandomResizedCrop",
    "Rotate",
    "Saturation",
    "Warp",
    "Zoom",
    "default_augment",
    "full_depth",
    "get_transforms",
]
