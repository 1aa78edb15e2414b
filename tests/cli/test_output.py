"""Lines of the commands: single, printable, in any encoding."""

import io
import sys

import pytest

from learnkit.cli.output import print_error, print_line


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
