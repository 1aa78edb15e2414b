"""The first loss of a fit; tests/learner/test_losses.py and test_outputs.py refuse the rest."""

import functools
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from learnkit.device import Compute
from learnkit.errors import UsageError, WrongTypeError
from learnkit.text import name_of
from learnkit.training.first_loss import first_loss
from learnkit.training.state import TrainState


def state(loss_func: Any, preds: Any, targets: Any) -> TrainState:
    made = TrainState(model=nn.Identity(), loss_func=loss_func, train_dl=[], compute=Compute(torch.device("cpu")))
    made.preds, made.targets = preds, targets
    return made


def test_it_is_that_of_the_loss() -> None:
    preds, targets = torch.randn(4, 3), torch.tensor([0, 1, 2, 1])
    assert torch.equal(first_loss(state(nn.CrossEntropyLoss(), preds, targets)), F.cross_entropy(preds, targets))


@pytest.mark.parametrize("outputs", [{"logits": torch.zeros(2, 2)}, (torch.zeros(2, 2), None)])
def test_several_outputs_are_for_losses_of_several(outputs: Any) -> None:
    def first(outputs: Any, targets: Tensor) -> Tensor:
        return torch.zeros(())

    with pytest.raises(UsageError, match=r"the model returns a (dict of logits|tuple of 2), and MSELoss takes one"):
        first_loss(state(nn.MSELoss(), outputs, torch.zeros(2, 2)))
    assert first_loss(state(first, outputs, torch.zeros(2))).item() == 0


def test_only_a_tensor_of_one_number_is_a_loss() -> None:
    preds = torch.zeros(2, 2)
    with pytest.raises(WrongTypeError, match=r"Leave \.item\(\) out"):
        first_loss(state(lambda p, t: 1.0, preds, preds))
    for other in (None, (preds.mean(), 1), {"loss": preds.mean()}):
        with pytest.raises(WrongTypeError, match=r"Return the loss alone"):
            first_loss(state(lambda p, t, other=other: other, preds, preds))
    with pytest.raises(UsageError, match=r"loss_func: got \(2, 2\)"):
        first_loss(state(nn.MSELoss(reduction="none"), preds, preds))


CLASSES = torch.tensor([0, 1])
UNFIT: dict[str, tuple[Any, Tensor, Tensor]] = {
    "floats for classes": (nn.CrossEntropyLoss(), torch.zeros(2, 3), CLASSES.float()),
    "a column of classes": (nn.CrossEntropyLoss(), torch.zeros(2, 3), CLASSES[:, None]),
    "out of range": (F.cross_entropy, torch.zeros(2, 3), CLASSES + 5),
    "other weights": (nn.CrossEntropyLoss(weight=torch.ones(5)), torch.zeros(2, 3), CLASSES),
    "weights in double precision": (nn.NLLLoss(weight=torch.ones(3).double()), torch.zeros(2, 3), CLASSES),
    "classes for labels": (functools.partial(F.binary_cross_entropy_with_logits), torch.zeros(2, 3), CLASSES),
    "numbers of another size": (nn.MSELoss(), torch.zeros(2, 3), torch.zeros(2, 4)),
}


@pytest.mark.filterwarnings("ignore:Using a target size")
@pytest.mark.parametrize(("loss_func", "preds", "targets"), UNFIT.values(), ids=UNFIT)
def test_targets_that_a_loss_of_torch_refuses_are_named(loss_func: Any, preds: Tensor, targets: Tensor) -> None:
    with pytest.raises(UsageError, match=rf"^{name_of(loss_func)}: ") as caught:
        first_loss(state(loss_func, preds, targets))
    assert str(tuple(targets.shape)) in str(caught.value)


@pytest.mark.parametrize("error", [RuntimeError("my own"), torch.OutOfMemoryError("full")])
def test_a_loss_of_ones_own_fails_as_it_does(error: Exception) -> None:
    class Own(nn.MSELoss):
        def forward(self, input: Tensor, target: Tensor) -> Tensor:
            raise error

    def own(preds: Tensor, targets: Tensor) -> Tensor:
        raise error

    for loss_func in [own, *([Own()] if isinstance(error, torch.OutOfMemoryError) else [])]:
        with pytest.raises(type(error)) as caught:
            first_loss(state(loss_func, torch.zeros(2), torch.zeros(2)))
        assert caught.value is error


def test_an_error_of_a_loss_of_ones_own_has_a_note_of_what_it_got() -> None:
    def overlap(preds: Tensor, targets: Tensor) -> Tensor:
        return (preds.flatten() * targets.flatten()).sum()

    with pytest.raises(RuntimeError, match="must match") as raised:
        first_loss(state(overlap, torch.zeros(2, 3, 4, 4), torch.ones(2, 4, 4)))
    assert raised.value.__notes__ == ["overlap got outputs (2, 3, 4, 4) torch.float32, targets (2, 4, 4) torch.float32"]
