"""Small streams written with litdata alone, as those of others are."""

import importlib.util
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("LITDATA_DISABLE_VERSION_CHECK", "1")
if importlib.util.find_spec("litdata") is None:  # imported by a test, it keeps its copies in that test's home
    pytest.skip("litdata is not installed", allow_module_level=True)


def written(folder: Path, items: Iterable[Any], chunk_size: int = 4) -> Path:
    """A stream of these items."""
    from litdata.streaming import Cache

    writer = Cache(str(folder), chunk_size=chunk_size)
    for i, item in enumerate(items):
        writer[i] = item
    writer.done()
    writer.merge(1)
    return folder
