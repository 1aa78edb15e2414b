"""From a folder of files to a bunch: learnkit against torchvision's ImageFolder and fastai; nothing is decoded.

100,000 files in 100 class folders: one small JPEG and links to it.
"""

import argparse
import gc
import importlib.util
import os
import tempfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch
from PIL import Image

from benchmarks.harness import Case, compare, report
from learnkit import ImageDataBunch, get_image_files

IMAGE_FOLDER = "torchvision's ImageFolder"
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


def bytes_per_file(root: Path, n: int) -> str:
    """Memory that a bunch holds, and the most while it is made."""
    ImageDataBunch.from_folder(root, valid_pct=0.2, device="cpu")  # what is imported on the way
    gc.collect()
    tracemalloc.start()
    dls = ImageDataBunch.from_folder(root, valid_pct=0.2, device="cpu")
    gc.collect()
    held, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return f"{held / n:.0f} held, {most / n:.0f} at most, of a path of {len(dls.samples['input'].iloc[0])} characters"


def main() -> None:
    """Print a table and write it to results/."""
    parser = argparse.ArgumentParser(description="Measure how a bunch is made of a folder of files.")
    parser.add_argument("--n", type=int, default=100_000)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary) / "files"
        write_files(root, args.n, args.classes)
        names = [file.relative_to(root).as_posix() for file in get_image_files(root)]
        table = pd.DataFrame({"name": names, "label": [name.partition("/")[0] for name in names]})
        table.to_csv(root / "labels.csv", index=False)
        made: dict[str, Callable[[], ImageDataBunch]] = {
            "learnkit: from_folder": lambda: ImageDataBunch.from_folder(root, valid_pct=0.2, device="cpu"),
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
        cases["A/A control"] = cases[IMAGE_FOLDER]
        rows = compare(cases, rounds=args.rounds)
        title = f"{args.n:,} files to a bunch"
        report(title, rows, IMAGE_FOLDER, name="tables", unit="µs per file", scale=1e6 / args.n)
        print(f"bytes per file: {bytes_per_file(root, args.n)}")


if __name__ == "__main__":
    main()
