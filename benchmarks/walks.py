"""How many files and functions a reader meets on the way of nine usual calls: measured, not estimated.

    python -m benchmarks.walks

For each walk: calls of learnkit's functions, different functions, different files, changes of file from one call to the
next, and the deepest stack of learnkit's functions.
"""

import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

import learnkit
from learnkit import ImageDataBunch, Learner, cnn_learner, load_learner

PACKAGE = str(Path(learnkit.__file__).parent)


@dataclass
class Walk:
    """The functions of learnkit that one call enters."""

    n_calls: int = 0
    n_switches: int = 0
    depth: int = 0
    functions: set[CodeType] = field(default_factory=set)
    _last: str = ""

    def enter(self, frame: FrameType, event: str, _: object) -> None:
        """For sys.setprofile."""
        file = frame.f_code.co_filename
        if event != "call" or not file.startswith(PACKAGE):
            return
        self.n_calls += 1
        self.functions.add(frame.f_code)
        self.n_switches += file != self._last
        self._last = file
        self.depth = max(self.depth, len(own_frames(frame)))

    def row(self) -> tuple[int, ...]:
        files = {function.co_filename for function in self.functions}
        return self.n_calls, len(self.functions), len(files), self.n_switches, self.depth


def own_frames(frame: FrameType | None) -> list[FrameType]:
    """The frames of learnkit on the stack, from the innermost."""
    found = []
    while frame is not None:
        found += [frame] if frame.f_code.co_filename.startswith(PACKAGE) else []
        frame = frame.f_back
    return found


def recorded(call: Callable[[], Any]) -> tuple[Walk, Any]:
    """The walk of a call, and what it returned."""
    walk = Walk()
    sys.setprofile(walk.enter)
    try:
        result = call()
    finally:
        sys.setprofile(None)
    return walk, result


class Stack(nn.Module):
    """A model that records which functions of learnkit are above its forward in training."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(n_in, n_out))
        self.files: list[str] = []

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.files = [frame.f_code.co_filename for frame in own_frames(sys._getframe())]
        return self.layers(x)  # type: ignore[no-any-return]


def make_images(root: Path) -> None:
    """Two classes of eight training and four validation images, 32 x 32 pixels."""
    numbers = np.random.default_rng(0)
    for split, n in (("train", 8), ("valid", 4)):
        for label in ("ant", "bee"):
            (root / split / label).mkdir(parents=True)
            for i in range(n):
                pixels = numbers.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / split / label / f"{i}.png")


def walks(root: Path) -> dict[str, tuple[int, ...]]:
    """The rows of the table: one per walk."""
    make_images(root)
    rows: dict[str, tuple[int, ...]] = {}

    def measure(name: str, call: Callable[[], Any]) -> Any:
        walk, result = recorded(call)
        rows[name] = walk.row()
        return result

    dls = measure("from_folder(path)", lambda: ImageDataBunch.from_folder(root, size=32, bs=2, num_workers=0))
    measure("first training batch", lambda: next(iter(dls.train_dl)))
    model = Stack(3 * 32 * 32, 2)
    learn = Learner(dls, model, metrics="accuracy", path=root)
    learn.fit(1)
    files = model.files
    switches = 1 + sum(a != b for a, b in pairwise(files))
    rows["fit -> forward (stack)"] = (len(files), len(files), len(set(files)), switches, len(files))
    measure("fit(1) whole (8 batches)", lambda: learn.fit(1))
    measure("validate()", learn.validate)
    measure("predict(path)", lambda: learn.predict(root / "valid" / "ant" / "0.png"))
    learn = measure("cnn_learner", lambda: cnn_learner(dls, "resnet18", pretrained=False, path=root))
    file = measure("export", lambda: learn.export(root / "ants.lk"))
    measure("load_learner", lambda: load_learner(file))
    return rows


def main() -> None:
    torch.set_num_threads(1)
    print("| walk | calls | functions | files | switches | depth |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name, row in walks(Path(folder)).items():
            print("|", " | ".join([name, *(f"{number:,}" for number in row)]), "|")


if __name__ == "__main__":
    main()
