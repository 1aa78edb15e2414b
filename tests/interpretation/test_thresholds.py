"""Thresholds against trying every one."""

import numpy as np
import pytest
import torch
from torch import Tensor

from learnkit.data.tasks import MultiLabel
from learnkit.interpretation.thresholds import beta_of, fit_thresholds
from tests.doubles import refused


def f_score(probs: Tensor, targets: Tensor, threshold: float, beta: float) -> float:
    chosen, wanted = probs > threshold, targets > 0
    right = int((chosen & wanted).sum())
    if not right:
        return 0.0
    precision, recall = right / int(chosen.sum()), right / int(wanted.sum())
    return (1 + beta**2) * precision * recall / (beta**2 * precision + recall)


def labeled(n: int, levels: int, seed: int) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    targets = (torch.rand(n, 3, generator=random) < torch.tensor([0.5, 0.2, 0.05])).float()
    targets[0] = 1
    probs = ((torch.rand(n, 3, generator=random) + 0.4 * targets) / 1.4 * levels).round() / levels
    return probs, targets


@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("levels", [4, 20, 10**6])
def test_no_other_threshold_has_a_higher_f_score(beta: float, levels: int) -> None:
    probs, targets = labeled(60, levels, seed=levels)
    thresholds = fit_thresholds(probs, targets, beta)
    for c, threshold in enumerate(thresholds):
        tried = [0.0, *probs[:, c].unique().tolist(), *np.linspace(0, 0.999, 101).tolist()]
        best = max(f_score(probs[:, c], targets[:, c], one, beta) for one in tried if one < 1)
        assert f_score(probs[:, c], targets[:, c], threshold, beta) == pytest.approx(best, abs=1e-12)
        assert 0 <= threshold < 1


def test_the_threshold_is_halfway_between_two_probabilities() -> None:
    probs, targets = torch.tensor([[0.75], [0.5], [0.25]]), torch.tensor([[1.0], [0.0], [0.0]])
    assert fit_thresholds(probs, targets) == (0.625,)
    assert fit_thresholds(probs, torch.ones(3, 1)) == (0.125,)


def test_adjacent_probabilities_are_distinguished() -> None:
    lower = torch.tensor(0.5)
    for _ in range(4):  # the middle is rounded up and down in turn
        upper = torch.nextafter(lower, torch.tensor(1.0))
        probs, targets = torch.stack([upper, lower])[:, None], torch.tensor([[1.0], [0.0]])
        task = MultiLabel(("a",), fit_thresholds(probs, targets))
        assert task.chosen(probs).tolist() == [[True], [False]]
        lower = upper


def test_a_class_without_items_keeps_its_threshold() -> None:
    probs, targets = torch.tensor([[0.9, 0.8], [0.1, 0.7]]), torch.tensor([[1, 0], [0, 0]])
    assert fit_thresholds(probs, targets)[1] == 0.5
    assert fit_thresholds(probs, targets, default=0.3)[1] == 0.3
    assert fit_thresholds(probs, targets, default=(0.1, 0.2))[1] == 0.2


def test_a_probability_of_0_is_below_every_threshold() -> None:
    probs = torch.tensor([[0.0], [0.0], [0.4]])
    assert fit_thresholds(probs, torch.tensor([[1.0], [1.0], [0.0]])) == (0.5,)
    (threshold,) = fit_thresholds(probs, torch.tensor([[1.0], [0.0], [1.0]]))
    assert 0 <= threshold < 0.4


def test_a_probability_of_1_is_used() -> None:
    (threshold,) = fit_thresholds(torch.tensor([[1.0], [torch.finfo().eps * -1 + 1]]), torch.tensor([[1.0], [0.0]]))
    assert threshold < 1
    MultiLabel(("a",), (threshold,))


@pytest.mark.parametrize(
    ("probs", "targets", "beta", "what"),
    [
        (torch.zeros(2, 3), torch.zeros(2, 2), 1.0, "targets: the shape"),
        (torch.zeros(2), torch.zeros(2), 1.0, "targets: the shape"),
        (torch.full((2, 1), torch.nan), torch.ones(2, 1), 1.0, "scores"),
        (torch.zeros(2, 1), torch.ones(2, 1), 0.0, "beta"),
        (torch.zeros(2, 1), torch.ones(2, 1), float("nan"), "beta"),
    ],
)
def test_what_cannot_be_fitted_is_refused(probs: Tensor, targets: Tensor, beta: float, what: str) -> None:
    with refused(what):
        fit_thresholds(probs, targets, beta)


@pytest.mark.parametrize("metric", ["", "f", "accuracy", "f0", "f-1", "fnan", "finf", "1"])
def test_a_metric_that_is_not_an_f_score_is_refused(metric: str) -> None:
    with refused("metric", got=metric):
        beta_of(metric)


def test_the_name_of_an_f_score_holds_its_beta() -> None:
    assert [beta_of(name) for name in ("f1", "f2", "f0.5")] == [1.0, 2.0, 0.5]
