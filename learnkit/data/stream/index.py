"""What `pack` writes into the index of a stream: its task and classes, and how many items each split has."""

import json
from pathlib import Path
from typing import NamedTuple

from learnkit.data.table.samples import SPLITS
from learnkit.data.task_json import task_from_json, task_to_json
from learnkit.data.tasks import Task
from learnkit.errors import CorruptFileError
from learnkit.json_fields import Fields, JsonObject

__all__ = ["INDEX", "PackIndex", "add_to_index", "read_index"]

INDEX = "index.json"  # litdata's name
OURS = "learnkit"  # the part of it that litdata does not read
VERSION = 1
MAX_ITEMS = 1 << 60


class PackIndex(NamedTuple):
    """What is known about a packed stream without reading its items.

    Attributes:
        task: what the labels mean.
        split: which of the splits this stream is.
        sizes: items of each split.
        is_labeled: whether its items have labels; those of a test set may have none.
    """

    task: Task
    split: str
    sizes: dict[str, int]
    is_labeled: bool = True


def add_to_index(folder: Path, index: PackIndex) -> None:
    """Add to the index that litdata has written in the folder of a stream.

    Raises:
        UsageError: a custom task.
    """
    file = folder / INDEX
    content = json.loads(file.read_bytes())
    content[OURS] = {
        "version": VERSION,
        "split": index.split,
        "sizes": index.sizes,
        "is_labeled": index.is_labeled,
        **task_to_json(index.task),
    }
    file.write_text(json.dumps(content), encoding="utf-8")


def read_index(folder: Path) -> PackIndex | None:
    """What `pack` wrote into the index in a folder; None for a stream that was written without it.

    Raises:
        CorruptFileError: an index that is not JSON or of another version, or values out of bounds.
        MissingModelError: fields that this learnkit does not know.
    """
    file = folder / INDEX
    try:
        content: JsonObject = json.loads(file.read_bytes())
    except ValueError as error:
        raise CorruptFileError(f"{file} is not JSON ({error})", fix="Pack or copy the data again.") from error
    if OURS not in content:
        return None
    fields = Fields(content[OURS], "the index", file)
    fields.integer("version", VERSION, VERSION)
    sizes = fields.part("sizes", SPLITS)
    task = task_from_json(fields.content, file, "the index")
    if task is None:
        raise CorruptFileError(f"{file}: the index names no task", fix="Pack the data again.")
    return PackIndex(
        task,
        fields.choice("split", SPLITS),
        {split: sizes.integer(split, 1, MAX_ITEMS) for split in sizes.content},
        bool(fields.value("is_labeled", lambda value: isinstance(value, bool), "true or false")),
    )
