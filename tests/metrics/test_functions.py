"""Metrics as functions, against scikit-learn and torch."""

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn import metrics as sklearn_metrics
from torch import Tensor

import learnkit.metrics
from learnkit.errors import UsageError
from learnkit.metrics.functions import (
    METRICS,
    accuracy,
    accuracy_multi,
    error_rate,
    mae,
    mse,
    perplexity,
    rmse,
    top_k_accuracy,
)
from tests.doubles import refused

N, C = 83, 6


@pytest.fixture
def scores() -> tuple[Tensor, Tensor]:
    """Raw outputs (83, 6) and classes (83,)."""
    draw = torch.Generator().manual_seed(0)
    return torch.randn(N, C, generator=draw), torch.randint(C, (N,), generator=draw)


def test_accuracy_is_scikit_learns(scores: tuple[Tensor, Tensor]) -> None:
    preds, targets = scores
    expected = sklearn_metrics.accuracy_score(targets, preds.argmax(1))
    assert accuracy(preds, targets).item() == pytest.approx(expected, abs=1e-7)
    assert error_rate(preds, targets).item() == pytest.approx(1 - expected, abs=1e-7)


@pytest.mark.parametrize("k", [1, 2, 5])
def test_top_k_accuracy_is_scikit_learns(scores: tuple[Tensor, Tensor], k: int) -> None:
    preds, targets = scores
    expected = sklearn_metrics.top_k_accuracy_score(targets, preds, k=k, labels=range(C))
    assert top_k_accuracy(preds, targets, k=k).item() == pytest.approx(expected, abs=1e-7)


def test_top_k_accuracy_takes_five(scores: tuple[Tensor, Tensor]) -> None:
    assert torch.equal(top_k_accuracy(*scores), top_k_accuracy(*scores, k=5))


def test_accuracy_multi_is_one_minus_the_hamming_loss() -> None:
    preds, targets = torch.randn(40, 5), (torch.rand(40, 5) > 0.5).float()
    expected = 1 - sklearn_metrics.hamming_loss(targets.int(), (preds.sigmoid() > 0.3).int())
    assert accuracy_multi(preds, targets, threshold=0.3).item() == pytest.approx(expected, abs=1e-6)
    assert torch.equal(
        accuracy_multi(preds.sigmoid(), targets, threshold=0.3, sigmoid=False), accuracy_multi(preds, targets, 0.3)
    )


def test_a_probability_at_the_threshold_is_a_no() -> None:
    assert accuracy_multi(torch.tensor([[0.0, 1.0]]), torch.tensor([[0, 1]])).item() == 1


@pytest.mark.parametrize("shape", [(50,), (50, 1), (50, 3)])
def test_errors_of_regression_are_scikit_learns(shape: tuple[int, ...]) -> None:
    preds, targets = torch.randn(shape), torch.randn(shape)
    args = (targets.numpy().ravel(), preds.numpy().ravel())
    assert mse(preds, targets).item() == pytest.approx(sklearn_metrics.mean_squared_error(*args), rel=1e-5)
    assert mae(preds, targets).item() == pytest.approx(sklearn_metrics.mean_absolute_error(*args), rel=1e-5)
    assert rmse(preds, targets).item() == pytest.approx(sklearn_metrics.root_mean_squared_error(*args), rel=1e-5)


def test_a_column_and_a_row_of_targets_are_not_broadcast() -> None:
    preds, targets = torch.randn(7, 1), torch.randn(7)
    torch.testing.assert_close(mse(preds, targets), F.mse_loss(preds[:, 0], targets))


def test_half_precision_and_integers_are_compared_in_single_precision() -> None:
    assert mse(torch.tensor([300.0], dtype=torch.float16), torch.tensor([0])).item() == 90000


def test_accuracy_counts_pixels_one_by_one() -> None:
    preds, targets = torch.randn(2, 4, 5, 3), torch.randint(4, (2, 5, 3))
    expected = np.mean(preds.argmax(1).numpy() == targets.numpy())
    assert accuracy(preds, targets).item() == pytest.approx(expected, abs=1e-6)
    assert top_k_accuracy(preds, targets, k=1).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("axis", [True, False])
