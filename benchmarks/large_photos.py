"""Large JPEG files to batches without a model: learnkit against torchvision, for photos of 12 megapixels.

Photos of 4032 x 3024 pixels, made here -> 224 pixels: the center, and a random resized crop; on one thread. Their grain
decides how large the files are, and how long the part of decoding takes that no scale spares.
"""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader

from benchmarks.harness import Case, Result, compare, options, report, result
from benchmarks.pipeline import SIZE, drained
from learnkit import ImageDataBunch
from learnkit.data.image.crops import RandomResizedCrop
from learnkit.data.image.preprocess import IMAGENET

TORCHVISION, CONTROL = "torchvision v2 on PIL", "A/A control"
GOAL = 1 / 4


def photo(seed: int, width: int, height: int, grain: float) -> Image.Image:
    """Noise of every scale, as strong as in photos of nature (falling with the frequency), shapes, and grain.

    The grain is the standard deviation of its gray levels.
    """
    random = np.random.default_rng(seed)
    pixels = np.zeros((height, width, 3), np.float32)
    for k in range(2, 12):
        noise = random.normal(0, 0.5**k, (2**k * 3 // 4, 2**k, 3)).astype(np.float32)
        noise = 0.3 * noise + 0.7 * noise.mean(2, keepdims=True)
        for channel in range(3):
            large = Image.fromarray(noise[..., channel]).resize((width, height), Image.Resampling.BICUBIC)
            pixels[..., channel] += np.asarray(large)
    pixels = 120 + 45 * pixels / pixels.std()
    y, x = np.ogrid[:height, :width]
    for _ in range(40):
        across, down, radius = random.uniform(0, width), random.uniform(0, height), random.uniform(20, 500)
        inside = (x - across) ** 2 + (y - down) ** 2 < radius**2
        pixels[inside] = 0.5 * pixels[inside] + 0.5 * random.uniform(0, 255, 3)
    pixels += random.normal(0, grain, (height, width, 1)).astype(np.float32)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def write_photos(folder: Path, n: int, width: int, grain: float) -> float:
    """n photos in two class folders; returns the megabytes of one of them."""
    for number in range(n):
        path = folder / ("cat", "dog")[number % 2] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        photo(number, width, width * 3 // 4, grain).save(path, quality=90)
    return sum(file.stat().st_size for file in folder.rglob("*.jpg")) / n / 1e6


def with_learnkit(folder: Path, *, crop: bool, full: bool) -> Case:
    dls = ImageDataBunch.from_folder(
        folder, valid_pct=0, size=SIZE, bs=4, num_workers=0, device="cpu", full_decode=full,
        augment=[RandomResizedCrop((SIZE, SIZE))] if crop else False,
    )  # fmt: skip
    return lambda: drained(dls.train_dl)


def with_torchvision(folder: Path, *, crop: bool) -> Case:
    from torchvision import datasets
    from torchvision.transforms import v2

    place: list[Any] = [v2.RandomResizedCrop(SIZE)] if crop else [v2.Resize(SIZE), v2.CenterCrop(SIZE)]
    to_float = [v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(*IMAGENET)]
    dataset = datasets.ImageFolder(str(folder), v2.Compose([*place, *to_float]))
    loader = DataLoader(dataset, 4, shuffle=True, drop_last=True)
    return lambda: drained(loader)


def differences(folder: Path) -> str:
    """Mean and largest difference, in gray levels, of what the model sees from an image decoded in full."""
    reduced, full = (
        ImageDataBunch.from_folder(folder, valid_pct=0, size=SIZE, bs=4, device="cpu", full_decode=choice).preprocess
        for choice in (False, True)
    )
    files = sorted(folder.rglob("*.jpg"))
    apart = [(reduced.item(file).int() - full.item(file).int()).abs() for file in files]
    return f"mean {torch.stack(apart).float().mean():.2f}, largest {max(int(one.max()) for one in apart)}"


def results(arguments: Sequence[str] | None = None) -> list[Result]:
    """Print a table for each way to 224 pixels and write it to results/."""
    args = options(
        __doc__, {"n": 4, "width": 1024, "rounds": 1, "warm_up": 0}, arguments,
        n=8, width=4032, rounds=5, warm_up=1, grain=6.0,
    )  # fmt: skip
    found = []
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        size = write_photos(folder, args.n, args.width, args.grain)
        print(f"{args.n} photos of {size:.1f} MB; gray levels from decoding in full: {differences(folder)}\n")
        for name, crop in (("the center", False), ("a random resized crop", True)):
            cases: dict[str, Callable[[], Callable[[], object]]] = {
                TORCHVISION: with_torchvision(folder, crop=crop),
                "learnkit": with_learnkit(folder, crop=crop, full=False),
                "learnkit, full_decode=True": with_learnkit(folder, crop=crop, full=True),
                CONTROL: with_torchvision(folder, crop=crop),
            }
            rows = compare(cases, rounds=args.rounds, warm_up=args.warm_up)
            title, file = (
                f"JPEG {args.width} × {args.width * 3 // 4} to {name} of {SIZE} pixels",
                "crop" if crop else "center",
            )
            report(title, rows, TORCHVISION, name=f"large_photos_{file}", unit="ms per image", scale=1000 / args.n)
            found.append(
                result(title, rows, TORCHVISION, "learnkit", CONTROL, unit="ms/image", scale=1000 / args.n, goal=GOAL)
            )
    return found


if __name__ == "__main__":
    results()
