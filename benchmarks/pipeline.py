"""The image pipeline without a model: JPEG files to float batches, learnkit against torchvision and fastai.

Photos of 500 x 375 pixels -> random resized crop to 224, flip, normalized, batches of 64.
"""

import argparse
import importlib.util
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader

from benchmarks.harness import Case, compare, report
from learnkit import ImageDataBunch
from learnkit.data.augment.geometry import Flip
from learnkit.data.image.crops import RandomResizedCrop
from learnkit.data.image.preprocess import IMAGENET

SIZE, BS = 224, 64
TORCHVISION = "torchvision v2 on PIL"


def write_photos(folder: Path, n: int, size: tuple[int, int] = (500, 375)) -> None:
    """n JPEGs in two class folders: parts of the photos that scikit-learn and matplotlib come with, and grain."""
    import matplotlib
    import sklearn.datasets

    places = [Path(sklearn.datasets.__file__).parent / "images", Path(matplotlib.get_data_path()) / "sample_data"]
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


def main() -> None:
    """Print a table for each number of workers and write it to results/."""
    parser = argparse.ArgumentParser(description="Measure the pipeline from JPEG files to batches.")
    parser.add_argument("--photos", type=Path, help="a folder with a folder per class; made-up photos without it")
    parser.add_argument("--n", type=int, default=640, help="number of made-up photos")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", default="0,2")
    parser.add_argument("--threads", type=int, default=1, help="of torch, in this process")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.photos or Path(temporary) / "photos"
        if args.photos is None:
            write_photos(folder, args.n)
        for workers in map(int, args.workers.split(",")):
            cases = {
                TORCHVISION: with_torchvision(folder, workers, 2),
                "torchvision v1": with_torchvision(folder, workers, 1),
                "learnkit": with_learnkit(folder, workers),
                'learnkit, cache="memory"': with_learnkit(folder, workers, "memory"),
                'learnkit, cache="disk"': with_learnkit(folder, workers, "disk"),
                "A/A control": with_torchvision(folder, workers, 2),
            }
            if importlib.util.find_spec("fastai"):
                cases["fastai"] = with_fastai(folder, workers)
            rows = compare(cases, rounds=args.rounds)
            title = f"JPEG files to batches, workers {workers}"
            report(title, rows, TORCHVISION, name=f"pipeline_w{workers}", unit="s")


if __name__ == "__main__":
    main()
