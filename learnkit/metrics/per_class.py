"""Metrics with a number per class: their columns, and their results by column."""

import math
from collections.abc import Sequence

from learnkit.errors import UsageError

__all__ = ["PerClass"]


class PerClass:
    """A metric of one number, or of one per class.

    Args:
        name: its column in the history, or the start of its columns.
        is_per_class: whether there is one number per class.

    Attributes:
        classes: their names, which a metric with a number per class needs for its columns.
    """

    def __init__(self, name: str, is_per_class: bool) -> None:
        self.name = name
        self.is_per_class = is_per_class
        self.classes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return self.name

    @property
    def columns(self) -> list[str]:
        """Its columns in the history."""
        return [f"{self.name}_{label}" for label in self.classes] if self.is_per_class else [self.name]

    def without_batches(self) -> float | dict[str, float]:
        """What there is to report before the first batch."""
        return dict.fromkeys(self.columns, math.nan) if self.is_per_class else math.nan

    def by_class(self, values: Sequence[float]) -> dict[str, float]:
        """One number per class, by column; classes without names are numbered.

        Raises:
            UsageError: another number of classes than there are names.
        """
        if self.classes and len(self.classes) != len(values):
            raise UsageError(
                f"metric {self.name}: average: None",
                got=f"{len(values)} numbers",
                expected=f"one for each of {len(self.classes)} classes",
            )
        labels = self.classes or range(len(values))
        return {f"{self.name}_{label}": value for label, value in zip(labels, values, strict=True)}
