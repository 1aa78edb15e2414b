"""Calling a model with a number of inputs that it does not take."""

import contextlib
import gc
import weakref

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


def test_inputs_that_a_layer_does_not_take_are_refused_with_their_batch() -> None:
    model = nn.Sequential(nn.Linear(3, 2))
    for batch, where in ((None, ""), ((4, ""), "batch 4: "), ((4, "test"), "batch 4 of the test loader: ")):
        with pytest.raises(UsageError, match=f"^{where}the model does not fit its input") as raised:
            call_model(model, (torch.ones(2, 5),), batch)
        assert isinstance(raised.value.__cause__, RuntimeError)


def test_other_errors_have_a_note_of_the_inputs() -> None:
    class Broken(nn.Module):
        def forward(self, a: Tensor) -> Tensor:
            return a.view(7)

    for batch, where in ((None, ""), ((4, "test"), ", batch 4 of the test loader")):
        with pytest.raises(RuntimeError) as raised:
            call_model(Broken(), (torch.ones(2, 5),), batch)
        assert raised.value.__notes__ == [f"The model's input{where}: float32 (2, 5)."]


def test_a_failed_call_keeps_no_model_alive() -> None:
    class Broken(nn.Module):
        def forward(self, a: Tensor) -> Tensor:
            return a.view(7)

    gc.disable()
    try:
        for make in (Broken, lambda: nn.Sequential(nn.Linear(3, 2)), Two):
            model = make()
            alive = weakref.ref(model)
            with contextlib.suppress(Exception):
                call_model(model, (torch.ones(2, 5),))
            del model
            assert alive() is None
    finally:
        gc.enable()
