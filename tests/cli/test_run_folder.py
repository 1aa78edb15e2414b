"""The folder of a run."""

import shlex
import warnings
from pathlib import Path

import pytest
from torch import Tensor

from learnkit.cli.run_folder import WRITTEN, RunFolder, RunLog, free_folder
from learnkit.errors import MissingFileError, UsageError, warn
from tests.doubles import linear_learner

FIRST, SECOND = "# learnkit 1\nfirst = 1\n", "# learnkit 1\nsecond = 1\n"


def a_run(folder: Path) -> Path:
    """A folder with all that runs write, each file with its name as content."""
    RunFolder(folder).begin(FIRST, overwrite=False)
    for name in WRITTEN[1:]:
        (folder / name).write_text(name)
    (folder / "checkpoints").unlink()
    (folder / "checkpoints/fit-0").mkdir(parents=True)
    (folder / "checkpoints/fit-0/last.ckpt").write_text("saved")
    (folder / "mine.txt").write_text("mine")
    return folder


def contents(folder: Path) -> dict[str, str]:
    return {file.relative_to(folder).as_posix(): file.read_text() for file in folder.rglob("*") if file.is_file()}


def test_a_second_run_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    RunFolder(tmp_path / "a").begin(FIRST, overwrite=False)
    with pytest.raises(UsageError, match=r"a holds a run already \(config\.toml\)\. Go on with it by --resume"):
        RunFolder(tmp_path / "a").begin(SECOND, overwrite=False)
    assert (tmp_path / "a/config.toml").read_text() == FIRST


@pytest.mark.parametrize("name", ["runs/a", "my runs/a", "it's; ls", "-a", "é$HOME"])
def test_the_command_that_goes_on_is_one_for_a_shell(name: str) -> None:
    command = RunFolder(Path(name)).resume
    assert shlex.split(command) == ["learnkit", "train", "--resume", "--out", name]


@pytest.mark.parametrize("name", WRITTEN)
@pytest.mark.parametrize("overwrite", [False, True])
def test_files_that_no_run_wrote_are_never_touched(tmp_path: Path, name: str, overwrite: bool) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / name).write_text("mine")
    with pytest.raises(UsageError, match="holds files that no run wrote"):
        RunFolder(tmp_path / "a").begin(FIRST, overwrite=overwrite)
    assert contents(tmp_path / "a") == {name: "mine"}


def test_an_overwritten_run_is_kept_until_the_new_one_is_done(tmp_path: Path) -> None:
    folder = RunFolder(a_run(tmp_path / "a"))
    before = contents(tmp_path / "a")
    folder.begin(SECOND, overwrite=True)
    assert (tmp_path / "a/config.toml").read_text() == SECOND
    assert contents(tmp_path / "a/.replaced") == {name: text for name, text in before.items() if name != "mine.txt"}
    folder.done()
    assert contents(tmp_path / "a") == {"config.toml": SECOND, "mine.txt": "mine"}


def test_what_trained_nothing_is_taken_back_and_the_old_run_put_back(tmp_path: Path) -> None:
    before = contents(a_run(tmp_path / "a"))
    folder = RunFolder(tmp_path / "a")
    folder.begin(SECOND, overwrite=True)
    folder.history.write_text("epoch,train_loss\n")
    folder.take_back()
    assert contents(tmp_path / "a") == before
    new = RunFolder(tmp_path / "new")
    new.begin(FIRST, overwrite=False)
    new.take_back()
    assert not (tmp_path / "new").exists()


def test_what_was_trained_is_never_taken_back(tmp_path: Path, blobs: tuple[Tensor, ...]) -> None:
    folder = RunFolder(tmp_path / "a")
    folder.begin(FIRST, overwrite=False)
    assert not folder.has_trained
    linear_learner(blobs).fit(1, callbacks=RunLog(folder))
    assert folder.has_trained
    before = contents(tmp_path / "a")
    assert not folder.take_back()
    assert contents(tmp_path / "a") == before


def test_a_run_that_was_to_go_on_stays_and_nothing_was_trained(tmp_path: Path) -> None:
    resumed = RunFolder(a_run(tmp_path / "a"))
    before = contents(tmp_path / "a")
    resumed.go_on()
    assert resumed.take_back()
    assert contents(tmp_path / "a") == before


def test_an_overwritten_link_leaves_what_it_points_to(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept/file").write_text("kept")
    folder = RunFolder(tmp_path / "a")
    folder.begin(FIRST, overwrite=False)
    (tmp_path / "a/checkpoints").symlink_to(tmp_path / "kept")
    folder = RunFolder(tmp_path / "a")
    folder.begin(SECOND, overwrite=True)
    folder.done()
    assert not (tmp_path / "a/checkpoints").exists()
    assert (tmp_path / "kept/file").read_text() == "kept"


@pytest.mark.parametrize("name", ["file", "file/a", "file/a/b"])
def test_a_file_is_no_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError, match=r"nothing can be written into .*: .*file is a file"):
        RunFolder(tmp_path / name).check_free(overwrite=True)
    assert (tmp_path / "file").read_text() == "mine"


def test_there_must_be_a_run_to_go_on_with(tmp_path: Path) -> None:
    RunFolder(tmp_path / "runs/b").begin(FIRST, overwrite=False)
    with pytest.raises(MissingFileError, match=r"no run in .*runs/a\. Runs in .*runs: .*runs/b"):
        RunFolder(tmp_path / "runs/a").check()
    RunFolder(tmp_path / "runs/b").check()


def test_lines_are_printed_and_logged_also_those_before_the_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = RunFolder(tmp_path / "a")
    with folder.warning():
        warn("mind the gap\x1b[2J")
    folder.begin(FIRST, overwrite=False)
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
