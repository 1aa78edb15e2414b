"""learnkit verify: what it lists, writes and moves, and what it leaves alone."""

import csv
import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from learnkit import ImageDataBunch, cnn_learner
from learnkit.cli.main import main

Verify = Callable[..., tuple[int, list[str], str]]


@pytest.fixture
def verify(capsys: pytest.CaptureFixture[str]) -> Verify:
    """Run `learnkit verify ...`: exit code, lines of stdout, stderr."""

    def run(*args: object) -> tuple[int, list[str], str]:
        code = main(["verify", *map(str, args)])
        out, err = capsys.readouterr()
        return code, out.splitlines(), err

    return run


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """Six different images of noise in two classes."""
    numbers = np.random.default_rng(0)
    for name in ("ant/0.png", "ant/1.png", "ant/2.png", "bee/0.png", "bee/1.png", "bee/2.png"):
        file = tmp_path / "pets" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(numbers.integers(0, 256, (20, 20, 3), dtype=np.uint8)).save(file)
    return tmp_path / "pets"


@pytest.fixture
def damaged(pets: Path) -> Path:
    """The same, one of them truncated and one a text file."""
    whole = (pets / "ant/1.png").read_bytes()
    (pets / "ant/1.png").write_bytes(whole[: len(whole) // 2])
    (pets / "bee/0.png").write_text("<html>404</html>")
    return pets


def files_below(folder: Path) -> dict[str, bytes]:
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_intact_images_exit_with_0(pets: Path, verify: Verify) -> None:
    assert verify(pets) == (0, ["0 of 6 images are damaged"], "")


def test_a_damaged_image_is_listed_and_exits_with_1(damaged: Path, verify: Verify) -> None:
    code, lines, err = verify(damaged)
    assert (code, err) == (1, "")
    assert lines[0].startswith("ant/1.png: cannot be read as an image (")
    assert "truncated" in lines[0]
    assert lines[1].startswith("bee/0.png: cannot be read as an image (")
    assert lines[2:] == ["2 of 6 images are damaged"]
    assert not any("learnkit verify" in line for line in lines)


def test_a_missing_folder_exits_with_2(tmp_path: Path, verify: Verify) -> None:
    code, lines, err = verify(tmp_path / "pats")
    assert (code, lines) == (2, [])
    assert err.startswith(f"learnkit: no folder {tmp_path / 'pats'}")
    assert err.count("\n") == 1


def test_a_folder_without_images_is_a_problem(tmp_path: Path, verify: Verify) -> None:
    code, lines, err = verify(tmp_path)
    assert (code, lines) == (2, [])
    assert "no images" in err


def test_other_problems_are_only_counted(pets: Path, verify: Verify) -> None:
    (pets / "ant/9.png").write_bytes((pets / "ant/0.png").read_bytes())
    code, lines, _ = verify(pets)
    assert code == 0
    assert lines[0] == "0 of 7 images are damaged"
    assert "1 duplicate" in lines[1]


def test_a_malicious_name_is_one_printable_line(pets: Path, verify: Verify) -> None:
    (pets / "a\nERROR \x1b[2J.png").write_bytes(b"none")
    _, lines, _ = verify(pets)
    assert len(lines) == 2
    assert lines[0].startswith("a\\nERROR \\x1b[2J.png: cannot be read")
    assert all(line.isprintable() for line in lines)


def test_the_table_has_no_formulas(damaged: Path, verify: Verify, tmp_path: Path) -> None:
    (damaged / "=cmd().png").write_bytes(b"none")
    os.rename(damaged / "bee/0.png", os.fsencode(damaged) + b"/bee/\xff.png")  # not UTF-8
    code, lines, _ = verify(damaged, "--csv", tmp_path / "out/bad.csv")
    with (tmp_path / "out/bad.csv").open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert code == 1
    assert header == ["path", "error"]
    assert [path for path, _ in rows] == ["'=cmd().png", "ant/1.png", "bee/\\udcff.png"]
    assert [f"{path.lstrip(chr(39))}: {error}" for path, error in rows] == lines[:3]


def test_the_table_of_intact_images_has_no_rows(pets: Path, verify: Verify, tmp_path: Path) -> None:
    assert verify(pets, "--csv", tmp_path / "bad.csv")[0] == 0
    assert (tmp_path / "bad.csv").read_text().splitlines() == ["path,error"]


def test_nothing_is_moved_without_yes(damaged: Path, verify: Verify, tmp_path: Path) -> None:
    before = files_below(tmp_path)
    code, lines, _ = verify(damaged, "--move-to", tmp_path / "bad")
    assert (code, lines[-1]) == (1, f"Nothing was moved; add --yes to move 2 files to {tmp_path / 'bad'}")
    assert files_below(tmp_path) == before


def test_moved_files_keep_their_relative_paths(damaged: Path, verify: Verify, tmp_path: Path) -> None:
    before = files_below(damaged)
    code, lines, _ = verify(damaged, "--move-to", tmp_path / "bad", "--yes")
    moved = files_below(tmp_path / "bad")
    assert (code, lines[-1]) == (1, f"Moved 2 files to {tmp_path / 'bad'}")
    assert sorted(moved) == ["ant/1.png", "bee/0.png"]
    assert files_below(damaged) | moved == before
    assert len(files_below(damaged)) == 4
    assert verify(damaged)[0] == 0


def test_moving_overwrites_nothing(damaged: Path, verify: Verify, tmp_path: Path) -> None:
    (tmp_path / "bad/bee").mkdir(parents=True)
    (tmp_path / "bad/bee/0.png").write_text("mine")
    before = files_below(tmp_path)
    code, _, err = verify(damaged, "--move-to", tmp_path / "bad", "--yes")
    assert code == 1  # the damaged images are listed
    assert "nothing was moved" in err
    assert files_below(tmp_path) == before


@pytest.mark.parametrize("refused", [0, 1])
def test_a_move_that_fails_leaves_one_copy_of_each_file(
    refused: int, damaged: Path, verify: Verify, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As to another disk, out of a folder that may not be written."""
    before, remove = files_below(damaged), os.unlink
    kept = damaged / ("ant/1.png", "bee/0.png")[refused]

    def other_disk(*places: Any) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    def refusing(file: Any, **options: Any) -> None:
        if Path(file) == kept:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        remove(file, **options)

    monkeypatch.setattr(os, "rename", other_disk)
    monkeypatch.setattr(os, "unlink", refusing)
    code, _, err = verify(damaged, "--move-to", tmp_path / "bad", "--yes")
    assert (code, err.count("\n")) == (1, 1)
    assert f"(Permission denied); {refused} of 2 files were moved" in err
    assert len(files_below(tmp_path / "bad")) == refused
    assert files_below(damaged) | files_below(tmp_path / "bad") == before


def test_a_file_reached_through_a_link_outside_the_folder_is_not_moved(
    pets: Path, verify: Verify, tmp_path: Path
) -> None:
    (tmp_path / "others").mkdir()
    (tmp_path / "others/x.png").write_bytes(b"none")
    (pets / "linked").symlink_to(tmp_path / "others")
    code, lines, err = verify(pets, "--move-to", tmp_path / "bad", "--yes")
    assert code == 1
    assert lines[0].startswith("linked/x.png: ")
    assert "outside" in err
    assert (tmp_path / "others/x.png").exists()
    assert not (tmp_path / "bad").exists()


@pytest.mark.parametrize("options", [["--move-to", "pets"], ["--move-to", "pets/bad", "--yes"], ["--yes"], ["--force"]])
def test_an_invalid_move_exits_with_2(damaged: Path, verify: Verify, options: list[str]) -> None:
    before = files_below(damaged)
    code, lines, err = verify(damaged, *options)
    assert (code, lines) == (2, [])
    assert err.startswith("learnkit: --")
    assert files_below(damaged) == before


def test_a_table_is_not_overwritten_without_force(damaged: Path, verify: Verify, tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("mine")
    code, lines, err = verify(damaged, "--csv", tmp_path / "mine.csv")
    assert (code, lines) == (2, [])
    assert "exists already" in err
    assert (tmp_path / "mine.csv").read_text() == "mine"
    assert verify(damaged, "--csv", tmp_path / "mine.csv", "--force")[0] == 1
    assert (tmp_path / "mine.csv").read_text().startswith("path,error")


@pytest.mark.slow
def test_with_a_model_what_looks_alike_is_listed_too(class_folder: Path, tmp_path: Path, verify: Verify) -> None:
    dls = ImageDataBunch.from_folder(class_folder, size=32, bs=4, num_workers=0)
    file = cnn_learner(dls, "resnet18", pretrained=False, seed=0).export(tmp_path / "a.lk")
    Image.open(class_folder / "train/red/0.png").save(class_folder / "valid/red/again.bmp")
    code, lines, err = verify(class_folder, "--model", file)
    assert (code, err) == (0, "")
    assert any(line.startswith("valid/red/again.bmp: near leak (train/red/0.png, distance 0.0000") for line in lines)
    assert "0 of 37 images are damaged" in lines
