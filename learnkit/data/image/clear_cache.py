"""Emptying the folder of cache="disk", or keeping it below a size."""

from pathlib import Path

from learnkit.checks import check_int
from learnkit.data.home import home

__all__ = ["clear_cache"]


def clear_cache(max_bytes: int = 0) -> int:
    """Delete what cache="disk" has stored, the least recently used first, until it is no more than `max_bytes`.

    The stores are in the folder `cache` of `LEARNKIT_HOME` (`~/.cache/learnkit` unless set), one for each set of images
    and size; folds and splits of a set share it. They are built again when they are needed. Bunches in use keep what
    they have opened, but new worker processes would not find it.

    Args:
        max_bytes: what may stay.

    Returns:
        how many bytes were freed.

    Raises:
        UsageError: a size that is not an integer of 0 or more.
    """
    left_over = check_int("max_bytes", max_bytes, 0)
    folder = home() / "cache"
    stores = [(index.stat().st_mtime_ns, index) for index in folder.glob("*.npz")]  # touched whenever it is used
    orphans = [data for data in folder.glob("*.u8") if not data.with_suffix(".npz").exists()]
    freed = sum(_deleted(data) for data in orphans)
    for _, index in sorted(stores, reverse=True):
        data = index.with_suffix(".u8")
        left_over -= _size(index) + _size(data)
        if left_over < 0:
            freed += _deleted(index) + _deleted(data)
    return freed


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _deleted(file: Path) -> int:
    """Delete a file, if it is there; its size."""
    size = _size(file)
    file.unlink(missing_ok=True)
    return size
