"""Write the options of every command into docs/command-line.md, between markers that name the command.

    python docs/list_options.py

They are read off the parsers. Options that `learnkit train` has too, with the same meaning, are only named.
"""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from learnkit.cli.main import TYPED, parser_of
from learnkit.cli.options import Option

PAGE = Path(__file__).parent / "command-line.md"
FULL = "train"  # the command whose options are described in full
MARKED = re.compile(
    r"(<!-- options of ([\w-]+): made by python docs/list_options\.py -->\n).*?(<!-- end -->)", re.DOTALL
)


class Line(NamedTuple):
    """An option, or a positional argument.

    Attributes:
        name: as typed; of a switch, as it is typed if it is off.
        default: what it is without the option; "" for nothing.
        what: what it does.
        section: the title it is under; "" for none.
    """

    name: str
    default: str
    what: str
    section: str = ""


def lines_of(command: str) -> list[Line]:
    """The options of a command, in the order of its help."""
    parser = parser_of(command)
    if command not in TYPED:
        return [_of_action(action) for action in parser._actions if action.dest != "help"]
    sections = [
        Line(f"--no-{one.flag[2:]}" if is_on(one) else one.flag, _default(one), one.help, title)
        for title, options in parser.sections.items()
        for one in options
    ]
    places = [one for one in parser._actions if not one.option_strings]
    config = [one for one in parser._actions if "--config" in one.option_strings]
    return [*map(_of_action, places), *sections, *map(_of_action, config)]


def _of_action(action: argparse.Action) -> Line:
    name = ", ".join(action.option_strings) or str(action.metavar or action.dest.upper())
    return Line(name, "", action.help or "")


def is_on(option: Option) -> bool:
    """Whether an option is a switch that is on."""
    return option.kind is bool and bool(option.default)


def _default(option: Option) -> str:
    if option.default is None or option.kind is bool:
        return ""
    return str(option.default).lower() if isinstance(option.default, bool) else str(option.default)


def table(command: str) -> str:
    """The options of a command as Markdown."""
    shared = [] if command == FULL or command not in TYPED else lines_of(FULL)
    lines = lines_of(command)
    own = [line for line in lines if line not in shared]
    named = [f"`{line.name}`" for line in lines if line in shared]
    text = _rows(own) if own else "None.\n"
    return text + (f"\nAs for `learnkit {FULL}`: {', '.join(named)}.\n" if named else "")


def _rows(lines: Sequence[Line]) -> str:
    found = ["| option | default | |", "|---|---|---|"]
    section = ""
    for line in lines:
        if line.section and line.section != section:
            found.append(f"| **{line.section}** | | |")
        section = line.section
        default = f"`{line.default}`" if line.default else ""
        found.append(f"| `{line.name}` | {default} | {_cell(line.what)} |")
    return "\n".join(found) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")


def written(page: str) -> str:
    """The page with the options as they are."""
    return MARKED.sub(lambda found: f"{found[1]}{table(found[2])}\n{found[3]}", page)


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
