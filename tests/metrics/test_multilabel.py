"""Metrics of any number of labels per item, against scikit-learn on the whole arrays."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from sklearn import metrics as sk
from torch import Tensor

from learnkit.metrics import (
    auroc_multi,
    average_precision_multi,
    f1_multi,
    f2_multi,
    f_beta_multi,
    hamming_multi,
    jaccard_multi,
    make_metrics,
    precision_multi,
    recall_multi,
)
from tests.doubles import refused

N, C = 83, 5
Check = Callable[[Any, Tensor, Tensor, float], None]
Set = tuple[Tensor, Tensor]

BY_NAME: dict[str, Callable[[Any, Any], float]] = {
    "accuracy_multi": lambda y, p: 1 - sk.hamming_loss(y, p > 0.5),
    "hamming_multi": lambda y, p: sk.hamming_loss(y, p > 0.5),
    "precision_multi": lambda y, p: sk.precision_score(y, p > 0.5, average="macro"),
    "recall_multi": lambda y, p: sk.recall_score(y, p > 0.5, average="macro"),
    "f1_multi": lambda y, p: sk.f1_score(y, p > 0.5, average="macro"),
    "f2_multi": lambda y, p: sk.fbeta_score(y, p > 0.5, beta=2, average="macro"),
    "jaccard_multi": lambda y, p: sk.jaccard_score(y, p > 0.5, average="macro"),
    "auroc_multi": lambda y, p: sk.roc_auc_score(y, p, average="macro"),
    "average_precision_multi": lambda y, p: sk.average_precision_score(y, p, average="macro"),
}


def labeled(c: int = C) -> Set:
    """Raw outputs and 0 or 1, (83, c) each; every item has a label."""
    draw = torch.Generator().manual_seed(0)
    targets = (torch.rand(N, c, generator=draw) > 0.6).float()
    targets[:, 0] = torch.where(targets.sum(1) == 0, 1.0, targets[:, 0])
    return torch.randn(N, c, generator=draw) + 2 * targets - 1, targets


@pytest.mark.parametrize("dtype", [torch.float32, torch.bool])
@pytest.mark.parametrize("name", BY_NAME)
def test_names_are_scikit_learns(check: Check, name: str, dtype: torch.dtype) -> None:
    preds, targets = labeled()
    expected = BY_NAME[name](targets.int().numpy(), preds.double().sigmoid().numpy())
    check(name, preds, targets.to(dtype), expected)


@pytest.mark.parametrize("name", BY_NAME)
def test_one_label_is_a_yes_or_no(check: Check, name: str) -> None:
    preds, targets = labeled()
    y, p = targets[:, 1].int().numpy(), preds[:, 1].double().sigmoid().numpy()
    of_one: dict[str, float] = {
        "precision_multi": sk.precision_score(y, p > 0.5),
        "recall_multi": sk.recall_score(y, p > 0.5),
        "f1_multi": sk.f1_score(y, p > 0.5),
        "f2_multi": sk.fbeta_score(y, p > 0.5, beta=2),
        "jaccard_multi": sk.jaccard_score(y, p > 0.5),
    }
    check(name, preds[:, 1:2], targets[:, 1:2], of_one[name] if name in of_one else BY_NAME[name](y, p))


@pytest.mark.parametrize("threshold", [0.3, 0.5])
@pytest.mark.parametrize("average", ["macro", "micro", "weighted", "samples"])
def test_average_and_threshold_can_be_chosen(check: Check, average: str, threshold: float) -> None:
    preds, targets = labeled()
    y, p = targets.int().numpy(), (preds.double().sigmoid() > threshold).numpy()
    s: dict[str, Any] = {"average": average, "threshold": threshold}
    how: dict[str, Any] = {"average": average, "zero_division": 0}
    check(f1_multi(**s), preds, targets, sk.f1_score(y, p, **how))
    check(f2_multi(**s), preds, targets, sk.fbeta_score(y, p, beta=2, **how))
    check(f_beta_multi(beta=2, **s), preds, targets, sk.fbeta_score(y, p, beta=2, **how))
    check(f_beta_multi(beta=0.5, **s), preds, targets, sk.fbeta_score(y, p, beta=0.5, **how))
    check(precision_multi(**s), preds, targets, sk.precision_score(y, p, **how))
    check(recall_multi(**s), preds, targets, sk.recall_score(y, p, **how))
    check(jaccard_multi(**s), preds, targets, sk.jaccard_score(y, p, **how))
    check(hamming_multi(threshold=threshold), preds, targets, sk.hamming_loss(y, p))


@pytest.mark.parametrize("average", ["macro", "micro", "weighted"])
def test_areas_can_be_averaged_in_three_ways(check: Check, average: str) -> None:
    preds, targets = labeled()
    y, p = targets.int().numpy(), preds.double().sigmoid().numpy()
    check(auroc_multi(average=average), preds, targets, sk.roc_auc_score(y, p, average=average))
    check(average_precision_multi(average=average), preds, targets, sk.average_precision_score(y, p, average=average))


@pytest.mark.parametrize("name", [name for name in BY_NAME if name not in ("accuracy_multi", "hamming_multi")])
def test_a_label_without_items_does_not_count(check: Check, name: str) -> None:
    preds, targets = labeled()
    rest = BY_NAME[name](targets[:, 1:].int().numpy(), preds[:, 1:].double().sigmoid().numpy())
    preds[:, 0], targets[:, 0] = -9 + preds[:, 0] / 10, 0
    check(name, preds, targets, rest)


def test_a_label_predicted_but_without_items_counts_as_wrong(check: Check) -> None:
    preds, targets = labeled()
    targets[:, 0] = 0
    assert (preds[:, 0] > 0).any()
    y, p = targets.int().numpy(), (preds > 0).numpy()
    check("f1_multi", preds, targets, sk.f1_score(y, p, average="macro", zero_division=0))


def test_items_without_labels_count_where_one_is_predicted(check: Check) -> None:
    targets = torch.tensor([[0, 0], [0, 0], [1, 1]])
    preds = torch.tensor([[-1.0, -1], [1, -1], [1, -1]])
    check(f_beta_multi(average="samples"), preds, targets, (0 + 2 / 3) / 2)  # the first item is left out


def test_pixels_have_labels_as_items_do(check: Check) -> None:
    draw = torch.Generator().manual_seed(2)
    preds, targets = torch.randn(9, 3, 4, 5, generator=draw), torch.rand(9, 3, 4, 5, generator=draw) > 0.5
    y, p = (part.movedim(1, -1).reshape(-1, 3).numpy() for part in (targets, preds))
    check("f1_multi", preds, targets, sk.f1_score(y, p > 0, average="macro"))
    check("auroc_multi", preds, targets, sk.roc_auc_score(y, p, average="macro"))
    check(f1_multi(average="samples"), preds, targets, _mean_of_items(y, p > 0))


def _mean_of_items(y: Any, p: Any) -> float:
    """F1 of each row that has a label or got one, averaged."""
    both, either = 2 * (y & p).sum(1), y.sum(1) + p.sum(1)
    return float((both[either > 0] / either[either > 0]).mean())


def test_large_outputs_remain_distinct() -> None:
    """Their probabilities would all be 1, even in double precision."""
    (metric,) = make_metrics("auroc_multi")
    metric.update(torch.tensor([[40.0], [50.0], [60.0], [70.0]]), torch.tensor([[0], [0], [1], [1]]))
    assert metric.compute() == 1.0


@pytest.mark.parametrize("name", ["auroc_multi", "average_precision_multi"])
def test_areas_of_outputs_that_are_nan_are_nan(name: str) -> None:
    (metric,) = make_metrics(name)
    metric.update(torch.tensor([[0.0], [math.nan], [1.0]]), torch.tensor([[0], [1], [1]]))
    assert math.isnan(metric.compute())


def test_areas_without_any_item_are_nan() -> None:
    for name in ("auroc_multi", "average_precision_multi"):
        (metric,) = make_metrics(name)
        metric.update(torch.randn(4, 3), torch.zeros(4, 3))
        assert math.isnan(metric.compute())


@pytest.mark.parametrize("name", [name for name in BY_NAME if name != "accuracy_multi"])
@pytest.mark.parametrize("targets", [torch.zeros(4).long(), torch.zeros(4, 2)])
def test_targets_of_another_shape_are_refused(name: str, targets: Tensor) -> None:
    (metric,) = make_metrics(name)
    with refused(f"metric {name}: targets", got=tuple(targets.shape)):
        metric.update(torch.zeros(4, 3), targets)


@pytest.mark.parametrize("name", [name for name in BY_NAME if name != "accuracy_multi"])
@pytest.mark.parametrize("wrong", [2, -1])
def test_targets_beyond_0_and_1_are_refused_when_they_are_read(name: str, wrong: int) -> None:
    (metric,) = make_metrics(name)
    metric.update(torch.zeros(4, 3), torch.tensor([[0, 1, 0]]).repeat(4, 1))
    metric.update(torch.zeros(1, 3), torch.tensor([[0, wrong, 1]]))
    with refused(f"metric {name}: targets", got=wrong, expected="0 to 1"):
        metric.compute()


@pytest.mark.parametrize("make", [f_beta_multi, auroc_multi])
def test_an_unknown_average_is_refused(make: Any) -> None:
    with refused("average", got="binary"):
        make(average="binary")
