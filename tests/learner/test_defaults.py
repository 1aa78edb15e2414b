"""What a learner uses when nothing is passed."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from learnkit import DataBunch, MultiLabel, Regression
from learnkit.errors import UsageError, WrongTypeError
from learnkit.learner.defaults import chosen_activation, chosen_decay, chosen_loss
from tests.doubles import Blobs, refused


@pytest.fixture
def dls(blobs: Blobs) -> DataBunch:
    return DataBunch.from_tensors(*blobs, bs=16)


def test_the_loss_is_the_one_passed_or_that_of_the_task(dls: DataBunch) -> None:
    own = nn.CrossEntropyLoss(label_smoothing=0.5)
    assert chosen_loss(dls, own, None) is own
    assert chosen_loss(dls, F.cross_entropy, None) is F.cross_entropy
    assert isinstance(chosen_loss(dls, None, None), nn.CrossEntropyLoss)
    weighted: Any = chosen_loss(dls, None, [1.0, 3.0])
    assert weighted.weight.tolist() == [1.0, 3.0]


@pytest.mark.parametrize("loss", [nn.CrossEntropyLoss, "cross_entropy", 3])
def test_what_is_not_a_loss_is_refused(loss: Any, dls: DataBunch) -> None:
    with refused("loss_func", got=loss):
        chosen_loss(dls, loss, None)


def test_weights_do_not_go_with_a_loss_that_is_passed(dls: DataBunch) -> None:
    with refused("class_weights", got="balanced", expected="None when loss_func= is passed"):
        chosen_loss(dls, F.cross_entropy, "balanced")


def test_without_a_task_a_loss_is_needed() -> None:
    batches = [(torch.ones(2, 2), torch.ones(2, 2))]
    with pytest.raises(UsageError, match="Pass loss_func="):
        chosen_loss(DataBunch.from_loaders(batches, batches), None, None)


def test_a_loss_is_moved_to_the_data(blobs: Blobs) -> None:
    batches = [(blobs.x_train, blobs.y_train)]
    dls = DataBunch.from_loaders(batches, batches, classes=["a", "b"], device="meta")
    loss: Any = chosen_loss(dls, nn.CrossEntropyLoss(weight=torch.ones(2)), None)
    assert loss.weight.device.type == "meta"
    weighted: Any = chosen_loss(dls, None, [1.0, 3.0])
    assert weighted.weight.device.type == "meta"


def own(preds: Tensor, targets: Tensor) -> Tensor:
    return (preds - targets).mean()


RAW = torch.tensor([[0.5, -2.0]])


@pytest.mark.parametrize(
    ("task", "loss", "passed", "expected"),
    [
        (None, nn.CrossEntropyLoss(), None, RAW.softmax(1)),  # of the loss
        (None, nn.NLLLoss(), None, RAW.exp()),  # of the loss, which differs from that of the task
        (None, own, None, RAW.softmax(1)),  # of the task, as this loss has none
        (MultiLabel(("a", "b")), own, None, RAW.sigmoid()),
        (Regression(("a", "b")), own, None, RAW),
        (None, nn.CrossEntropyLoss(), torch.neg, -RAW),
    ],
)
def test_the_activation_is_the_one_passed_or_of_the_loss_or_of_the_task(
    task: Any, loss: Any, passed: Any, expected: Tensor, dls: DataBunch
) -> None:
    if task is not None:
        dls.task = task
    torch.testing.assert_close(chosen_activation(dls, loss, passed)(RAW), expected)


def test_without_task_and_activation_outputs_stay_raw() -> None:
    batches = [(torch.ones(2, 2), torch.ones(2, 2))]
    assert chosen_activation(DataBunch.from_loaders(batches, batches), own, None)(RAW) is RAW


def test_what_is_not_an_activation_is_refused(dls: DataBunch) -> None:
    with refused("activation", WrongTypeError, got="softmax"):
        chosen_activation(dls, own, "softmax")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("opt_func", "decay"),
    [
        ("adamw", 0.5),
        (torch.optim.SGD, 0.5),
        (partial(torch.optim.SGD, momentum=0.9), 0.5),
        (partial(torch.optim.SGD, weight_decay=0.25), 0.25),
        (partial(torch.optim.SGD, weight_decay=0.0), 0.0),
    ],
)
def test_a_decay_set_in_the_factory_takes_precedence(opt_func: Any, decay: float) -> None:
    assert chosen_decay(opt_func, 0.5) == decay
