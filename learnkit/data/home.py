"""Where learnkit keeps what it downloads and decodes."""

import os
from pathlib import Path

__all__ = ["home"]


def home() -> Path:
    """`LEARNKIT_HOME` if it is set, else learnkit below `XDG_CACHE_HOME` or ~/.cache; it may not be there yet."""
    named = os.environ.get("LEARNKIT_HOME")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "learnkit"
