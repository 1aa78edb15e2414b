"""Write a model for other programs, or as a .lk file, and check it."""

import argparse
import json
from pathlib import Path

from learnkit.atomic_files import sha256_of
from learnkit.cli.loaded import MODEL_HELP, give_data, load_model
from learnkit.cli.output import check_new, print_line
from learnkit.errors import UsageError
from learnkit.learner.load import load_learner
from learnkit.persistence.deploy.capture import description_path

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the arguments of `learnkit export`."""
    parser.add_argument("file", metavar="FILE", help=MODEL_HELP)
    parser.add_argument(
        "--to", choices=("onnx", "pt2", "lk"), required=True,
        help="onnx for other programs, pt2 for PyTorch without learnkit, lk for learnkit",
    )  # fmt: skip
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="OUT",
        help="the file to write, whose name ends in .onnx, .pt2 or .lk",
    )
    parser.add_argument(
        "--preprocessing", nargs="?", const=True, default=False, choices=("full",),
        help="onnx, pt2: take images (N, H, W, C) in uint8, and normalize them; full: of any size, and resize them too",
    )  # fmt: skip
    parser.add_argument(
        "--no-activation", dest="activation", action="store_false", help="onnx, pt2: end in raw outputs"
    )
    parser.add_argument(
        "--quantize", choices=("int8",), help="onnx: weights of 8 bits, calibrated on the images of --data"
    )
    parser.add_argument(
        "--data", metavar="DATA", help="the folder of the data, which has one for training and one for validation"
    )
    parser.add_argument("--force", action="store_true", help="overwrite OUT")


def run(args: argparse.Namespace) -> int:
    """Write the file, and print its path and what was checked; returns 0.

    Raises:
        LearnkitError: a file or options that cannot work, or a model that cannot be exported.
    """
    if args.out.suffix != f".{args.to}":
        raise UsageError("--out", got=str(args.out), expected=f"a name that ends in .{args.to}, as --to says")
    check_new(args.out, force=args.force)
    if args.to != "lk":
        check_new(description_path(args.out), force=args.force)
    if args.quantize is not None and args.data is None:
        raise UsageError(
            "--quantize: a file holds no images to calibrate on", fix="Pass the folder of the data: --data photos."
        )
    learn = load_model(args.file, device="cpu")
    if args.data is not None:
        give_data(learn, args.data)
    path = learn.export(
        args.out, args.to, preprocessing=args.preprocessing, activation=args.activation, quantize=args.quantize
    )
    print_line(f"model: {path}, {path.stat().st_size:,} bytes, sha256 {sha256_of(path)}")
    if args.to == "lk":
        load_learner(path, device="cpu")
        print_line("checked: read again, with every name, shape and the checksum of the weights")
    else:
        print_line(f"description: {description_path(path)}")
        print_line(_parity(description_path(path)))
    return 0


def _parity(description: Path) -> str:
    found = json.loads(description.read_text("utf-8"))["parity"]
    batches = " and ".join(map(str, found["batch_sizes"]))
    return (
        f"checked: {found['inputs']} inputs, in batches of {batches}: outputs differ from the model's by at most "
        f"{found['max_abs_diff']:.2g}, where {found['tolerance']:g} of the largest is allowed"
    )
