"""The other process of `learnkit convert`, called in this one: the tensors of every form and format."""

import os
import pickle
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from learnkit.cli import unpickle
from learnkit.safe_load import read_weights
from tests.cli.carriers import carry, equal


class Net(nn.Module):
    """A custom model with tied weights, a buffer, and every memory layout of a tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4, bias=False)
        self.second = nn.Linear(4, 4, bias=False)
        self.second.weight = self.first.weight
        self.short = nn.Parameter(torch.randn(3, 2).bfloat16().T)
        self.register_buffer("n", torch.tensor(7))
        self.register_buffer("mask", torch.tensor([True, False]))


class ALearner:
    """Like fastai's: pickled as a whole, with its model in `.model`."""

    def __init__(self) -> None:
        self.model = Net()
        self.dls = object()


@pytest.mark.parametrize("kind", ["pickle", "old pickle", "torch zip", "torch legacy"])
@pytest.mark.parametrize("form", ["model", "learner", "state", "checkpoint"])
def test_the_tensors_of_every_form_and_format(kind: str, form: str, tmp_path: Path) -> None:
    model, learner = Net(), ALearner()
    learner.model = model
    forms = {
        "model": model,
        "learner": learner,
        "state": model.state_dict(),
        "checkpoint": {"model": model.state_dict(), "opt": {"state": {}}},
    }
    carry(kind, tmp_path / "w.pkl", forms[form])
    assert unpickle.main(tmp_path / "w.pkl", tmp_path / "w.safetensors") == 0
    assert equal(safetensors.torch.load_file(tmp_path / "w.safetensors"), dict(model.state_dict()))


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_the_tensors_of_a_torchscript_program(tmp_path: Path) -> None:
    model = nn.Linear(2, 2)
    torch.jit.save(torch.jit.script(model), tmp_path / "w.pt")
    assert unpickle.main(tmp_path / "w.pt", tmp_path / "w.safetensors") == 0
    assert equal(read_weights(tmp_path / "w.safetensors"), dict(model.state_dict()))


class Fails:
    """Raises when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return int, ("no\nnumber",)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (Fails(), "ValueError: invalid literal"),
        ([1, 2], "weights: got 'list', expected a model, a state dict"),
        (119547037146038801333355, "weights: got 'int'"),
    ],
)
def test_an_error_is_the_last_line_of_stderr(
    content: object, expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "w.pkl").write_bytes(pickle.dumps(content))
    assert unpickle.main(tmp_path / "w.pkl", tmp_path / "w.safetensors") == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith(expected)
    assert os.listdir(tmp_path) == ["w.pkl"]
