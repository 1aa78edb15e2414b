"""The loss of each item."""

import functools
import warnings
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from learnkit.errors import LearnkitWarning
from learnkit.losses.flattened import BCEWithLogitsLossFlat, CrossEntropyLossFlat
from learnkit.losses.focal import FocalLoss
from learnkit.losses.overlap import DiceLoss
from learnkit.losses.per_item import per_item_loss
from tests.doubles import refused

SIZES = [1, 7, 32]


def one_by_one(loss_func: Any, preds: Tensor, targets: Tensor) -> Tensor:
    """The other way: the loss of each item by itself."""
    return torch.stack([loss_func(preds[i : i + 1], targets[i : i + 1]) for i in range(len(preds))])


def cases(n: int) -> list[tuple[Any, Tensor, Tensor]]:
    torch.manual_seed(n)
    logits, classes = torch.randn(n, 5), torch.randint(5, (n,))
    pixels, mask = torch.randn(n, 5, 4, 3), torch.randint(5, (n, 4, 3))
    numbers, wanted = torch.randn(n, 2), torch.rand(n, 2)
    return [
        (nn.CrossEntropyLoss(), logits, classes),
        (nn.CrossEntropyLoss(label_smoothing=0.1), logits, classes),
        (nn.CrossEntropyLoss(), logits, logits.softmax(1).flip(0)),
        (nn.CrossEntropyLoss(), pixels, mask),
        (nn.CrossEntropyLoss(ignore_index=0), pixels, mask),
        (nn.CrossEntropyLoss(reduction="sum"), pixels, mask),
        (nn.NLLLoss(), logits.log_softmax(1), classes),
        (nn.BCEWithLogitsLoss(), numbers, wanted.round()),
        (nn.BCELoss(), wanted, wanted.round()),
        (nn.MSELoss(), numbers, wanted),
        (nn.L1Loss(), numbers[:, 0], wanted[:, 0]),
        (nn.SmoothL1Loss(), numbers, wanted),
        (nn.HuberLoss(), numbers, wanted),
        (nn.PoissonNLLLoss(), numbers, wanted),
        (nn.KLDivLoss(reduction="batchmean"), logits.log_softmax(1), logits.flip(0).softmax(1)),
        (nn.MultiLabelSoftMarginLoss(), numbers, wanted.round()),
        (nn.MultiMarginLoss(), logits, classes),
        (F.cross_entropy, logits, classes),
        (functools.partial(F.cross_entropy, label_smoothing=0.2), logits, classes),
        (functools.partial(F.cross_entropy, ignore_index=1), pixels, mask),
        (functools.partial(F.mse_loss, reduction="sum"), numbers, wanted),
        (F.binary_cross_entropy_with_logits, numbers, wanted),
    ]


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("case", range(len(cases(1))))
def test_each_items_loss_equals_that_of_a_batch_of_it(case: int, n: int) -> None:
    loss_func, preds, targets = cases(n)[case]
    losses = per_item_loss(loss_func, preds, targets)
    assert losses.shape == (n,)
    torch.testing.assert_close(losses, one_by_one(loss_func, preds, targets))


@pytest.mark.parametrize("loss_func", [nn.CrossEntropyLoss(), F.cross_entropy])
def test_the_mean_over_items_is_the_loss_of_the_batch(loss_func: Any) -> None:
    preds, targets = torch.randn(9, 5, 4), torch.randint(5, (9, 4))
    torch.testing.assert_close(per_item_loss(loss_func, preds, targets).mean(), loss_func(preds, targets))


def test_class_weights_multiply_the_items_of_their_class() -> None:
    weight = torch.tensor([1.0, 2.0, 5.0])
    preds, targets = torch.randn(4, 3), torch.tensor([0, 1, 2, 1])
    losses = per_item_loss(nn.CrossEntropyLoss(weight=weight), preds, targets)
    plain = -preds.log_softmax(1)[range(4), targets]
    torch.testing.assert_close(losses, plain * weight[targets])
    torch.testing.assert_close(losses.sum() / weight[targets].sum(), nn.CrossEntropyLoss(weight)(preds, targets))


def test_an_ignored_item_has_no_loss() -> None:
    losses = per_item_loss(nn.CrossEntropyLoss(), torch.randn(2, 3), torch.tensor([-100, 1]))
    assert losses[0] == 0
    assert losses[1] > 0


def test_the_loss_itself_keeps_its_reduction() -> None:
    loss_func = nn.CrossEntropyLoss()
    per_item_loss(loss_func, torch.randn(3, 2), torch.tensor([0, 1, 1]))
    assert loss_func.reduction == "mean"


