"""Coverage and size of sets, measured on items that the threshold was not fitted on."""

import numpy as np
import pytest
import torch

from learnkit.certainty.conformal import class_scores
from learnkit.certainty.curve import ALPHAS, conformal_curve
from learnkit.errors import DataError, UsageError
from tests.certainty.test_conformal import drawn


@pytest.mark.parametrize("method", ["lac", "raps"])
def test_a_calibrated_model_has_the_stated_coverage(method: str) -> None:
    probs, targets = drawn(2000)
    points = conformal_curve(class_scores(probs, method), torch.nn.functional.one_hot(targets, 5).bool())
    assert [point.alpha for point in points] == list(ALPHAS)
    assert (points[-1].empty == 0) == (method == "raps")
    for point in points:
        slack = 4 * np.sqrt(point.alpha * (1 - point.alpha) / 2000)
        assert point.coverage > 1 - point.alpha - slack
        assert method == "raps" or point.coverage < 1 - point.alpha + slack
    sizes = [point.size for point in points]
    assert sizes == sorted(sizes, reverse=True)


def test_the_other_half_is_measured_not_the_one_fitted_on() -> None:
    """Scores that are all different and two items: each half is one item."""
    scores, is_true = torch.tensor([[1.0], [2.0]]), torch.ones(2, 1).bool()
    (point,) = conformal_curve(scores, is_true, [0.5])
    assert (point.coverage, point.deviation, point.size) == (0.5, 0.5, 0.5)  # 1 <= 2, but not 2 <= 1
    assert point.threshold == 1.5


def test_classes_by_themselves() -> None:
    probs = torch.rand(4000, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 0.2])
    is_true = torch.rand(4000, 2, generator=torch.Generator().manual_seed(1)) < probs
    (point,) = conformal_curve(1 - probs.double(), is_true, [0.1], per_class=True)
    assert point.coverage == pytest.approx(0.9, abs=0.01)


def test_it_is_the_same_again_and_another_with_another_seed() -> None:
    probs, targets = drawn(100)
    parts = class_scores(probs), torch.nn.functional.one_hot(targets, 5).bool()
    assert conformal_curve(*parts, [0.1]) == conformal_curve(*parts, [0.1]) != conformal_curve(*parts, [0.1], seed=1)


def test_alphas_that_half_of_the_items_are_too_few_for_are_left_out() -> None:
    probs, targets = drawn(38)
    parts = class_scores(probs), torch.nn.functional.one_hot(targets, 5).bool()
    assert [point.alpha for point in conformal_curve(*parts)] == [0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5]
    with pytest.raises(DataError, match="conformal_curve: items: got 38, expected at least 198 for these alphas"):
        conformal_curve(*parts, [0.01])


def test_what_is_refused() -> None:
    scores = torch.rand(20, 2)
    with pytest.raises(UsageError, match="alphas: got 1"):
        conformal_curve(scores, scores > 0, [1])
    with pytest.raises(UsageError, match="n_splits: got 0"):
        conformal_curve(scores, scores > 0, n_splits=0)
    with pytest.raises(UsageError, match="the shapes"):
        conformal_curve(scores, torch.ones(20).bool())
