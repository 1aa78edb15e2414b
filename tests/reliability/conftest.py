"""What hostile tests share: trees of small pictures, learners that train in milliseconds, and the form of an error."""

import resource
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from learnkit import DataBunch, ImageDataBunch, Learner
from learnkit.errors import LearnkitError

Tree = Callable[..., Path]
Refusal = Callable[..., AbstractContextManager[Any]]
FullDisk = Callable[[int], AbstractContextManager[None]]


@pytest.fixture(autouse=True)
def silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEARNKIT_PROGRESS", "off")


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """Make a tree {train,valid}/CLASS/0.png… of noise: its root."""

    def make(
        classes: Sequence[str] = ("ant", "bee"), n: int = 3, name: str = "pictures", size: tuple[int, int] = (16, 16)
    ) -> Path:
        numbers = np.random.default_rng(0)
        root = tmp_path / name
        for split in ("train", "valid"):
            for label in classes:
                (root / split / label).mkdir(parents=True)
                for i in range(n):
                    pixels = numbers.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
                    Image.fromarray(pixels).save(root / split / label / f"{i}.png")
        return root

    return make


@pytest.fixture
def refused() -> Refusal:
    """Expect an error that is learnkit's and a built-in one, and that says all of this in one line."""

    @contextmanager
    def expect(builtin: type[BaseException], *told: str) -> Iterator[Any]:
        with pytest.raises(LearnkitError) as caught:
            yield caught
        assert isinstance(caught.value, builtin)
        for part in told:
            assert part in str(caught.value)
        assert "\n" not in str(caught.value)

    return expect


@pytest.fixture
def full_disk() -> FullDisk:
    """Inside the block the system refuses what makes any file longer than this many bytes, as a full disk does.

    The limit is the whole process's, so it must not outlast the block: pytest writes a line after each test, and its
    own output may be a long file.
    """

    @contextmanager
    def limit(size: int) -> Iterator[None]:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            signal.signal(signal.SIGXFSZ, before)

    return limit


@pytest.fixture
def numbers() -> DataBunch:
    """36 items of two numbers and two classes, in batches of 4."""
    x = torch.randn(36, 2, generator=torch.Generator().manual_seed(0))
    y = torch.arange(36) % 2
    return DataBunch.from_tensors(x, y, x, y, bs=4)


@pytest.fixture
def learner(numbers: DataBunch, tmp_path: Path) -> Callable[..., Learner]:
    """Make a learner of these numbers; keywords go to it."""

    def make(model: nn.Module | None = None, **options: Any) -> Learner:
        return Learner(options.pop("dls", numbers), model or nn.Linear(2, 2), path=tmp_path, seed=0, **options)

    return make


@pytest.fixture
def flat() -> Callable[[ImageDataBunch], nn.Module]:
    """The smallest model for a bunch of pictures."""

    def make(dls: ImageDataBunch) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(dls.input_shape)), dls.c))

    return make
