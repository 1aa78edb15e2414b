"""In several processes a fit and a validation read nothing of the device per batch, as one alone: see `waits.py`."""

from pathlib import Path

import pytest

from tests.distributed.launching import HERE, run


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 3])
def test_reads_of_the_device_do_not_grow_with_the_batches(size: int, tmp_path: Path) -> None:
    run(size, HERE / "waits.py", tmp_path, LEARNKIT_DEVICE="cpu", LEARNKIT_TIMEOUT="120")
    assert [(tmp_path / f"grown-{rank}").read_text() for rank in range(size)] == [""] * size
