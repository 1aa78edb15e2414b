"""Datasets: one item of the table of samples as uint8 pixels, its target and its number."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.utils.data import Dataset

from learnkit.data.tasks import Task
from learnkit.data.transforms import Preprocess
from learnkit.errors import ImageError

__all__ = ["ImageDataset"]


class ImageDataset(Dataset[tuple[Any, ...]]):
    """Images read from disk when they are asked for.

    Args:
        inputs: paths.
        labels: one a path; None where the set has none.
        task: how a label becomes a target.
        preprocess: how a path becomes uint8 pixels of one size.
    """

    def __init__(
        self, inputs: Sequence[str], labels: Sequence[Any] | None, task: Task | None, preprocess: Preprocess
    ) -> None:
        self.inputs = list(inputs)
        self.labels = None if labels is None else list(labels)
        self.targets = None if labels is None or task is None else [task.encode(label) for label in labels]
        self.preprocess = preprocess

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        """(uint8 (C, H, W), target), or (uint8 (C, H, W),) in a set without labels."""
        pixels = self.pixels(index)
        return (pixels,) if self.targets is None else (pixels, self.targets[index])

    def pixels(self, index: int) -> Tensor:
        """uint8 (C, H, W).

        Raises:
            ImageError: naming the file, its class and its number.
        """
        label = "" if self.labels is None else f"class {self.labels[index]}, "
        try:
            return self.preprocess.item(self.inputs[index], f" ({label}item {index})")
        except ImageError:
            raise
        except MemoryError as error:
            raise ImageError(f"{self.inputs[index]} ({label}item {index}) does not fit in memory") from error
