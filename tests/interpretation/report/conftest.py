"""Interpretations with pictures to report on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from learnkit import ClassificationInterpretation
from learnkit.interpretation.item_source import ItemSource
from learnkit.interpretation.report import content_of, write_report

Pixels = npt.NDArray[np.uint8]
Interpret = Callable[..., ClassificationInterpretation]

# What people and attackers call their classes and files.
HOSTILE = (
    "<img src=x onerror=alert(1)>",
    '"><script>alert(1)</script>',
    "' onmouseover='alert(1)",
    "</style><script>alert(1)</script>",
    "line\nbreak\r\t\x00\x1b[31mred\x1b[0m",
    "\u202egnp.exe",
    "x" * 300,
    "",
    "🦊 &amp; &lt;b&gt;",
    "javascript:alert(1)",
)


def smooth_picture(number: int, side: int = 224) -> Pixels:
    """A few soft blobs of colour, as a photo out of focus: it compresses like one."""
    from PIL import Image

    numbers = np.random.default_rng(number)
    coarse = numbers.integers(0, 256, (14, 14, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC))


@pytest.fixture(scope="session")
def interpret() -> Interpret:
    """Make an interpretation of n items: a fifth of the predictions is wrong, some are unsure."""

    def make(
        n: int = 60,
        classes: tuple[str, ...] = ("ant", "bee", "cat"),
        names: Callable[[int], str] | None = lambda i: f"{i % 3}/{i:04d}.png",
        picture: Callable[[int], Pixels] | None = lambda i: smooth_picture(i, 32),
    ) -> ClassificationInterpretation:
        random = torch.Generator().manual_seed(0)
        targets = torch.arange(n) % len(classes)
        answers = torch.where(torch.rand(n, generator=random) < 0.2, (targets + 1) % len(classes), targets)
        raw = torch.randn(n, len(classes), generator=random)
        raw[torch.arange(n), answers] += 4
        losses = torch.nn.functional.cross_entropy(raw, targets, reduction="none")
        return ClassificationInterpretation(raw.softmax(1), targets, losses, classes, ItemSource(picture, names))

    return make


@pytest.fixture(scope="session")
def report(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Any], Path]:
    """Write the report of an interpretation."""

    def write(interp: Any) -> Path:
        return write_report(tmp_path_factory.mktemp("report") / "report.html", content_of(interp))

    return write


@pytest.fixture(scope="session")
def hostile() -> tuple[str, ...]:
    return HOSTILE


@pytest.fixture(scope="session")
def photo() -> Callable[[int], Pixels]:
    return smooth_picture
