"""The folder of downloads and caches."""

import os
from pathlib import Path

__all__ = ["home"]


def home() -> Path:
    """`LEARNKIT_HOME` if it is set, else learnkit below `XDG_CACHE_HOME` or ~/.cache; it may not exist yet."""
    folder = os.environ.get("LEARNKIT_HOME")
    if folder:
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "learnkit"
