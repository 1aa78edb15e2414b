"""Configuration files."""

import json
import math
import tomllib
from pathlib import Path
from typing import Any

import pytest

from learnkit.cli.config import read_config, to_toml
from learnkit.errors import CorruptFileError, LearnkitError, MissingFileError, UsageError

OPTIONS = {"data": "photos", "size": 128, "ps": [0.5, 0.2], "lr": "1e-4:1e-3", "augment": False}


def written(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "a.toml",
            'data = "photos"\n[images]\nsize = 128\naugment = false\n[model]\nps = [0.5, 0.2]\nlr = "1e-4:1e-3"',
        ),
        ("a.json", json.dumps(OPTIONS)),
        ("a.yaml", 'data: photos\nimages:\n  size: 128\n  augment: false\nps: [0.5, 0.2]\nlr: "1e-4:1e-3"\n'),
        ("a.yml", json.dumps(OPTIONS)),
    ],
)
def test_options_are_read_with_or_without_sections(tmp_path: Path, name: str, text: str) -> None:
    assert read_config(written(tmp_path, name, text)) == OPTIONS


def test_a_table_may_be_the_value_of_an_option(tmp_path: Path) -> None:
    file = written(tmp_path, "a.toml", "class-weights = {a = 1}\n[images]\nsize = 3\ncodes = {0 = 'sky'}\n")
    assert read_config(file, ["class_weights"]) == {"class_weights": {"a": 1}, "size": 3, "codes": {"0": "sky"}}


def test_yaml_s_own_merges_still_work(tmp_path: Path) -> None:
    file = written(tmp_path, "a.yaml", "one: &base\n  size: 3\n  ps: 0.5\ntwo:\n  <<: *base\n")
    with pytest.raises(UsageError, match="gives size twice"):
        read_config(file)
    file = written(tmp_path, "a.yaml", "one: {a: &base {size: 3}, b: {<<: *base, size: 4}}\n")
    assert read_config(file) == {"a": {"size": 3}, "b": {"size": 4}}


def test_dashes_are_underscores(tmp_path: Path) -> None:
    assert read_config(written(tmp_path, "a.toml", "valid-pct = 0.2")) == {"valid_pct": 0.2}


@pytest.mark.parametrize(
    ("name", "text", "kind", "message"),
    [
        ("a.toml", "size = ", CorruptFileError, "cannot be parsed"),
        ("a.json", "{", CorruptFileError, "cannot be parsed"),
        ("a.yaml", "a: [", CorruptFileError, "cannot be parsed"),
        ("a.yaml", "!!python/object/apply:os.system ['touch ran']", CorruptFileError, "cannot be parsed"),
        ("a.json", "[1]", CorruptFileError, "holds list, not options by name"),
        ("a.json", '{"size": 1, "size": 2}', CorruptFileError, "size stands there twice"),
        ("a.yaml", "size: 1\nsize: 2\n", CorruptFileError, "size stands there twice"),
        ("a.yaml", "images:\n  size: 1\n  size: 2\n", CorruptFileError, "size stands there twice"),
        ("a.yaml", "csv: 2026-01-01\n", UsageError, "csv: got datetime.*Put it in quotes"),
        ("a.toml", "csv = 2026-01-01", UsageError, "csv: got datetime.*Put it in quotes"),
        ("a.toml", "classes = [02:00:00, 1]", UsageError, "classes: got datetime.*Put it in quotes"),
        ("a.yaml", "csv: !!binary aGk=\n", UsageError, "csv: got b'hi'.*Put it in quotes"),
        ("a.yaml", "classes: !!set {a, b}\n", UsageError, "classes: got {.*Put it in quotes"),
        ("a.ini", "size = 3", UsageError, "expected a .toml, .json or .yaml file"),
        ("a.toml", "size = 3\n[images]\nsize = 4", UsageError, "gives size twice"),
    ],
)
def test_what_is_no_configuration_is_refused(
    tmp_path: Path, name: str, text: str, kind: type[LearnkitError], message: str
) -> None:
    with pytest.raises(kind, match=message):
        read_config(written(tmp_path, name, text))
    assert not (tmp_path / "ran").exists()


def test_a_file_that_is_not_there_and_one_that_is_not_text(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="No such file"):
        read_config(tmp_path / "none.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CorruptFileError, match="not UTF-8"):
        read_config(tmp_path / "binary.toml")


@pytest.mark.parametrize(
    "value", ['a "b" \\ c', "é\u2028\x7f\t\n", "", 0.1, 1e-9, 1e300, math.inf, -math.inf, True, [1, 2.5], ["x", 'y"']]
)
def test_toml_reads_back_what_was_written(value: Any) -> None:
    text = to_toml({"data": value}, {"images": {"one": value, "none": None}}, "comment")
    assert tomllib.loads(text) == {"data": value, "images": {"one": value}}
    assert text.startswith("# comment\n")


@pytest.mark.parametrize(("name", "text"), [("a.toml", "# nothing\n"), ("a.yaml", "# nothing\n"), ("a.yaml", "")])
def test_a_file_of_comments_has_no_options(tmp_path: Path, name: str, text: str) -> None:
    assert read_config(written(tmp_path, name, text)) == {}


def test_a_byte_order_mark_is_no_part_of_the_first_line(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_bytes(b"\xef\xbb\xbfsize = 3\n")
    assert read_config(tmp_path / "a.toml") == {"size": 3}
