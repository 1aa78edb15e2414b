"""torch's loader: what workers that are not forked are sent, and what cannot be."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

from learnkit import DataBunch, ImageDataBunch
from learnkit.data.image.cache import Store
from learnkit.errors import UsageError

SCRIPT = """
import multiprocessing, sys
import numpy as np, torch
from PIL import Image
from learnkit import ImageDataBunch

def main():
    multiprocessing.set_start_method("spawn")
    noise = np.random.default_rng(0)
    pixels = [noise.integers(0, 256, (64, 64, 3), dtype=np.uint8) for _ in range(64)]

    folder = sys.argv[1]
    for i, one in enumerate(pixels):
        Image.fromarray(one).save(f"{folder}/{i % 2}_{i:02}.bmp")
    cached = ImageDataBunch.from_name_re(
        folder, None, r"/(.)_", valid_pct=0.5, cache="memory", num_workers=1, size=64, bs=16, augment=False)
    store = cached.valid_ds.store
    before = store.data.tobytes()
    batches = torch.cat([x for x, _ in cached.valid_dl])
    assert len(batches) == 32 and torch.equal(batches, torch.cat([cached.prepare(f) for f in cached.valid_ds.inputs]))
    assert store._shared is not None and store.data.tobytes() == before  # moved, not sent

if __name__ == "__main__":
    main()
"""


@pytest.mark.slow
def test_spawned_workers_share_the_cache(tmp_path: Path) -> None:
    script, images = tmp_path / "script.py", tmp_path / "images"
    script.write_text(SCRIPT, encoding="utf-8")
    images.mkdir()
    done = subprocess.run([sys.executable, script, images], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_pixels_are_not_pickled_to_find_out_whether_they_could_be(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Store, *_: Any) -> Any:
        raise AssertionError("pickled")

    monkeypatch.setattr("multiprocessing.get_start_method", lambda: "spawn")
    monkeypatch.setattr(Store, "__reduce__", refuse)
    pairs = [(np.full((8, 8, 3), i, np.uint8), i % 2) for i in range(8)]
    dls = ImageDataBunch.from_datasets(pairs, size=8, bs=2, cache="memory", num_workers=1)
    assert dls.train_ds.store is not None
    DataBunch.from_datasets(TensorDataset(torch.ones(4, 2), torch.zeros(4).long()), bs=2, num_workers=1)


def test_what_cannot_be_sent_is_refused_when_the_bunch_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("multiprocessing.get_start_method", lambda: "spawn")
    for options in ({"collate_fn": lambda items: items}, {}):
        dataset: Any = [(torch.ones(2), 0), (torch.ones(2), 1 if options else lambda: 1)]
        with pytest.raises(UsageError, match=r"num_workers=1: the data cannot be sent .* num_workers=0"):
            DataBunch.from_datasets(dataset, bs=2, num_workers=1, **options)
    DataBunch.from_datasets(dataset, bs=2)
