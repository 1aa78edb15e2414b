"""Losses of overlap, focus and flattened tensors, class weights, and for any loss its activation and its value per
item."""

from learnkit.losses.activations import activation_of, identity, softmax
from learnkit.losses.flattened import BCEWithLogitsLossFlat, CrossEntropyLossFlat, L1LossFlat, MSELossFlat
from learnkit.losses.focal import FocalLoss
from learnkit.losses.outputs import from_outputs
from learnkit.losses.overlap import DiceBCELoss, DiceLoss, IoULoss
from learnkit.losses.per_item import per_item_loss
from learnkit.losses.points import PointsLoss
from learnkit.losses.weights import balanced_pos_weights, balanced_weights

__all__ = [
    "BCEWithLogitsLossFlat",
    "CrossEntropyLossFlat",
    "DiceBCELoss",
    "DiceLoss",
    "FocalLoss",
    "IoULoss",
    "L1LossFlat",
    "MSELossFlat",
    "PointsLoss",
    "activation_of",
    "balanced_pos_weights",
    "balanced_weights",
    "from_outputs",
    "identity",
    "per_item_loss",
    "softmax",
]
