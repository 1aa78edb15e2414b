"""A parser of typed options, which a configuration file may hold too; needs jsonargparse."""

import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from jsonargparse import ActionYesNo, ArgumentParser

from learnkit.checks import nearest
from learnkit.cli.config import read_config
from learnkit.cli.kinds import Reader, shown
from learnkit.cli.options import Option, python_name
from learnkit.cli.parsers import explained
from learnkit.cli.values import COLUMNS, LIST, TABLES, Form, as_text
from learnkit.errors import UsageError

__all__ = ["TypedParser"]

CONFIG = "--config"
QUOTES = "\"'"
ARGUMENT = re.compile(
    r"\b([a-z_]+)=(\[[^\]()]*\]|\"[^\"]*\"|'[^']*'|(?:\.?\w+(?:\.\w+)*)?(?![\w(\[]|\.\w))"
)  # of a call, in a message


class TypedParser(ArgumentParser):
    """Parses options by their types. Those of `--config FILE` come first, so what is typed wins.

    Attributes:
        sections: the options under their titles.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.sections: dict[str, list[Option]] = {}
        self.ignored: set[str] = set()  # of a configuration: options of the run that it is of, which mean nothing here
        self.positions: list[str] = []  # names of positional arguments
        self.places: list[str] = []  # of these, those that a configuration may hold
        self.repeats: Callable[[Any], Path | None] = lambda values: None  # the configuration of an earlier run

    def add_place(self, name: str, description: str, *, in_config: bool = True) -> None:
        """Define a positional argument."""
        self.add_argument(name, type=str, **({"nargs": "?"} if in_config else {}), help=description)  # type: ignore[arg-type]
        self.positions.append(name)
        if in_config:
            self.places.append(name)

    def add_options(self, title: str, options: Sequence[Option]) -> None:
        """Define options under a title."""
        group = self.add_argument_group(f"{title} options")
        for option in options:
            if option.kind is bool:
                action: Any = ActionYesNo(yes_prefix="", no_prefix="no-")
                group.add_argument(option.flag, action=action, default=option.default, help=option.help)
                continue
            word, reader = option.name.upper(), Reader(option)
            group.add_argument(option.flag, type=reader, default=option.default, metavar=word, help=option.help)
        self.sections.setdefault(title, []).extend(options)

    def add_config(self) -> None:
        """Define `--config`; call it last."""
        self.add_argument(
            CONFIG, type=str, metavar="FILE",
            help="options from a .toml, .json or .yaml file, such as the config.toml of a run; those typed here win",
        )  # fmt: skip

    def pass_over(self, names: Iterable[str]) -> None:
        """Ignore these options in a configuration, except those that the command has; call it last."""
        self.ignored = set(names) - set(self._options)

    def parse_args(self, args: Any = None, namespace: Any = None, *rest: Any, **options: Any) -> Any:
        """The values of all options.

        Raises:
            UsageError: what cannot be parsed, in one sentence.
        """
        typed = list(args or [])
        values = self._parsed(typed, list(_config_files(typed)))
        repeated = self.repeats(values)
        return values if repeated is None else self._parsed(typed, [str(repeated), *_config_files(typed)])

    def _parsed(self, typed: list[str], files: list[str]) -> Any:
        tokens = [token for file in files for token in self._of_config(file)]
        tokens += self._joined(typed)
        values = super().parse_args(tokens)
        for file in files:
            for name in self.places:
                if values[name] is None and name in (found := self._config(file)):
                    if not isinstance(found[name], str):
                        raise UsageError(f"{file}: {name}", got=found[name], expected="text")
                    values[name] = found[name]
        if empty := [name for name in (*self.positions, "out") if values.get(name) == ""]:
            name = "--out" if empty[0] == "out" else empty[0].upper()
            self.error(f"{name} is empty, as of a variable that is not set")
        return values

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise a UsageError of one sentence instead of printing the usage."""
        raise UsageError(self._sentence(message), fix=f"See {self.prog} --help.") from ex

    def _sentence(self, message: str) -> str:
        found = re.match(r"argument --([\w-]+): invalid .* value: (.*)", message, re.DOTALL)
        option = None if found is None else self._options.get(found[1].replace("-", "_"))
        if found is None or option is None:
            flags = [flag for action in self._actions for flag in action.option_strings]
            return explained(message, flags)
        return f"{option.flag}: got {found[2]}, expected {shown(option.kind)}"

    def in_options(self, message: str) -> str:
        """A message of the library that names arguments, with the options for them.

        `bs=32` becomes `--bs 32`, `pretrained=False` `--no-pretrained`, and `base_arch: got` `--arch: got`.
        """
        flags = {python_name(option.name): option.flag for option in self._options.values()}
        flags |= {"base_lr": "--lr", "max_lr": "--lr"} if "lr" in flags else {}
        start, colon, rest = message.partition(": ")
        if colon and start in flags:
            message = f"{flags[start]}: {rest}"
        return ARGUMENT.sub(lambda found: _typed(flags, found), message)

    @property
    def _options(self) -> dict[str, Option]:
        return {option.name: option for options in self.sections.values() for option in options}

    def _joined(self, typed: list[str]) -> Iterator[str]:
        """The tokens, a value that begins with one dash, such as -1,1, as one with its option."""
        rest = iter(typed)
        for token in rest:
            if token == "--":  # what follows are places
                yield from (token, *rest)
            elif not self._takes_value(token):
                yield token
            elif (value := next(rest, None)) is None or value.startswith("--"):
                yield from (token, *([] if value is None else [value]))
            else:
                yield f"{token}={value}"

    def _takes_value(self, token: str) -> bool:
        option = self._options.get(token.removeprefix("--").replace("-", "_"))
        return token.startswith("--") and option is not None and option.kind is not bool

    def _config(self, file: str) -> dict[str, Any]:
        """The options of a file by name; a table is a section, or the value of an option that names things."""
        return read_config(file, {one.name for one in self._options.values() if one.kind in TABLES} | self.ignored)

    def _of_config(self, file: str) -> Iterator[str]:
        """The options of a file, as if typed."""
        options = self._options
        for name, value in self._config(file).items():
            if name in self.places or name in self.ignored:
                continue
            if name not in options:
                near = nearest(name, [*options, *self.places], n=3)
                raise UsageError(f"{file}: option", got=name, expected=f"one of this command; nearest: {near}")
            option = options[name]
            _check_text(f"{file}: {option.name}", value, option)
            if option.kind is not bool:
                write = option.kind.write if isinstance(option.kind, Form) else as_text
                yield f"{option.flag}={'none' if value is None else write(value)}"
            elif isinstance(value, bool):
                yield option.flag if value else f"--no-{option.flag[2:]}"
            else:
                raise UsageError(f"{file}: {option.name}", got=value, expected="true or false")


