"""Exports of models whose several outputs an activation combines: what other programs compute is what we predict."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from learnkit import DataBunch, Learner
from learnkit.data.image_bunch import ImageDataBunch
from learnkit.errors import ExportError
from learnkit.losses.activations import at_temperature
from tests.doubles import slow


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


class Pair(NamedTuple):
    a: Any
    b: Any


# What a model may return beside its two heads, and in which form.
FORMS: dict[str, Callable[[Tensor, Tensor, Tensor], Any]] = {
    "tuple": lambda a, b, x: (a, b),
    "list": lambda a, b, x: [a, b],
    "dict": lambda a, b, x: {"a": a, "b": b},
    "named tuple": lambda a, b, x: Pair(a, b),
    "nested": lambda a, b, x: {"a": (a,), "b": [b], "nothing": None, "name": "x"},
    "whole numbers": lambda a, b, x: (a, b, x.argmax(1)),
    "truths": lambda a, b, x: (a, b, x > 0),
    "a number for the batch": lambda a, b, x: (a, b, a.mean()),
    "the input": lambda a, b, x: (a, b, x),
    "one twice": lambda a, b, x: (a, b, a),
}


class Heads(nn.Module):
    def __init__(self, form: str) -> None:
        super().__init__()
        self.form = form
        self.body = nn.Sequential(nn.Flatten(), nn.LazyLinear(32), nn.ReLU())
        self.first, self.second = nn.Linear(32, 2), nn.Linear(32, 2)

    def forward(self, x: Tensor) -> Any:
        hidden = self.body(x)
        return FORMS[self.form](self.first(hidden), 5 * self.second(hidden), x)


def both(outputs: Any) -> tuple[Tensor, Tensor]:
    first, second = (outputs["a"], outputs["b"]) if isinstance(outputs, dict) else outputs[:2]
    return (first[0], second[0]) if isinstance(first, tuple) else (first, second)


def combined(outputs: Any) -> Tensor:
    first, second = both(outputs)
    return (first.softmax(1) + second.softmax(1)) / 2


def trained(form: str, x: Tensor, y: Tensor, epochs: int = 2) -> Learner:
    torch.manual_seed(0)
    half = len(x) // 2
    dls = DataBunch.from_tensors(x[:half], y[:half], x[half:], y[half:], bs=min(20, half), device="cpu")
    model = Heads(form)
    model(x[:2])
    learn = Learner(
        dls, model, seed=0, activation=combined,
        loss_func=lambda outputs, y: sum(F.cross_entropy(head, y) for head in both(outputs)),
    )  # fmt: skip
    if epochs:
        learn.fit(epochs, 1e-2)
    return learn


@pytest.mark.parametrize(
    "form",
    [form if form == "nested" else pytest.param(form, marks=pytest.mark.slow) for form in FORMS],
)
def test_eight_bits_of_several_outputs_are_near_the_predictions(form: str, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    x = torch.randn(200, 4, generator=torch.Generator().manual_seed(0))
    learn = trained(form, x, (x[:, 0] > 0).long())
    path = learn.export(tmp_path / "m.onnx", "onnx", quantize="int8")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert [output.name for output in session.get_outputs()] == ["output"]
    with torch.no_grad():
        raw = learn.model(x[100:])
    first, second = (head.softmax(1) for head in both(raw))
    for n in (1, 100):
        (found,) = session.run(None, {"input": x[100 : 100 + n].numpy()})
        np.testing.assert_allclose(found, ((first + second) / 2)[:n].numpy(), atol=0.05)
    facts = json.loads((tmp_path / "m.onnx.json").read_text())["quantization"]
    sizes = [output["max_abs_output"] for output in facts["outputs"]]
    assert sizes[:2] == pytest.approx([head.abs().max().item() for head in both(raw)], rel=1e-5)
    assert all(output["max_abs_diff"] < 0.1 * output["max_abs_output"] for output in facts["outputs"][:2])
    # An input that is returned ends where those of the training set do.
    assert all(output["mean_abs_diff"] < 0.02 * output["max_abs_output"] for output in facts["outputs"])


@pytest.mark.slow
@pytest.mark.parametrize("preprocessing", [True, "full"])
def test_eight_bits_of_several_outputs_take_whole_images(preprocessing: Any, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), dtype=np.uint8)
    images[::2, :, :, 0] //= 4
    items = [(image, "dark" if place % 2 == 0 else "light") for place, image in enumerate(images)]
    dls = ImageDataBunch.from_datasets(items[:20], items[20:], size=8, bs=10, augment=False, device="cpu",
                                       classes=["dark", "light"])  # fmt: skip
    torch.manual_seed(0)
    model = Heads("dict")
    model(torch.zeros(2, 3, 8, 8))
    learn = Learner(
        dls, model, loss_func=lambda outputs, y: sum(F.cross_entropy(head, y) for head in both(outputs)),
        activation=combined, seed=0,
    )  # fmt: skip
    path = learn.export(tmp_path / "m.onnx", "onnx", quantize="int8", preprocessing=preprocessing)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"input": images[20:]})
    np.testing.assert_allclose(found, learn.get_preds()[0].numpy(), atol=0.05)


@pytest.mark.parametrize("options", [{}, slow({"quantize": "int8"})])
@pytest.mark.parametrize("to", ["onnx", "pt2"])
def test_raw_outputs_of_several_are_refused_with_advice_that_keeps_them(
    to: Any, options: dict[str, Any], tmp_path: Path
) -> None:
    if to == "onnx":
        pytest.importorskip("onnxruntime")
        pytest.importorskip("onnxscript")
    elif options:
        pytest.skip("only ONNX has 8 bits")
    _, learn, _ = learner("dict", 1.0)
    with pytest.raises(ExportError, match=r"a dict of a, b, c.* Leave activation=False out if .* combines them"):
        learn.export(tmp_path / "m", to, activation=False, **options)
    assert list(tmp_path.iterdir()) == []
    learn.export(tmp_path / "m", to, **options)  # the advice


@pytest.mark.parametrize("form", FORMS)
def test_an_activation_of_one_output_is_refused_with_both_ways_out(form: str, tmp_path: Path) -> None:
    x = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
    learn = trained(form, x, torch.arange(8) % 2, epochs=0)
    learn.activation = lambda raw: raw.softmax(1)
    with pytest.raises(ExportError, match=r"the activation fails on a.* Pass the learner output=.*, or an activation="):
        learn.export(tmp_path / "m", "pt2")
