"""Fixtures of every test: one thread, a separate home, and two small data sets."""

import gc
import logging
import os
import shutil
import signal
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

torch.set_num_threads(1)
os.environ["PYTHONPATH"] = str(Path(__file__).parents[1])  # processes that tests start import this checkout too

COLORS = {"blue": (40, 60, 200), "green": (50, 190, 60), "red": (210, 50, 40)}
ITEMS = {"train": 8, "valid": 4}  # images per class


class Blobs(NamedTuple):
    """Two Gaussian clouds a linear model can separate, in the order that `DataBunch.from_tensors` takes them."""

    x_train: Tensor  # (64, 2) float32
    y_train: Tensor  # (64,) int64, 0 or 1
    x_valid: Tensor  # (32, 2) float32
    y_valid: Tensor  # (32,) int64


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Spare the garbage collector what stays anyway: walking thousands of tests took a third of collecting them."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a GPU where there is none, unless the tests themselves are tried out on the CPU."""
    of_gpu = [item for item in items if item.get_closest_marker("gpu")]
    if of_gpu and os.environ.get("GPU_TESTS_DEVICE") != "cpu" and not torch.cuda.is_available():
        for item in of_gpu:
            item.add_marker(pytest.mark.skip(reason="CUDA is not available"))


@pytest.fixture(scope="session", autouse=True)
def font_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """One matplotlib cache for the session: with a new home per test, every subprocess would list the fonts again."""
    os.environ.setdefault("MPLCONFIGDIR", str(tmp_path_factory.mktemp("matplotlib")))


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where every test has its home, and its working folder if it asks for none: making them takes longer than most."""
    return tmp_path_factory.mktemp("shared")


@pytest.fixture(autouse=True)
def isolated(request: pytest.FixtureRequest, shared_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No test reads or writes outside its own folder, finds files of another one, or depends on the user's settings."""
    home, here = shared_folder / "home", shared_folder / "here"
    for folder in (home, here):
        folder.mkdir(exist_ok=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("TORCH_HOME", str(home / "torch"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "cache"))
    for name in [name for name in os.environ if name.startswith("LEARNKIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(request.getfixturevalue("tmp_path") if "tmp_path" in request.fixturenames else here)
    yield
    for folder in (home, here):
        if any(folder.iterdir()):
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session", autouse=True)
def ctrl_c() -> Iterator[None]:
    """Ctrl-C as in a terminal, also where the suite was started by a shell that ignores it (`nohup make test &`)."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def logged() -> Iterator[list[logging.LogRecord]]:
    """What is logged in a test, by any logger; pytest's own fixture makes every other test slower."""
    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = records.append  # type: ignore[method-assign]
    logging.getLogger().addHandler(handler)
    yield records
    logging.getLogger().removeHandler(handler)


@pytest.fixture
def blobs() -> Blobs:
    """Clouds of standard deviation 0.5 around (-2, -2) and (2, 2); the classes take turns."""
    numbers = np.random.default_rng(0)

    def cloud(n: int) -> tuple[Tensor, Tensor]:
        y = np.arange(n) % 2
        x = numbers.normal(0, 0.5, (n, 2)) + np.where(y == 1, 2.0, -2.0)[:, None]
        return torch.from_numpy(x.astype(np.float32)), torch.from_numpy(y)

    return Blobs(*cloud(64), *cloud(32))


@pytest.fixture
def class_folder(tmp_path: Path) -> Path:
    """A tree {train,valid}/{blue,green,red}/0.png…: one color with noise, 24x24, 8 and 4 images per class."""
    numbers = np.random.default_rng(0)
    root = tmp_path / "colors"
    for split, n in ITEMS.items():
        for label, color in COLORS.items():
            folder = root / split / label
            folder.mkdir(parents=True)
            for i in range(n):
                pixels = np.clip(numbers.normal(color, 15, (24, 24, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")
    return root


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium without a window, to look at pages with; no longer than a module, as it leaves asyncio no other loop."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next((path for path in map(shutil.which, names) if path), None)
    if found is None:
        pytest.skip(f"no browser: none of {', '.join(names)} is on the PATH")
    with playwright.sync_playwright() as running:
        opened = running.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield opened
        opened.close()
