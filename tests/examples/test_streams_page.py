"""The code of docs/streams.md about WebDataset runs as it stands."""

import io
import re
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

PAGE = Path(__file__).parents[2] / "docs" / "streams.md"


@pytest.fixture
def shards(tmp_path: Path) -> None:
    """Two tar files of 16 items each, an image and its class, in the working directory."""
    numbers = np.random.default_rng(0)
    for shard in range(2):
        with tarfile.open(tmp_path / f"train-{shard:06d}.tar", "w") as tar:
            for i in range(16):
                file = io.BytesIO()
                Image.fromarray(numbers.integers(0, 256, (40, 48, 3), dtype=np.uint8)).save(file, "PNG")
                for name, content in ((f"{shard}-{i}.png", file.getvalue()), (f"{shard}-{i}.cls", str(i % 2).encode())):
                    info = tarfile.TarInfo(name)
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))


@pytest.mark.usefixtures("shards")
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_webdataset_through_from_loaders() -> None:
    pytest.importorskip("webdataset", reason="webdataset is not installed")
    (code,) = re.findall(r"<!-- tested: webdataset -->\n```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    names: dict[str, Any] = {"torch": torch, "model": nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 2))}
    exec(code.replace("num_workers=2", "num_workers=0"), names)
    learn = names["learn"]
    assert len(list(learn.dls.train_dl)) == 4
    x, y = next(iter(learn.dls.train_dl))
    assert x.shape == (8, 3, 32, 32)
    assert set(y.tolist()) <= {0, 1}
    learn.fit(1, 1e-3)
    assert learn.recorder.rows[0]["train_loss"] > 0
