"""Open a file of weights with all that it wants to run, and keep the tensors. The one module that may unpickle.

It is a process of its own, which `learnkit convert FILE OUT --i-trust-this-file` starts: nothing imports it.
"""

import pickle
import sys
import tarfile
import warnings
import zipfile
from pathlib import Path

import torch

from learnkit.cli.state_dicts import weights_in, write_weights
from learnkit.errors import LearnkitError
from learnkit.text import printable

__all__ = ["main"]

MAGIC = 0x1950A86A20F9469CFC6C  # the first object in a torch file before 1.6


def main(source: Path, target: Path) -> int:
    """Write the weights in `source` to `target`, a .safetensors file; if not, 1, and why as last line of stderr."""
    warnings.simplefilter("ignore")  # of what is old in an old file
    try:
        write_weights(target, weights_in(_opened(source)))
    except Exception as error:  # whatever code the file brings can raise whatever it likes
        kind = "" if isinstance(error, LearnkitError) else f"{type(error).__name__}: "
        sys.stderr.write(f"\n{printable(f'{kind}{error}')}\n")
        return 1
    return 0


def _opened(source: Path) -> object:
    if not zipfile.is_zipfile(source) and not tarfile.is_tarfile(source):
        with source.open("rb") as file:
            content: object = pickle.load(file)
        if not (isinstance(content, int) and content == MAGIC):
            return content
    loaded: object = torch.load(source, map_location="cpu", weights_only=False)
    return loaded


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
