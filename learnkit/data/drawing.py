"""Drawing items: their pictures, their targets as text, and masks laid over them."""

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from learnkit.data.segmentation import Segmentation
from learnkit.data.tasks import Task

if TYPE_CHECKING:
    from learnkit.plots.figure import Figure

__all__ = ["draw_items", "drawable"]


def drawable(x: Tensor) -> list[npt.NDArray[np.uint8]]:
    """Pictures float (N, C, H, W) in [0, 1] as uint8 (H, W, 3): of other than 3 channels the mean, as gray."""
    pixels = x if x.shape[1] == 3 else x.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    return list(pixels.mul(255).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy())


def draw_items(x: Tensor, y: Any, task: Task, columns: int) -> "Figure":
    """Pictures float (N, C, H, W) in [0, 1] with their targets above them; masks are laid over, with a legend."""
    from learnkit.plots import image_grid, overlaid

    pictures, names = drawable(x), []
    if isinstance(task, Segmentation):
        masks = [mask.numpy() for mask in y]
        pictures = [overlaid(picture, mask, task.ignored) for picture, mask in zip(pictures, masks, strict=True)]
        names = [task.classes[number] if number in np.unique(np.stack(masks)) else "" for number in range(task.n_out)]
    return image_grid(pictures, [task.text(target) for target in y], columns=columns, legend=names)
