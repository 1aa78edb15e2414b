"""Configuration files: options by name in TOML, JSON or YAML, and the TOML that repeats a run."""

import json
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from learnkit.errors import CorruptFileError, MissingFileError, UsageError

__all__ = ["read_config", "to_toml"]

SUFFIXES = (".toml", ".json", ".yaml", ".yml")


PLAIN = (str, bool, int, float, type(None))


def read_config(file: str | Path, tables: Collection[str] = ()) -> dict[str, Any]:
    """The options in a file by name, with underscores; those in a section (a table) as if they stood above all.

    Args:
        file: its path.
        tables: options whose value may be a table, which is then no section.

    Raises:
        MissingFileError: no such file.
        UsageError: another suffix, an option that is given twice, or a value that no option has, such as a date.
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
        is_section = isinstance(value, Mapping) and str(name).replace("-", "_") not in tables
        for key, one in (value if is_section else {name: value}).items():
            plain = str(key).replace("-", "_")
            _check_plain(f"--config: {file}: {plain}", one)
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
        return _of_yaml(text)
    except (ValueError, RecursionError) as error:
        raise CorruptFileError(f"--config: {path} cannot be parsed ({error})", fix="Correct that line.") from error
    except Exception as error:  # yaml's errors have no common builtin
        if type(error).__module__.partition(".")[0] != "yaml":
            raise
        raise CorruptFileError(f"--config: {path} cannot be parsed ({error})", fix="Correct that line.") from error


def _of_yaml(text: str) -> Any:
    import yaml

    _check_keys(yaml.compose(text, yaml.SafeLoader))
    return yaml.safe_load(text)


def _check_keys(node: Any) -> None:
    """Refuse two values of a name in the tree of a YAML file, where YAML keeps the last."""
    pairs = node.value if node is not None and node.id == "mapping" else []
    _without_twins([(key.value, None) for key, _ in pairs])
    for _, value in pairs:
        _check_keys(value)


def _check_plain(where: str, value: Any) -> None:
    """Refuse what no option can be, such as the date that TOML and YAML make of 2026-01-01."""
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    for part in parts:
        _check_plain(where, part)
    if not isinstance(value, (*PLAIN, list, Mapping)):
        raise UsageError(
            where, got=value, expected="text, a number, true, false, a list or a table", fix="Put it in quotes."
        )


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
    if isinstance(value, float):
        return repr(value)  # inf and nan, too
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
