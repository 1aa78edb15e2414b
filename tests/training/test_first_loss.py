"""The first loss of a fit; tests/learner/test_losses.py and test_outputs.py refuse the rest."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from learnkit.device import Compute
from learnkit.errors import UsageError, WrongTypeError
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
    with pytest.raises(UsageError, match=r"loss_func: got \(2, 2\)"):
        first_loss(state(nn.MSELoss(reduction="none"), preds, preds))
