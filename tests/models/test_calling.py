"""Calling a model with a number of inputs that it does not take."""

import pytest
import torch
from torch import Tensor, nn

from learnkit.errors import UsageError
from learnkit.models.calling import call_model


class Two(nn.Module):
    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return a + b


class Any(nn.Module):
    def forward(self, *parts: Tensor) -> int:
        return len(parts)


ONE = torch.ones(1)


def test_a_model_is_called() -> None:
    assert call_model(Two(), (ONE, ONE)).item() == 2
    assert call_model(Any(), (ONE, ONE, ONE)) == 3


@pytest.mark.parametrize("wrap", [lambda model: model, torch.compile, nn.DataParallel])
@pytest.mark.parametrize(("n", "given"), [(0, "0 inputs"), (1, "1 input"), (3, "3 inputs")])
def test_another_number_is_refused(wrap: object, n: int, given: str) -> None:
    with pytest.raises(UsageError, match=f"Two takes the inputs a, b, and got {given}"):
        call_model(wrap(Two()), (ONE,) * n)  # type: ignore[operator]


def test_an_error_inside_stays() -> None:
    class Broken(nn.Module):
        def forward(self, a: Tensor) -> Tensor:
            return a + "x"  # type: ignore[operator]

    with pytest.raises(TypeError) as raised:
        call_model(Broken(), (ONE,))
    assert not isinstance(raised.value, UsageError)
    with pytest.raises(UsageError, match="takes the inputs input, and got 2"):
        call_model(nn.Sequential(nn.Identity()), (ONE, ONE))
