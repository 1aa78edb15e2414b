"""The loss of key points: the squared error of what is known."""

import math

import pytest
import torch

from learnkit.errors import DataError
from learnkit.losses import PointsLoss, per_item_loss
from tests.doubles import refused

NAN = math.nan
PREDS = torch.tensor([[1.0, 0.0, 3.0, 0.0], [0.0, 0.0, 5.0, 5.0], [9.0, 9.0, 9.0, 9.0]])
TARGETS = torch.tensor([[[0.0, 0.0], [1.0, 0.0]], [[2.0, 0.0], [NAN, NAN]], [[NAN, NAN], [NAN, NAN]]])
LOSSES = [1.25, 2.0, 0.0]  # (1 + 0 + 4 + 0) / 4, (4 + 0) / 2, nothing known


@pytest.mark.parametrize("shape", [(3, 4), (3, 2, 2)])
def test_by_hand(shape: tuple[int, ...]) -> None:
    preds = PREDS.reshape(shape)
    assert PointsLoss("none")(preds, TARGETS).tolist() == LOSSES
    assert PointsLoss()(preds, TARGETS).item() == pytest.approx(sum(LOSSES) / 3)
    assert PointsLoss("sum")(preds, TARGETS).item() == pytest.approx(sum(LOSSES))
    assert per_item_loss(PointsLoss(), preds, TARGETS).tolist() == LOSSES


def test_without_missing_points_it_is_the_mean_squared_error() -> None:
    preds, targets = torch.randn(5, 6), torch.randn(5, 3, 2)
    expected = torch.nn.functional.mse_loss(preds, targets.flatten(1))
    torch.testing.assert_close(PointsLoss()(preds, targets), expected)


def test_the_loss_of_a_set_does_not_depend_on_the_batches() -> None:
    whole = PointsLoss()(PREDS, TARGETS)
    parts = [(PointsLoss()(PREDS[i], TARGETS[i]), len(PREDS[i])) for i in (slice(0, 1), slice(1, 3))]
    torch.testing.assert_close(whole, sum(loss * n for loss, n in parts) / 3)


def test_missing_points_have_no_gradient() -> None:
    preds = PREDS.clone().requires_grad_()
    PointsLoss()(preds, TARGETS).backward()
    assert preds.grad is not None
    assert preds.grad.isfinite().all()
    assert preds.grad[1, 2:].tolist() == [0, 0]
    assert preds.grad[2].tolist() == [0] * 4
    assert preds.grad[0, 0] > 0


def test_outputs_of_another_number_of_points_are_refused() -> None:
    with pytest.raises(DataError, match=r"got \(3, 2\), expected \(3, 4\), two for each point"):
        PointsLoss()(PREDS[:, :2], TARGETS)
    with refused("reduction"):
        PointsLoss("max")
