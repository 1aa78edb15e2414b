"""Exports of models whose several outputs an activation combines: what other programs compute is what we predict."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from learnkit import DataBunch, Learner
from learnkit.losses.activations import at_temperature


class TwoHeads(nn.Module):
    """Returns two outputs, as a tuple or as a dict, in which there are whole numbers too."""

    def __init__(self, form: str) -> None:
        super().__init__()
        self.form = form
        self.first, self.second = nn.Linear(4, 2), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Any:
        outputs = self.first(x), self.second(x)
        return outputs if self.form == "tuple" else dict(zip("abc", (*outputs, x.argmax(1)), strict=True))


def heads_of(outputs: Any) -> tuple[Tensor, Tensor]:
    return outputs if isinstance(outputs, tuple) else (outputs["a"], outputs["b"])


def loss(outputs: Any, y: Tensor) -> Tensor:
    first, second = heads_of(outputs)
    return F.cross_entropy(first, y) + F.cross_entropy(second, y)


def mean_of_heads(outputs: Any) -> Tensor:
    first, second = heads_of(outputs)
    return (first.softmax(1) + second.softmax(1)) / 2


def learner(form: str, temperature: float) -> tuple[Tensor, Learner, Tensor]:
    """Inputs, a learner of both heads, and the predictions by hand."""
    torch.manual_seed(0)
    x, model = 3 * torch.randn(12, 4), TwoHeads(form)
    y = torch.arange(12) % 2
    dls = DataBunch.from_tensors(x, y, x, y, bs=4, device="cpu")
    learn = Learner(dls, model, loss_func=loss, activation=mean_of_heads)
    learn.temperature = temperature
    with torch.no_grad():
        expected = sum(F.softmax(head(x) / temperature, dim=1) for head in (model.first, model.second)) / 2
    return x, learn, torch.as_tensor(expected)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize("form", ["tuple", "dict"])
def test_a_program_of_several_outputs_returns_their_activation(form: str, temperature: float, tmp_path: Path) -> None:
    x, learn, expected = learner(form, temperature)
    program = torch.export.load(learn.export(tmp_path / "m.pt2", "pt2")).module()
    for found in (program(x), learn.get_preds()[0]):
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    described = json.loads((tmp_path / "m.pt2.json").read_text())["output"]
    assert (described["activation"], described["temperature"]) == ("custom", temperature)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize("form", ["tuple", "dict"])
def test_an_onnx_file_of_several_outputs_returns_their_activation(
    form: str, temperature: float, tmp_path: Path
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    x, learn, expected = learner(form, temperature)
    path = learn.export(tmp_path / "m.onnx", "onnx")
    (found,) = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"input": x.numpy()})
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-6)


def test_only_floats_have_a_temperature() -> None:
    raw = {"logits": torch.tensor([1.0, 3.0]), "places": torch.tensor([1, 3]), "name": "x"}
    cooled = at_temperature(raw, 4.0)
    assert cooled["logits"].tolist() == [0.25, 0.75]
    assert cooled["places"] is raw["places"]
    assert cooled["name"] == "x"
