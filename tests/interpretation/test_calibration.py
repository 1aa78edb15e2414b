"""Calibration against torchmetrics and hand computation, and temperatures known in advance."""

import math

import numpy as np
import pytest
import torch
import torchmetrics.functional.classification as reference
from torch import Tensor
from torch.nn import functional as F

from learnkit.errors import UsageError
from learnkit.interpretation.calibration import MAX_TEMPERATURE, MIN_TEMPERATURE, calibration_of, fit_temperature
from tests.doubles import refused


def sampled(n: int = 4000, c: int = 5, scale: float = 1.0, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Raw outputs (n, c), and targets drawn from the softmax of them; the outputs are then scaled."""
    random = torch.Generator().manual_seed(seed)
    raw = 2 * torch.randn(n, c, generator=random)
    targets = torch.multinomial(raw.softmax(1), 1, generator=random)[:, 0]
    return raw * scale, targets


def test_the_errors_of_two_bins_by_hand() -> None:
    probs = torch.tensor([[0.6, 0.4], [0.7, 0.3], [0.2, 0.8], [0.5, 0.5]], dtype=torch.float64)
    found = calibration_of(probs, torch.tensor([0, 1, 1, 1]), n_bins=2)
    # 0.5 is in the lower bin, whose upper edge it is; predicted is class 0, which is wrong.
    assert found.bins["n"].tolist() == [1, 3]
    assert found.bins["confidence"].tolist() == pytest.approx([0.5, 0.7])
    assert found.bins["accuracy"].tolist() == pytest.approx([0, 2 / 3])
    assert found.bins[["lower", "upper"]].values.tolist() == [[0, 0.5], [0.5, 1]]
    assert found.ece == pytest.approx((1 * 0.5 + 3 * (0.7 - 2 / 3)) / 4)
    assert found.mce == pytest.approx(0.5)
    assert found.brier == pytest.approx((2 * 0.16 + 2 * 0.49 + 2 * 0.04 + 2 * 0.25) / 4)
    assert found.nll == pytest.approx(-(math.log(0.6) + math.log(0.3) + math.log(0.8) + math.log(0.5)) / 4)
    assert found.n == 4


@pytest.mark.parametrize("n_bins", [1, 10, 15, 40])
@pytest.mark.parametrize("scale", [0.3, 1.0, 3.0])
def test_the_errors_are_those_of_torchmetrics(n_bins: int, scale: float) -> None:
    raw, targets = sampled(1000, scale=scale)
    probs = raw.double().softmax(1) * 0.999 + 0.0002  # torchmetrics has a separate bin for those that are 1
    found = calibration_of(probs, targets, n_bins)
    for norm, mine in (("l1", found.ece), ("max", found.mce)):
        expected = reference.multiclass_calibration_error(probs, targets, 5, n_bins=n_bins, norm=norm)
        assert mine == pytest.approx(expected.item(), abs=1e-6)
    assert found.nll == pytest.approx(F.nll_loss(probs.log(), targets).item())
    assert found.brier == pytest.approx((probs - F.one_hot(targets, 5)).square().sum(1).mean().item())


def test_probabilities_drawn_from_themselves_are_calibrated() -> None:
    raw, targets = sampled(20_000)
    assert calibration_of(raw.softmax(1), targets).ece < 0.015


def test_predictions_that_are_certain_and_right_have_no_error() -> None:
    found = calibration_of(torch.eye(3), torch.arange(3))
    assert (found.ece, found.mce, found.brier, found.nll) == (0, 0, 0, 0)
    assert found.bins["n"].tolist() == [0] * 14 + [3]
    assert found.bins["accuracy"].isna().sum() == 14


def test_predictions_that_are_certain_and_wrong_have_a_finite_likelihood() -> None:
    found = calibration_of(torch.eye(3), torch.tensor([1, 2, 0]))
    assert (found.ece, found.mce, found.brier) == (1, 1, 2)
    assert math.isfinite(found.nll)


@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0])
def test_a_known_temperature_is_found_again(scale: float) -> None:
    assert fit_temperature(*sampled(20_000, scale=scale)) == pytest.approx(scale, rel=0.05)


def test_no_other_temperature_has_a_smaller_loss() -> None:
    raw, targets = sampled(500, scale=2)
    raw = raw.double()
    best = F.cross_entropy(raw / fit_temperature(raw, targets), targets)
    others = [F.cross_entropy(raw / t, targets) for t in np.geomspace(MIN_TEMPERATURE, MAX_TEMPERATURE, 400)]
    assert best <= min(others)


def test_the_temperature_lowers_the_error_of_items_it_was_not_fitted_on() -> None:
    temperature = fit_temperature(*sampled(2000, scale=4, seed=1))
    raw, targets = sampled(2000, scale=4, seed=2)
    before, after = (calibration_of((raw / t).softmax(1), targets) for t in (1, temperature))
    assert before.ece > 0.1
    assert after.ece < before.ece / 3
    assert after.nll < before.nll
    assert torch.equal((raw / temperature).argmax(1), raw.argmax(1))


def test_outputs_without_a_mistake_do_not_run_away() -> None:
    assert fit_temperature(5 * torch.eye(4), torch.arange(4)) == MIN_TEMPERATURE


def test_outputs_worse_than_chance_get_the_highest_temperature() -> None:
    assert fit_temperature(5 * torch.eye(4), (torch.arange(4) + 1) % 4) == MAX_TEMPERATURE


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_half_precision_and_huge_outputs_are_accepted(dtype: torch.dtype) -> None:
    raw, targets = torch.tensor([[300.0, 0.0]] * 4, dtype=dtype), torch.tensor([0, 0, 0, 1])
    assert fit_temperature(raw, targets) == MAX_TEMPERATURE  # best would be 300 / log(3)
    assert fit_temperature(raw / 100, targets) == pytest.approx(3 / math.log(3), rel=0.01)


def test_tensors_that_need_gradients_are_accepted() -> None:
    raw, targets = sampled(50)
    assert fit_temperature(raw.requires_grad_(), targets) > 0
    assert calibration_of(raw.softmax(1), targets).n == 50
    assert raw.grad is None


@pytest.mark.parametrize(
    ("outputs", "targets", "got"),
    [
        (torch.ones(2, 3), torch.zeros(3, dtype=torch.int64), ((2, 3), (3,))),
        (torch.ones(0, 3), torch.zeros(0, dtype=torch.int64), ((0, 3), (0,))),
        (torch.ones(2, 1), torch.zeros(2, dtype=torch.int64), ((2, 1), (2,))),
        (torch.ones(2), torch.zeros(2, dtype=torch.int64), ((2,), (2,))),
        (torch.ones(2, 3), torch.tensor([0, 3]), 3),
        (torch.ones(2, 3), torch.tensor([0.0, 1.0]), (torch.float32, (2,))),
        (torch.tensor([[0.5, torch.nan]]), torch.tensor([0]), None),
    ],
)
def test_inconsistent_numbers_are_refused(outputs: Tensor, targets: Tensor, got: object) -> None:
    for question in (calibration_of, fit_temperature):
        with pytest.raises(UsageError) as caught:
            question(outputs, targets)
        assert caught.value.got == got


def test_raw_outputs_are_not_probabilities() -> None:
    with refused("probs: rows that do not sum to 1"):
        calibration_of(torch.tensor([[2.0, 1.0]]), torch.tensor([0]))


@pytest.mark.parametrize("n_bins", [0, 2.5, True])
def test_a_wrong_number_of_bins_is_refused(n_bins: object) -> None:
    with refused("n_bins", got=n_bins):
        calibration_of(torch.eye(2), torch.arange(2), n_bins)  # type: ignore[arg-type]
