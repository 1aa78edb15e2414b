"""Every metric equals scikit-learn's (or SciPy's) of the whole set: large, offset and tiny values, any batch size."""

import math
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from scipy import special, stats
from sklearn import metrics as sk
from torch import Tensor

from learnkit.metrics import FACTORIES, METRICS, f_beta, f_beta_multi, make_metrics

C = 4
Reference = Callable[[Any, Any], Any]  # of targets, and of raw outputs, as float64 arrays

# Sets: how many items, and how raw outputs or numbers are drawn.
SIZES = {"plain": 61, "large": 61, "offset": 61, "two": 2, "eight": 8}


def best(scores: Any) -> Any:
    return scores.argmax(1)


def of_classes(function: Callable[..., float], **settings: Any) -> Reference:
    """A reference of predicted classes, over the classes that have items or predictions, as learnkit averages."""

    def reference(targets: Any, scores: Any) -> float:
        if "average" not in settings:
            return function(targets, best(scores), **settings)
        known = np.union1d(targets, best(scores))
        return function(targets, best(scores), labels=known, zero_division=0, **settings)

    return reference


def log_odds(scores: Any, c: int) -> Any:
    """The softmax probability of a class as log(p / (1 - p)), which no size of outputs rounds to 0 or 1."""
    scores = scores - scores.max(axis=1, keepdims=True)
    return scores[:, c] - special.logsumexp(np.delete(scores, c, axis=1), axis=1)


def area(function: Callable[..., float], others: bool) -> Reference:
    """The mean area of the classes that some items are of (and, for `others`, some are not)."""

    def reference(targets: Any, scores: Any) -> float:
        known = [c for c in range(C) if 0 < (targets == c).sum() < len(targets) + (not others)]
        return float(np.mean([function(targets == c, log_odds(scores, c)) for c in known])) if known else np.nan

    return reference


def label_area(function: Callable[..., float], others: bool) -> Reference:
    def reference(targets: Any, scores: Any) -> float:
        known = [c for c in range(C) if 0 < targets[:, c].sum() < len(targets) + (not others)]
        return float(np.mean([function(targets[:, c], scores[:, c]) for c in known])) if known else np.nan

    return reference


def of_labels(function: Callable[..., float], **settings: Any) -> Reference:
    def reference(targets: Any, scores: Any) -> float:
        predicted = scores > 0
        known = np.flatnonzero(targets.any(0) | predicted.any(0))
        return function(targets[:, known], predicted[:, known], average="macro", zero_division=0, **settings)

    return reference


def columnwise(function: Callable[[Any, Any], float]) -> Reference:
    return lambda targets, preds: np.mean([function(targets[:, k], preds[:, k]) for k in range(targets.shape[1])])


def top_5(targets: Any, scores: Any) -> float:
    return float(np.mean([target in row.argsort()[::-1][:3] for target, row in zip(targets, scores, strict=True)]))


def perplexity(targets: Any, scores: Any) -> float:
    return float(np.exp(np.mean(special.logsumexp(scores, axis=1) - scores[np.arange(len(targets)), targets])))


CLASSES: dict[Any, Reference] = {
    "accuracy": of_classes(sk.accuracy_score),
    "error_rate": lambda t, s: 1 - sk.accuracy_score(t, best(s)),
    "hamming": of_classes(sk.hamming_loss),
    "perplexity": perplexity,
    "precision": of_classes(sk.precision_score, average="macro"),
    "recall": of_classes(sk.recall_score, average="macro"),
    "f1": of_classes(sk.f1_score, average="macro"),
    "f2": of_classes(sk.fbeta_score, average="macro", beta=2),
    "jaccard": of_classes(sk.jaccard_score, average="macro"),
    "dice": of_classes(sk.f1_score, average="macro"),
    "iou": of_classes(sk.jaccard_score, average="macro"),
    "balanced_accuracy": of_classes(sk.balanced_accuracy_score),
    "kappa": of_classes(sk.cohen_kappa_score),
    "mcc": of_classes(sk.matthews_corrcoef),
    "foreground_accuracy": lambda t, s: np.mean((best(s) == t)[t != 0]) if (t != 0).any() else np.nan,
    "auroc": area(sk.roc_auc_score, others=True),
    "average_precision": area(sk.average_precision_score, others=False),
}
SETTINGS: dict[str, tuple[Any, Reference]] = {
    "top 3": (partial(METRICS["top_k_accuracy"].function, k=3), top_5),
    "f1 micro": (partial(FACTORIES["f1"], average="micro"), of_classes(sk.f1_score, average="micro")),
    "recall weighted": (
        partial(FACTORIES["recall"], average="weighted"), of_classes(sk.recall_score, average="weighted"),
    ),
    "f0.5": (partial(f_beta, beta=0.5), of_classes(sk.fbeta_score, average="macro", beta=0.5)),
    "kappa quadratic": (
        partial(FACTORIES["kappa"], weights="quadratic"),
        lambda t, s: sk.cohen_kappa_score(t, best(s), weights="quadratic", labels=range(C)),
    ),
}  # fmt: skip
LABELS: dict[Any, Reference] = {
    "accuracy_multi": lambda t, s: 1 - sk.hamming_loss(t, s > 0),
    "hamming_multi": lambda t, s: sk.hamming_loss(t, s > 0),
    "precision_multi": of_labels(sk.precision_score),
    "recall_multi": of_labels(sk.recall_score),
    "f1_multi": of_labels(sk.f1_score),
    "f2_multi": of_labels(sk.fbeta_score, beta=2),
    "jaccard_multi": of_labels(sk.jaccard_score),
    "auroc_multi": label_area(sk.roc_auc_score, others=True),
    "average_precision_multi": label_area(sk.average_precision_score, others=False),
    f_beta_multi: of_labels(sk.fbeta_score, beta=1),
}
NUMBERS: dict[Any, Reference] = {
    "mse": sk.mean_squared_error,
    "mae": sk.mean_absolute_error,
    "rmse": lambda t, p: np.sqrt(sk.mean_squared_error(t, p)),  # of all elements
    "msle": sk.mean_squared_log_error,
    "r2": sk.r2_score,
    "explained_variance": sk.explained_variance_score,
    "pearson": columnwise(lambda t, p: float(stats.pearsonr(t, p)[0])),
    "spearman": columnwise(lambda t, p: float(stats.spearmanr(t, p)[0])),
}


