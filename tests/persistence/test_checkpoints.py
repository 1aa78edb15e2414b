"""Checkpoints on disk: two generations, damage, and files of other kinds."""

import os
import random
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from learnkit.errors import CorruptFileError, LearnkitWarning, MissingFileError
from learnkit.persistence.checkpoints import (
    CheckpointWriter,
    is_marker,
    leave_last,
    mark_done,
    read_checkpoint,
    remove_checkpoints,
)
from tests.doubles import refused


def content(step: int) -> dict[str, Any]:
    return {"step": step, "weights": torch.full((1000,), float(step)), "nested": {"rows": [{"a": 1.5}], 3: None}}


def written(folder: Path, steps: int) -> CheckpointWriter:
    writer = CheckpointWriter(folder)
    for step in range(steps):
        writer.submit(content(step))
    writer.finish()
    return writer


def test_the_last_two_are_kept(tmp_path: Path) -> None:
    written(tmp_path, 3)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["last.ckpt", "last.prev.ckpt"]
    for name, step in (("last.ckpt", 2), ("last.prev.ckpt", 1)):
        found = read_checkpoint(tmp_path / name)
        assert found is not None
        assert found["step"] == step
        assert found["weights"].tolist() == [float(step)] * 1000
        assert found["nested"] == {"rows": [{"a": 1.5}], 3: None}