class Smooth(nn.Module):
    """A custom loss with torch's `reduction`."""

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__()
        self.reduction = reduction

    def forward(self, preds: Tensor, targets: Tensor) -> Tensor:
        losses = (preds - targets).abs().log1p()
        return losses if self.reduction == "none" else losses.mean()


def test_a_custom_module_with_a_reduction_is_called_once() -> None:
    preds, targets = torch.randn(5, 2), torch.randn(5, 2)
    torch.testing.assert_close(per_item_loss(Smooth(), preds, targets), (preds - targets).abs().log1p().mean(1))


class IgnoresReduction(nn.Module):
    """Has a reduction and does not use it."""

    reduction = "mean"

    def forward(self, preds: Tensor, targets: Tensor) -> Tensor:
        return (preds - targets).square().mean()


def my_loss(preds: Tensor, targets: Tensor) -> Tensor:
    return (preds - targets).square().mean()


@pytest.mark.parametrize(
    ("loss_func", "name"),
    [(my_loss, "my_loss"), (IgnoresReduction(), "IgnoresReduction"), (lambda p, t: my_loss(p, t), "lambda")],
)
def test_any_other_loss_is_called_once_per_item_with_one_warning(loss_func: Any, name: str) -> None:
    preds, targets = torch.randn(6, 2), torch.randn(6, 2)
    with pytest.warns(LearnkitWarning, match=f"{name}.* called once per item") as caught:
        losses = per_item_loss(loss_func, preds, targets)
    assert [warning.filename for warning in caught] == [__file__]
    torch.testing.assert_close(losses, (preds - targets).square().mean(1))


def test_a_loss_that_returns_a_plain_number_works_too() -> None:
    with pytest.warns(LearnkitWarning):
        losses = per_item_loss(lambda p, t: float((p - t).sum()), torch.ones(3, 1), torch.zeros(3, 1))
    assert losses.tolist() == [1, 1, 1]


def test_torchs_losses_do_not_warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        losses = per_item_loss(F.l1_loss, torch.ones(2, 3), torch.zeros(2, 3))
    assert losses.tolist() == [1, 1]


def test_binary_pixels_that_are_ignored_do_not_count_in_the_loss_of_their_item() -> None:
    preds, targets = torch.randn(3, 1, 2, 2), torch.tensor([0.0, 1, 1, 0]).reshape(1, 1, 2, 2).repeat(3, 1, 1, 1)
    targets[1, 0, 0], targets[2] = 255, 255
    losses = per_item_loss(BCEWithLogitsLossFlat(ignore_index=255), preds, targets)
    first = F.binary_cross_entropy_with_logits(preds[0], targets[0])
    second = F.binary_cross_entropy_with_logits(preds[1, 0, 1], targets[1, 0, 1])
    torch.testing.assert_close(losses, torch.stack([first, second, torch.zeros(())]))


IGNORING: dict[str, tuple[Any, int]] = {
    "cross entropy": (CrossEntropyLossFlat(ignore_index=255), 3),
    "focal": (FocalLoss(ignore_index=255), 3),
    "binary cross entropy": (BCEWithLogitsLossFlat(ignore_index=255), 1),
    "binary focal": (FocalLoss(ignore_index=255), 1),
    "dice": (DiceLoss(ignore_index=255), 3),
    "binary dice": (DiceLoss(ignore_index=255), 1),
}


@pytest.mark.parametrize("shape", [(3, 2, 2), (3, 1, 2, 2)], ids=["N, H, W", "N, 1, H, W"])
@pytest.mark.parametrize(("loss_func", "n_out"), IGNORING.values(), ids=list(IGNORING))
def test_the_loss_of_an_item_with_ignored_pixels_is_that_of_the_item_alone(
    loss_func: Any, n_out: int, shape: tuple[int, ...]
) -> None:
    draw = torch.Generator().manual_seed(0)
    preds, targets = torch.randn(3, n_out, 2, 2, generator=draw), torch.randint(2, (3, 2, 2), generator=draw)
    targets[0, 0], targets[1, 1, 1] = 255, 255
    targets = targets.reshape(shape)
    alone = [loss_func(preds[i : i + 1], targets[i : i + 1]) for i in range(3)]
    torch.testing.assert_close(per_item_loss(loss_func, preds, targets), torch.stack(alone))


def test_no_items_have_no_losses() -> None:
    assert per_item_loss(my_loss, torch.zeros(0, 2), torch.zeros(0, 2)).shape == (0,)


def test_outputs_and_targets_of_different_lengths_are_refused() -> None:
    with refused("per-item loss: the number of targets", got=2, expected="as many as outputs, 3"):
        per_item_loss(nn.MSELoss(), torch.zeros(3), torch.zeros(2))
