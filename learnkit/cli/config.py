"""Configuration files: options by name in TOML, JSON or YAML, and the TOML that repeats a run."""

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from learnkit.errors import CorruptFileError, MissingFileError, UsageError

__all__ = ["read_config", "to_toml"]

SUFFIXES = (".toml", ".json", ".yaml", ".yml")


def read_config(file: str | Path) -> dict[str, Any]:
    """The options in a file by name, with underscores; those in a section (a table) as if they stood above all.

    Raises:
        MissingFileError: no such file.
        UsageError: another suffix, or an option that is given twice.
        CorruptFileError: a file that cannot be parsed, or that is not a table of options.
    """
    path = Path(file)
    if path.suffix not in SUFFIXES:
        raise UsageError("--config", got=str(file), expected="a .toml, .json or .yaml file")
    try:
        text = path.read_text("utf-8-sig")
    except OSError as error:
        raise MissingFileError(f"--config: {file} cannot be read ({error.strerror})", fix="Check the path.") from error
    except UnicodeDecodeError as error:
        raise CorruptFileError(f"--config: {file} is not UTF-8") from error
    content = {} if (parsed := _parsed(text, path)) is None else parsed  # a file of comments
    if not isinstance(content, Mapping):
        raise CorruptFileError(f"--config: {file} holds {type(content).__name__}, not options by name")
    found: dict[str, Any] = {}
    for name, value in content.items():
        inner = value if isinstance(value, Mapping) else {name: value}
        for key, one in inner.items():
            plain = str(key).replace("-", "_")
            if plain in found:
                raise UsageError(f"--config: {file} gives {plain} twice", fix="Remove one of them.")
            found[plain] = one
    return found


def _parsed(text: str, path: Path) -> Any:
    try:
        if path.suffix == ".toml":
            return tomllib.loads(text)
        if path.suffix == ".json":
            return json.loads(text, object_pairs_hook=_without_twins)
        import yaml

        return yaml.safe_load(text)
    except (ValueError, RecursionError) as error:
        raise CorruptFileError(f"--config: {path} cannot be parsed ({error})", fix="Correct that line.") from error
    except Exception as error:  # yaml's errors have no common builtin
        if type(error).__module__.partition(".")[0] != "yaml":
            raise
        raise CorruptFileError(f"--config: {path} cannot be parsed ({error})", fix="Correct that line.") from error


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    if twins := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"{twins[0]} stands there twice")
    return dict(pairs)


def to_toml(head: Mapping[str, Any], sections: Mapping[str, Mapping[str, Any]], comment: str) -> str:
    """Options as TOML: those of `head`, then each section's under its title; None is left out.

    >>> print(to_toml({"data": "photos"}, {"images": {"size": 224, "test": None}}, "made by hand"))
    # made by hand
    data = "photos"
    <BLANKLINE>
    [images]
    size = 224
    <BLANKLINE>
    """
    lines = [f"# {comment}", *_lines(head)]
    for title, options in sections.items():
        lines += ["", f"[{title}]", *_lines(options)]
    return "\n".join(lines) + "\n"


def _lines(options: Mapping[str, Any]) -> list[str]:
    return [f"{name} = {_toml(value)}" for name, value in options.items() if value is not None]


def _toml(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
