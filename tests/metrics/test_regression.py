"""Metrics of numbers, against scikit-learn and numpy on the whole arrays."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from sklearn import metrics as sk
from torch import Tensor

from learnkit.metrics import make_metrics
from tests.doubles import refused

N = 83
Check = Callable[[Any, Tensor, Tensor, float], None]


def ranks(values: Any) -> Any:
    """Ranks from 1; equal values share their mean rank."""
    ordered = np.sort(values)
    return (np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right") + 1) / 2


def correlation(y: Any, p: Any) -> float:
    """The mean of Pearson's correlation over columns."""
    return float(np.mean([np.corrcoef(y[:, k], p[:, k])[0, 1] for k in range(y.shape[1])]))


def rank_correlation(y: Any, p: Any) -> float:
    return correlation(*(np.stack([ranks(column) for column in part.T], axis=1) for part in (y, p)))


BY_NAME: dict[str, Callable[[Any, Any], float]] = {
    "mse": sk.mean_squared_error,
    "mae": sk.mean_absolute_error,
    "rmse": lambda y, p: math.sqrt(sk.mean_squared_error(y, p)),
    "msle": sk.mean_squared_log_error,
    "r2": sk.r2_score,
    "explained_variance": sk.explained_variance_score,
    "pearson": correlation,
    "spearman": rank_correlation,
}


def numbers(k: int, scale: float = 1.0, origin: float = 0.0) -> tuple[Tensor, Tensor]:
    """Outputs and targets, (83, k), above 0, in double precision."""
    draw = torch.Generator().manual_seed(0)
    targets = torch.rand(N, k, generator=draw)
    preds = targets + 0.3 * torch.rand(N, k, generator=draw)
    return preds.double() * scale + origin, targets.double() * scale + origin


@pytest.mark.parametrize("k", [1, 2])
@pytest.mark.parametrize("name", BY_NAME)
def test_names_are_scikit_learns(check: Check, name: str, k: int) -> None:
    preds, targets = numbers(k)
    check(name, preds.float(), targets.float(), BY_NAME[name](targets.numpy(), preds.numpy()))


@pytest.mark.parametrize("name", BY_NAME)
def test_a_column_and_a_row_go_together(check: Check, name: str) -> None:
    preds, targets = numbers(1)
    check(name, preds, targets[:, 0], BY_NAME[name](targets.numpy(), preds.numpy()))


@pytest.mark.parametrize(("scale", "origin"), [(1e-4, 0.0), (1.0, 2000.0), (1e5, 1e6)])
@pytest.mark.parametrize("name", ["r2", "explained_variance", "pearson", "spearman"])
def test_scale_and_origin_do_no_harm(check: Check, name: str, scale: float, origin: float) -> None:
    preds, targets = (part.float() for part in numbers(1, scale, origin))
    check(name, preds, targets, BY_NAME[name](targets.double().numpy(), preds.double().numpy()))


def test_ties_share_their_rank(check: Check) -> None:
    preds, targets = (part.mul(5).round() for part in numbers(1))
    check("spearman", preds, targets, BY_NAME["spearman"](targets.numpy(), preds.numpy()))


def test_worse_than_the_mean_is_below_zero(check: Check) -> None:
    check("r2", torch.tensor([3.0, 2.0, 1.0]), torch.tensor([1.0, 2.0, 3.0]), -3.0)


@pytest.mark.parametrize(("offset", "value"), [(0.0, 1.0), (1.0, 0.0)])
def test_constant_targets_are_met_or_not(check: Check, offset: float, value: float) -> None:
    targets = torch.full((9,), 4.0)
    assert sk.r2_score(targets, targets + offset) == value
    check("r2", targets + offset, targets, value)


@pytest.mark.parametrize("name", ["r2", "pearson"])
def test_a_single_item_has_no_correlation(name: str) -> None:
    (metric,) = make_metrics(name)
    metric.update(torch.ones(1, 1), torch.zeros(1))
    assert math.isnan(metric.compute())


@pytest.mark.parametrize(("name", "value"), [("pearson", math.nan), ("spearman", 0.0)])
def test_a_constant_output_has_no_correlation(name: str, value: float) -> None:
    (metric,) = make_metrics(name)
    for n in (3, 7):
        metric.update(torch.full((n,), 0.1), torch.arange(n) / 7)  # 0.1 + 0.1 + 0.1 is not 0.3
    assert metric.compute() == pytest.approx(value, nan_ok=True)


def test_numbers_without_a_logarithm() -> None:
    (metric,) = make_metrics("msle")
    for output in (-1.0, -2.0):
        metric.reset()
        metric.update(torch.tensor([output, 1.0]), torch.ones(2))
        assert math.isnan(metric.compute())  # the model may get better
    metric.update(torch.ones(2), torch.tensor([0.0, -1.0]))
    with refused("metric msle: targets", got=-1.0):
        metric.compute()


@pytest.mark.parametrize("name", ["r2", "spearman", "msle"])
@pytest.mark.parametrize("shape", [(), (4,), (4, 2), (3, 4), (12,)])
def test_shapes_that_differ_are_refused(name: str, shape: tuple[int, ...]) -> None:
    (metric,) = make_metrics(name)
    with refused(f"metric {name}: targets", got=shape, expected="the shape of the predictions, (4, 3)"):
        metric.update(torch.zeros(4, 3), torch.zeros(shape))


@pytest.mark.parametrize("name", BY_NAME)
def test_an_axis_of_size_one_may_be_missing(check: Check, name: str) -> None:
    """Outputs (N, 1, H, W) of targets (N, H, W): one number per pixel."""
    preds, targets = numbers(6)
    expected = BY_NAME[name](targets.numpy(), preds.numpy())
    check(name, preds.reshape(N, 1, 2, 3), targets.reshape(N, 2, 3), expected)


def test_spearman_of_two_items_is_one(check: Check) -> None:
    check("spearman", torch.tensor([1.0, 2.0]), torch.tensor([5.0, 9.0]), 1.0)


@pytest.mark.parametrize("name", BY_NAME)
@pytest.mark.parametrize("is_target", [True, False])
def test_of_numbers_that_are_nan_the_metric_is_nan(name: str, is_target: bool) -> None:
    parts = torch.rand(5, 1), torch.rand(5, 1)
    parts[is_target][2] = math.nan
    (metric,) = make_metrics(name)
    metric.update(*parts)
    assert math.isnan(metric.compute())


def test_explained_variance_of_constant_targets_is_that_of_scikit_learn(check: Check) -> None:
    targets = torch.full((9,), 0.1)
    for preds in (targets, targets + 1, torch.arange(9.0)):
        check("explained_variance", preds, targets, sk.explained_variance_score(targets, preds))
