"""What a loss divides by, and how the losses of batches add up; tests/learner/test_losses.py compares with torch."""

import functools
import gc
import math
import weakref
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from learnkit.losses import DiceLoss, FocalLoss, IoULoss, MSELossFlat
from learnkit.losses.reduction import (
    can_ignore,
    divisor,
    empty_as_zero,
    is_of_batches,
    loss_sums,
    reduction_of,
    setting,
    unreduced,
)

WEIGHT = torch.tensor([1.0, 5.0, 20.0])
CLASSES = torch.tensor([0, 1, 2, 2])
IGNORED = torch.tensor([0, -100, 255, 2])


class Plain:
    """A loss that is neither a module nor a function."""

    def __init__(self, reduction: str = "mean") -> None:
        self.reduction = reduction

    def __call__(self, preds: Tensor, targets: Tensor) -> Tensor:
        losses = (preds - targets).abs()
        return losses if self.reduction == "none" else losses.mean()


class Divides(nn.Module):
    def divisor(self, targets: Tensor) -> float:
        return targets.sum().item()


def own(preds: Tensor, targets: Tensor, reduction: str = "mean") -> Tensor:
    return preds.sum()


@pytest.mark.parametrize(
    ("loss_func", "targets", "expected"),
    [
        (nn.CrossEntropyLoss(), CLASSES, 4),
        (nn.CrossEntropyLoss(), IGNORED, 3),
        (nn.CrossEntropyLoss(ignore_index=255), torch.tensor([[0, 255], [255, 1]]), 2),
        (nn.CrossEntropyLoss(ignore_index=255), torch.tensor([0, 255, 9], dtype=torch.uint8), 2),
        (nn.CrossEntropyLoss(), torch.tensor([0, 156, 9], dtype=torch.uint8), 3),  # 156 is not -100
        (nn.CrossEntropyLoss(weight=WEIGHT), CLASSES, 46),
        (nn.CrossEntropyLoss(weight=WEIGHT, ignore_index=2), CLASSES, 6),
        (nn.CrossEntropyLoss(weight=WEIGHT, ignore_index=255), torch.full((4,), 255), 0),
        (nn.CrossEntropyLoss(weight=WEIGHT), torch.ones(4, 3), 4),  # shares of classes: torch counts items
        (nn.NLLLoss(weight=WEIGHT), CLASSES, 46),
        (F.cross_entropy, IGNORED, 3),
        (functools.partial(F.nll_loss, weight=WEIGHT, ignore_index=0), CLASSES, 45),
        (nn.MSELoss(), torch.zeros(4, 7), 4),
        (nn.MultiMarginLoss(weight=WEIGHT), CLASSES, 4),
        (FocalLoss(alpha=WEIGHT), CLASSES, 4),
        (own, CLASSES, 4),
        (own, {"a": CLASSES, "b": CLASSES}, 4),
        (Divides(), torch.tensor([3, 4]), 7),
        (nn.CrossEntropyLoss(weight=WEIGHT, reduction="sum"), CLASSES, None),
        (nn.KLDivLoss(reduction="batchmean"), torch.zeros(4, 7), 4),
        (functools.partial(own, reduction="sum"), CLASSES, None),
        (Plain("sum"), CLASSES, None),
    ],
)
def test_what_a_loss_divides_by(loss_func: Any, targets: Any, expected: int | None) -> None:
    found = divisor(loss_func, targets)
    assert found == expected if expected is None else float(found or 0) == expected


def test_targets_without_items_are_counted_by_the_inputs() -> None:
    assert divisor(own, None, (torch.zeros(5, 2),)) == 5


@pytest.mark.parametrize(
    ("loss_func", "expected"),
    [
        (nn.MSELoss(reduction="sum"), "sum"),
        (Plain("none"), "none"),
        (F.mse_loss, "mean"),
        (functools.partial(F.mse_loss, reduction="sum"), "sum"),
        (own, "mean"),
        (lambda preds, targets: preds, None),
        (nn.Identity(), None),
        (max, None),  # without a signature
    ],
)
def test_the_reduction_of_a_loss(loss_func: Any, expected: str | None) -> None:
    assert reduction_of(loss_func) == expected


def test_a_setting_is_an_attribute_or_the_value_of_a_keyword() -> None:
    assert setting(nn.CrossEntropyLoss(ignore_index=3), "ignore_index") == 3
    assert setting(functools.partial(F.cross_entropy, ignore_index=4), "ignore_index") == 4
    assert setting(F.cross_entropy, "ignore_index") == -100
    assert setting(F.cross_entropy, "target") is None


