"""Lines of the commands: single, printable, in any encoding."""

import errno
import io
import os
import pty
import sys
import warnings
from pathlib import Path
from typing import IO

import pytest

from learnkit.cli.output import check_new, check_place, flush_output, print_error, print_line, warnings_as_lines
from learnkit.errors import UsageError, WriteError, warn


def test_results_go_to_stdout_and_errors_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    print_line("2 of 3")
    print_error("no folder")
    assert capsys.readouterr() == ("2 of 3\n", "learnkit: no folder\n")


def test_control_characters_and_line_breaks_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    print_line("a\nb\x1b[2J\u202e")
    assert capsys.readouterr().out == "a\\nb\\x1b[2J\\u202e\n"


@pytest.mark.parametrize(
    ("encoding", "line"), [("ascii", b"caf\\xe9\n"), ("utf-8", b"caf\xc3\xa9\n"), ("latin-1", b"caf\xe9\n")]
)
def test_characters_that_the_stream_cannot_encode_are_escaped(
    encoding: str, line: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    print_line("caf\u00e9")
    stream.flush()
    assert stream.buffer.getvalue() == line  # type: ignore[attr-defined]


def test_warnings_of_learnkit_are_lines(capsys: pytest.CaptureFixture[str]) -> None:
    noted: list[str] = []
    with warnings_as_lines(noted.append):
        warn("two\nlines")
        with pytest.raises(UserWarning, match="another's"):
            warnings.warn("another's", stacklevel=1)
    assert capsys.readouterr() == ("", "learnkit: warning: two\\nlines\n")
    assert noted == ["warning: two\nlines"]
    with pytest.raises(UserWarning, match="outside"):  # as the settings of the tests say
        warn("outside")


def test_a_file_is_overwritten_only_if_that_is_asked_for(tmp_path: Path) -> None:
    old, link = tmp_path / "old", tmp_path / "link"
    old.touch()
    link.symlink_to(tmp_path / "nowhere")
    assert check_new(tmp_path / "new", force=False) == tmp_path / "new"
    assert check_new(old, force=True) == old
    for place, force in ((old, False), (link, False), (tmp_path, False), (tmp_path, True)):
        with pytest.raises(UsageError, match="exists already"):
            check_new(place, force=force)


class Broken(io.StringIO):
    """A stream on a file, of which every write fails."""

    def __init__(self, file: IO[str], number: int) -> None:
        super().__init__()
        self._file, self._number = file, number

    def fileno(self) -> int:
        return self._file.fileno()

    def write(self, text: str) -> int:
        raise OSError(self._number, os.strerror(self._number))


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EPIPE])
def test_an_error_that_cannot_be_shown_is_none(number: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file:
        monkeypatch.setattr(sys, "stderr", Broken(file, number))
        print_error("x")
    assert (tmp_path / "file").read_text() == ""
    monkeypatch.setattr(sys, "stderr", None)
    print_error("x")


def test_results_that_cannot_be_shown_are_an_error_unless_the_terminal_is_gone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    terminal, _ = pty.openpty()
    with os.fdopen(terminal, "w") as there:
        monkeypatch.setattr(sys, "stdout", Broken(there, errno.EIO))
        print_line("x")
    with (tmp_path / "file").open("w") as file:
        for number in (errno.EIO, errno.ENOSPC):
            monkeypatch.setattr(sys, "stdout", Broken(file, number))
            with pytest.raises(WriteError, match="the output could not be written"):
                print_line("x")
        monkeypatch.setattr(sys, "stdout", Broken(file, errno.EPIPE))
        with pytest.raises(BrokenPipeError):
            print_line("x")
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(WriteError, match=r"the output could not be written \(it is closed\)"):
        print_line("x")
    flush_output()


def test_a_place_to_write_is_looked_at_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    assert check_new(tmp_path / "new/deep/a.csv", force=False) == tmp_path / "new/deep/a.csv"
    assert not (tmp_path / "new").exists()
    for place in ("file/a.csv", "file/deep/a.csv"):
        with pytest.raises(UsageError, match=r"nothing can be written into .*file.*: .*file is a file"):
            check_new(tmp_path / place, force=True)
    for place in ("~/a.csv", "~/runs/a"):
        with pytest.raises(UsageError, match=r"the shell has not replaced the ~\. Write \$HOME"):
            check_new(Path(place), force=True)
    check_place(tmp_path / "~")
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # of root, the system allows all
    for place in ("a.csv", "new/a.csv"):
        with pytest.raises(UsageError, match=rf"nothing can be written into .* \(no permission in {tmp_path}\)"):
            check_new(tmp_path / place, force=True)
