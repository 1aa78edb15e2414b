"""The folder of a run."""

import warnings
from pathlib import Path

import pytest

from learnkit.cli.run_folder import WRITTEN, RunFolder, free_folder
from learnkit.errors import MissingFileError, UsageError, WriteError, warn


def test_a_second_run_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    RunFolder(tmp_path / "a").begin("first", overwrite=False)
    with pytest.raises(UsageError, match=r"a holds a run already \(config\.toml\)\. Go on with it by --resume"):
        RunFolder(tmp_path / "a").begin("second", overwrite=False)
    assert (tmp_path / "a/config.toml").read_text() == "first"


@pytest.mark.parametrize("name", WRITTEN)
def test_any_file_of_a_run_is_protected(tmp_path: Path, name: str) -> None:
    (tmp_path / "a" / name).mkdir(parents=True)
    with pytest.raises(UsageError, match="holds a run already"):
        RunFolder(tmp_path / "a").begin("", overwrite=False)


def test_overwriting_removes_what_runs_write_and_nothing_else(tmp_path: Path) -> None:
    for name in (*WRITTEN, "mine.txt"):
        (tmp_path / "a").mkdir(exist_ok=True)
        (tmp_path / "a" / name).write_text("old")
    (tmp_path / "a/checkpoints").unlink()
    (tmp_path / "a/checkpoints/fit-0").mkdir(parents=True)
    RunFolder(tmp_path / "a").begin("new", overwrite=True)
    assert {file.name for file in (tmp_path / "a").iterdir()} == {"config.toml", "mine.txt"}
    assert (tmp_path / "a/config.toml").read_text() == "new"


def test_an_overwritten_link_leaves_what_it_points_to(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept/file").write_text("kept")
    (tmp_path / "a").mkdir()
    (tmp_path / "a/checkpoints").symlink_to(tmp_path / "kept")
    RunFolder(tmp_path / "a").begin("", overwrite=True)
    assert (tmp_path / "kept/file").read_text() == "kept"


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError):
        RunFolder(tmp_path / "file" / "a").begin("", overwrite=False)


def test_there_must_be_a_run_to_go_on_with(tmp_path: Path) -> None:
    RunFolder(tmp_path / "runs/b").begin("", overwrite=False)
    with pytest.raises(MissingFileError, match=r"no run in .*runs/a\. Runs in .*runs: .*runs/b"):
        RunFolder(tmp_path / "runs/a").check()
    RunFolder(tmp_path / "runs/b").check()


def test_lines_are_printed_and_logged_also_those_before_the_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = RunFolder(tmp_path / "a")
    with folder.warning():
        warn("mind the gap\x1b[2J")
    folder.begin("", overwrite=False)
    folder.tell("one\ntwo")
    RunFolder(tmp_path / "a").go_on()
    out, err = capsys.readouterr()
    assert out == "one\ntwo\n"
    assert err == "learnkit: warning: mind the gap\\x1b[2J\n"
    assert folder.log.read_text() == "warning: mind the gap\\x1b[2J\none\ntwo\n"


def test_warnings_of_others_are_left_as_they_are(tmp_path: Path) -> None:
    with warnings.catch_warnings(record=True) as caught, RunFolder(tmp_path).warning():
        warnings.simplefilter("always")
        warnings.warn("of another", RuntimeWarning, stacklevel=1)
    assert [str(one.message) for one in caught] == ["of another"]


def test_folders_are_numbered(tmp_path: Path) -> None:
    assert free_folder("/data/photos") == Path("runs/photos")
    (tmp_path / "runs/photos").mkdir(parents=True)
    (tmp_path / "runs/photos-2").mkdir()
    assert free_folder("/data/photos") == Path("runs/photos-3")
