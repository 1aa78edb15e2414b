"""The size of a batch: what may be passed, and what "auto" means until it is found."""

from typing import Any, Literal, TypeAlias

from learnkit.checks import check_int
from learnkit.errors import DataError, warn

__all__ = ["AUTO", "BatchSize", "SizeIs", "check_batch_size", "initial_size", "most_items"]

AUTO: Literal["auto"] = "auto"
BatchSize: TypeAlias = int | Literal["auto"]
SizeIs: TypeAlias = Literal["given", "due", "found"]  # by the user, by a search that is to come, by one that was made

DEFAULT = 64  # until it is found
LARGEST = 1024  # that is chosen
MIN_BATCHES = 20  # of an epoch with a chosen size, if it is above the default


def initial_size(bs: Any) -> int:
    """The batch size to begin with: "auto" is 64 until it is found.

    Raises:
        UsageError: neither "auto" nor an integer above 0.
    """
    if isinstance(bs, str) and bs == AUTO:
        return DEFAULT
    return check_int("bs", bs, 1, expected="an integer, 1 or more, or 'auto'")


def check_batch_size(bs: Any, n_train: int) -> int:
    """The batch size to begin with, no larger than the training set.

    Raises:
        UsageError: neither "auto" nor an integer above 0.
    """
    size = initial_size(bs)
    if n_train == 0:
        raise DataError("the training set is empty", fix="Add at least one item.")
    if size > n_train and bs != AUTO:
        warn(f"bs={size} is more than the {n_train} training items; bs={n_train} is used")
    return min(size, n_train)


def most_items(n_train: int) -> int:
    """The largest batch that is chosen for a training set: 1,024 items, but at least 20 batches an epoch.

    Batches of up to 64 are chosen for smaller sets too.

    >>> [most_items(n) for n in (50, 1000, 5000, 1_000_000)]
    [50, 64, 250, 1024]
    """
    return min(n_train, LARGEST, max(n_train // MIN_BATCHES, DEFAULT))
