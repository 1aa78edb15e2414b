"""From a folder of files to a bunch: learnkit against torchvision's ImageFolder and fastai; nothing is decoded.

100,000 files in 100 class folders: one small JPEG and links to it.
"""

import gc
import importlib.util
import os
import tempfile
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
import torch
from PIL import Image

from benchmarks.harness import Case, Result, compare, options, report, result
from learnkit import ImageDataBunch, get_image_files

IMAGE_FOLDER, CONTROL, OURS = "torchvision's ImageFolder", "A/A control", "learnkit: from_folder"
MICROSECONDS, BYTES = 5.0, 300.0  # a file
PATTERN = r"/([^/]+)/\d+\.jpg$"


def write_files(root: Path, n: int, n_classes: int) -> None:
    """Hard links to one image for each class: they take no room but their names."""
    for number in range(n_classes):
        folder = root / f"class{number:04d}"
        folder.mkdir(parents=True)
        first = folder / "0000000.jpg"
        Image.new("RGB", (32, 32)).save(first)
        for i in range(1, n // n_classes):
            os.link(first, folder / f"{i:07d}.jpg")


def with_torchvision(root: Path) -> int:
    from torchvision.datasets import ImageFolder

    return len(ImageFolder(str(root)))


def with_fastai(root: Path) -> int:
    from fastai.vision.all import ImageDataLoaders, Resize

    dls = ImageDataLoaders.from_folder(root, valid_pct=0.2, item_tfms=Resize(224), device=torch.device("cpu"))
    return len(dls.train_ds) + len(dls.valid_ds)


def with_learnkit(make: Callable[[], ImageDataBunch]) -> Case:
    return lambda: lambda: len(make().samples)


def bytes_per_file(root: Path, n: int) -> float:
    """Memory that a bunch holds; prints the most while it is made, too."""
    ImageDataBunch.from_folder(root, valid_pct=0.2, device="cpu")  # what is imported on the way
    gc.collect()
    tracemalloc.start()
    dls = ImageDataBunch.from_folder(root, valid_pct=0.2, device="cpu")
    gc.collect()
    held, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    length = len(dls.samples["input"].iloc[0])
    print(f"bytes per file: {held / n:.0f} held, {most / n:.0f} at most, of a path of {length} characters")
    return held / n


def results(arguments: Sequence[str] | None = None) -> list[Result]:
    """Print a table and write it to results/."""
    quick = {"n": 200, "classes": 2, "rounds": 1, "warm_up": 0}
    args = options(__doc__, quick, arguments, n=100_000, classes=100, rounds=5, warm_up=1)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary) / "files"
        write_files(root, args.n, args.classes)
        names = [file.relative_to(root).as_posix() for file in get_image_files(root)]
        table = pd.DataFrame({"name": names, "label": [name.partition("/")[0] for name in names]})
        table.to_csv(root / "labels.csv", index=False)
        made: dict[str, Callable[[], ImageDataBunch]] = {
            OURS: lambda: ImageDataBunch.from_folder(root, valid_pct=0.2, device="cpu"),
            "learnkit: from_name_re": lambda: ImageDataBunch.from_name_re(
                root, None, PATTERN, valid_pct=0.2, device="cpu"
            ),
            "learnkit: from_csv": lambda: ImageDataBunch.from_csv(root, valid_pct=0.2, device="cpu"),
            "learnkit: from_df": lambda: ImageDataBunch.from_df(root, table, valid_pct=0.2, device="cpu"),
        }
        cases: dict[str, Case] = {IMAGE_FOLDER: lambda: lambda: with_torchvision(root)}
        cases |= {name: with_learnkit(make) for name, make in made.items()}
        if importlib.util.find_spec("fastai"):
            cases["fastai"] = lambda: lambda: with_fastai(root)
        cases[CONTROL] = cases[IMAGE_FOLDER]
        rows = compare(cases, rounds=args.rounds, warm_up=args.warm_up)
        title = f"{args.n:,} files to a bunch"
        report(title, rows, IMAGE_FOLDER, name="tables", unit="µs per file", scale=1e6 / args.n)
        held = bytes_per_file(root, args.n)
    task, unit, scale = f"from_folder of {args.n:,} files", "µs/file", 1e6 / args.n
    found = result(task, rows, IMAGE_FOLDER, OURS, CONTROL, unit=unit, scale=scale, peers={"fastai": "fastai"})
    return [
        found,
        Result(f"{task}, a file", found.value, "µs", MICROSECONDS),
        Result(f"{task}, memory held", held, "bytes/file", BYTES),
    ]


if __name__ == "__main__":
    results()
