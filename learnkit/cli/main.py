"""`learnkit COMMAND ...`: the commands and their exit codes."""

import argparse
import os
import signal
import sys
from collections.abc import Sequence

from learnkit.cli import convert, verify
from learnkit.cli.output import print_error
from learnkit.errors import LearnkitError, MissingFileError, UsageError

__all__ = ["main"]

COMMANDS = {"verify": verify, "convert": convert}
OK, PROBLEMS, USAGE = 0, 1, 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 success, 1 problems were found, 2 invalid usage.

    Args:
        argv: the arguments after `learnkit`; None for those of this process.

    Raises:
        SystemExit: arguments that cannot be parsed (2), or `--help` (0).
    """
    args = _parser().parse_args(argv)
    try:
        code: int = args.run(args)
        sys.stdout.flush()
    except (UsageError, MissingFileError) as error:
        print_error(str(error))
        return USAGE
    except LearnkitError as error:
        print_error(str(error))
        return PROBLEMS
    except KeyboardInterrupt:
        print_error("interrupted")
        return 128 + signal.SIGINT
    except BrokenPipeError:  # `learnkit verify DIR | head`: the reader has stopped
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for Python's final flush
        return PROBLEMS
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="learnkit", description="Exit codes: 0 success, 1 problems were found, 2 invalid usage."
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, module in COMMANDS.items():
        summary = (module.__doc__ or "").partition("\n")[0]
        command = commands.add_parser(name, help=summary, description=summary)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return parser
