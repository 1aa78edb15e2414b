"""Sets and intervals against hand computation, NumPy's order statistics, and the coverage of draws from a known law."""

import numpy as np
import pytest
import torch
from torch import Tensor

from learnkit.certainty.conformal import (
    ClassSets,
    Intervals,
    LabelSets,
    class_scores,
    conformal_quantile,
    fit_class_sets,
    fit_intervals,
    fit_label_sets,
    least_items,
)
from learnkit.errors import DataError, LearnkitWarning, UsageError
from tests.doubles import refused


def drawn(n: int, c: int = 5, sharpness: float = 2.0, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Probabilities, and classes drawn from them: a calibrated model."""
    random = torch.Generator().manual_seed(seed)
    probs = (sharpness * torch.randn(n, c, generator=random)).softmax(1)
    return probs, torch.multinomial(probs, 1, generator=random)[:, 0]


@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.1, 0.2, 0.3, 0.5])
@pytest.mark.parametrize("n", [9, 19, 20, 99, 100, 153])
def test_the_quantile_is_the_order_statistic_of_the_theory(n: int, alpha: float) -> None:
    scores = torch.rand(n, generator=torch.Generator().manual_seed(n))
    rank = -((-round((n + 1) * round((1 - alpha) * 1000))) // 1000)  # in integers
    expected = np.inf if rank > n else np.sort(scores.numpy())[rank - 1]
    assert conformal_quantile(scores, alpha) == pytest.approx(expected)
    assert (n >= least_items(alpha)) == (rank <= n)


def test_lac_by_hand() -> None:
    probs = torch.tensor([[0.9, 0.1], [0.75, 0.25], [0.5, 0.5], [0.25, 0.75]])
    sets = fit_class_sets(probs, torch.tensor([0, 0, 1, 1]), 0.5)  # scores 0.1, 0.25, 0.5, 0.25; rank 3
    assert (sets.threshold, sets.n) == (0.25, 4)
    found = sets.members(torch.tensor([[0.75, 0.25], [0.7, 0.3]]))
    assert found.tolist() == [[True, False], [False, False]]  # the second is less sure than three of four items


def test_raps_by_hand() -> None:
    probs = torch.tensor([[0.125, 0.5, 0.25, 0.125]])
    assert class_scores(probs, "raps", penalty=0.5, n_free=2).tolist() == [[1.25, 0.0, 0.5, 1.875]]
    assert ClassSets(0.1, "raps", 0.5, 9, 0.5, 2).members(probs).tolist() == [[False, True, True, False]]
    assert ClassSets(0.1, "raps", 0.0, 9, 0.5, 2).members(probs).tolist() == [[False, True, False, False]]


def test_scores_of_raps_are_those_of_a_loop() -> None:
    probs, _ = drawn(20, 7)
    found = class_scores(probs, "raps", penalty=0.1, n_free=3)
    for row, scores in zip(probs.double().tolist(), found.tolist(), strict=True):
        ranked = sorted(range(7), key=lambda c: -row[c])
        for place, c in enumerate(ranked):
            above = sum(row[other] for other in ranked[:place])
            assert scores[c] == pytest.approx(above + 0.1 * max(0, place + 1 - 3), abs=1e-6)


@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.3])
@pytest.mark.parametrize("method", ["lac", "raps"])
def test_new_items_are_covered_as_often_as_stated(method: str, alpha: float) -> None:
    covered = []
    for seed in range(100):
        probs, targets = drawn(600, seed=seed)
        sets = fit_class_sets(probs[:200], targets[:200], alpha, method)
        members = sets.members(probs[200:])
        covered.append(float(members[torch.arange(400), targets[200:]].double().mean()))
        assert method == "lac" or bool(members.any(1).all())
    error = float(np.std(covered) / 10)
    assert np.mean(covered) > 1 - alpha - 3 * error
    assert method == "raps" or np.mean(covered) < 1 - alpha + 1 / 201 + 3 * error


def test_lac_sets_are_the_smaller_ones() -> None:
    probs, targets = drawn(4000)
    sizes = [
        fit_class_sets(probs, targets, 0.1, method).members(probs).sum(1).double().mean() for method in ("lac", "raps")
    ]
    assert sizes[0] < sizes[1]


def test_each_label_is_covered_by_itself() -> None:
    random = torch.Generator().manual_seed(0)
    probs = torch.rand(40_000, 3, generator=random) * torch.tensor([1.0, 0.5, 0.1])  # the third is rare
    targets = (torch.rand(40_000, 3, generator=random) < probs).float()
    sets = fit_label_sets(probs[:20_000], targets[:20_000], 0.1)
    found, true = sets.members(probs[20_000:]), targets[20_000:] > 0
    recall = (found & true).sum(0) / true.sum(0)
    assert recall.tolist() == pytest.approx([0.9] * 3, abs=0.04)  # of about 1,000 rare ones
    assert sets.counts == tuple(targets[:20_000].sum(0).int().tolist())


def test_thresholds_of_labels_by_hand() -> None:
    probs = torch.tensor([[0.1 * i, 0.5] for i in range(1, 10)])
    targets = torch.ones(9, 2)
    assert fit_label_sets(probs, targets, 0.5).thresholds == pytest.approx((0.5, 0.5))  # rank 5 of 9
    assert fit_label_sets(probs, targets, 0.1).thresholds == pytest.approx((0.1, 0.5))  # the lowest of 9


def test_a_rare_label_is_in_every_set_and_said() -> None:
    probs, targets = torch.full((20, 2), 0.5), torch.ones(20, 2)
    targets[5:, 1] = 0
    with pytest.warns(LearnkitWarning, match=r"conformal sets: b: fewer than 9 items, so alpha=0.1 puts these"):
        sets = fit_label_sets(probs, targets, 0.1, ("a", "b"))
    assert sets.thresholds == (0.5, 0.0)
    assert sets.members(torch.zeros(1, 2)).tolist() == [[False, True]]


def test_intervals_by_hand_and_missing_targets() -> None:
    preds = torch.zeros(10, 2)
    targets = torch.stack([torch.arange(1.0, 11.0), -torch.arange(1.0, 11.0)], 1)
    targets[9, 0] = torch.nan
    sets = fit_intervals(preds, targets, 0.2)
    assert (sets.radii, sets.counts) == ((8.0, 9.0), (9, 10))  # ranks ceil(10 * 0.8), ceil(11 * 0.8)
    assert Intervals(0.1, (1.0, 2.0), (9, 9)).bounds(torch.tensor([[5.0, 6.0]])).tolist() == [[[4.0, 6.0], [4.0, 8.0]]]


def test_numbers_are_covered_as_often_as_stated() -> None:
    random = torch.Generator().manual_seed(0)
    preds, noise = torch.randn(20_000, 1, generator=random), torch.randn(20_000, 1, generator=random)
    sets = fit_intervals(preds[:10_000], (preds + noise)[:10_000], 0.1)
    assert sets.radii[0] == pytest.approx(1.645, abs=0.05)  # of a normal law
    ends = sets.bounds(preds[10_000:])
    inside = (ends[..., 0] <= (preds + noise)[10_000:]) & ((preds + noise)[10_000:] <= ends[..., 1])
    assert float(inside.double().mean()) == pytest.approx(0.9, abs=0.01)


@pytest.mark.parametrize("alpha", [0, 1, -0.1, 2, float("nan"), "a", None, True])
def test_what_is_no_alpha(alpha: object) -> None:
    with refused("alpha", UsageError, got=alpha, expected="the share of sets that may miss the truth, such as 0.1"):
        fit_class_sets(*drawn(100), alpha)  # type: ignore[arg-type]


def test_too_few_items_for_alpha() -> None:
    with pytest.raises(
        DataError, match=r"labeled items: got 8, expected at least 9 for alpha=0.1.*an alpha of 0.112 or"
    ):
        fit_class_sets(*drawn(8))
    assert fit_class_sets(*drawn(8), 0.112).n == 8
    assert fit_class_sets(*drawn(9)).n == 9
    with pytest.raises(DataError, match="targets of width: got 3, expected at least 9"):
        fit_intervals(torch.zeros(3, 1), torch.zeros(3, 1), names=("width",))
    with pytest.raises(DataError, match="items with the most frequent label: got 0"):
        fit_label_sets(torch.zeros(30, 2), torch.zeros(30, 2))


def test_predictions_that_cannot_be_used() -> None:
    probs, targets = drawn(20)
    probs[3] = torch.nan
    with pytest.raises(DataError, match="the predictions of 1 of 20 items are nan"):
        fit_class_sets(probs, targets)
    with pytest.raises(UsageError, match=r"targets: got 5, expected class indices from 0 to 4"):
        fit_class_sets(drawn(20)[0], torch.full((20,), 5))
    for wrong in (torch.zeros(20, 5), torch.zeros(19, dtype=torch.int64), torch.zeros(20)):
        with pytest.raises(UsageError, match="the shapes"):
            fit_class_sets(drawn(20)[0], wrong)
    with pytest.raises(UsageError, match="the shapes"):
        fit_class_sets(torch.ones(20, 1), torch.zeros(20, dtype=torch.int64))  # one class
    with pytest.raises(UsageError, match="method: got 'aps', expected 'lac' or 'raps'"):
        fit_class_sets(*drawn(20), 0.1, "aps")
    for fit in (fit_label_sets, fit_intervals):
        with pytest.raises(UsageError, match="the shapes"):
            fit(torch.zeros(20, 2), torch.zeros(20))


def test_members_on_another_dtype() -> None:
    assert LabelSets(0.1, (0.5,), (9,)).members(torch.tensor([[0.5]], dtype=torch.float16)).tolist() == [[True]]
