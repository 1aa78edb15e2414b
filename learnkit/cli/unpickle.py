"""Open a file of weights, whatever code that runs, and keep the tensors. The only module that may unpickle.

It runs as a separate process, started by `learnkit convert FILE OUT --i-trust-this-file`; nothing imports it.
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
    """Write the weights of `source` to the .safetensors file `target`; on failure print the reason and return 1."""
    warnings.simplefilter("ignore")  # deprecation warnings of old files
    try:
        write_weights(target, weights_in(_opened(source)))
    except Exception as error:  # code in the file may raise anything
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
