"""Limits of a fit besides its epochs: steps, time, batches per epoch, and how often it validates."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Self

from learnkit.checks import check_int
from learnkit.training.interval import Interval, seconds_of

__all__ = ["FirstBatches", "Limits"]

EVERY_EPOCH = Interval(epochs=1)


@dataclass(frozen=True)
class Limits:
    """What ends a fit before its last epoch, what shortens an epoch, and when to validate.

    Attributes:
        max_steps: the fit ends after this many optimizer steps; None for no limit.
        max_time: seconds after which the fit ends; None for no limit.
        validate_every: steps or epochs between two validations; by default every epoch is validated.
        max_batches: batches of an epoch, and of a validation; None for all.
        given: the arguments that were passed, by name.
    """

    max_steps: int | None = None
    max_time: float | None = None
    validate_every: Interval = EVERY_EPOCH
    max_batches: int | None = None
    given: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls, max_steps: Any = None, max_time: Any = None, validate_every: Any = None, limit_batches: Any = None
    ) -> Self:
        """From the arguments of `Learner.fit`; None for no limit.

        Raises:
            UsageError: naming the argument that cannot work.
        """
        given = {
            "max_steps": max_steps, "max_time": max_time, "validate_every": validate_every,
            "limit_batches": limit_batches,
        }  # fmt: skip
        given = {name: value for name, value in given.items() if value is not None}
        parts: dict[str, Any] = {"given": given}
        if max_steps is not None:
            parts["max_steps"] = check_int("max_steps", max_steps, 1)
        if max_time is not None:
            parts["max_time"] = seconds_of("max_time", max_time)
        if validate_every is not None:
            parts["validate_every"] = Interval.of(validate_every, "validate_every", times=False, epochs=True)
        if limit_batches is not None:
            parts["max_batches"] = check_int("limit_batches", limit_batches, 1)
        return cls(**parts)

    @property
    def counts_steps(self) -> bool:
        """Whether validations are due within epochs."""
        return self.validate_every.steps < float("inf")

    @property
    def act_within_epochs(self) -> bool:
        """Whether anything may happen between two batches."""
        return self.max_steps is not None or self.max_time is not None or self.counts_steps


class FirstBatches:
    """The first batches of a loader."""

    def __init__(self, loader: Iterable[Any], n: int) -> None:
        self.loader = loader
        self.n = n

    def __iter__(self) -> Iterator[Any]:
        return islice(self.loader, self.n)
