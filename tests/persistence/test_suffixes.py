"""One rule for every file that a user names, and reading finds what was written under the same name."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from learnkit import DataBunch, Learner, load_learner
from learnkit.callbacks import SaveModel
from learnkit.errors import MissingFileError, UsageError
from learnkit.persistence.suffixes import existing, with_suffix
from tests.doubles import refused, slow

# A name, and what is written under it by the rule: a known suffix is kept, to anything else the first is appended.
NAMES = ["model", "model.v2", "v1.2", "model.pth.tar", "model.bin", "model.2024-05-01", "model.tar"]


@pytest.fixture
def learn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Learner:
    monkeypatch.chdir(tmp_path)
    x, y = torch.eye(4), torch.arange(4)
    dls = DataBunch.from_tensors(x, y, x, y, bs=4, classes=list("abcd"), device="cpu")
    torch.manual_seed(0)
    return Learner(dls, nn.Linear(4, 4), seed=0)


def written(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir() if file.is_file())


@pytest.mark.parametrize("name", [*NAMES, "model.pth", "model.onnxx"])
def test_what_export_writes_is_found_under_the_same_name(learn: Learner, name: str, tmp_path: Path) -> None:
    path = learn.export(name)
    assert written(tmp_path) == [f"{name}.lk"] == [path.name]
    for file in (name, Path(name), path, str(tmp_path / name)):
        found = load_learner(file, model=nn.Linear(4, 4), device="cpu")
        assert torch.equal(found.model.weight, learn.model.weight)


@pytest.mark.parametrize("suffix", ["lk", "LK"])
def test_the_suffix_of_the_format_is_kept(learn: Learner, suffix: str, tmp_path: Path) -> None:
    learn.export(f"model.{suffix}")
    assert written(tmp_path) == [f"model.{suffix}"]
    load_learner(f"model.{suffix}", model=nn.Linear(4, 4), device="cpu")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("to", [slow("onnx"), "pt2"])
def test_other_programs_get_theirs_by_the_same_rule(learn: Learner, name: str, to: Any, tmp_path: Path) -> None:
    if to == "onnx":
        pytest.importorskip("onnxscript")
        pytest.importorskip("onnxruntime")
    assert learn.export(name, to).name == f"{name}.{to}"
    assert written(tmp_path) == [f"{name}.{to}", f"{name}.{to}.json"]


@pytest.mark.parametrize(
    ("to", "other"), [("lk", "pt2"), ("lk", "ONNX"), ("onnx", "lk"), ("pt2", "onnx"), ("pt2", "lk")]
)
def test_the_suffix_of_another_format_is_refused(learn: Learner, to: Any, other: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=rf'model\.{other}.* add to="{other.lower()}"; .* end in \.{to}\.'):
        learn.export(f"model.{other}", to)
    assert written(tmp_path) == []


def changed(learn: Learner) -> torch.Tensor:
    weight = learn.model.weight.detach().clone()
    nn.init.zeros_(learn.model.weight)
    return weight


@pytest.mark.parametrize("name", [*NAMES, "model.lk", ".hidden"])
@pytest.mark.parametrize("place", [str, Path, lambda name: Path.cwd() / name])
def test_what_save_writes_is_found_under_the_same_name(
    learn: Learner, name: str, place: Callable[[str], Any], tmp_path: Path
) -> None:
    path = learn.save(place(name))
    assert path.name == f"{name}.pth"
    weight = changed(learn)
    assert torch.equal(learn.load(place(name)).model.weight, weight)
    changed(learn)
    assert torch.equal(learn.load(path).model.weight, weight)


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".PT"])
def test_the_suffixes_of_weights_are_kept(learn: Learner, suffix: str) -> None:
    assert learn.save(f"model.v2{suffix}").name == f"model.v2{suffix}"
    weight = changed(learn)
    assert torch.equal(learn.load(f"model.v2{suffix}").model.weight, weight)


@pytest.mark.parametrize("name", [*NAMES, "model.pt", "model.v2.pth"])
def test_what_a_callback_saves_is_found_under_the_same_name(learn: Learner, name: str, tmp_path: Path) -> None:
    learn.fit(1, callbacks=SaveModel(name=name))
    assert written(tmp_path / "models") == [name if name.endswith((".pth", ".pt")) else f"{name}.pth"]
    weight = changed(learn)
    assert torch.equal(learn.load(name).model.weight, weight)


def test_a_file_of_the_bare_name_stays_and_is_read_only_alone(learn: Learner, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    torch.save({"weight": torch.full((4, 4), 7.0), "bias": torch.zeros(4)}, tmp_path / "models" / "model")
    before = (tmp_path / "models" / "model").read_bytes()
    assert learn.load("model").model.weight.unique().tolist() == [7.0]  # nothing else is there
    nn.init.ones_(learn.model.weight)
    learn.save("model")
    changed(learn)
    assert learn.load("model").model.weight.unique().tolist() == [1.0]  # what was saved under the name
    assert (tmp_path / "models" / "model").read_bytes() == before


def test_a_folder_of_the_same_name_does_not_hide_an_export(learn: Learner, tmp_path: Path) -> None:
    (tmp_path / "birds").mkdir()
    learn.export("birds")
    load_learner("birds", model=nn.Linear(4, 4), device="cpu")
    learn.push_to_hub("hub")
    load_learner("hub", model=nn.Linear(4, 4), device="cpu")


@pytest.mark.parametrize("call", [lambda learn: learn.save("/"), lambda learn: learn.load("/")])
def test_a_path_without_a_name_is_refused(learn: Learner, call: Callable[[Learner], Any]) -> None:
    with refused("file", got="/", expected="the name of a file"):
        call(learn)


@pytest.mark.parametrize("name", ["", ".", "..", "gone", "gone.v2"])
def test_an_export_that_is_not_there_is_named(learn: Learner, name: str) -> None:
    with pytest.raises(MissingFileError, match="no file "):
        load_learner(name)


def test_the_rule_alone() -> None:
    assert with_suffix(Path("/a.b/c"), (".x", ".y")) == Path("/a.b/c.x")
    assert with_suffix(Path("/a.b/c.Y"), (".x", ".y")) == Path("/a.b/c.Y")
    assert existing(Path("nowhere/c"), (".x",)) == Path("nowhere/c.x")
