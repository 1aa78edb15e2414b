"""Models of 16 bits in files for other programs: what they return, how near, and which are refused."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from learnkit import DataBunch, Learner, load_learner
from learnkit.errors import ExportError
from tests.doubles import slow

CLASSES = ["a", "b", "c"]


def network(kind: str) -> nn.Module:
    if kind == "linear":
        return nn.Sequential(
            nn.Flatten(), nn.Linear(192, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 3)
        )
    convolutions = [nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 16, 3), nn.ReLU()]
    return nn.Sequential(*convolutions, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 3))


def learner(dtype: torch.dtype, kind: str = "convolutions") -> tuple[Learner, Tensor]:
    torch.manual_seed(0)
    x, y = torch.randn(48, 3, 8, 8), torch.arange(48) % 3
    x = (x + y[:, None, None, None]).to(dtype)
    dls = DataBunch.from_tensors(x, y, x[:24], y[:24], bs=16, classes=CLASSES, device="cpu")
    learn = Learner(dls, network(kind).to(dtype), seed=0)
    learn.fit(1, 1e-2)
    return learn, x


def run(file: Path, x: Tensor) -> Any:
    return onnxruntime.InferenceSession(str(file)).run(["output"], {"input": x.numpy()})[0]


@pytest.mark.parametrize("kind", ["linear", "convolutions"])
@pytest.mark.parametrize("quantize", [None, slow("int8")])
def test_float16_in_onnx(kind: str, quantize: Any, tmp_path: Path) -> None:
    learn, x = learner(torch.float16, kind)
    file = learn.export(tmp_path / "a", to="onnx", quantize=quantize)
    facts = json.loads((tmp_path / "a.onnx.json").read_text())
    assert facts["input"]["type"] == facts["output"]["type"] == "float16"
    found = run(file, x)
    assert found.dtype == np.float16
    exact = copy.deepcopy(learn.model).float().eval()  # the same weights, without rounding in between
    expected = exact(x.float()).softmax(1).detach().numpy()
    assert np.abs(found - expected).max() < (0.01 if quantize is None else 0.05)
    assert facts["parity"]["tolerance"] == pytest.approx(10 * 2**-10 if quantize is None else 0.02)
    if quantize:
        assert list(facts["quantization"]["metrics"]["accuracy"]) == ["float16", "int8"]


def test_float16_with_wrong_numbers_is_refused(tmp_path: Path) -> None:
    class Counts(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + torch.rand(3).to(x.dtype)  # type: ignore[no-any-return]

    learn, _ = learner(torch.float16)
    learn.model = Counts(*learn.model)
    with pytest.raises(ExportError, match=r"at most 0\.00977"):
        learn.export(tmp_path / "a", to="onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("quantize", [None, slow("int8")])
def test_bfloat16_in_onnx_is_refused_with_advice_that_works(quantize: Any, tmp_path: Path) -> None:
    learn, x = learner(torch.bfloat16)
    with pytest.raises(ExportError, match=r'in bfloat16, in which onnxruntime .* to="pt2", or .* model\.float\(\)'):
        learn.export(tmp_path / "a", to="onnx", quantize=quantize)
    assert list(tmp_path.iterdir()) == []
    learn.export(tmp_path / "a", to="pt2")
    y = torch.arange(48) % 3
    dls = DataBunch.from_tensors(x.float(), y, bs=16, classes=CLASSES, device="cpu")
    file = Learner(dls, learn.model.float()).export(tmp_path / "a", to="onnx", quantize=quantize)
    assert run(file, x.float()).shape == (48, 3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_16_bits_in_pt2_and_lk(dtype: torch.dtype, tmp_path: Path) -> None:
    learn, x = learner(dtype)
    expected = learn.model.eval()(x).softmax(1)
    program = torch.export.load(learn.export(tmp_path / "a", to="pt2")).module()
    assert torch.equal(program(x), expected)
    loaded = load_learner(learn.export(tmp_path / "a.lk"), model=network("convolutions").to(dtype), device="cpu")
    assert torch.equal(loaded.get_preds([(x,)])[0], learn.get_preds([(x,)])[0])
    assert torch.equal(loaded.predict(x[0].float()).probs, learn.predict(x[0]).probs)


@pytest.mark.parametrize("to", ["onnx", "pt2"])
def test_a_model_of_another_type_than_its_data_is_named(to: Any, tmp_path: Path) -> None:
    learn, _ = learner(torch.float32)
    learn.model.half()
    with pytest.raises(ExportError, match=r"its input, float32 .*: its layer 0 \(Conv2d\) takes float16, and gets"):
        learn.export(tmp_path / "a", to=to)