@pytest.mark.parametrize("loss_func", [nn.MSELoss(), MSELossFlat(), F.mse_loss, Plain(), nn.MSELoss(reduction="sum")])
def test_the_same_loss_without_reduction(loss_func: Any) -> None:
    single = unreduced(loss_func)
    assert single is not None
    assert single(torch.ones(3, 2), torch.zeros(3, 2)).tolist() == [[1, 1]] * 3
    assert reduction_of(loss_func) in ("mean", "sum")


def test_a_loss_that_only_says_it_is_a_sum_has_no_other() -> None:
    def added_up(preds: Tensor, targets: Tensor) -> Tensor:
        return preds.sum()

    added_up.reduction = "sum"  # type: ignore[attr-defined]
    assert divisor(added_up, CLASSES) is None
    assert unreduced(added_up) is None


def total_loss(losses: list[Tensor], divisors: list[Any]) -> float:
    total, weight = loss_sums(losses, divisors)
    return total / weight if weight else math.nan


def test_means_add_up_by_their_divisors_and_sums_by_themselves() -> None:
    losses = [torch.tensor(1.0), torch.tensor(4.0)]
    assert total_loss(losses, [3, 1]) == 1.75
    assert total_loss(losses, [torch.tensor(3.0), torch.tensor(1.0)]) == 1.75
    assert total_loss(losses, [torch.tensor(3.0), 1]) == 1.75
    assert total_loss(losses, [None, None]) == 5
    assert total_loss([torch.tensor(torch.nan), losses[1]], [torch.tensor(0.0), torch.tensor(2.0)]) == 4
    assert math.isnan(total_loss(losses[:1], [torch.tensor(0.0)]))
    infinite = [torch.tensor(torch.inf), torch.tensor(-torch.inf)]
    assert total_loss(infinite[:1] + losses[:1], [3, 1]) == math.inf
    assert math.isnan(total_loss(infinite, [3, 1]))


WEIGHTS = torch.tensor([0.0, 1.0, 2.0])


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize(
    ("weight", "nothing"),
    [(None, -100), (WEIGHTS, -100), (WEIGHTS, 0)],  # torch's gradients are nan where all weights are 0
)
@pytest.mark.parametrize("counts", [False, True])
def test_a_mean_of_nothing_is_zero_without_gradients(
    smoothing: float, weight: Tensor | None, nothing: int, counts: bool
) -> None:
    raw = torch.randn(2, 3, requires_grad=True)
    known = torch.tensor([nothing, 1 if counts else nothing])
    loss_func = nn.CrossEntropyLoss(weight, label_smoothing=smoothing)
    preds = {"logits": 1 * raw}
    mean = loss_func(preds["logits"], known)
    loss = empty_as_zero(mean, preds, torch.as_tensor(divisor(loss_func, known)))
    loss.backward()
    assert raw.grad is not None
    assert loss.item() == (mean.item() if counts else 0)
    assert bool(raw.grad.isfinite().all())
    assert bool(raw.grad.any()) is counts


def test_what_can_be_told_to_ignore_targets() -> None:
    can = [nn.CrossEntropyLoss(ignore_index=0), functools.partial(F.nll_loss, ignore_index=255), Divides()]
    assert [can_ignore(loss) for loss in can] == [True] * 3
    assert [can_ignore(loss) for loss in (nn.CrossEntropyLoss(), F.cross_entropy, nn.MSELoss(), own)] == [False] * 4


def test_functions_seen_before_are_not_kept_alive() -> None:
    def own_loss(preds: Tensor, targets: Tensor, reduction: str = "sum") -> Tensor:
        return preds.sum()

    alive = weakref.ref(own_loss)
    assert [reduction_of(own_loss), reduction_of(own_loss)] == ["sum", "sum"]
    del own_loss
    gc.collect()
    assert alive() is None


def dice_of_batch(preds: Tensor, targets: Tensor, per_batch: bool = False) -> Tensor:
    return preds.sum()


class Combined(nn.Module):
    def __init__(self, dice: nn.Module) -> None:
        super().__init__()
        self.parts = nn.ModuleList([nn.BCEWithLogitsLoss(), dice])


class OfBatches(Plain):
    per_batch = True


@pytest.mark.parametrize(
    ("loss_func", "expected"),
    [
        (DiceLoss(), False),
        (DiceLoss(per_batch=True), True),
        (functools.partial(IoULoss(per_batch=True)), True),
        (Combined(DiceLoss()), False),
        (Combined(DiceLoss(per_batch=True)), True),
        (dice_of_batch, False),
        (functools.partial(dice_of_batch, per_batch=True), True),
        (OfBatches(), True),
        (Plain(), False),
        (F.cross_entropy, False),
        (nn.MSELoss(), False),
    ],
)
def test_a_loss_of_whole_batches_is_known(loss_func: Any, expected: bool) -> None:
    assert is_of_batches(loss_func) is expected
