"""A command line of your own, a file of settings, and learnkit's
==============================================================

argparse reads the settings of a training script, from what is typed and from a TOML file, of which the typed ones win.
The same fit is then run by ``learnkit train``, which has such a command line already::

    python examples/own_command_line.py --lr 0.02 --batch-size 32 --out demo
    python examples/own_command_line.py --config demo/settings.toml --lr 0.05 --out demo
"""

# %%
import argparse
import csv
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

from digits import write_digits  # next to this file

from learnkit import ImageDataBunch, cnn_learner

ARCH, SIZE, VALID_PCT = "shufflenet_v2_x0_5", 32, 0.2

# %%
# The settings
# ------------
# A word without dashes is read by its position, one with dashes by its name. ``type`` says how it is read, ``default``
# what it is otherwise, ``required=True`` that it cannot be left out, ``store_true`` that it takes no value. In a file
# of its own, this function can be imported by every script of a project.


def get_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The settings: typed ones, otherwise those of --config, otherwise the defaults here."""
    parser = argparse.ArgumentParser(description="Train on a folder of images.")
    parser.add_argument("data", type=Path, nargs="?", help="a folder per class; drawn digits if there is none")
    parser.add_argument("--out", type=Path, default=Path("demo"), help="where data and weights go")
    parser.add_argument("--config", type=Path, help="a TOML file with any of these settings")
    parser.add_argument("--workers", type=int, default=0, help="processes that read images")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--niter", type=int, default=2, help="epochs")
    parser.add_argument("--lr", type=float, default=1e-2, help="the learning rate")
    parser.add_argument("--seed", type=int, default=118, help="the same seed, the same weights")
    parser.add_argument("--device", help="cpu, cuda, mps; the accelerator, if there is one")
    parser.add_argument("--checkpoint-path", type=Path, help="weights to start from")
    parser.add_argument("-q", "--quiet", action="store_true", help="do not print the settings")
    parser.add_argument("--tiny", action="store_true", help="two batches: does it run?")
    typed = parser.parse_args(arguments)
    if typed.config:
        settings = {name.replace("-", "_"): value for name, value in tomllib.loads(typed.config.read_text()).items()}
        if unknown := sorted(settings.keys() - vars(typed).keys()):
            parser.error(f"{typed.config}: no such setting: {', '.join(unknown)}")
        parser.set_defaults(**settings)
        typed = parser.parse_args(arguments)
    if not typed.quiet:
        for name, value in vars(typed).items():
            print(f"{name}: {value}")
    return typed


# %%
# Training with them
# ------------------
# ``seed=`` stands for the usual function that seeds Python, NumPy, torch and CUDA and sets cuDNN's flags: what a fit
# draws depends on it alone.


def train(options: argparse.Namespace, data: Path) -> float:
    """The validation loss after the fit; the weights are in out/models/last.pth."""
    dls = ImageDataBunch.from_folder(
        data, valid_pct=VALID_PCT, size=SIZE, bs=options.batch_size, num_workers=options.workers, device=options.device
    )
    learn = cnn_learner(dls, ARCH, pretrained=False, metrics="accuracy", path=options.out, seed=options.seed)
    if options.checkpoint_path:
        learn.load(options.checkpoint_path.resolve())
    learn.fit(options.niter, options.lr, limit_batches=2 if options.tiny else None)
    learn.save("last")
    return float(learn.history["valid_loss"].iloc[-1])


# %%
# With learnkit's
# ---------------
# ``learnkit train --help`` lists what it takes; ``--config`` reads the same names, in sections of your choice, and
# ``--print-config`` writes such a file. `examples/train.toml` is a longer one.


def train_with_learnkit(options: argparse.Namespace, data: Path) -> float:
    """The validation loss of the last epoch of `learnkit train`, from the table that it writes."""
    run, file = options.out / "run", options.out / "train.toml"
    settings: dict[str, dict[str, object]] = {
        "images": {"valid_pct": VALID_PCT, "size": SIZE, "bs": options.batch_size, "num_workers": options.workers},
        "model": {"arch": f'"{ARCH}"', "pretrained": "false", "seed": options.seed},
        "training": {"policy": '"constant"', "epochs": options.niter},
    }
    if options.device:
        settings["images"]["device"] = f'"{options.device}"'
    if options.tiny:
        settings["training"]["limit_batches"] = 2
    with file.open("w") as toml:
        for section, values in settings.items():
            print(f"[{section}]", *(f"{name} = {value}" for name, value in values.items()), sep="\n", file=toml)
    command = ["train", data, "--config", file, "--lr", options.lr, "--out", run, "--overwrite", "--no-report"]
    subprocess.run([sys.executable, "-m", "learnkit", *map(str, command)], check=True)
    with (run / "history.csv").open() as table:
        return float(list(csv.DictReader(table))[-1]["valid_loss"])


def main() -> None:
    """Run the job both ways; `--tiny` makes it a smoke test."""
    options = get_options()
    options.out.mkdir(parents=True, exist_ok=True)
    data = options.data or write_digits(options.out / "digits")
    ours, theirs = train(options, data), train_with_learnkit(options, data)
    print(f"validation loss {ours:.6f}, with learnkit train {theirs:.6f}")


if __name__ == "__main__":
    main()

# sphinx_gallery_thumbnail_path = "questions/images/without-python.png"
