"""Inputs of another shape or type than a layer takes: the error names the layer, what it takes and what it got."""

import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from learnkit.errors import UsageError
from learnkit.models.misfit import kinds_of, misfit


class Own(nn.Module):
    """Multiplies by a parameter of its own, without a layer of torch."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3, 2))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight


def found(model: nn.Module, x: Tensor) -> UsageError | None:
    with pytest.raises(Exception) as raised:  # noqa: PT011 - whatever torch raises
        model(x)
    assert not isinstance(raised.value, UsageError)
    return misfit(raised.value, model, (x,))


@pytest.mark.parametrize(
    ("layer", "x", "taken", "gets"),
    [
        (nn.Linear(6, 2), torch.zeros(4, 5), "6 numbers on its last axis", "float32 (4, 5)"),
        (nn.Linear(6, 2), torch.zeros(4, 6).double(), "float32", "float64 (4, 6)"),
        (nn.Linear(6, 2), torch.zeros(4, 6).half(), "float32", "float16 (4, 6)"),
        (nn.Linear(6, 2).double(), torch.zeros(4, 6), "float64", "float32 (4, 6)"),
        (nn.Linear(6, 2), torch.zeros(4, 6).long(), "float32", "int64 (4, 6)"),
        (nn.Linear(6, 2).bfloat16(), torch.zeros(4, 6), "bfloat16", "float32 (4, 6)"),
        (nn.Conv1d(3, 2, 1), torch.zeros(4, 5, 8), "(batch, 3, length)", "float32 (4, 5, 8)"),
        (nn.Conv2d(3, 2, 1), torch.zeros(4, 1, 8, 8), "(batch, 3, height, width)", "float32 (4, 1, 8, 8)"),
        (nn.Conv2d(3, 2, 1), torch.zeros(4, 8, 8, 3), "(batch, 3, height, width)", "float32 (4, 8, 8, 3)"),
        (nn.Conv2d(3, 2, 1), torch.zeros(4, 8, 8), "(batch, 3, height, width)", "float32 (4, 8, 8)"),
        (nn.Conv2d(3, 2, 1), torch.zeros(4, 3, 8, 8).byte(), "float32", "uint8 (4, 3, 8, 8)"),
        (nn.Conv3d(1, 2, 1), torch.zeros(4, 2, 3, 3, 3), "(batch, 1, depth, height, width)", "float32 (4, 2, 3, 3, 3)"),
        (nn.ConvTranspose2d(3, 2, 1), torch.zeros(4, 1, 8, 8), "(batch, 3, height, width)", "float32 (4, 1, 8, 8)"),
        (nn.BatchNorm2d(3), torch.zeros(4, 2, 8, 8), "3 channels on its second axis", "float32 (4, 2, 8, 8)"),
        (nn.GroupNorm(1, 3), torch.zeros(4, 2, 8, 8), "3 channels on its second axis", "float32 (4, 2, 8, 8)"),
        (nn.LayerNorm((3, 8)), torch.zeros(4, 3, 9), "(..., 3, 8)", "float32 (4, 3, 9)"),
        (nn.LSTM(8, 2), torch.zeros(4, 5, 9), "8 numbers on its last axis", "float32 (4, 5, 9)"),
        (nn.Embedding(5, 2), torch.zeros(4, 3), "int64 or int32", "float32 (4, 3)"),
        (nn.Embedding(5, 2), torch.tensor([[0, 7]]), "numbers from 0 to 4", "0 to 7"),
        (nn.Embedding(5, 2), torch.tensor([[-1, 3]]), "numbers from 0 to 4", "-1 to 3"),
        (Own(), torch.zeros(4, 3).double(), "float32", "float64 (4, 3)"),
    ],
    ids=lambda part: type(part).__name__ if isinstance(part, nn.Module) else None,
)
def test_the_layer_says_what_it_takes_and_gets(layer: nn.Module, x: Tensor, taken: str, gets: str) -> None:
    model = nn.Sequential(nn.Identity(), layer)
    error = found(model, x)
    assert error is not None
    name = type(layer).__name__
    assert f"its layer 1 ({name}) takes {taken}, and gets {gets}" in str(error)
    assert f"does not fit its input, {kinds_of([x])}:" in str(error)


@pytest.mark.parametrize(
    ("model", "x"),
    [
        (nn.Linear(6, 2), torch.zeros(4, 6).double()),
        (nn.Conv2d(3, 2, 1), torch.zeros(4, 3, 8, 8).byte()),
        (nn.Linear(6, 2).half(), torch.zeros(4, 6)),
        (nn.Embedding(5, 2), torch.zeros(4, 3)),
    ],
)
def test_the_advice_works(model: nn.Module, x: Tensor) -> None:
    error = found(model, x)
    assert error is not None
    advice = [*re.findall(r"x\.(?:to|long)\([^)]*\)", str(error)), *re.findall(r"model\.to\([^)]*\)", str(error))]
    assert advice
    for line in advice:
        made = eval(line, {"torch": torch, "x": x, "model": model})
        if line.startswith("x."):
            model(made)
        else:
            model(x)


def test_the_layer_inside_is_named_with_the_input_of_the_model() -> None:
    model = nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), nn.Flatten(), nn.Linear(4 * 36, 2))
    error = found(model, torch.zeros(2, 3, 9, 9))
    assert error is not None
    assert "its input, float32 (2, 3, 9, 9): its layer 2 (Linear) takes 144 numbers" in str(error)
    assert "gets float32 (2, 196)" in str(error)


def _of_its_own(x: Tensor) -> Tensor:
    raise RuntimeError("CUDA error: an illegal memory access")


class Failing(nn.Linear):
    """A layer that gets what it takes, of one type or another, and fails."""

    def __init__(self, fail: Callable[[Tensor], Tensor]) -> None:
        super().__init__(3, 2)
        self.fail = fail

    def forward(self, x: Tensor) -> Tensor:
        return self.fail(x)


def _out_of_memory(x: Tensor) -> Tensor:
    raise torch.OutOfMemoryError("tried to allocate a type of memory")


@pytest.mark.parametrize("fail", [_of_its_own, _out_of_memory, lambda x: x.view(7)])
@pytest.mark.parametrize("x", [torch.zeros(4, 3), torch.zeros(4, 3).bfloat16()], ids=["alike", "under autocast"])
def test_another_failure_is_none_of_these(fail: Callable[[Tensor], Tensor], x: Tensor) -> None:
    assert found(nn.Sequential(Failing(fail)), x) is None
