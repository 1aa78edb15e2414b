"""Modes of a model and of its parts are restored, also after an error."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
import torch
from torch import nn

from learnkit.modes import eval_mode, preserve_modes, together, undisturbed

Mode = Callable[[nn.Module], AbstractContextManager[None]]


@pytest.fixture
def model() -> nn.Sequential:
    """In train mode, except for its second part."""
    made = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Dropout())
    made[1].eval()
    return made


def modes(model: nn.Module) -> list[bool]:
    return [module.training for module in model.modules()]


@pytest.mark.parametrize("mode", [eval_mode, preserve_modes])
def test_the_mode_of_each_part_is_restored(mode: Mode, model: nn.Sequential) -> None:
    def fails() -> None:
        with mode(model):
            model.eval()
            raise KeyboardInterrupt

    before = modes(model)
    with mode(model):
        model.eval()
    assert modes(model) == before
    with pytest.raises(KeyboardInterrupt):
        fails()
    assert modes(model) == before
    with preserve_modes(model):
        model.train()
    assert modes(model) == before


def test_eval_mode_is_for_every_part_and_without_gradients(model: nn.Sequential) -> None:
    with eval_mode(model):
        assert not any(modes(model))
        assert not model(torch.ones(2, 2)).requires_grad
    assert torch.is_grad_enabled()


def test_preserve_modes_changes_nothing_by_itself(model: nn.Sequential) -> None:
    before = modes(model)
    with preserve_modes(model):
        assert modes(model) == before
        assert model(torch.ones(2, 2)).requires_grad


def test_a_model_in_eval_mode_stays_there(model: nn.Sequential) -> None:
    model.eval()
    with eval_mode(model):
        pass
    assert not any(modes(model))


def test_an_undisturbed_module_keeps_its_modes_and_its_buffers(model: nn.Sequential) -> None:
    def fails() -> None:
        with undisturbed(model):
            assert not any(modes(model))
            assert not torch.is_grad_enabled()
            model[1].running_mean += 1
            raise KeyboardInterrupt

    before = modes(model)
    with pytest.raises(KeyboardInterrupt):
        fails()
    assert modes(model) == before
    assert not model[1].running_mean.any()


def test_a_function_has_nothing_to_disturb() -> None:
    with undisturbed(nn.functional.mse_loss):
        assert torch.is_grad_enabled()


def test_modules_together_are_one(model: nn.Sequential) -> None:
    other = nn.Linear(2, 1)
    both = together(model, nn.functional.mse_loss, None, other)
    assert len(list(both.parameters())) == len(list(model.parameters())) + 2
    both.eval()
    assert not other.training
    assert not any(modes(model))
    assert not list(together(nn.functional.mse_loss).parameters())


def test_gradients_are_recorded_again_after_eval_mode(model: nn.Sequential) -> None:
    model.append(model[0])  # a part may be there twice
    for records in (True, False):
        with torch.set_grad_enabled(records):
            with eval_mode(model):
                assert not torch.is_grad_enabled()
                assert not any(modes(model))
            assert torch.is_grad_enabled() == records
    assert modes(model) == [True, True, False, True]


def test_a_model_that_cannot_be_set_to_eval_mode_leaves_gradients_on() -> None:
    class Refusing(nn.Module):
        def train(self, mode: bool = True) -> "Refusing":
            raise RuntimeError("no other mode")

    with pytest.raises(RuntimeError, match="no other mode"), eval_mode(Refusing()):
        raise AssertionError("not reached")
    assert torch.is_grad_enabled()
