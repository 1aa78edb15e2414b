"""The image pipeline without a model: JPEG files to float batches, learnkit against torchvision and fastai.

Photos of 500 x 375 pixels -> random resized crop to 224, flip, normalized, batches of 64.
"""

import importlib.util
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader

from benchmarks.harness import Case, Result, Row, compare, options, report, result
from learnkit import ImageDataBunch
from learnkit.data.augment.geometry import Flip
from learnkit.data.image.crops import RandomResizedCrop
from learnkit.data.image.preprocess import IMAGENET

SIZE, BS = 224, 64
TORCHVISION, CONTROL = "torchvision v2 on PIL", "A/A control"
MEMORY = 'learnkit, cache="memory"'


def write_photos(folder: Path, n: int, size: tuple[int, int] = (500, 375)) -> None:
    """n JPEGs in two class folders: parts of the photos of matplotlib and scikit-learn (if installed), and grain."""
    import matplotlib

    places = [Path(matplotlib.get_data_path()) / "sample_data"]
    if importlib.util.find_spec("sklearn"):
        import sklearn.datasets

        places.insert(0, Path(sklearn.datasets.__file__).parent / "images")
    sources = [Image.open(file).convert("RGB") for place in places for file in sorted(place.glob("*.jpg"))]
    numbers = np.random.default_rng(0)
    for number in range(n):
        source = sources[number % len(sources)]
        wide = min(source.width, source.height * size[0] / size[1]) * numbers.uniform(0.6, 1)
        high = wide * size[1] / size[0]
        left, top = numbers.uniform(0, source.width - wide), numbers.uniform(0, source.height - high)
        part = source.resize(size, Image.Resampling.LANCZOS, box=(left, top, left + wide, top + high))
        grain = numbers.normal(0, 4, (size[1], size[0], 1))
        path = folder / ("cat", "dog")[number % 2] / f"{number:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.clip(np.asarray(part) + grain, 0, 255).astype(np.uint8)).save(path, quality=90)


def drained(batches: Iterable[Any]) -> Callable[[], int]:
    """Work that goes through the batches and returns the number of items."""

    def run() -> int:
        n = 0
        for x, _ in batches:
            assert x.shape[1:] == (3, SIZE, SIZE), x.shape
            n += len(x)
        return n

    return run


def with_learnkit(folder: Path, workers: int, cache: Any = None) -> Case:
    dls = ImageDataBunch.from_folder(
        folder, valid_pct=0.01, size=SIZE, bs=BS, num_workers=workers, cache=cache, device="cpu",
        augment=[RandomResizedCrop((SIZE, SIZE)), Flip()],
    )  # fmt: skip
    return lambda: drained(dls.train_dl)


def with_torchvision(folder: Path, workers: int, version: int) -> Case:
    from torchvision import datasets
    from torchvision import transforms as v1
    from torchvision.transforms import v2

    if version == 1:
        steps = [v1.RandomResizedCrop(SIZE), v1.RandomHorizontalFlip(), v1.ToTensor(), v1.Normalize(*IMAGENET)]
        change: Any = v1.Compose(steps)
    else:
        to_float = [v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(*IMAGENET)]
        change = v2.Compose([v2.RandomResizedCrop(SIZE), v2.RandomHorizontalFlip(), *to_float])
    dataset = datasets.ImageFolder(str(folder), change)
    n = len(dataset) - int(0.01 * len(dataset))  # as many as learnkit trains on
    part = torch.utils.data.Subset(dataset, range(n))
    loader = DataLoader(part, BS, shuffle=True, drop_last=True, num_workers=workers, persistent_workers=workers > 0)
    return lambda: drained(loader)


def with_fastai(folder: Path, workers: int) -> Case:
    from fastai.vision.all import Flip as FastaiFlip
    from fastai.vision.all import ImageDataLoaders, Normalize
    from fastai.vision.all import RandomResizedCrop as FastaiCrop

    dls = ImageDataLoaders.from_folder(
        folder, valid_pct=0.01, bs=BS, num_workers=workers, device=torch.device("cpu"), item_tfms=FastaiCrop(SIZE),
        batch_tfms=[FastaiFlip(), Normalize.from_stats(*IMAGENET)],
    )  # fmt: skip
    return lambda: drained(dls.train)


def results(arguments: Sequence[str] | None = None) -> list[Result]:
    """Print a table for each number of workers and write it to results/; the rows are those without workers."""
    args = options(
        __doc__, {"rounds": 1, "warm_up": 0, "n": 130, "workers": "0"}, arguments,
        photos="", n=640, rounds=5, warm_up=1, workers="0,2", threads=1,
    )  # fmt: skip
    torch.set_num_threads(args.threads)
    found: list[Result] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(args.photos or temporary)  # a folder with a folder per class; made-up photos without it
        if not args.photos:
            write_photos(folder, args.n)
        for workers in map(int, args.workers.split(",")):
            cases = {
                TORCHVISION: with_torchvision(folder, workers, 2),
                "torchvision v1": with_torchvision(folder, workers, 1),
                "learnkit": with_learnkit(folder, workers),
                MEMORY: with_learnkit(folder, workers, "memory"),
                'learnkit, cache="disk"': with_learnkit(folder, workers, "disk"),
                CONTROL: with_torchvision(folder, workers, 2),
            }
            if importlib.util.find_spec("fastai"):
                cases["fastai"] = with_fastai(folder, workers)
            rows = compare(cases, rounds=args.rounds, warm_up=args.warm_up)
            title = f"JPEG files to batches, workers {workers}"
            report(title, rows, TORCHVISION, name=f"pipeline_w{workers}", unit="s")
            if workers == 0 and not found:
                found = summarized(rows)
    return found


def summarized(rows: Sequence[Row]) -> list[Result]:
    """Decoding every epoch, and from a cache, in milliseconds per image."""
    unit, n = "ms/image", rows[0].result
    assert isinstance(n, int)
    peers = {"torchvision v1": "torchvision v1", "fastai": "fastai"}
    return [
        result(f"JPEG 500 × 375 → random resized crop {SIZE}, batches of {BS}", rows, TORCHVISION, "learnkit", CONTROL,
               unit=unit, scale=1e3 / n, goal=1 / 2, peers=peers),
        result('the same from cache="memory"', rows, TORCHVISION, MEMORY, CONTROL,
               unit=unit, scale=1e3 / n, goal=1 / 6),
    ]  # fmt: skip


if __name__ == "__main__":
    results()