def test_every_name_has_a_reference() -> None:
    named = {name for name in [*CLASSES, *LABELS, *NUMBERS] if isinstance(name, str)} | {"top_k_accuracy"}
    new = {*METRICS, *FACTORIES} - named
    assert not new, f"add {', '.join(sorted(new))} to CLASSES, LABELS or NUMBERS, with a function of another library"
    assert named <= {*METRICS, *FACTORIES}


def drawn(kind: str, shape: tuple[int, ...], *, seed: int = 0) -> Tensor:
    """Random numbers: around 0, up to 1e6 times as large, or around ten million (in float64, so that all differ)."""
    values = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    if kind == "large":
        return values * 10.0 ** torch.arange(-2, 7)[torch.arange(shape[0]) % 9].reshape(-1, *[1] * (len(shape) - 1))
    return values.double() * 30 + 1e7 if kind == "offset" else values


def assert_equal(spec: Any, reference: Reference, preds: Tensor, targets: Tensor) -> None:
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # of scikit-learn, about classes without items
        expected = float(reference(targets.numpy(), preds.double().numpy()))
    (metric,) = make_metrics(spec)
    for bs in (1, 7, len(preds)):
        metric.reset()
        for x, y in zip(preds.split(bs), targets.split(bs), strict=True):
            metric.update(x, y)
        assert metric.compute() == pytest.approx(expected, rel=1e-6, abs=1e-9, nan_ok=True), bs


@pytest.mark.parametrize("kind", SIZES)
@pytest.mark.parametrize("name", [*CLASSES, *SETTINGS])
def test_of_classes(name: str, kind: str) -> None:
    n = SIZES[kind]
    targets = torch.randint(C, (n,), generator=torch.Generator().manual_seed(1))
    targets[:2] = torch.tensor([1, 2])
    spec, reference = SETTINGS[name] if name in SETTINGS else (name, CLASSES[name])
    preds = drawn(kind, (n, C))
    if name == "perplexity" and kind == "large":
        preds = preds.clamp(-300, 300)  # the exponential of more is infinite
    assert_equal(spec, reference, preds, targets)


@pytest.mark.parametrize("kind", [kind for kind in SIZES if kind != "offset"])  # around 1e7 all probabilities are 1
@pytest.mark.parametrize("spec", LABELS, ids=lambda spec: getattr(spec, "__name__", spec))
def test_of_labels(spec: Any, kind: str) -> None:
    n = SIZES[kind]
    targets = (torch.rand(n, C, generator=torch.Generator().manual_seed(1)) > 0.6).long()
    assert_equal(spec, LABELS[spec], drawn(kind, (n, C)), targets)


@pytest.mark.parametrize("kind", [*SIZES, "huge"])
@pytest.mark.parametrize("name", NUMBERS)
def test_of_numbers(name: str, kind: str) -> None:
    n = SIZES.get(kind, 61)
    targets = drawn(kind, (n, 2), seed=1)
    preds = targets + drawn("plain", (n, 2), seed=2) * targets.std() / 3
    if name == "msle":
        targets, preds = targets.abs(), preds.abs()
    if kind == "huge":
        targets, preds = targets * 1e25, preds * 1e25  # float32 cannot hold their squares
    assert_equal(name, NUMBERS[name], preds, targets)


