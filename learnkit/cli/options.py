"""Options made of signatures and typed settings: names, types, defaults and help are those of the library."""

import inspect
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from learnkit.cli.values import Form

__all__ = ["Option", "options_of", "python_name", "value_of"]

# Parameters whose options have another name.
NAMES = {
    "base_arch": "arch", "csv_labels": "csv", "loss_func": "loss", "opt_func": "opt", "pat": "pattern",
    "patience": "early_stopping", "decay": "ema", "max_norm": "clip", "n_items": "accumulate",
}  # fmt: skip


@dataclass(frozen=True)
class Option:
    """One option of a command.

    Args:
        name: as in a configuration, such as valid_pct; on the command line --valid-pct, and --no-NAME for yes and no.
        kind: a type hint, or a Form.
        default: the value without the option.
        help: one or more sentences.
    """

    name: str
    kind: Any
    default: Any
    help: str

    @property
    def flag(self) -> str:
        """The option as typed."""
        return "--" + self.name.replace("_", "-")

    @property
    def may_be_none(self) -> bool:
        """Whether the word none is a value."""
        if isinstance(self.kind, Form) and self.kind.may_be_none:
            return True
        return self.default is None or type(None) in get_args(self.kind)


def options_of(
    function: Callable[..., Any],
    names: Collection[str] = (),
    *,
    without: Collection[str] = (),
    kinds: Mapping[str, Any] | None = None,
    renamed: Mapping[str, str] = NAMES,
) -> list[Option]:
    """Options for the parameters of a function, or the fields of a dataclass.

    Args:
        function: its signature and docstring are read.
        names: the parameters, in this order; none for all.
        without: parameters that the command line has no form for.
        kinds: other kinds than the annotations.
        renamed: the options of parameters under another name.
    """
    from docstring_parser import DocstringStyle, parse

    parameters = inspect.signature(function).parameters
    described = parse(inspect.getdoc(function) or "", DocstringStyle.GOOGLE)
    helps = {name.strip(): p.description or "" for p in described.params for name in p.arg_name.split(",")}
    chosen = names or [name for name in parameters if name not in without]
    kinds = kinds or {}
    return [
        Option(
            renamed.get(name, name), kinds.get(name, parameters[name].annotation), parameters[name].default,
            re.sub(r"\bNone\b", "none", " ".join(helps.get(name, "").split())),
        )
        for name in chosen
    ]  # fmt: skip


def python_name(option: str) -> str:
    """The parameter that an option is for."""
    return next((name for name, ours in NAMES.items() if ours == option), option)


def value_of(option: Option, given: Any) -> Any:
    """The value for the library of what was typed."""
    return option.kind.read(given) if isinstance(option.kind, Form) and isinstance(given, str) else given
