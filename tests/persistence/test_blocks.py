"""Tensors that never change again: written once, read with every checkpoint, noticed when damaged."""

from pathlib import Path
from typing import Any

import pytest
import torch

from learnkit.errors import CorruptFileError, LearnkitWarning
from learnkit.persistence.checkpoints import CheckpointWriter, mark_done, read_checkpoint, remove_checkpoints
from learnkit.training.snapshot import Finished


def content(*blocks: Finished, step: int = 0) -> dict[str, Any]:
    return {"model": {}, "step": step, "is_finished": True, "callbacks": {"Recorder": {"blocks": list(blocks)}}}


def write(folder: Path, *contents: dict[str, Any]) -> None:
    writer = CheckpointWriter(folder)
    for each in contents:
        writer.submit(each)
    writer.finish()


def block_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("block-*"))


def test_each_is_written_once_and_read_with_every_checkpoint(tmp_path: Path) -> None:
    one, two = Finished(torch.arange(5.0)), Finished(torch.arange(3.0).double())
    write(tmp_path, content(one))
    times = [file.stat().st_mtime_ns for file in block_files(tmp_path)]
    write(tmp_path, content(one, two), content(one, two, step=2))
    assert len(block_files(tmp_path)) == 2
    assert times[0] in [file.stat().st_mtime_ns for file in block_files(tmp_path)]
    for name, step in (("last.ckpt", 2), ("last.prev.ckpt", 0)):
        found = read_checkpoint(tmp_path / name)
        assert found is not None
        assert found["step"] == step
        kept = found["callbacks"]["Recorder"]["blocks"]
        assert [block.tensor.tolist() for block in kept] == [list(range(5)), list(range(3))]
        assert [block.tensor.dtype for block in kept] == [torch.float32, torch.float64]


def test_the_checkpoint_itself_does_not_grow(tmp_path: Path) -> None:
    sizes = []
    for n in (10, 100_000):
        write(tmp_path, content(Finished(torch.rand(n))))
        sizes.append((tmp_path / "last.ckpt").stat().st_size)
    assert sizes[0] == sizes[1]


@pytest.mark.parametrize("damage", ["missing", "another", "truncated"])
def test_a_damaged_one_is_noticed(damage: str, tmp_path: Path) -> None:
    write(tmp_path, content(), content(Finished(torch.arange(5.0))))
    (file,) = block_files(tmp_path)
    if damage == "missing":
        file.unlink()
    elif damage == "another":
        torch.save(torch.arange(6.0), file)
    else:
        file.write_bytes(file.read_bytes()[:-50])
    with pytest.warns(LearnkitWarning, match=r"last\.ckpt.*; last\.prev\.ckpt, the checkpoint before it, is used"):
        assert read_checkpoint(tmp_path) is not None
    (tmp_path / "last.prev.ckpt").unlink()
    with pytest.raises(CorruptFileError, match=r"block-\w+\.pt, which belongs to it, is missing or damaged"):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize("name", ["../other.pt", "/etc/passwd", "block-..pt", 3])
def test_a_name_cannot_lead_elsewhere(name: object, tmp_path: Path) -> None:
    write(tmp_path, {**content(), "callbacks": {"learnkit block": name}})
    with pytest.raises(CorruptFileError, match="which belongs to it"):
        read_checkpoint(tmp_path)


def test_they_go_with_their_checkpoints(tmp_path: Path) -> None:
    write(tmp_path, content(Finished(torch.ones(2))))
    (tmp_path / ".block-x.pt.123.partial").touch()
    mark_done(tmp_path, is_followed=False)
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]
    write(tmp_path, content(Finished(torch.ones(2))))
    remove_checkpoints(tmp_path)
    assert list(tmp_path.iterdir()) == []
