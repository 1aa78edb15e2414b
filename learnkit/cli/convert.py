"""Convert a file of weights, even a pickle, into a .safetensors file.

A pickle is opened only if the caller trusts it, and then in a separate process, which returns only tensors in the
safetensors format. The process of the command never unpickles.
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

from learnkit.cli.output import check_new, print_line
from learnkit.cli.state_dicts import weights_in, write_weights
from learnkit.errors import CorruptFileError, DataError, UnsafeFileError, UsageError
from learnkit.safe_load import read_file, read_weights

__all__ = ["add_arguments", "run"]

# Environment variables passed to the other process: enough to find Python, packages and folders.
PASSED_VARIABLES = ("HOME", "LANG", "LD_LIBRARY_PATH", "PATH", "SYSTEMROOT", "TEMP", "TMP", "TMPDIR", "USERPROFILE")
MAX_STDERR = 2000  # bytes read from the end of its stderr
FOLDER = Path(__file__).parents[2]  # that contains this learnkit


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the arguments of `learnkit convert`."""
    parser.add_argument("file", type=Path, metavar="FILE", help="a torch file, a pickled model, a fastai export")
    parser.add_argument("out", type=Path, metavar="OUT.safetensors", help="file to write the weights to")
    parser.add_argument("--i-trust-this-file", action="store_true", help="open FILE even if that runs code in it")
    parser.add_argument("--force", action="store_true", help="overwrite OUT")
    parser.add_argument(
        "--timeout", type=float, default=600, metavar="SECONDS", help="time limit for opening FILE (600)"
    )


def run(args: argparse.Namespace) -> int:
    """Write the weights of a file to another one; returns 0.

    Raises:
        UsageError: OUT is not a .safetensors file or exists already, an invalid time limit, or a file that would run
            code and is not trusted.
        MissingFileError, CorruptFileError: FILE does not exist, is damaged, or is not a file of weights.
        DataError: FILE could not be opened, or contains no weights.
        WriteError: OUT could not be written.
    """
    _check(args.out, args.timeout, force=args.force)
    try:
        weights = weights_in(read_file(args.file))
    except UnsafeFileError as error:
        if not args.i_trust_this_file:
            raise UsageError(
                f"opening {args.file} would run the code in it",
                fix="Add --i-trust-this-file only if you trust its source.",
            ) from error
        weights = _open_in_subprocess(args.file, args.timeout)
    write_weights(args.out, weights)
    print_line(f"Wrote {args.out}: {len(weights)} tensors, {sum(map(Tensor.numel, weights.values())):,} numbers")
    out = str(args.out)
    print_line(
        f"Load them: cnn_learner(dls, arch, weights={out!r}), or into a whole learner: learn.load(Path({out!r}))"
    )
    return 0


def _check(out: Path, timeout: float, *, force: bool) -> None:
    if out.suffix != ".safetensors":
        raise UsageError("OUT", got=str(out), expected="a name that ends in .safetensors")
    check_new(out, force=force)
    if not 0 < timeout < math.inf:
        raise UsageError("--timeout", got=timeout, expected="a number of seconds above 0")


def _open_in_subprocess(path: Path, timeout: float) -> dict[str, Tensor]:
    """The weights as another process reads them."""
    with tempfile.TemporaryDirectory(prefix="learnkit-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        result, log = folder / "weights.safetensors", folder / "stderr.txt"
        command = [sys.executable, "-P", "-m", "learnkit.cli.unpickle", str(path.absolute()), str(result)]
        with log.open("wb") as stderr:
            try:
                done = subprocess.run(
                    command, cwd=folder, env=_environment(), timeout=timeout, check=False,
                    stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr,
                )  # fmt: skip
            except subprocess.TimeoutExpired as error:
                raise DataError(f"opening {path} took more than {timeout:g} seconds", fix="Raise --timeout.") from error
        if done.returncode or not result.is_file():
            raise DataError(
                f"{path} could not be opened ({_last_line(log) or f'exit code {done.returncode}'})",
                fix="It may be damaged, or need packages that are not installed here.",
            )
        try:
            return weights_in(read_weights(result))
        except (CorruptFileError, UnsafeFileError, UsageError) as error:
            raise DataError(f"opening {path} returned no valid tensors ({error})") from error


def _environment() -> dict[str, str]:
    """The environment of the other process: this learnkit, and no tokens or keys."""
    folders = [str(Path(folder).absolute()) for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder]
    if str(FOLDER) != sysconfig.get_path("purelib"):  # found anyway, and must not precede the standard library
        folders.append(str(FOLDER))
    known = {name: os.environ[name] for name in PASSED_VARIABLES if name in os.environ}
    return known | {"PYTHONPATH": os.pathsep.join(folders)}


def _last_line(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(max(0, file.seek(0, 2) - MAX_STDERR))
        lines = file.read().decode("utf-8", "replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
