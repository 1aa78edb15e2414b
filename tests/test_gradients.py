"""Gradients of all that an optimizer trains; tests/test_device.py has the steps."""

import pytest
import torch
from torch import nn

from learnkit.gradients import clip_gradients, divided, drop_gradients, multiply_gradients, reweigh


def trained() -> tuple[nn.Linear, nn.Parameter, torch.optim.SGD]:
    """A model and a parameter of its loss, with gradients (3, 4) and (12)."""
    model, own = nn.Linear(2, 1, bias=False), nn.Parameter(torch.ones(1))
    model.weight.grad, own.grad = torch.tensor([[3.0, 4.0]]), torch.tensor([12.0])
    return model, own, torch.optim.SGD([{"params": model.parameters()}, {"params": [own]}], 0.1)


@pytest.mark.parametrize("factor", [0.5, torch.tensor(0.5)])
def test_every_gradient_is_multiplied(factor: torch.Tensor | float) -> None:
    model, own, optimizer = trained()
    optimizer.add_param_group({"params": [nn.Parameter(torch.ones(2))]})  # without a gradient
    multiply_gradients(optimizer, factor)
    assert model.weight.grad is not None
    assert own.grad is not None
    assert (model.weight.grad.tolist(), own.grad.tolist()) == ([[1.5, 2.0]], [6.0])


@pytest.mark.parametrize("as_tensor", [False, True])
@pytest.mark.parametrize(
    ("weight", "expected"), [(4, [3, 4, 12]), (2, [6, 8, 24]), (1, [12, 16, 48]), (8, [1.5, 2, 6])]
)
def test_gradients_divided_by_an_assumed_weight_are_divided_by_the_real_one(
    as_tensor: bool, weight: float, expected: list[float]
) -> None:
    model, own, optimizer = trained()
    reweigh(optimizer, 4, torch.tensor(weight) if as_tensor else weight)
    assert model.weight.grad is not None
    assert own.grad is not None
    assert [*model.weight.grad[0].tolist(), own.grad.item()] == expected


@pytest.mark.parametrize("weight", [0, torch.tensor(0), torch.tensor(0.0)])
def test_gradients_of_no_weight_stay_zero(weight: torch.Tensor | float) -> None:
    model, _, optimizer = trained()
    multiply_gradients(optimizer, 0.0)
    reweigh(optimizer, 4, weight)
    assert model.weight.grad is not None
    assert model.weight.grad.tolist() == [[0, 0]]


def test_gradients_are_divided_inside_alone_also_after_an_error() -> None:
    model, _, optimizer = trained()
    with pytest.raises(KeyError), divided(optimizer, 4.0):  # noqa: PT012
        assert model.weight.grad is not None
        assert model.weight.grad.tolist() == [[0.75, 1]]
        raise KeyError
    assert model.weight.grad.tolist() == [[3, 4]]


@pytest.mark.parametrize(
    ("norm", "kind", "value", "expected"),
    [
        (None, 2.0, None, [3, 4, 12]),
        (6.5, 2.0, None, [1.5, 2, 6]),  # of 13
        (100.0, 2.0, None, [3, 4, 12]),
        (6.0, float("inf"), None, [1.5, 2, 6]),  # of 12
        (None, 2.0, 3.5, [3, 3.5, 3.5]),
        (6.5, 2.0, 1.75, [1.5, 1.75, 1.75]),
    ],
)
def test_the_model_and_the_loss_are_clipped_together(
    norm: float | None, kind: float, value: float | None, expected: list[float]
) -> None:
    model, own, optimizer = trained()
    clip_gradients(optimizer, model, norm, kind, value)
    assert model.weight.grad is not None
    assert own.grad is not None
    assert [*model.weight.grad[0].tolist(), own.grad.item()] == pytest.approx(expected, rel=1e-5)


def test_gradients_are_dropped_as_the_optimizer_does_it() -> None:
    model, own, optimizer = trained()
    drop_gradients(optimizer)
    assert model.weight.grad is own.grad is None
    dropped = list[str]()
    optimizer.zero_grad = lambda set_to_none=True: dropped.append("its own")  # type: ignore[method-assign]
    drop_gradients(optimizer)

    class Own(torch.optim.SGD):
        def zero_grad(self, set_to_none: bool = True) -> None:
            dropped.append("of its class")

    drop_gradients(Own([own], 0.1))
    assert dropped == ["its own", "of its class"]
