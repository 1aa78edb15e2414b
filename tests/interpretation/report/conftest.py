"""Interpretations with images to report on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from learnkit import ClassificationInterpretation, ImageDataBunch, Learner
from learnkit.callbacks import OneCycle
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
    "{{ 7 * 7 }}{% raw %}{# x #}",
    "\u2066isolated\u2069\u2028next",
)


def smooth_image(number: int, side: int = 224) -> Pixels:
    """A few soft blobs of color, like a photo out of focus: it compresses like one."""
    from PIL import Image

    numbers = np.random.default_rng(number)
    coarse = numbers.integers(0, 256, (14, 14, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC))


@pytest.fixture(scope="session")
def interpret() -> Interpret:
    """Make an interpretation of n items: a fifth of the predictions are wrong."""

    def make(
        n: int = 60,
        classes: tuple[str, ...] = ("ant", "bee", "cat"),
        names: Callable[[int], str] | None = lambda i: f"{i % 3}/{i:04d}.png",
        image: Callable[[int], Pixels] | None = lambda i: smooth_image(i, 32),
    ) -> ClassificationInterpretation:
        random = torch.Generator().manual_seed(0)
        targets = torch.arange(n) % len(classes)
        preds = torch.where(torch.rand(n, generator=random) < 0.2, (targets + 1) % len(classes), targets)
        raw = torch.randn(n, len(classes), generator=random)
        raw[torch.arange(n), preds] += 4
        losses = torch.nn.functional.cross_entropy(raw, targets, reduction="none")
        return ClassificationInterpretation(raw.softmax(1), targets, losses, classes, ItemSource(image, names))

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
    return smooth_image


def small_net(n_out: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, n_out))


@pytest.fixture
def net() -> Callable[[int], nn.Module]:
    """Make a small convolutional network of n outputs."""
    return small_net


@pytest.fixture
def learn(class_folder: Path) -> Learner:
    """A learner of three colors, trained for two epochs."""
    dls = ImageDataBunch.from_folder(class_folder, size=24, bs=8, augment=False, num_workers=0)
    learn = Learner(dls, small_net(3), metrics="accuracy", seed=3)
    learn.fit(2, callbacks=OneCycle())
    return learn
