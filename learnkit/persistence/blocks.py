"""What checkpoints share: tensors that never change again, each in a file beside them that is written once."""

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from learnkit.atomic_files import write_atomically
from learnkit.errors import CorruptFileError, LearnkitError
from learnkit.safe_load import read_file
from learnkit.training.snapshot import Finished

__all__ = ["Blocks", "read_blocks", "remove_blocks"]

KEY = "learnkit block"  # of a dict in a checkpoint that stands for such a tensor
NAME = re.compile(r"block-[0-9a-f]{64}\.pt")  # the digest of the content: equal ones are one file, damage is noticed


class Blocks:
    """Writes the `Finished` tensors of checkpoints into their folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names: dict[Finished, str] = {}  # of those that are on the disk

    def written(self, content: Any) -> Any:
        """The same content, with the name of its file in place of each of them.

        Raises:
            WriteError: the disk is full, or writing is not allowed.
        """
        return _mapped(content, Finished, lambda block: {KEY: self._names.get(block) or self._write(block)})

    def _write(self, block: Finished) -> str:
        name = _name(block.tensor)
        if not (self._folder / name).is_file():
            write_atomically(self._folder / name, lambda file: torch.save(block.tensor, file))
        self._names[block] = name
        return name


def read_blocks(content: dict[str, Any], checkpoint: Path) -> dict[str, Any]:
    """The content of a checkpoint with its `Finished` tensors.

    Raises:
        CorruptFileError: a file of one is missing or damaged.
    """

    def read(part: dict[str, Any]) -> Any:
        if KEY not in part:
            return {key: _mapped(value, dict, read) for key, value in part.items()}
        name = str(part[KEY])
        if NAME.fullmatch(name):  # a name from a file: it may not lead to another folder
            try:
                tensor = read_file(checkpoint.with_name(name))
            except LearnkitError:  # missing or damaged
                tensor = None
            if isinstance(tensor, Tensor) and _name(tensor) == name:
                return Finished(tensor)
        raise CorruptFileError(
            f"{checkpoint}: {name[:100]}, which belongs to it, is missing or damaged",
            fix="Copy the whole folder of a checkpoint.",
        )

    return {key: _mapped(value, dict, read) for key, value in content.items()}


def remove_blocks(folder: Path) -> None:
    """Remove all of these files in a folder."""
    for file in [*folder.glob("block-*.pt"), *folder.glob(".block-*.partial")]:
        file.unlink(missing_ok=True)


def _mapped(value: Any, kind: type, change: Callable[[Any], Any]) -> Any:
    """`change` of every value of this kind in nested dicts, lists and tuples."""
    if isinstance(value, kind):
        return change(value)
    if isinstance(value, dict):
        return {key: _mapped(part, kind, change) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_mapped(part, kind, change) for part in value)
    return value


def _name(tensor: Tensor) -> str:
    content = tensor.contiguous().numpy().tobytes()
    return f"block-{hashlib.sha256(f'{tensor.dtype} {tuple(tensor.shape)} '.encode() + content).hexdigest()}.pt"