def test_accuracy_of_binary_masks(axis: bool) -> None:
    preds, targets = torch.randn(2, 1, 5, 3), torch.randint(2, (2, 5, 3)).float()
    targets[0, 0] = 255
    counted = targets != 255
    expected = np.mean((preds[:, 0] > 0)[counted].numpy() == targets[counted].bool().numpy())
    shaped = targets[:, None] if axis else targets
    assert accuracy(preds, shaped, ignore_index=255).item() == pytest.approx(expected, abs=1e-6)
    right = (preds[:, 0] > 0) == targets
    assert error_rate(preds, shaped).item() == pytest.approx(1 - right.float().mean().item(), abs=1e-6)
    with pytest.raises(UsageError):
        accuracy(preds, targets[:, :2])


def test_targets_in_a_column_are_flattened(scores: tuple[Tensor, Tensor]) -> None:
    preds, targets = scores
    assert torch.equal(accuracy(preds, targets[:, None]), accuracy(preds, targets))


@pytest.mark.parametrize("shape", [(7,), (7, 1)])
def test_one_output_per_item_has_no_classes(shape: tuple[int, ...]) -> None:
    for metric in (accuracy, error_rate, top_k_accuracy, perplexity):
        with refused("preds", got=shape):
            metric(torch.zeros(shape), torch.zeros(7))


def test_targets_that_do_not_belong_to_the_outputs_are_refused() -> None:
    for metric in (accuracy, error_rate, top_k_accuracy, perplexity):
        with refused("targets", got=(7, 3), expected="one class index for each of the 7 predictions"):
            metric(torch.zeros(7, 3), torch.zeros(7, 3))


@pytest.mark.parametrize("k", [0, 4])
def test_more_than_there_are_classes_is_refused(k: int) -> None:
    with refused("top_k_accuracy: k", got=k, expected="between 1 and the 3 classes"):
        top_k_accuracy(torch.zeros(7, 3), torch.zeros(7).long(), k=k)


@pytest.mark.parametrize("metric", [mse, mae, rmse, accuracy_multi])
def test_elements_that_do_not_belong_together_are_refused(metric: Any) -> None:
    with refused("targets", got=(7, 2), expected="the shape of the predictions, (7, 3)"):
        metric(torch.zeros(7, 3), torch.zeros(7, 2))


def test_the_table_names_each_function() -> None:
    assert {name: named.function.__name__ for name, named in METRICS.items()} == {name: name for name in METRICS}


def test_the_public_names_are_sorted() -> None:
    assert learnkit.metrics.__all__ == sorted(learnkit.metrics.__all__)


def test_perplexity_is_the_exponential_of_the_cross_entropy(scores: tuple[Tensor, Tensor]) -> None:
    preds, targets = scores
    expected = F.cross_entropy(preds.double(), targets).exp().item()
    assert perplexity(preds, targets).item() == pytest.approx(expected, rel=1e-6)
    assert perplexity(preds, targets[:, None]).item() == pytest.approx(expected, rel=1e-6)
    assert perplexity(torch.zeros(9, 4), torch.zeros(9).long()).item() == pytest.approx(4)  # as good as a guess of 4


@pytest.mark.parametrize(
    ("function", "hits"),
    [
        (accuracy, lambda preds, y: preds.argmax(1) == y),
        (error_rate, lambda preds, y: preds.argmax(1) != y),
        (partial(top_k_accuracy, k=2), lambda preds, y: (preds.argsort(1)[:, -2:] == y[:, None]).any(1)),
    ],
)
def test_ignored_targets_are_left_out(function: Any, hits: Any, scores: tuple[Tensor, Tensor]) -> None:
    preds, targets = scores
    expected = np.mean(hits(preds[5:].numpy(), targets[5:].numpy()))
    targets[:5] = 255
    assert function(preds, targets, ignore_index=255).item() == pytest.approx(expected, abs=1e-6)
    assert function(preds[:5], targets[:5], ignore_index=255).isnan()


def test_perplexity_leaves_ignored_targets_out(scores: tuple[Tensor, Tensor]) -> None:
    preds, targets = scores
    expected = perplexity(preds[5:], targets[5:]).item()
    for ignored in (-100, 99):
        some = targets.clone()
        some[:5] = ignored
        assert perplexity(preds, some, ignore_index=ignored).item() == pytest.approx(expected, rel=1e-6)
