"""Lines of the commands: single, printable, in any encoding."""

import io
import sys
import warnings
from pathlib import Path

import pytest

from learnkit.cli.output import check_new, print_error, print_line, warnings_as_lines
from learnkit.errors import UsageError, warn


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