def _typed(flags: Mapping[str, str], found: re.Match[str]) -> str:
    name, value = found[1], found[2]
    if name not in flags:
        return found[0]
    if value in ("True", "False") or (name == "header" and value == "None"):
        return flags[name] if value == "True" else f"--no-{flags[name][2:]}"
    if value == "None":
        return f"{flags[name]} none"
    if value.startswith("["):
        value = ",".join(part.strip(" \"'") for part in value[1:-1].split(","))
    return f"{flags[name]} {shlex.quote(value.strip(QUOTES)) if value else ''}".rstrip()


def _config_files(tokens: Sequence[str]) -> Iterator[str]:
    for number, token in enumerate(tokens):
        if token == CONFIG and number + 1 < len(tokens):
            yield tokens[number + 1]
        elif token.startswith(f"{CONFIG}="):
            yield token.partition("=")[2]


def _check_text(where: str, value: Any, option: Option) -> None:
    """Refuse what a file means as a boolean or a number where text is meant, such as the YAML no, and lost commas."""
    several = list(value.values()) if isinstance(value, Mapping) else value
    parts = several if isinstance(several, list) else [] if value is None else [value]
    if option.kind is LIST and not all(isinstance(part, str) for part in parts):
        raise UsageError(where, got=value, expected="text", fix="Put each name in quotes.")
    if option.kind is COLUMNS:
        if any(isinstance(part, bool | float) or (isinstance(part, str) and '"' in part) for part in parts):
            raise UsageError(where, got=value, expected="names as text, or whole numbers", fix="Put names in quotes.")
        return
    if isinstance(several, list) and any(isinstance(part, str) and "," in part for part in parts):
        raise UsageError(where, got=value, expected="names without commas", fix="Pass such names in Python.")
    if isinstance(value, bool) and option.kind in (str, str | None):
        raise UsageError(where, got=value, expected="text", fix="Put it in quotes.")
