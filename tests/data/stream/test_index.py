"""What `pack` writes into the index of a stream."""

import json
from pathlib import Path

import pytest

from learnkit import Classification, MultiLabel, Points, Regression, Segmentation
from learnkit.data.stream.index import INDEX, PackIndex, add_to_index, read_index
from learnkit.data.tasks import Task
from learnkit.errors import CorruptFileError, MissingModelError

OWN = {"chunks": [], "config": {"chunk_bytes": 1}}
TASKS: list[Task] = [
    Classification(("a", "b")), MultiLabel(("a", "b"), (0.2, 0.7)), Regression(("x", "y")), Points(["eye", "nose"]),
    Segmentation({0: "sky", 9: "road"}, ignore_index=255),
]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / INDEX).write_text(json.dumps(OWN))
    return tmp_path


@pytest.mark.parametrize("task", TASKS, ids=lambda task: type(task).__name__)
def test_it_comes_back_and_litdatas_parts_stay(folder: Path, task: Task) -> None:
    index = PackIndex(task, "valid", {"train": 9, "valid": 3}, is_labeled=False)
    add_to_index(folder, index)
    assert read_index(folder) == index
    content = json.loads((folder / INDEX).read_text())
    assert {name: content[name] for name in OWN} == OWN


def test_a_stream_written_by_others_has_none(folder: Path) -> None:
    assert read_index(folder) is None


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"version": 2}, CorruptFileError, "version"),
        ({"split": "dev"}, CorruptFileError, "split"),
        ({"sizes": {"train": -1}}, CorruptFileError, "train"),
        ({"sizes": {"dev": 1}}, MissingModelError, "dev"),
        ({"task": "captioning"}, MissingModelError, "captioning"),
        ({"task": "none"}, CorruptFileError, "names no task"),
        ({"classes": ["a", "a"]}, CorruptFileError, "the index classes"),
        ({"is_labeled": 1}, CorruptFileError, "is_labeled"),
    ],
)
def test_values_that_pack_never_writes_are_refused(
    folder: Path, change: dict[str, object], kind: type[Exception], message: str
) -> None:
    add_to_index(folder, PackIndex(Classification(("a", "b")), "train", {"train": 9}))
    content = json.loads((folder / INDEX).read_text())
    content["learnkit"] |= change
    (folder / INDEX).write_text(json.dumps(content))
    with pytest.raises(kind, match=message):
        read_index(folder)


def test_an_index_that_is_no_json_is_refused(folder: Path) -> None:
    (folder / INDEX).write_text("{")
    with pytest.raises(CorruptFileError, match="is not JSON"):
        read_index(folder)
