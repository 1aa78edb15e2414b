"""The default suffix of a file that a user names: one rule for every format, and the way back to what it named."""

import os
from pathlib import Path

__all__ = ["EXPORTS", "WEIGHTS", "existing", "with_suffix"]

EXPORTS = (".lk",)
WEIGHTS = (".pth", ".pt")


def with_suffix(path: Path, known: tuple[str, ...]) -> Path:
    """The path of a file to write: a known suffix is kept, to anything else the first of them is appended.

    >>> [with_suffix(Path(name), (".pth", ".pt")).name for name in ("net", "net.v2", "net.pt", "net.PTH")]
    ['net.pth', 'net.v2.pth', 'net.pt', 'net.PTH']
    """
    return path if path.suffix.lower() in known else path.with_name(f"{path.name}{known[0]}")


def existing(path: Path, known: tuple[str, ...]) -> Path:
    """The path of a file to read: the one that `with_suffix` names, or the path itself if only that is a file."""
    named = with_suffix(path, known)
    return path if os.path.isfile(path) and not os.path.isfile(named) else named  # False for a name too long, too
