"""Programs of torch.export, and what every artefact has to keep to, whatever its format."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from learnkit.data.image.preprocess import IMAGENET, Normalize, Preprocess
from learnkit.data.image.resize import Resize
from learnkit.data.tasks import Classification
from learnkit.errors import ExportError, UsageError
from learnkit.losses.activations import softmax
from learnkit.models.head import AdaptiveConcatPool2d
from learnkit.persistence.deploy.formats import deploy
from learnkit.persistence.deploy.network import Deployment

TASK = Classification(("cat", "dog"))
PREPROCESS = Preprocess(Resize((6, 8)), Normalize(*IMAGENET))


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), AdaptiveConcatPool2d(), nn.Flatten(), nn.Linear(8, 2)
    )


def loaded(path: Path) -> Any:
    return torch.export.load(path).module()  # in a test, of a file just written; learnkit itself never does


def test_a_program_takes_pixels_in_any_number(tmp_path: Path) -> None:
    model = network()
    deployment = Deployment(model, (3, 6, 8), TASK, PREPROCESS, softmax, preprocessing=True)
    path = deploy(tmp_path / "model", deployment, "pt2")
    assert path == tmp_path / "model.pt2"
    pixels = torch.randint(0, 256, (5, 6, 8, 3), dtype=torch.uint8)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in IMAGENET)
    with torch.no_grad():
        expected = model.eval()((pixels.permute(0, 3, 1, 2) / 255 - mean) / std).softmax(1)
    program = loaded(path)
    torch.testing.assert_close(program(pixels), expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(program(pixels[:1]), expected[:1], atol=1e-6, rtol=0)


def test_the_description_is_beside_it_and_inside(tmp_path: Path) -> None:
    path = deploy(tmp_path / "model.pt2", Deployment(network(), (3, 6, 8), TASK, PREPROCESS), "pt2")
    facts = json.loads((tmp_path / "model.pt2.json").read_text(encoding="utf-8"))
    assert facts["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert facts["classes"] == ["cat", "dog"]
    assert facts["input"] == {"name": "input", "type": "float32", "shape": ["batch", 3, 6, 8], "layout": "NCHW"}
    assert facts["output"]["activation"] == "identity"
    assert facts["preprocessing"] == "outside"
    assert facts["parity"]["max_abs_diff"] <= 1e-4
    extra = {"learnkit.json": ""}
    torch.export.load(path, extra_files=extra)
    inside = json.loads(extra["learnkit.json"])
    assert inside.items() <= facts.items()
    assert inside["classes"] == ["cat", "dog"]
    assert str(Path(__file__).parent).encode() not in path.read_bytes()
    assert b"site-packages" not in path.read_bytes()


def test_nothing_is_known_of_a_model_without_a_task(tmp_path: Path) -> None:
    deploy(tmp_path / "bare", Deployment(nn.Linear(2, 2), (2,)), "pt2")
    facts = json.loads((tmp_path / "bare.pt2.json").read_text(encoding="utf-8"))
    assert (facts["task"], facts["classes"]) == ("none", [])


def test_the_endings_of_a_name_are_kept(tmp_path: Path) -> None:
    assert deploy(tmp_path / "net.v2", Deployment(nn.Linear(2, 2), (2,)), "pt2").name == "net.v2.pt2"


@pytest.mark.parametrize(
    ("activation", "named"), [(torch.sigmoid, "sigmoid"), (nn.LogSoftmax(1), "custom"), (TASK.activation, "softmax")]
)
def test_an_activation_is_named(activation: Any, named: str) -> None:
    output = Deployment(nn.Linear(2, 4), (2,), activation=activation, temperature=3.0).facts(torch.zeros(8, 4))[
        "output"
    ]
    assert (output["activation"], output["temperature"]) == (named, 3.0)


def test_the_model_is_only_looked_at() -> None:
    model = network()
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    copied, _ = Deployment(model, (3, 6, 8)).network()
    assert all(module.training for module in model.modules())
    assert not any(module.training for module in copied.modules())
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert not any(parameter.requires_grad or parameter.grad is not None for parameter in copied.parameters())
    shared = {parameter.data_ptr() for parameter in model.parameters()}
    assert {parameter.data_ptr() for parameter in copied.parameters()} == shared  # no second gigabyte
    assert copied.get_buffer("model.1.running_mean").data_ptr() != model.get_buffer("1.running_mean").data_ptr()


def test_tied_weights_stay_tied() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].register_parameter("weight", model[0].get_parameter("weight"))
    copied, _ = Deployment(model, (3,)).network()
    assert copied.get_parameter("model.0.weight") is copied.get_parameter("model.1.weight")


def test_the_model_behind_torch_compile_is_exported(tmp_path: Path) -> None:
    model = nn.Linear(3, 2)
    path = deploy(tmp_path / "x", Deployment(torch.compile(model, backend="eager"), (3,)), "pt2")  # type: ignore[arg-type]
    x = torch.randn(4, 3)
    torch.testing.assert_close(loaded(path)(x), model(x))


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.float64])
def test_inputs_have_the_type_of_the_data(dtype: torch.dtype, tmp_path: Path) -> None:
    class Scaled(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.float() / 2

    path = deploy(tmp_path / "x", Deployment(Scaled(), (2,), dtype=dtype), "pt2")
    assert loaded(path)(torch.tensor([[4, 2]], dtype=dtype)).tolist() == [[2.0, 1.0]]


class Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * 2 if x.sum() > 0 else x


class FixedBatch(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.view(2, -1).view(-1, 2) if len(x) == 2 else x


class Pair(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x


class Mean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean(0)


class Noisy(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.rand_like(x)


class NotANumber(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * 0 / 0


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (Branching(), r"cannot capture the model with a batch of any size \(.*\). In its forward, write x.shape"),
        (FixedBatch(), r"cannot capture the model with a batch of any size \(.*\). In its forward, write x.shape"),
        (Pair(), r"output for 8 inputs: got 'tuple', expected one tensor, a row an input"),
        (Mean(), r"output for 8 inputs: got \(2,\)"),
        (Noisy(), r"not the model: outputs differ by .*at most 0\.000\d+"),
        (NotANumber(), r"outputs differ by inf"),
        (nn.Linear(3, 2), r"fails on inputs of shape \('batch', 2\) on the CPU \(RuntimeError: .*cannot be multiplied"),
    ],
)
def test_a_model_that_cannot_be_exported_says_why_in_a_line(
    model: nn.Module, said: str, tmp_path: Path, capfd: Any
) -> None:
    with pytest.raises(ExportError, match=said) as caught:
        deploy(tmp_path / "x", Deployment(model, (2,)), "pt2")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


def test_both_files_or_neither(tmp_path: Path, monkeypatch: Any) -> None:
    model = Deployment(nn.Linear(2, 2), (2,))
    (tmp_path / "a.pt2.json").mkdir()  # where the description would go
    with pytest.raises(OSError, match=r"a\.pt2\.json"):
        deploy(tmp_path / "a", model, "pt2")
    assert [path.name for path in tmp_path.iterdir()] == ["a.pt2.json"]

    deploy(tmp_path / "b", model, "pt2")
    before = {path: path.read_bytes() for path in tmp_path.glob("b*")}
    real = os.fsync
    calls = []

    def full(handle: int) -> None:
        calls.append(handle)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        deploy(tmp_path / "b", Deployment(nn.Linear(3, 1), (3,)), "pt2")
    monkeypatch.setattr(os, "fsync", real)
    assert calls
    assert {path: path.read_bytes() for path in tmp_path.glob("*b*")} == before


@pytest.mark.parametrize("to", ["ONNX", "torchscript", "", None])
def test_another_format_is_refused(to: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"to: got .*expected 'onnx' or 'pt2'"):
        deploy(tmp_path / "x", Deployment(nn.Linear(2, 2), (2,)), to)


def test_preprocessing_needs_pictures_and_a_temperature_is_above_zero() -> None:
    with pytest.raises(UsageError, match=r"preprocessing=True: this data is none of pictures"):
        Deployment(nn.Linear(2, 2), (2,), preprocessing=True)
    for temperature in (0, -1.0, float("nan"), float("inf")):
        with pytest.raises(UsageError, match=r"temperature: got .*above 0"):
            Deployment(nn.Linear(2, 2), (2,), temperature=temperature)


def test_classes_of_bytes_that_are_no_text_are_described(tmp_path: Path) -> None:
    classes = ("a\udcff", "ção")  # the first is how Python reads the name of a folder that is no UTF-8
    deploy(tmp_path / "m.pt2", Deployment(nn.Linear(2, 2), (2,), Classification(classes)), "pt2")
    text = (tmp_path / "m.pt2.json").read_text(encoding="utf-8")
    assert json.loads(text)["classes"] == list(classes)
    assert "ção" in text


def test_the_network_runs_no_more_often_than_it_is_asked_something(tmp_path: Path) -> None:
    class Counting(nn.Linear):
        sizes: ClassVar[list[int]] = []

        def forward(self, input: Tensor) -> Tensor:
            if not torch.compiler.is_compiling():
                self.sizes.append(len(input))
            return super().forward(input)

    deploy(tmp_path / "m.pt2", Deployment(Counting(2, 2), (2,)), "pt2")
    assert Counting.sizes == [8, 1, 8]  # what it gives, then the comparison of each size
