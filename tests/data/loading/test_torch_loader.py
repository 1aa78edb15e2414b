"""torch's loader: what workers that are not forked are sent, and what cannot be."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import multiprocessing, sys
import numpy as np, torch
from PIL import Image
from learnkit import DataBunch, ImageDataBunch
from learnkit.errors import UsageError

def main():
    multiprocessing.set_start_method(sys.argv[1])
    noise = np.random.default_rng(0)
    pixels = [noise.integers(0, 256, (64, 64, 3), dtype=np.uint8) for _ in range(64)]
    options = dict(size=64, bs=16, normalize=None, augment=False)
    plain = ImageDataBunch.from_datasets([(one, i % 2) for i, one in enumerate(pixels)], **options)
    folder = sys.argv[2]
    for i, one in enumerate(pixels):
        Image.fromarray(one).save(f"{folder}/{i % 2}_{i:02}.bmp")
    cached = ImageDataBunch.from_name_re(folder, None, r"/(.)_", valid_pct=0.5, cache="memory", num_workers=1, **options)
    store = cached.valid_ds.store
    before = store.data.tobytes()
    batches = torch.cat([x for x, _ in cached.valid_dl])
    assert len(batches) == 32 and torch.equal(batches, torch.cat([cached.prepare(f) for f in cached.valid_ds.inputs]))
    assert store._shared is not None and store.data.tobytes() == before  # moved, not sent
    assert torch.equal(torch.cat([x for x, _ in plain.fix_dl])[:1], plain.prepare(pixels[0]))
    try:
        DataBunch.from_datasets([(torch.ones(2), 0)] * 4, bs=2, num_workers=1, collate_fn=lambda items: items)
    except UsageError as error:
        assert "num_workers=1: the data cannot be sent to a process" in str(error), error
        assert "collate_fn) at the top level of a module" in str(error), error
    else:
        raise AssertionError

if __name__ == "__main__":
    main()
"""


@pytest.mark.parametrize("method", ["spawn"])
def test_spawned_workers_share_the_cache(method: str, tmp_path: Path) -> None:
    script, images = tmp_path / "script.py", tmp_path / "images"
    script.write_text(SCRIPT, encoding="utf-8")
    images.mkdir()
    done = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", script, method, images], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
