"""`learnkit COMMAND ...`: the commands and their exit codes."""

import signal
import sys
from argparse import RawDescriptionHelpFormatter
from collections.abc import Sequence
from typing import Any

import learnkit
from learnkit.checks import missing_extra, nearest
from learnkit.cli import convert, env, export, lr_find, pack, predict, report, train, validate, verify
from learnkit.cli.exit_codes import MEANING, PROBLEMS, Unfinished, code_of
from learnkit.cli.output import drop_output, flush_output, print_error, warnings_as_lines
from learnkit.cli.parsers import Parser
from learnkit.errors import LearnkitError, WriteError
from learnkit.training.signals import ENDED_BY, ending_in_order

__all__ = ["COMMANDS", "TYPED", "main", "parser_of"]

# Each is a module of this package, with `add_arguments` and `run`; the summary is the start of its docstring.
COMMANDS = {
    "train": train, "lr-find": lr_find, "validate": validate, "predict": predict, "export": export, "report": report,
    "verify": verify, "convert": convert, "pack": pack, "env": env,
}  # fmt: skip
TYPED = {"train", "lr-find", "validate", "report", "pack"}  # whose many options are typed, and may come from a file


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: see `learnkit.cli.exit_codes`.

    Args:
        argv: the arguments after `learnkit`; None for those of this process.

    Raises:
        SystemExit: `--help` (0).
    """
    code = _code_of_run(sys.argv[1:] if argv is None else list(argv))
    try:
        flush_output()
    except BrokenPipeError:
        drop_output(sys.stdout)
        return code or PROBLEMS
    except WriteError as error:
        print_error(str(error))
        return code or PROBLEMS
    return code


def _code_of_run(words: list[str]) -> int:
    try:
        with ending_in_order():
            return _run(words)
    except Unfinished as stopped:
        print_error(_line(stopped.error))
        return PROBLEMS
    except BrokenPipeError:  # `learnkit verify DIR | head`: the reader has stopped
        return PROBLEMS
    except (LearnkitError, OSError) as error:
        print_error(_line(error))
        return code_of(error)
    except KeyboardInterrupt:
        print_error("interrupted")
        return 128 + signal.SIGINT
    except SystemExit as ended:
        if ended.code not in ENDED_BY:
            raise
        print_error(f"interrupted by {ENDED_BY[ended.code]}")
        return ended.code


def _line(error: LearnkitError | OSError) -> str:
    """An error as one line; of the system, the file and why."""
    if isinstance(error, OSError) and isinstance(error.filename, str) and not isinstance(error, LearnkitError):
        return f"{error.filename}: {error.strerror}"
    return str(error)


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
    except (LearnkitError, Unfinished) as stopped:
        error = stopped.error if isinstance(stopped, Unfinished) else stopped
        if name in TYPED and isinstance(error, LearnkitError):
            error.message = parser.in_options(error.message)
        raise
    return code


def _top() -> Parser:
    width = max(map(len, COMMANDS)) + 2
    summaries = "\n".join(f"  {name:{width}}{_summary(name)}" for name in COMMANDS)
    parser = Parser(
        prog="learnkit", usage="learnkit COMMAND ...", formatter_class=RawDescriptionHelpFormatter,
        epilog=f"commands, each with a --help of its own:\n{summaries}\n\n"
        f"exit codes: {MEANING}",
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
