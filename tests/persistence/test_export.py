"""The one call that writes any format: names, suffixes, and options that belong to another format."""

import json
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from learnkit.errors import UsageError
from learnkit.losses.activations import softmax
from learnkit.persistence.export import export
from learnkit.persistence.spec import ExportSpec
from tests.doubles import refused

SPEC = ExportSpec(nn.Linear(2, 2), (2,), activation=softmax)


@pytest.mark.parametrize(
    ("name", "to", "written"),
    [
        ("m", "lk", "m.lk"), ("m.lk", "lk", "m.lk"), ("m.bin", "lk", "m.bin.lk"), ("net.v2", "pt2", "net.v2.pt2"),
        ("m.pt2", "pt2", "m.pt2"),
    ],
)  # fmt: skip
def test_the_suffix_of_the_format_is_added_where_it_is_missing(
    name: str, to: Any, written: str, tmp_path: Path
) -> None:
    path = export(tmp_path / name, SPEC, to)
    assert path == tmp_path / written
    assert path.is_file()


def test_raw_outputs_have_no_activation(tmp_path: Path) -> None:
    for activation, name in ((True, "softmax"), (False, "identity")):
        path = export(tmp_path / name, SPEC, "pt2", activation=activation)
        assert json.loads(path.with_name(f"{path.name}.json").read_text())["output"]["activation"] == name


@pytest.mark.parametrize("suffix", ["onnx", "pt2"])
def test_learnkits_format_refuses_the_suffix_of_another(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(UsageError, match=rf'm\.{suffix}.* add to="{suffix}"'):
        export(tmp_path / f"m.{suffix}", SPEC)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("options", [{"preprocessing": True}, {"activation": False}])
def test_an_option_of_another_format_is_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    name, value = next(iter(options.items()))
    with refused(f'export: {name}={value} belongs to to="onnx" and to="pt2"'):
        export(tmp_path / "m", SPEC, **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("to", ["onnx", "pt2"])
def test_a_file_for_other_programs_has_no_card(tmp_path: Path, to: Any) -> None:
    with refused('export: card= belongs to to="lk"'):
        export(tmp_path / "m", ExportSpec(nn.Linear(2, 2), (2,), card="Mine."), to)


@pytest.mark.parametrize("to", ["ONNX", "torchscript", "", None])
def test_another_format_is_refused(to: Any, tmp_path: Path) -> None:
    with refused("to", got=to, expected="'lk', 'onnx' or 'pt2'"):
        export(tmp_path / "x", SPEC, to)


@pytest.mark.parametrize("to", ["lk", "onnx", "pt2"])
def test_a_file_without_a_name_is_refused(to: Any) -> None:
    with refused("file", got=""):
        export("", SPEC, to)
