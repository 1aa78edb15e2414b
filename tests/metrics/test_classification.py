"""Metrics of one class per item, against scikit-learn on the whole arrays."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from sklearn import metrics as sk
from torch import Tensor

from learnkit.errors import UsageError
from learnkit.metrics import (
    METRICS,
    auroc,
    average_precision,
    f1,
    f2,
    f_beta,
    jaccard,
    kappa,
    make_metrics,
    precision,
    recall,
)
from tests.doubles import refused

N, C = 83, 6
Check = Callable[[Any, Tensor, Tensor, float], None]
Set = tuple[Tensor, Tensor]

OF_CLASSES: dict[str, Callable[[Any, Any], float]] = {
    "accuracy": sk.accuracy_score,
    "error_rate": lambda y, p: 1 - sk.accuracy_score(y, p),
    "precision": lambda y, p: sk.precision_score(y, p, average="macro", zero_division=0),
    "recall": lambda y, p: sk.recall_score(y, p, average="macro", zero_division=0),
    "f1": lambda y, p: sk.f1_score(y, p, average="macro"),
    "f2": lambda y, p: sk.fbeta_score(y, p, beta=2, average="macro"),
    "jaccard": lambda y, p: sk.jaccard_score(y, p, average="macro"),
    "balanced_accuracy": sk.balanced_accuracy_score,
    "kappa": sk.cohen_kappa_score,
    "mcc": sk.matthews_corrcoef,
    "hamming": sk.hamming_loss,
}
OF_PROBABILITIES: dict[str, Callable[[Any, Any], float]] = {
    "auroc": lambda y, p: sk.roc_auc_score(y, p, multi_class="ovr", average="macro"),
    "average_precision": lambda y, p: sk.average_precision_score(y, p, average="macro"),
    "perplexity": lambda y, p: math.exp(sk.log_loss(y, p)),
}


def several(n: int = N, c: int = C) -> Set:
    """Raw outputs (n, c), somewhat right, and classes (n,)."""
    draw = torch.Generator().manual_seed(0)
    targets = torch.randint(c, (n,), generator=draw)
    return 3 * torch.randn(n, c, generator=draw) + 2 * torch.eye(c)[targets], targets


def yes_no() -> Set:
    """One raw output per item and 0 or 1, (83,) each."""
    preds, targets = several(c=2)
    return preds[:, 1] - preds[:, 0], targets


@pytest.mark.parametrize("name", OF_CLASSES)
def test_classes_are_judged_as_by_scikit_learn(check: Check, name: str) -> None:
    preds, targets = several()
    check(name, preds, targets, OF_CLASSES[name](targets.numpy(), preds.argmax(1).numpy()))


@pytest.mark.parametrize("name", OF_PROBABILITIES)
def test_probabilities_are_judged_as_by_scikit_learn(check: Check, name: str) -> None:
    preds, targets = several()
    check(name, preds, targets, OF_PROBABILITIES[name](targets.numpy(), preds.double().softmax(1).numpy()))


def test_top_k_accuracy_is_scikit_learns(check: Check) -> None:
    preds, targets = several()
    expected = sk.top_k_accuracy_score(targets, preds, k=5, labels=range(C))
    check("top_k_accuracy", preds, targets, expected)


@pytest.mark.parametrize("name", ["precision", "recall", "f1", "f2", "jaccard", "balanced_accuracy", "mcc", "kappa"])
def test_two_outputs_are_two_classes(check: Check, name: str) -> None:
    preds, targets = several(c=2)
    check(name, preds, targets, OF_CLASSES[name](targets.numpy(), preds.argmax(1).numpy()))


@pytest.mark.parametrize(("shape", "dtype"), [((N,), torch.long), ((N, 1), torch.float32), ((N,), torch.bool)])
def test_one_output_is_a_yes_or_no(check: Check, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    preds, targets = yes_no()
    y, p = targets.numpy(), (preds > 0).numpy()
    expected = {
        "precision": sk.precision_score(y, p),
        "recall": sk.recall_score(y, p),
        "f1": sk.f1_score(y, p),
        "f2": sk.fbeta_score(y, p, beta=2),
        "jaccard": sk.jaccard_score(y, p),
        "balanced_accuracy": sk.balanced_accuracy_score(y, p),
        "kappa": sk.cohen_kappa_score(y, p),
        "mcc": sk.matthews_corrcoef(y, p),
        "hamming": sk.hamming_loss(y, p),
        "auroc": sk.roc_auc_score(y, preds),
        "average_precision": sk.average_precision_score(y, preds),
    }
    for name, value in expected.items():
        check(name, preds.reshape(shape), targets.to(dtype), value)


@pytest.mark.parametrize("average", ["macro", "micro", "weighted"])
def test_the_way_to_average_can_be_chosen(check: Check, average: str) -> None:
    preds, targets = several()
    y, p = targets.numpy(), preds.argmax(1).numpy()
    check(f_beta(beta=0.5, average=average), preds, targets, sk.fbeta_score(y, p, beta=0.5, average=average))
    check(precision(average=average), preds, targets, sk.precision_score(y, p, average=average))
    check(recall(average=average), preds, targets, sk.recall_score(y, p, average=average))
    check(f1(average=average), preds, targets, sk.f1_score(y, p, average=average))
    check(f2(average=average), preds, targets, sk.fbeta_score(y, p, beta=2, average=average))
    check(jaccard(average=average), preds, targets, sk.jaccard_score(y, p, average=average))


def test_weighted_areas_are_scikit_learns(check: Check) -> None:
    preds, targets = several()
    y, p = targets.numpy(), preds.double().softmax(1).numpy()
    check(auroc(average="weighted"), preds, targets, sk.roc_auc_score(y, p, multi_class="ovr", average="weighted"))
    check(average_precision(average="weighted"), preds, targets, sk.average_precision_score(y, p, average="weighted"))


@pytest.mark.parametrize("threshold", [0.2, 0.5])
def test_binary_is_class_one_of_two_outputs(check: Check, threshold: float) -> None:
    preds, targets = several(c=2)
    expected = sk.f1_score(targets, preds.softmax(1)[:, 1] > threshold)
    check(f1(average="binary", threshold=threshold), preds, targets, expected)
    of_two = sk.fbeta_score(targets, preds.softmax(1)[:, 1] > threshold, beta=2)
    check(f2(average="binary", threshold=threshold), preds, targets, of_two)
    check(f1(threshold=threshold), preds[:, 1] - preds[:, 0], targets, expected)


@pytest.mark.parametrize("weights", ["linear", "quadratic"])
def test_kappa_can_count_near_misses_less(check: Check, weights: str) -> None:
    preds, targets = several()
    check(kappa(weights=weights), preds, targets, sk.cohen_kappa_score(targets, preds.argmax(1), weights=weights))


def test_precision_is_of_the_whole_set_not_a_mean_over_batches() -> None:
    """3 of 4 right yes in one batch and 0 of 1 in the next are 3 of 5, not the .5 of weighting batches."""
    (metric,) = make_metrics("precision")
    metric.update(torch.ones(4), torch.tensor([1, 1, 1, 0]))
    metric.update(torch.tensor([1.0, -1.0]), torch.tensor([0, 1]))
    assert metric.compute() == pytest.approx(0.6, abs=1e-12)


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
@pytest.mark.parametrize("name", [*OF_CLASSES, *OF_PROBABILITIES])
def test_a_class_without_items_does_not_count(check: Check, name: str) -> None:
    """Class 5 has no items but predictions; class 4 has neither."""
    preds, targets = several()
    keep = targets < 4
    preds, targets = preds[keep], targets[keep]
    preds[:, 4] = -50.0
    y, p, probs = targets.numpy(), preds.argmax(1).numpy(), preds.double().softmax(1).numpy()
    assert 5 in p
    if name in OF_CLASSES:
        expected = OF_CLASSES[name](y, p)
    elif name == "perplexity":
        expected = math.exp(sk.log_loss(y, probs, labels=range(C)))
    else:
        area = sk.roc_auc_score if name == "auroc" else sk.average_precision_score
        expected = float(np.mean([area(y == c, probs[:, c]) for c in range(4)]))
    check(name, preds, targets, expected)


@pytest.mark.parametrize("name", ["precision", "recall", "f1", "jaccard", "mcc", "balanced_accuracy"])
def test_always_the_same_prediction(check: Check, name: str) -> None:
    targets = torch.tensor([0] * 8 + [1] * 2)
    preds = torch.tensor([[1.0, 0.0]]).repeat(10, 1)
    check(name, preds, targets, OF_CLASSES[name](targets.numpy(), np.zeros(10, int)))


@pytest.mark.parametrize("name", OF_CLASSES)
def test_a_class_of_one_item_counts(check: Check, name: str) -> None:
    targets, predicted = torch.tensor([0, 0, 0, 1, 2, 2]), torch.tensor([0, 1, 0, 1, 0, 2])
    check(name, torch.eye(3)[predicted], targets, OF_CLASSES[name](targets.numpy(), predicted.numpy()))


def test_no_yes_actual_and_none_predicted_is_zero(check: Check) -> None:
    for name in ("precision", "recall", "f1", "jaccard"):
        check(name, -torch.ones(10), torch.zeros(10), 0.0)


@pytest.mark.parametrize(("name", "value"), [("auroc", math.nan), ("average_precision", 1.0)])
def test_areas_where_all_items_are_of_one_class(name: str, value: float) -> None:
    for preds in (torch.randn(9, 3), torch.randn(9)):
        (metric,) = make_metrics(name)
        metric.update(preds, torch.ones(9).long())
        assert metric.compute() == pytest.approx(value, nan_ok=True)


@pytest.mark.parametrize("name", ["auroc", "average_precision"])
@pytest.mark.parametrize("preds", [torch.tensor([0.0, math.nan, 1.0]), torch.tensor([[0.0, math.nan]] * 3)])
def test_areas_of_outputs_that_are_nan_are_nan(name: str, preds: Tensor) -> None:
    (metric,) = make_metrics(name)
    metric.update(preds, torch.tensor([0, 1, 1]))
    assert math.isnan(metric.compute())


def test_large_outputs_remain_distinct() -> None:
    """In single precision their probabilities would all be 1."""
    (metric,) = make_metrics("auroc")
    metric.update(torch.tensor([20.0, 24.0, 28.0, 32.0]), torch.tensor([0, 0, 1, 1]))
    assert metric.compute() == 1.0


@pytest.mark.parametrize("name", ["auroc", "average_precision"])
def test_areas_stay_exact_over_many_items_with_ties(name: str) -> None:
    preds, targets = several(20000, 3)
    preds = (4 * preds).round() / 4
    (metric,) = make_metrics(name)
    for x, y in zip(preds.split(512), targets.split(512), strict=True):
        metric.update(x, y)
    expected = OF_PROBABILITIES[name](targets.numpy(), preds.double().softmax(1).numpy())
    assert metric.compute() == pytest.approx(expected, abs=1e-6)


def test_pixels_are_items(check: Check) -> None:
    preds, targets = torch.randn(9, 3, 4, 5), torch.randint(3, (9, 4, 5))
    y, probs = targets.flatten().numpy(), preds.movedim(1, -1).reshape(-1, 3).double().softmax(1).numpy()
    check("f1", preds, targets, sk.f1_score(y, probs.argmax(1), average="macro"))
    check("auroc", preds, targets, sk.roc_auc_score(y, probs, multi_class="ovr"))
    check("perplexity", preds, targets, math.exp(sk.log_loss(y, probs)))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_fine(check: Check, dtype: torch.dtype) -> None:
    preds, targets = several(c=3)
    preds = preds.to(dtype)
    check("f1", preds, targets, sk.f1_score(targets, preds.float().argmax(1), average="macro"))
    check("auroc", preds, targets, OF_PROBABILITIES["auroc"](targets.numpy(), preds.double().softmax(1).numpy()))


BY_CLASS = sorted({*OF_CLASSES, *OF_PROBABILITIES} - METRICS.keys())


@pytest.mark.parametrize("name", BY_CLASS)
@pytest.mark.parametrize(
    ("preds", "targets", "what", "got"),
    [
        (torch.zeros(4, 3), torch.zeros(4, 3), "targets", (4, 3)),
        (torch.zeros(4, 3), torch.zeros(5).long(), "targets", (5,)),
        (torch.zeros(2, 6), torch.zeros(4).long(), "targets", (4,)),
        (torch.zeros(4, 3), torch.zeros(4), "targets", torch.float32),
        (torch.zeros(()), torch.zeros(()), "targets", ()),
        (torch.zeros(4, 0), torch.zeros(4).long(), "targets", (4,)),
        ((torch.zeros(4, 3),), torch.zeros(4), "preds", "tuple"),
        (torch.zeros(4, 3), [0, 1, 2, 0], "targets", "list"),
    ],
)
def test_what_does_not_fit_is_refused(name: str, preds: Any, targets: Any, what: str, got: Any) -> None:
    (metric,) = make_metrics(name)
    with refused(f"metric {name}: {what}", got=got):
        metric.update(preds, targets)


@pytest.mark.parametrize("name", BY_CLASS)
@pytest.mark.parametrize(
    ("preds", "targets", "got", "expected"),
    [
        (torch.zeros(4, 3), torch.tensor([0, 1, 2, 3]), 3, "0 to 2"),
        (torch.zeros(4, 3), torch.tensor([0, 1, 2, -1]), -1, "0 to 2"),
        (torch.zeros(4), torch.tensor([0, 1, 2, 0]), 2, "0 to 1"),
        (torch.zeros(4), torch.tensor([0, 0.5, 1, 1.5]), 1.5, "0 to 1"),
    ],
)
def test_targets_that_are_not_classes_are_refused_when_they_are_read(
    name: str, preds: Tensor, targets: Tensor, got: float, expected: str
) -> None:
    """Not before: to look at each batch would make the device wait."""
    (metric,) = make_metrics(name)
    metric.update(preds, targets)
    metric.update(preds, targets * 0)
    with refused(f"metric {name}: targets", got=got, expected=expected):
        metric.compute()
    metric.reset()
    metric.update(preds, targets * 0)
    metric.compute()


def test_a_target_that_is_nan_is_refused() -> None:
    (metric,) = make_metrics("f1")
    metric.update(torch.zeros(2), torch.tensor([1.0, math.nan]))
    with pytest.raises(UsageError, match="metric f1: targets: got nan, expected 0 to 1"):
        metric.compute()


@pytest.mark.parametrize(
    ("make", "what", "got"),
    [
        (lambda: f1(average="mean"), "average", "mean"),
        (lambda: auroc(average="micro"), "average", "micro"),
        (lambda: f1(threshold=1.5), "threshold", 1.5),
        (lambda: f1(threshold=0), "threshold", 0),
        (lambda: f_beta(0), "beta", 0),
        (lambda: f_beta(math.inf), "beta", math.inf),
        (lambda: kappa(weights="cubic"), "weights", "cubic"),
    ],
)
def test_settings_that_cannot_be_are_refused(make: Callable[[], Any], what: str, got: Any) -> None:
    with refused(what, got=got):
        make()


@pytest.mark.parametrize(
    ("metric", "what", "got"),
    [
        (f1(threshold=0.3), "metric f1: threshold", 0.3),
        (f1(average="binary"), "metric f1_binary: average", "binary"),
    ],
)
def test_settings_of_two_classes_are_refused_for_three(metric: Any, what: str, got: Any) -> None:
    with refused(what, got=got):
        metric.update(torch.zeros(4, 3), torch.zeros(4).long())


def test_a_batch_of_no_items_changes_nothing(check: Check) -> None:
    preds, targets = several()
    for name in BY_CLASS:
        (metric,) = make_metrics(name)
        metric.update(preds, targets)
        before = metric.compute()
        metric.update(preds[:0], targets[:0])
        assert metric.compute() == before
        metric.reset()
        metric.update(preds[:0], targets[:0])
        assert math.isnan(metric.compute())


def test_perplexity_beyond_double_precision_is_infinite() -> None:
    (metric,) = make_metrics("perplexity")
    for output, value in ((699.0, math.exp(699)), (750.0, math.inf), (5000.0, math.inf)):
        metric.reset()
        metric.update(torch.tensor([[0.0, output]]), torch.tensor([0]))
        assert metric.compute() == pytest.approx(value)


def test_perplexity_of_nan_is_nan() -> None:
    (metric,) = make_metrics("perplexity")
    metric.update(torch.full((1, 2), math.nan), torch.tensor([0]))
    assert math.isnan(metric.compute())
