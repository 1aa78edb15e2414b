"""Figures of items: images with their targets as titles, and masks as overlays."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from learnkit.data.points import Points
from learnkit.data.segmentation import Segmentation
from learnkit.data.tasks import Classification, MultiLabel, Task

if TYPE_CHECKING:
    from learnkit.plots.figure import Figure
    from learnkit.plots.layout import FigSize

__all__ = ["RIGHT", "WRONG", "draw_items", "draw_results", "drawable"]

RIGHT, WRONG = "#0072B2", "#B3471B"
GAP = 4  # white pixels between the two masks of an item


def drawable(x: Tensor) -> list[npt.NDArray[np.uint8]]:
    """Images float (N, C, H, W) in [0, 1] as uint8 (H, W, 3); other than 3 channels are averaged to gray."""
    pixels = x if x.shape[1] == 3 else x.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    return list(pixels.mul(255).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy())


def draw_items(x: Tensor, y: Any, task: Task, columns: int, figsize: "FigSize" = None) -> "Figure":
    """Images float (N, C, H, W) in [0, 1] titled with their targets, if any; masks lie over a second copy."""
    from learnkit.plots import image_grid

    images, names = drawable(x), []
    if y is None:
        return image_grid(images, [""] * len(images), columns=columns, figsize=figsize)
    if isinstance(task, Segmentation):
        masks = list(task.indices(y).numpy())
        pairs = zip(images, _overlay(images, masks, task), strict=True)
        images, names = [_side_by_side(*pair) for pair in pairs], _legend(masks, task)
    elif isinstance(task, Points):
        images = _with_points(images, y)
    return image_grid(images, [task.text(target) for target in y], columns=columns, legend=names, figsize=figsize)


def draw_results(
    images: Sequence[npt.NDArray[np.uint8]],
    preds: Tensor,
    targets: Tensor | None,
    task: Task,
    columns: int,
    figsize: "FigSize" = None,
) -> "Figure":
    """Images titled target / prediction, or next to the true mask and the predicted one.

    Args:
        images: N images, uint8 (H, W, 3).
        preds: activated outputs (N, ...).
        targets: encoded targets (N, ...); None to draw predictions only.
        task: decodes both; titles of classes are blue if the prediction is right, rust-red if it is wrong.
        columns: images per row.
        figsize: width and height in inches.
    """
    from learnkit.plots.images import image_grid, joined

    indices = [task.decode(pred)[1] for pred in preds]
    titles, names, colors = [task.text(index) for index in indices], [], None
    if isinstance(task, Segmentation):
        masks = [index.numpy() for index in indices]
        shown = _overlay(images, masks, task)
        if targets is not None:
            true = list(task.indices(targets).numpy())
            parts: Iterable[tuple[Any, ...]] = zip(images, _overlay(images, true, task), shown, strict=True)
            masks = true + masks
        else:
            parts = zip(images, shown, strict=True)
        images, titles = [_side_by_side(*part) for part in parts], [""] * len(shown)
        names = _legend(masks, task)
    elif isinstance(task, Points):
        images = _with_points(images, targets, torch.stack(indices))
        titles = titles if targets is None else [_distance(task, *pair) for pair in zip(indices, targets, strict=True)]
    elif targets is not None:
        titles = [joined(task.text(target), title) for target, title in zip(targets, titles, strict=True)]
        if isinstance(task, Classification | MultiLabel):
            hits = [bool((index == target).all()) for index, target in zip(indices, targets, strict=True)]
            colors = [RIGHT if is_hit else WRONG for is_hit in hits]
    figure = image_grid(images, titles, columns=columns, title_colors=colors, legend=names, figsize=figsize)
    both = "blue: target, orange: prediction" if isinstance(task, Points) else "target / prediction"
    both = "image, target, prediction" if isinstance(task, Segmentation) else both
    figure.suptitle("prediction" if targets is None else both, fontsize=10)
    return figure


def _with_points(
    images: Sequence[npt.NDArray[np.uint8]], targets: Tensor | None, preds: Tensor | None = None
) -> list[npt.NDArray[np.uint8]]:
    """Images with their true points in blue and the predicted ones in orange."""
    from learnkit.plots.points import PREDICTED, TRUE, points_over

    parts = [(part, color) for part, color in ((targets, TRUE), (preds, PREDICTED)) if part is not None]
    return [
        points_over(image, [(part[i].cpu().numpy(), color) for part, color in parts]) for i, image in enumerate(images)
    ]


def _distance(task: Points, pred: Tensor, target: Tensor) -> str:
    """How far predicted points are off, as a title."""
    metric = task.metrics[0]
    metric.update(pred[None], target[None])
    distance = metric.compute()
    return "no known points" if distance != distance else f"{distance:.3g} px off"


def _overlay(
    images: Sequence[npt.NDArray[np.uint8]], masks: Sequence[npt.NDArray[Any]], task: Segmentation
) -> list[npt.NDArray[np.uint8]]:
    from learnkit.plots import overlaid

    return [overlaid(image, mask, task.ignored) for image, mask in zip(images, masks, strict=True)]


def _legend(masks: Sequence[npt.NDArray[Any]], task: Segmentation) -> list[str]:
    """The names of the classes in the masks, "" for the others."""
    present = np.unique(np.stack(masks))
    return [task.classes[number] if number in present else "" for number in range(len(task.classes))]


def _side_by_side(*images: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    gap = np.full((images[0].shape[0], GAP, 3), 255, dtype=np.uint8)
    parts = [part for image in images for part in (gap, image)]
    return np.concatenate(parts[1:], axis=1)