def test_unfinished_files_of_a_killed_process_are_removed(tmp_path: Path) -> None:
    for name in (".last.ckpt.0123.partial", ".mine.ckpt.0123.partial", "last.ckpt.txt"):
        (tmp_path / name).write_bytes(b"cut sh")
    CheckpointWriter(tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == [".mine.ckpt.0123.partial", "last.ckpt.txt"]


def test_an_empty_folder_has_no_checkpoint(tmp_path: Path) -> None:
    assert read_checkpoint(tmp_path) is None
    assert read_checkpoint(tmp_path / "nowhere") is None
    with pytest.raises(MissingFileError):
        read_checkpoint(tmp_path / "last.ckpt")


def test_a_change_after_submit_does_not_reach_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, changed = threading.Event(), threading.Event()
    real = torch.save

    def slow(*given: Any) -> None:
        begun.set()
        assert changed.wait(10)
        real(*given)

    monkeypatch.setattr(torch, "save", slow)
    writer, live = CheckpointWriter(tmp_path), content(1)
    writer.submit(live)
    assert begun.wait(10)
    assert writer.is_busy
    live["weights"].zero_()
    live["nested"]["rows"].append("more")
    changed.set()
    writer.finish()
    assert not writer.is_busy
    found = read_checkpoint(tmp_path)
    assert found is not None
    assert found["weights"].tolist() == [1.0] * 1000
    assert found["nested"]["rows"] == [{"a": 1.5}]


@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_a_checkpoint_that_cannot_be_written_is_reported_and_changes_nothing(
    function: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = written(tmp_path, 2)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, function, full)
        writer.submit(content(2))
        with pytest.warns(LearnkitWarning, match="continues without a new checkpoint.*No space left on device"):
            writer.finish()
    assert not writer.has_saved
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
    writer.submit(content(3))
    writer.finish()
    assert writer.has_saved
    found = read_checkpoint(tmp_path)
    assert found is not None
    assert found["step"] == 3


def test_no_flipped_bit_gives_other_content(tmp_path: Path) -> None:
    written(tmp_path, 1)
    file = tmp_path / "last.ckpt"
    whole, numbers = file.read_bytes(), random.Random(0)
    n_refused = 0
    for place in [numbers.randrange(len(whole)) for _ in range(150)]:
        file.write_bytes(whole[:place] + bytes([whole[place] ^ (1 << numbers.randrange(8))]) + whole[place + 1 :])
        try:
            found = read_checkpoint(tmp_path)
        except CorruptFileError:
            n_refused += 1
            continue
        assert found is not None
        assert found.pop("weights").tolist() == [0.0] * 1000
        assert found.pop("file") == "last.ckpt"
        assert found == {"format": "learnkit checkpoint", "schema": 2, "step": 0, "nested": content(0)["nested"]}
    assert n_refused > 75  # the others fell between the parts of the file


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_the_one_before_replaces_a_file_cut_short(share: float, tmp_path: Path) -> None:
    written(tmp_path, 2)
    size = (tmp_path / "last.ckpt").stat().st_size
    os.truncate(tmp_path / "last.ckpt", int(share * size))
    with pytest.warns(LearnkitWarning, match=r"last\.ckpt.*; last\.prev\.ckpt, the checkpoint before it, is used"):
        found = read_checkpoint(tmp_path)
    assert found is not None
    assert found["step"] == 0


def test_the_warning_names_the_whole_path_of_the_damaged_one(tmp_path: Path) -> None:
    folder = tmp_path / "Run 3. Again"
    written(folder, 2)
    os.truncate(folder / "last.ckpt", 100)
    with pytest.warns(LearnkitWarning, match=r"Run 3\. Again/last\.ckpt.*; last\.prev\.ckpt, the checkpoint before it"):
        read_checkpoint(folder)


def test_if_both_are_damaged_the_error_states_what_to_do(tmp_path: Path) -> None:
    written(tmp_path, 2)
    for name in ("last.ckpt", "last.prev.ckpt"):
        os.truncate(tmp_path / name, 100)
    with pytest.raises(CorruptFileError, match=r"last\.ckpt: .*\. resume=None starts again"):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize("schema", [1, 3])
def test_another_schema_is_refused(schema: int, tmp_path: Path) -> None:
    torch.save({"format": "learnkit checkpoint", "schema": schema}, tmp_path / "last.ckpt")
    with refused(f"{tmp_path / 'last.ckpt'}: a checkpoint of schema", got=schema, expected="2"):
        read_checkpoint(tmp_path)


def test_only_checkpoints_are_removed(tmp_path: Path) -> None:
    written(tmp_path, 2)
    (tmp_path / "mine.ckpt").write_text("mine")
    remove_checkpoints(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["mine.ckpt"]
    remove_checkpoints(tmp_path / "nowhere")


# Of fits that are done


def done(folder: Path, *, is_finished: bool = True) -> None:
    """Three checkpoints of a fit, of which the last two are kept."""
    writer = CheckpointWriter(folder)
    for step in range(3):
        about = {"identity": {"epochs": "3"}, "surroundings": {}, "learner": {"seed": 0}, "at": {"step": step}}
        writer.submit({**about, "model": {"weight": torch.ones(1000)}, "is_finished": is_finished and step == 2})
    writer.finish()


def test_one_file_is_left(tmp_path: Path) -> None:
    done(tmp_path)
    leave_last(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]
    leave_last(tmp_path / "nothing there")


def test_a_note_remains_of_a_fit_that_is_done(tmp_path: Path) -> None:
    done(tmp_path)
    mark_done(tmp_path, is_followed=True)
    (file,) = tmp_path.iterdir()
    assert file.stat().st_size < 2500
    found = read_checkpoint(tmp_path)
    assert found is not None
    assert is_marker(found)
    assert found["identity"] == {"epochs": "3"}
    assert (found["is_finished"], found["is_followed"], found["at"]) == (True, True, {"step": 2})
    mark_done(tmp_path, is_followed=False)
    assert read_checkpoint(tmp_path) == found


def test_a_fit_that_is_not_done_is_kept(tmp_path: Path) -> None:
    done(tmp_path, is_finished=False)
    mark_done(tmp_path, is_followed=True)
    found = read_checkpoint(tmp_path)
    assert found is not None
    assert not is_marker(found)
    mark_done(tmp_path / "nothing there", is_followed=True)
    (tmp_path / "last.ckpt").write_bytes(b"PK\x03\x04")
    (tmp_path / "last.prev.ckpt").write_bytes(b"PK\x03\x04")
    mark_done(tmp_path, is_followed=True)
    assert (tmp_path / "last.ckpt").read_bytes() == b"PK\x03\x04"