@pytest.mark.parametrize(
    ("preds", "expected"), [([1.0, 2.0], 1.0), ([2.0, 1.0], -1.0), ([1e20, 2e20], 1.0), ([1e7, 1e7 + 1], 1.0)]
)
def test_the_correlation_of_two_items_is_1_or_minus_1(preds: list[float], expected: float) -> None:
    for metric in make_metrics(["spearman", "pearson"]):
        for number in range(2):
            metric.update(torch.tensor(preds[number : number + 1]), torch.tensor([3.0, 4.0][number : number + 1]))
        assert metric.compute() == pytest.approx(expected)


PER_CLASS: dict[str, Callable[..., Any]] = {
    "precision": sk.precision_score, "recall": sk.recall_score, "f1": sk.f1_score, "jaccard": sk.jaccard_score,
    "dice": sk.f1_score, "iou": sk.jaccard_score, "f2": partial(sk.fbeta_score, beta=2),
}  # fmt: skip


@pytest.mark.parametrize("bs", [1, 7, 61])
@pytest.mark.parametrize("name", [*PER_CLASS, "auroc", "average_precision"])
def test_one_number_per_class(name: str, bs: int) -> None:
    preds, targets = drawn("plain", (61, C)), torch.randint(C, (61,), generator=torch.Generator().manual_seed(1))
    (metric,) = make_metrics(FACTORIES[name](average=None), classes=list("abcd"))
    for x, y in zip(preds.split(bs), targets.split(bs), strict=True):
        metric.update(x, y)
    scores, actual = preds.double().numpy(), targets.numpy()
    if name in PER_CLASS:
        expected = PER_CLASS[name](actual, best(scores), average=None)
    else:
        function = {"auroc": sk.roc_auc_score, "average_precision": sk.average_precision_score}[name]
        expected = [function(actual == c, log_odds(scores, c)) for c in range(C)]
    assert metric.compute() == pytest.approx(dict(zip([f"{name}_{c}" for c in "abcd"], expected, strict=True)))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")
@pytest.mark.parametrize("name", PER_CLASS)
def test_a_class_that_is_ignored_has_no_number_of_its_own(name: str) -> None:
    """Though it is predicted."""
    preds, targets = drawn("plain", (61, C)), torch.randint(C, (61,), generator=torch.Generator().manual_seed(1))
    (metric,) = make_metrics(FACTORIES[name](average=None, ignore_index=1), classes=list("abcd"))
    metric.update(preds, targets)
    counted = (targets != 1).numpy()
    assert (best(preds.numpy())[counted] == 1).any()
    expected = PER_CLASS[name](targets.numpy()[counted], best(preds.numpy())[counted], average=None, labels=range(C))
    expected[1] = math.nan
    found = metric.compute()
    assert found == pytest.approx(dict(zip([f"{name}_{c}" for c in "abcd"], expected, strict=True)), nan_ok=True)


@pytest.mark.parametrize("name", PER_CLASS)
def test_one_output_has_a_number_for_no_and_one_for_yes(name: str) -> None:
    shape = (61, 1, 1, 1) if name in ("dice", "iou") else (61, 1)
    preds, targets = drawn("plain", shape), torch.randint(2, (61,), generator=torch.Generator().manual_seed(1))
    (metric,) = make_metrics(FACTORIES[name](average=None), classes=["no", "yes"])
    metric.update(preds, targets.reshape(61, *shape[2:]))
    expected = PER_CLASS[name](targets.numpy(), preds.flatten().numpy() > 0, average=None)
    assert metric.compute() == pytest.approx({f"{name}_no": expected[0], f"{name}_yes": expected[1]})


@pytest.mark.parametrize("name", [f"{name}_multi" for name in ("precision", "recall", "f1", "f2", "jaccard")])
def test_one_number_per_label(name: str) -> None:
    preds = drawn("plain", (61, C))
    targets = (torch.rand(61, C, generator=torch.Generator().manual_seed(1)) > 0.6).long()
    (metric,) = make_metrics(FACTORIES[name](average=None))
    metric.update(preds, targets)
    expected = PER_CLASS[name.removesuffix("_multi")](targets.numpy(), preds.numpy() > 0, average=None)
    assert metric.compute() == pytest.approx({f"{name}_{c}": value for c, value in enumerate(expected)})


@pytest.mark.parametrize("name", [name for name in CLASSES if name not in ("dice", "iou", "foreground_accuracy")])
def test_targets_of_ignore_index_are_left_out(name: str) -> None:
    preds, targets = drawn("plain", (61, C)), torch.randint(C, (61,), generator=torch.Generator().manual_seed(1))
    counted = torch.arange(61) % 3 != 0
    (metric,), (plain,) = make_metrics(name, ignore_index=255), make_metrics(name)
    metric.update(preds, targets.where(counted, 255))
    plain.update(preds[counted], targets[counted])
    assert metric.compute() == pytest.approx(plain.compute())
