"""The options that the config of a run holds."""

import tomllib
from pathlib import Path

import pytest

from learnkit.cli.run_options import NOT_KEPT, run_options

from .trained import Command, Model


def test_the_sections_are_those_of_the_config_of_a_run(run: Model) -> None:
    found = tomllib.loads((run.file / "config.toml").read_text(encoding="utf-8"))
    named = {title: {one.name for one in options} for title, options in run_options().items()}
    assert [title for title, options in found.items() if isinstance(options, dict)] == list(named)
    assert all(set(found[title]) <= names for title, names in named.items())
    assert not set.union(*named.values()) & set(NOT_KEPT)


@pytest.mark.parametrize("name", ["lr-find", "pack", "validate", "report"])
def test_every_command_takes_what_it_knows_from_the_config_of_a_run(
    name: str, run: Model, command: Command, tmp_path: Path
) -> None:
    config = ["--config", run.file / "config.toml"]
    words = {
        "lr-find": ["--num-it", 5], "pack": [run.data, tmp_path / "packed"], "validate": [run.file / "model.lk"],
        "report": [run.file / "model.lk", "--out", tmp_path / "page.html"],
    }[name]  # fmt: skip
    answer = command(name, *words, *config)
    assert (answer.code, answer.err) == (0, "")
    if name == "lr-find":
        assert answer.lines[1] == "train 9, valid 6 images of 32 x 32, 3 channels, on cpu"  # its size
        assert not any("\\n" in line for line in answer.lines)
    (tmp_path / "a.toml").write_text("epocks = 3\n")
    answer = command(name, *words, "--config", tmp_path / "a.toml")
    assert answer.code == 2
    assert "got 'epocks', expected one of this command" in answer.err
