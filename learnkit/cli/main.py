"""`learnkit COMMAND ...`: which commands there are, and what they answer to the shell."""

import argparse
import os
import signal
import sys
from collections.abc import Sequence

from learnkit.cli import convert, verify
from learnkit.cli.output import complain
from learnkit.errors import LearnkitError, MissingFileError, UsageError

__all__ = ["main"]

COMMANDS = {"verify": verify, "convert": convert}
OK, PROBLEMS, USAGE = 0, 1, 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 all is well, 1 problems were found, 2 it was called wrongly.

    Args:
        argv: the arguments behind `learnkit`; None for those of this process.

    Raises:
        SystemExit: arguments that cannot be parsed (2), or a text that was asked for (`--help`: 0).
    """
    args = _parser().parse_args(argv)
    try:
        code: int = args.run(args)
        sys.stdout.flush()
    except (UsageError, MissingFileError) as error:
        complain(str(error))
        return USAGE
    except LearnkitError as error:
        complain(str(error))
        return PROBLEMS
    except KeyboardInterrupt:
        complain("interrupted")
        return 128 + signal.SIGINT
    except BrokenPipeError:  # `learnkit verify DIR | head`: nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # where Python's last flush goes
        return PROBLEMS
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="learnkit", description="Exit codes: 0 all is well, 1 problems were found, 2 called wrongly."
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, module in COMMANDS.items():
        said = (module.__doc__ or "").partition("\n")[0]
        command = commands.add_parser(name, help=said, description=said)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return parser
