"""The command line itself: exit codes, streams, and both entry points."""

import configparser
import io
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from learnkit.cli import verify
from learnkit.cli.main import main
from learnkit.errors import DataError

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "argv",
    [[], ["fly"], ["verify"], ["verify", "a", "b"], ["convert", "a"], ["convert", "a", "b", "--timeout", "soon"]],
)
def test_arguments_that_cannot_be_parsed_exit_with_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(argv)
    assert exit_.value.code == 2
    assert "usage: learnkit" in capsys.readouterr().err


@pytest.mark.parametrize("argv", [["--help"], ["verify", "--help"], ["convert", "--help"]])
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
    assert main(["verify", "pets"]) == 1
    stream.flush()
    assert stream.buffer.getvalue() == b"learnkit: pets \\x1b[2J\\nERROR \\xe9\n"
