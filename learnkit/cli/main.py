"""`learnkit COMMAND ...`: the commands and their exit codes."""

import os
import signal
import sys
from argparse import RawDescriptionHelpFormatter
from collections.abc import Sequence
from typing import Any

import learnkit
from learnkit.checks import missing_extra, nearest
from learnkit.cli import convert, env, export, lr_find, pack, predict, report, train, validate, verify
from learnkit.cli.output import output_error, print_error, warnings_as_lines
from learnkit.cli.parsers import Parser
from learnkit.errors import (
    DownloadError,
    LearnkitError,
    NonFiniteLossError,
    OutOfMemoryError,
    ProcessError,
    WorkerError,
    WriteError,
)

__all__ = ["COMMANDS", "TYPED", "main", "parser_of"]

# Each is a module of this package, with `add_arguments` and `run`; the summary is the start of its docstring.
COMMANDS = {
    "train": train, "lr-find": lr_find, "validate": validate, "predict": predict, "export": export, "report": report,
    "verify": verify, "convert": convert, "pack": pack, "env": env,
}  # fmt: skip
TYPED = {"train", "lr-find", "validate", "report", "pack"}  # whose many options are typed, and may come from a file
OK, PROBLEMS, USAGE = 0, 1, 2
# Errors of a run, rather than of what it was given.
OF_RUN = (DownloadError, NonFiniteLossError, OutOfMemoryError, ProcessError, WorkerError, WriteError)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 success, 1 problems were found, 2 invalid options or input.

    Args:
        argv: the arguments after `learnkit`; None for those of this process.

    Raises:
        SystemExit: `--help` (0).
    """
    words = sys.argv[1:] if argv is None else list(argv)
    try:
        code = _run(words)
        _flush()
    except LearnkitError as error:
        print_error(str(error))
        return PROBLEMS if isinstance(error, OF_RUN) else USAGE
    except KeyboardInterrupt:
        print_error("interrupted")
        return 128 + signal.SIGINT
    except BrokenPipeError:  # `learnkit verify DIR | head`: the reader has stopped
        _drop_output()
        return PROBLEMS
    return code


def _flush() -> None:
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        _drop_output()
        raise output_error(error) from error


def _drop_output() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for Python's final flush


def _run(words: list[str]) -> int:
    if not words or words[0].startswith("-"):
        _top().parse_args(words)
        _top().error("a COMMAND is missing")
    name, *rest = words
    if name not in COMMANDS:
        _top().error(f"no command {name!r}; nearest: {nearest(name, COMMANDS, n=3)}")
    parser = parser_of(name)
    try:
        with warnings_as_lines():
            code: int = COMMANDS[name].run(parser.parse_args(rest))
    except LearnkitError as error:
        if name in TYPED:
            error.message = parser.in_options(error.message)
        raise
    return code


def _top() -> Parser:
    width = max(map(len, COMMANDS)) + 2
    summaries = "\n".join(f"  {name:{width}}{_summary(name)}" for name in COMMANDS)
    parser = Parser(
        prog="learnkit", usage="learnkit COMMAND ...", formatter_class=RawDescriptionHelpFormatter,
        epilog=f"commands, each with a --help of its own:\n{summaries}\n\n"
        "exit codes: 0 success, 1 problems were found, 2 invalid options or input",
    )  # fmt: skip
    parser.add_argument("--version", action="version", version=f"learnkit {learnkit.__version__}")
    return parser


def parser_of(name: str) -> Any:
    """The parser of a command.

    Raises:
        UsageError: it needs the extra "cli", which is not installed.
    """
    made = {"prog": f"learnkit {name}", "description": _summary(name)}
    if name not in TYPED:
        parser: Any = Parser(**made)
    else:
        try:
            from learnkit.cli.typed_parser import TypedParser
        except ImportError as error:
            raise missing_extra("jsonargparse", "cli") from error
        parser = TypedParser(**made)
    COMMANDS[name].add_arguments(parser)
    return parser


def _summary(name: str) -> str:
    return (COMMANDS[name].__doc__ or "").partition("\n")[0]
