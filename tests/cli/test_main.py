"""The command line itself: exit codes, streams, and both entry points."""

import configparser
import errno
import io
import re
import signal
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import learnkit
from learnkit.cli import verify
from learnkit.cli.exit_codes import Unfinished
from learnkit.cli.main import COMMANDS, TYPED, main
from learnkit.errors import (
    CorruptFileError,
    DataError,
    DownloadError,
    ImageError,
    LearnkitError,
    MissingFileError,
    NonFiniteLossError,
    OutOfMemoryError,
    UsageError,
    WriteError,
    warn,
)

ROOT = Path(__file__).parents[2]
PLACES = {
    "env": [], "convert": ["a", "b"], "pack": ["a", "b"], "predict": ["a", "b"],
    "export": ["a", "--to", "lk", "--out", "b"],
}  # fmt: skip  # of commands with another number of them than one


@pytest.mark.parametrize(
    "argv",
    [[], ["fly"], ["verify"], ["verify", "a", "b"], ["convert", "a"], ["convert", "a", "b", "--timeout", "soon"]],
)
def test_arguments_that_cannot_be_parsed_exit_with_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("learnkit: ")
    assert re.search(r"See learnkit( verify| convert)? --help\.$", err)


@pytest.mark.parametrize("argv", [["--help"], *([name, "--help"] for name in COMMANDS)])
def test_help_is_not_an_error(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(argv)
    assert exit_.value.code == 0
    assert "usage: learnkit" in capsys.readouterr().out


def test_python_m_learnkit_is_main(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["verify", "nowhere"])
    here = capsys.readouterr()
    command = [sys.executable, "-m", "learnkit", "verify", "nowhere"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (code, here.out, here.err)
    assert code == 2
    assert here.err.startswith("learnkit: no folder nowhere")


def test_the_installed_command_is_main() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    name, _, place = config["options.entry_points"]["console_scripts"].strip().partition(" = ")
    module, _, function = place.partition(":")
    assert name == "learnkit"
    assert getattr(import_module(module), function) is main


def test_an_interrupt_shows_no_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def stopped(args: Any) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(verify, "run", stopped)
    assert main(["verify", "pets"]) == 130
    assert capsys.readouterr().err == "learnkit: interrupted\n"


def test_an_error_is_one_line_of_any_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(args: Any) -> int:
        raise DataError("pets \x1b[2J\nERROR é")

    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(verify, "run", fails)
    monkeypatch.setattr(sys, "stderr", stream)
    assert main(["verify", "pets"]) == 2
    stream.flush()
    assert stream.buffer.getvalue() == b"learnkit: pets \\x1b[2J\\nERROR \\xe9\n"


@pytest.mark.parametrize(("error", "code"), [
    (UsageError("x"), 2), (MissingFileError("x"), 2), (DataError("x"), 2), (ImageError("x"), 1),
    (CorruptFileError("x"), 2), (NonFiniteLossError("x"), 1), (OutOfMemoryError("x"), 1), (WriteError("x"), 1),
    (DownloadError("x"), 1), (Unfinished(UsageError("x")), 1), (PermissionError(errno.EACCES, "no", "x"), 2),
    (Unfinished(PermissionError(errno.EACCES, "no", "x")), 1), (OSError(errno.ENOSPC, "no", "x"), 1),
])  # fmt: skip
@pytest.mark.parametrize("name", COMMANDS)
def test_the_exit_code_says_whether_the_input_or_the_run_failed(
    error: LearnkitError, code: int, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(args: Any) -> int:
        raise error

    monkeypatch.setattr(COMMANDS[name], "run", fails)
    assert main([name, *PLACES.get(name, ["a"])]) == code
    assert capsys.readouterr().err in ("learnkit: x\n", "learnkit: x: no\n")


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize(("number", "code"), [("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_ends_every_command_in_order(
    number: str, code: int, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cleaned: list[bool] = []

    def works(args: Any) -> int:
        try:
            signal.raise_signal(getattr(signal, number))
        finally:
            cleaned.append(True)
        return 0

    before = signal.getsignal(getattr(signal, number))
    monkeypatch.setattr(COMMANDS[name], "run", works)
    try:
        signal.signal(getattr(signal, number), signal.SIG_DFL)
        assert main([name, *PLACES.get(name, ["a"])]) == code
        assert signal.getsignal(getattr(signal, number)) == signal.SIG_DFL
    finally:
        signal.signal(getattr(signal, number), before)
    assert cleaned == [True]
    assert capsys.readouterr().err == f"learnkit: interrupted by {number}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_a_warning_of_any_command_is_one_line(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def warns(args: Any) -> int:
        warn("two\nlines")
        return 0

    monkeypatch.setattr(COMMANDS[name], "run", warns)
    assert main([name, *PLACES.get(name, ["a"])]) == 0
    assert capsys.readouterr().err == "learnkit: warning: two\\nlines\n"


def test_help_lists_every_command_on_one_line_of_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    lines = capsys.readouterr().out.splitlines()
    for name in COMMANDS:
        (line,) = [one for one in lines if one.startswith(f"  {name} ")]
        assert len(line) <= 80


def test_the_version_is_the_package_s(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["--version"])
    assert exit_.value.code == 0
    assert capsys.readouterr().out == f"learnkit {learnkit.__version__}\n"


@pytest.mark.parametrize("name", sorted(TYPED))
def test_typed_commands_say_which_extra_they_need(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "jsonargparse", None)
    monkeypatch.delitem(sys.modules, "learnkit.cli.typed_parser", raising=False)
    assert main([name, "photos"]) == 2
    assert 'pip install "learnkit[cli]"' in capsys.readouterr().err
    assert main(["verify", "nowhere"]) == 2  # needs no extra
    assert "no folder nowhere" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("words", [["env"], ["verify", "photos"]])
def test_output_that_cannot_be_written_is_one_line(photos: Path, words: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "learnkit", *words]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=120)
    assert done.returncode == 1
    assert done.stderr.startswith("learnkit: the output could not be written (No space left on device)")
    assert done.stderr.count("\n") == 1
