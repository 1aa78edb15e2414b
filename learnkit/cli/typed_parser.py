"""A parser of typed options, which a configuration file may hold too; needs jsonargparse."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, get_args

from jsonargparse import ActionYesNo, ArgumentParser

from learnkit.checks import nearest
from learnkit.cli.config import read_config
from learnkit.cli.options import Option, python_name
from learnkit.cli.parsers import explained
from learnkit.cli.values import LIST, Form, as_text
from learnkit.errors import UsageError

__all__ = ["TypedParser"]

CONFIG = "--config"
ARGUMENT = re.compile(r"\b([a-z_]+)=(\"[^\"]*\"|'[^']*'|[\w.]*)")  # of a call, in a message


class TypedParser(ArgumentParser):
    """Parses options by their types. Those of `--config FILE` come first, so what is typed wins.

    Attributes:
        sections: the options under their titles.
        given: the names of the options that were typed or in the configuration.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.sections: dict[str, list[Option]] = {}
        self.given: set[str] = set()
        self.ignored: set[str] = set()  # of a configuration: options of the run that it is of, which mean nothing here
        self.places: list[str] = []  # names of positional arguments that a configuration may hold
        self.repeats: Callable[[Any], Path | None] = lambda values: None  # the configuration of an earlier run

    def add_place(self, name: str, description: str, *, in_config: bool = True) -> None:
        """Define a positional argument."""
        self.add_argument(name, type=str, **({"nargs": "?"} if in_config else {}), help=description)  # type: ignore[arg-type]
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
            word = option.name.upper() if isinstance(option.kind, Form) else None
            group.add_argument(option.flag, type=option.kind, default=option.default, metavar=word, help=option.help)
        self.sections.setdefault(title, []).extend(options)

    def add_config(self) -> None:
        """Define `--config`; call it last."""
        self.add_argument(
            CONFIG, type=str, metavar="FILE",
            help="options from a .toml, .json or .yaml file, such as the config.toml of a run; those typed here win",
        )  # fmt: skip

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
        tokens += [self._plain(token, before) for before, token in zip(["", *typed], typed, strict=False)]
        self.given = {self._name(token) for token in tokens if token.startswith("--")}
        values = super().parse_args(tokens)
        for file in files:
            for name in self.places:
                if values[name] is None and name in (found := read_config(file)):
                    if not isinstance(found[name], str):
                        raise UsageError(f"{file}: {name}", got=found[name], expected="text")
                    values[name] = found[name]
        return values

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise a UsageError of one sentence instead of printing the usage."""
        raise UsageError(self._sentence(message), fix=f"See {self.prog} --help.") from ex

    def _sentence(self, message: str) -> str:
        key = re.match(r'Parser key "(\w+)":|argument --([\w-]+): invalid', message)
        option = None if key is None else self._options.get((key[1] or key[2]).replace("-", "_"))
        if option is None:
            flags = [flag for action in self._actions for flag in action.option_strings]
            return explained(message, flags)
        got = re.search(r"(?:Given value|Got value): (.*)|value: '(.*)'$", message, re.DOTALL)
        shown = "" if got is None else f"got {(got[1] or got[2]).strip()!r}, "
        return f"{option.flag}: {shown}expected {_shown(option.kind)}"

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

    def _name(self, token: str) -> str:
        name = token.removeprefix("--").partition("=")[0].replace("-", "_")
        return name.removeprefix("no_") if name not in self._options else name

    def _plain(self, token: str, before: str = "") -> str:
        """The token, the word none as jsonargparse writes it."""
        name, _, value = token.partition("=")
        if token == "none" and before.startswith("--") and self._may_be_none(before):
            return "null"
        return f"{name}=null" if value == "none" and self._may_be_none(name) else token

    def _may_be_none(self, flag: str) -> bool:
        option = self._options.get(self._name(flag))
        return option is not None and option.may_be_none

    def _of_config(self, file: str) -> Iterator[str]:
        """The options of a file, as if typed."""
        options = self._options
        for name, value in read_config(file).items():
            if name in self.places or name in self.ignored:
                continue
            if name not in options:
                near = nearest(name, [*options, *self.places], n=3)
                raise UsageError(f"{file}: option", got=name, expected=f"one of this command; nearest: {near}")
            option = options[name]
            _check_text(f"{file}: {option.name}", value, option)
            if option.kind is not bool:
                yield self._plain(f"{option.flag}={'none' if value is None else as_text(value)}")
            elif isinstance(value, bool):
                yield option.flag if value else f"--no-{option.flag[2:]}"
            else:
                raise UsageError(f"{file}: {option.name}", got=value, expected="true or false")


def _typed(flags: Mapping[str, str], found: re.Match[str]) -> str:
    name, value = found[1], found[2].strip("\"'")
    if name not in flags:
        return found[0]
    if value in ("True", "False"):
        return flags[name] if value == "True" else f"--no-{flags[name][2:]}"
    return f"{flags[name]} {value}".rstrip()


def _config_files(tokens: Sequence[str]) -> Iterator[str]:
    for number, token in enumerate(tokens):
        if token == CONFIG and number + 1 < len(tokens):
            yield tokens[number + 1]
        elif token.startswith(f"{CONFIG}="):
            yield token.partition("=")[2]


def _check_text(where: str, value: Any, option: Option) -> None:
    """Refuse what a file means as a boolean or a number where text is meant, such as the YAML no, and lost commas."""
    parts = value if isinstance(value, list) else [] if value is None else [value]
    if option.kind is LIST and not all(isinstance(part, str) for part in parts):
        raise UsageError(where, got=value, expected="text", fix="Put each name in quotes.")
    if option.kind is LIST and isinstance(value, list) and any("," in part for part in parts):
        raise UsageError(where, got=value, expected="names without commas", fix="Pass such names in Python.")
    if isinstance(value, bool) and option.kind in (str, str | None):
        raise UsageError(where, got=value, expected="text", fix="Put it in quotes.")


def _shown(kind: Any) -> str:
    """A type as a sentence names it."""
    if isinstance(kind, Form):
        return kind.shown
    parts = [_shown(part) for part in get_args(kind)] if get_args(kind) else []
    if kind is type(None) or kind is None:
        return "none"
    if isinstance(kind, str):
        return kind
    words = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
    return " or ".join(parts) if parts else words.get(kind, str(kind))
