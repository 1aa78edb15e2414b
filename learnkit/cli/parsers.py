"""The parsers of the commands: what cannot be parsed is one sentence, with the nearest option."""

import argparse
import re
from collections.abc import Sequence
from typing import Any, NoReturn

from learnkit.checks import nearest
from learnkit.errors import UsageError

__all__ = ["Parser", "explained"]


class Parser(argparse.ArgumentParser):
    """argparse's, for commands with few options."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """argparse's; an empty text, which would mean the working directory, is refused."""
        for word in args or []:
            option, equals, value = word.partition("=")
            if not word or (option.startswith("--") and equals and not value):
                self.error(f"{option or 'an argument'} is empty, as of a variable that is not set")
        return super().parse_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Raise a UsageError instead of printing the usage."""
        flags = [flag for action in self._actions for flag in action.option_strings]
        raise UsageError(explained(message, flags), fix=f"See {self.prog} --help.")


def explained(message: str, flags: Sequence[str]) -> str:
    """A parser's message as one sentence, with the options nearest to an unknown one."""
    if switch := re.match(r"argument (--[\w-]+)/(--no-[\w-]+): ignored explicit argument", message):
        return f"{switch[1]} takes no value; {switch[2]} turns it off"
    if lacking := re.match(r"argument (--[\w-]+): expected one argument", message):
        return f"{message}; a value that begins with a dash is written {lacking[1]}=-..."
    unknown = re.match(r"unrecognized arguments: (.*)", message, re.DOTALL)
    if unknown is None:
        return re.sub(r"\s*\n\s*", " ", message)
    first = unknown[1].split(" ")[0]
    if not first.startswith("-"):
        return f"{first!r} is one argument too many"
    return f"no option {first.partition('=')[0]}; nearest: {nearest(first.partition('=')[0], flags, n=3)}"
