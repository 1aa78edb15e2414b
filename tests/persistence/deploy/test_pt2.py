"""Programs of torch.export, and what every export for other programs has to keep to, whatever its format."""

import hashlib
import json
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from learnkit import Classification
from learnkit.data.image.preprocess import IMAGENET, Normalize, Preprocess
from learnkit.data.image.resize import Resize
from learnkit.errors import ExportError
from learnkit.losses.activations import softmax
from learnkit.models.head import AdaptiveConcatPool2d
from learnkit.persistence.export import export
from learnkit.persistence.spec import ExportSpec
from tests.doubles import AddsNoise

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
    spec = ExportSpec(model, (3, 6, 8), TASK, PREPROCESS, activation=softmax)
    path = export(tmp_path / "model", spec, "pt2", preprocessing=True)
    assert path == tmp_path / "model.pt2"
    pixels = torch.randint(0, 256, (5, 6, 8, 3), dtype=torch.uint8)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in IMAGENET)
    with torch.no_grad():
        expected = model.eval()((pixels.permute(0, 3, 1, 2) / 255 - mean) / std).softmax(1)
    program = loaded(path)
    torch.testing.assert_close(program(pixels), expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(program(pixels[:1]), expected[:1], atol=1e-6, rtol=0)


def test_the_description_is_next_to_it_and_inside(tmp_path: Path) -> None:
    path = export(tmp_path / "model.pt2", ExportSpec(network(), (3, 6, 8), TASK, PREPROCESS), "pt2")
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


def test_a_model_without_a_task_is_described_without_one(tmp_path: Path) -> None:
    export(tmp_path / "bare", ExportSpec(nn.Linear(2, 2), (2,)), "pt2")
    facts = json.loads((tmp_path / "bare.pt2.json").read_text(encoding="utf-8"))
    assert (facts["task"], facts["classes"]) == ("none", [])


def test_the_model_inside_torch_compile_is_exported(tmp_path: Path) -> None:
    model = nn.Linear(3, 2)
    path = export(tmp_path / "x", ExportSpec(torch.compile(model, backend="eager"), (3,)), "pt2")  # type: ignore[arg-type]
    x = torch.randn(4, 3)
    torch.testing.assert_close(loaded(path)(x), model(x))


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.float64])
def test_inputs_have_the_type_of_the_data(dtype: torch.dtype, tmp_path: Path) -> None:
    class Scaled(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.float() / 2

    path = export(tmp_path / "x", ExportSpec(Scaled(), (2,), dtype=dtype), "pt2")
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


class NotANumber(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * 0 / 0


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Branching(), r"cannot capture the model with a batch of any size \(.*\). In its forward, write x.shape"),
        (FixedBatch(), r"cannot capture the model with a batch of any size \(.*\). In its forward, write x.shape"),
        (Pair(), r"output for 8 inputs is a tuple of 2: expected one tensor with a row per input"),
        (Mean(), r"output for 8 inputs: got \(2,\)"),
        (AddsNoise(), r"difference between the outputs .*, expected at most 0\.000\d+, 0\.0001 of the largest output"),
        (NotANumber(), r"the model's outputs for 1 random inputs are nan"),
        (nn.Linear(3, 2), r"does not fit its input, float32 \(8, 2\): Linear takes 3 numbers"),
    ],
)
def test_a_model_that_cannot_be_exported_is_refused_in_one_line(
    model: nn.Module, message: str, tmp_path: Path, capfd: Any
) -> None:
    with pytest.raises(ExportError, match=message) as caught:
        export(tmp_path / "x", ExportSpec(model, (2,)), "pt2")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


def test_classes_that_are_not_utf_8_are_described(tmp_path: Path) -> None:
    classes = ("a\udcff", "ção")  # the first is how Python reads the name of a folder that is not UTF-8
    export(tmp_path / "m.pt2", ExportSpec(nn.Linear(2, 2), (2,), Classification(classes)), "pt2")
    text = (tmp_path / "m.pt2.json").read_text(encoding="utf-8")
    assert json.loads(text)["classes"] == list(classes)
    assert "ção" in text


def test_the_network_runs_once_for_its_output_and_once_per_comparison(tmp_path: Path) -> None:
    class Counting(nn.Linear):
        sizes: ClassVar[list[int]] = []

        def forward(self, input: Tensor) -> Tensor:
            if not torch.compiler.is_compiling():
                self.sizes.append(len(input))
            return super().forward(input)

    export(tmp_path / "m.pt2", ExportSpec(Counting(2, 2), (2,)), "pt2")
    assert Counting.sizes == [8, 1, 8]  # its output, then the comparison of each size
