"""Plots: from numbers to figures; matplotlib is imported when something is drawn."""

from learnkit.plots.curves import loss_curves, lr_curve, metric_curves, schedule_curves
from learnkit.plots.evaluation import confusion_matrix
from learnkit.plots.images import image_grid
from learnkit.plots.overlays import overlaid

__all__ = ["confusion_matrix", "image_grid", "loss_curves", "lr_curve", "metric_curves", "overlaid", "schedule_curves"]
