"""Turn a file of weights, also one that runs code when it is opened, into a .safetensors file.

A pickle is opened only where the caller says to trust it, and then in a process of its own, which hands over tensors in
the safetensors format and nothing else. The process of the command never unpickles.
"""

import argparse
import math
import os
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from torch import Tensor

from learnkit.cli.output import say
from learnkit.cli.state_dicts import weights_in, write_weights
from learnkit.errors import CorruptFileError, DataError, UnsafeFileError, UsageError
from learnkit.safe_load import read_file, read_weights

__all__ = ["add_arguments", "run"]

# What the other process gets to know of this one's environment: enough to find Python, packages and folders.
KEPT = ("HOME", "LANG", "LD_LIBRARY_PATH", "PATH", "SYSTEMROOT", "TEMP", "TMP", "TMPDIR", "USERPROFILE")
TOLD = 2000  # bytes of its last words
FOLDER = Path(__file__).parents[2]  # where this learnkit is


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the arguments of `learnkit convert`."""
    parser.add_argument("file", type=Path, metavar="FILE", help="a torch file, a pickled model, a fastai export")
    parser.add_argument("out", type=Path, metavar="OUT.safetensors", help="where the weights go")
    parser.add_argument(
        "--i-trust-this-file", action="store_true", help="open FILE even if that runs whatever code is in it"
    )
    parser.add_argument("--force", action="store_true", help="write over OUT")
    parser.add_argument(
        "--timeout", type=float, default=600, metavar="SECONDS", help="how long opening FILE may take (600)"
    )


def run(args: argparse.Namespace) -> int:
    """Write the weights of a file to another; 0 when they are there.

    Raises:
        UsageError: OUT is no .safetensors file or there already, a time limit that is none, or a file that runs code
            and no word that it is trusted.
        MissingFileError, CorruptFileError: FILE is not there, damaged, or no file of weights.
        DataError: FILE could not be opened, or holds no weights.
        WriteError: OUT could not be written.
    """
    _check(args.out, args.timeout, force=args.force)
    try:
        weights = weights_in(read_file(args.file))
    except UnsafeFileError as error:
        if not args.i_trust_this_file:
            raise UsageError(
                f"opening {args.file} would run whatever code is in it",
                fix="Only if you trust where it is from, add --i-trust-this-file.",
            ) from error
        weights = _opened_elsewhere(args.file, args.timeout)
    write_weights(args.out, weights)
    say(f"Wrote {args.out}: {len(weights)} tensors, {sum(map(Tensor.numel, weights.values())):,} numbers")
    out = str(args.out)
    say(f"Load them: cnn_learner(dls, arch, weights={out!r}), or into a whole learner: learn.load(Path({out!r}))")
    return 0


def _check(out: Path, timeout: float, *, force: bool) -> None:
    if out.suffix != ".safetensors":
        raise UsageError("OUT", got=str(out), expected="a name that ends in .safetensors")
    if out.is_dir() or (out.exists() and not force):
        raise UsageError(f"{out} is there already", fix="Give another name, or --force to write over a file.")
    if not 0 < timeout < math.inf:
        raise UsageError("--timeout", got=timeout, expected="seconds, a number above 0")


def _opened_elsewhere(path: Path, timeout: float) -> dict[str, Tensor]:
    """The weights as another process finds them."""
    with tempfile.TemporaryDirectory(prefix="learnkit-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        result, words = folder / "weights.safetensors", folder / "stderr.txt"
        command = [sys.executable, "-P", "-m", "learnkit.cli.unpickle", str(path.absolute()), str(result)]
        with words.open("wb") as stderr:
            try:
                done = subprocess.run(
                    command, cwd=folder, env=_environment(), timeout=timeout, check=False,
                    stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr,
                )  # fmt: skip
            except subprocess.TimeoutExpired as error:
                raise DataError(f"{path} was not open after {timeout:g} seconds", fix="Give --timeout more.") from error
        if done.returncode or not result.is_file():
            raise DataError(
                f"{path} could not be opened ({_last_line(words) or f'exit code {done.returncode}'})",
                fix="It may be damaged, or need packages that are not installed here.",
            )
        try:
            return weights_in(read_weights(result))
        except (CorruptFileError, UnsafeFileError, UsageError) as error:
            raise DataError(f"{path}: opening it did not give tensors ({error})") from error


def _environment() -> dict[str, str]:
    """Of the other process: no tokens or keys, and this learnkit."""
    folders = [str(Path(folder).absolute()) for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder]
    if str(FOLDER) != sysconfig.get_path("purelib"):  # found there by itself, and put before the standard library here
        folders.append(str(FOLDER))
    known = {name: os.environ[name] for name in KEPT if name in os.environ}
    return known | {"PYTHONPATH": os.pathsep.join(folders)}


def _last_line(words: Path) -> str:
    with words.open("rb") as file:
        file.seek(max(0, file.seek(0, 2) - TOLD))
        lines = file.read().decode("utf-8", "replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
