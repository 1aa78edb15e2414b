"""Metrics over a set: from names, functions and objects, whatever the batches."""

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn import metrics as sklearn_metrics
from torch import Tensor, nn

from learnkit.errors import UsageError, WrongTypeError
from learnkit.metrics import FACTORIES, accuracy, f_beta, f_beta_multi, rmse, top_k, top_k_accuracy
from learnkit.metrics.functions import METRICS
from learnkit.metrics.metric import Metric, columns, make_metrics, results
from tests.doubles import refused

N, C = 83, 6
BATCH_SIZES = [1, 7, 32, N]


def over(metric: Metric, preds: Tensor, targets: Tensor, bs: int) -> float:
    metric.reset()
    for x, y in zip(preds.split(bs), targets.split(bs), strict=True):
        metric.update(x, y)
    return metric.compute()


def one(spec: Any) -> Metric:
    metric, *others = make_metrics(spec)
    assert others == []
    return metric


@pytest.fixture
def scores() -> tuple[Tensor, Tensor]:
    """Raw outputs (83, 6) and classes (83,)."""
    draw = torch.Generator().manual_seed(0)
    return torch.randn(N, C, generator=draw), torch.randint(C, (N,), generator=draw)


@pytest.fixture
def numbers() -> tuple[Tensor, Tensor]:
    """Outputs and targets, (83, 2)."""
    draw = torch.Generator().manual_seed(1)
    return torch.randn(N, 2, generator=draw), torch.randn(N, 2, generator=draw)


@pytest.mark.parametrize("bs", BATCH_SIZES)
def test_named_class_metrics_are_exact_whatever_the_batches(scores: tuple[Tensor, Tensor], bs: int) -> None:
    preds, targets = scores
    right = sklearn_metrics.accuracy_score(targets, preds.argmax(1), normalize=False)
    top = sklearn_metrics.top_k_accuracy_score(targets, preds, k=5, normalize=False, labels=range(C))
    assert over(one("accuracy"), preds, targets, bs) == right / N
    assert over(one("error_rate"), preds, targets, bs) == (N - right) / N
    assert over(one("top_k_accuracy"), preds, targets, bs) == top / N


@pytest.mark.parametrize("bs", BATCH_SIZES)
def test_named_regression_metrics_are_exact_whatever_the_batches(numbers: tuple[Tensor, Tensor], bs: int) -> None:
    preds, targets = numbers
    args = (targets.double().numpy().ravel(), preds.double().numpy().ravel())
    assert over(one("mse"), preds, targets, bs) == pytest.approx(sklearn_metrics.mean_squared_error(*args), rel=1e-6)
    assert over(one("mae"), preds, targets, bs) == pytest.approx(sklearn_metrics.mean_absolute_error(*args), rel=1e-6)
    expected = sklearn_metrics.root_mean_squared_error(*args)
    assert over(one("rmse"), preds, targets, bs) == pytest.approx(expected, rel=1e-6)
    assert over(one(rmse), preds, targets, bs) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("bs", BATCH_SIZES)
def test_accuracy_multi_is_exact_whatever_the_batches(numbers: tuple[Tensor, Tensor], bs: int) -> None:
    preds, targets = numbers[0], (numbers[1] > 0).float()
    expected = 1 - sklearn_metrics.hamming_loss(targets.int(), (preds.sigmoid() > 0.5).int())
    assert over(one("accuracy_multi"), preds, targets, bs) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("bs", BATCH_SIZES)
def test_a_function_is_averaged_over_items_not_batches(scores: tuple[Tensor, Tensor], bs: int) -> None:
    preds, targets = scores
    expected = F.cross_entropy(preds.double(), targets).item()
    assert over(one(F.cross_entropy), preds, targets, bs) == pytest.approx(expected, rel=1e-6)


def test_items_of_several_outputs_are_those_of_the_first() -> None:
    def mean_of_first(preds: tuple[Tensor, Tensor], targets: Tensor) -> Tensor:
        return preds[0].mean().reshape(1)  # one number in an axis

    metric = one(mean_of_first)
    for values in ([1.0], [2.0, 3.0, 7.0]):
        metric.update((torch.tensor(values), torch.zeros(7, 2)), torch.zeros(len(values)))
    assert metric.compute() == (1 + 2 + 3 + 7) / 4


@pytest.mark.parametrize("kind", [float, np.float32, np.float64, lambda value: torch.tensor([value])])
def test_what_is_one_number_may_be_of_any_kind(kind: Any) -> None:
    def half(preds: Tensor, targets: Tensor) -> Any:
        return kind(0.5)

    metric = F1Score()
    metric.compute = lambda: kind(0.5)  # type: ignore[method-assign]
    for made in (one(half), one(metric)):
        made.update(torch.zeros(4, 2), torch.zeros(4))
        assert made.compute() == 0.5
        assert type(made.compute()) is float


def test_the_root_is_taken_of_the_whole_sets_mean() -> None:
    preds, targets = torch.tensor([3.0, 0.0, 0.0]), torch.zeros(3)
    assert over(one("rmse"), preds, targets, 1) == math.sqrt(3)


def test_the_function_and_the_name_of_a_metric_are_equivalent(scores: tuple[Tensor, Tensor]) -> None:
    by_function = one(accuracy)
    assert (by_function.name, by_function.higher_is_better) == ("accuracy", True)
    assert over(by_function, *scores, 7) == over(one("accuracy"), *scores, 32)


@pytest.mark.parametrize("partial", [functools.partial(top_k_accuracy, k=2)])
def test_a_partial_has_its_functions_name_and_its_own_arguments(scores: tuple[Tensor, Tensor], partial: Any) -> None:
    preds, targets = scores
    metric = one(partial)
    expected = sklearn_metrics.top_k_accuracy_score(targets, preds, k=2, labels=range(C))
    assert (metric.name, metric.higher_is_better) == ("top_k_accuracy", True)
    assert over(metric, preds, targets, 7) == pytest.approx(expected, abs=1e-12)


def share_above(preds: Tensor, targets: Tensor, limit: float = 0.0) -> float:
    return float((preds[:, 0] > limit).double().mean())


def test_a_partial_of_any_function_works(scores: tuple[Tensor, Tensor]) -> None:
    metric = one(functools.partial(share_above, limit=0.5))
    assert metric.name == "share_above"
    assert metric.higher_is_better is None
    expected = float((scores[0][:, 0] > 0.5).double().mean())
    assert over(metric, *scores, 32) == pytest.approx(expected, abs=1e-12)


def test_a_functions_own_direction_is_kept() -> None:
    def gain(preds: Tensor, targets: Tensor) -> Tensor:
        return preds.mean()

    gain.higher_is_better = True  # type: ignore[attr-defined]
    assert one(gain).higher_is_better is True
    assert one(functools.partial(gain)).higher_is_better is True


@pytest.mark.parametrize("name", METRICS)
def test_every_name_makes_a_metric_of_that_name_and_direction(name: str) -> None:
    metric = one(name)
    assert metric.name == name
    assert metric.higher_is_better is METRICS[name].higher_is_better


class F1Score(nn.Module):
    """Accumulates as torchmetrics objects do: everything kept, computed at the end."""

    higher_is_better = True

    def __init__(self) -> None:
        super().__init__()
        self.reset()

    def reset(self) -> None:
        self.kept: list[tuple[Tensor, Tensor]] = []

    def update(self, preds: Tensor, target: Tensor) -> None:
        self.kept.append((preds.argmax(1), target))

    def compute(self) -> Tensor:
        preds, targets = (torch.cat(parts) for parts in zip(*self.kept, strict=True))
        return torch.tensor(sklearn_metrics.f1_score(targets, preds, average="macro"))


@pytest.mark.parametrize("bs", BATCH_SIZES)
def test_an_object_accumulates_by_itself(scores: tuple[Tensor, Tensor], bs: int) -> None:
    preds, targets = scores
    metric = one(F1Score())
    expected = sklearn_metrics.f1_score(targets, preds.argmax(1), average="macro")
    assert (metric.name, metric.higher_is_better) == ("f1_score", True)
    assert over(metric, preds, targets, bs) == pytest.approx(expected)
    assert over(metric, preds, targets, bs) == pytest.approx(expected)  # reset drops them


def test_after_a_reset_an_object_is_nan_until_the_next_batch(scores: tuple[Tensor, Tensor]) -> None:
    metric = one(F1Score())
    metric.update(*scores)
    metric.reset()
    assert math.isnan(metric.compute())


class MergingF1(F1Score):
    """Merges as a custom object may."""

    def merge(self, other: "MergingF1") -> None:
        self.kept += other.kept


def share_of_class_0(preds: Tensor, targets: Tensor) -> Tensor:
    return (targets == 0).float().mean()


@pytest.mark.parametrize("make", [lambda: one(MergingF1()), lambda: one(share_of_class_0)])
def test_shards_of_objects_and_functions_merged_are_the_whole(
    make: Callable[[], Metric], scores: tuple[Tensor, Tensor]
) -> None:
    merged = make()
    for preds, targets in zip(*(part.split([3, 50, 30]) for part in scores), strict=True):
        shard = make()
        shard.update(preds, targets)
        merged.merge(shard)
        merged.merge(make())  # one without batches
    assert merged.compute() == pytest.approx(over(make(), *scores, N), rel=1e-7)


def test_an_object_that_cannot_merge_is_refused_when_it_has_to() -> None:
    first, second = one(F1Score()), one(F1Score())
    first.merge(second)  # nothing to add
    second.update(torch.zeros(4, 2), torch.zeros(4))
    with refused("metric f1_score", got="F1Score"):
        first.merge(second)


def test_a_torchmetrics_object_is_a_metric(scores: tuple[Tensor, Tensor]) -> None:
    torchmetrics = pytest.importorskip("torchmetrics")
    preds, targets = scores
    first, second = (one(torchmetrics.F1Score(task="multiclass", num_classes=C, average="macro")) for _ in range(2))
    assert (first.name, first.higher_is_better) == ("multiclass_f1_score", True)
    expected = sklearn_metrics.f1_score(targets, preds.argmax(1), average="macro")
    assert over(first, preds, targets, 7) == pytest.approx(expected)
    first.reset()
    first.update(preds[:20], targets[:20])
    second.update(preds[20:], targets[20:])
    first.merge(second)
    assert first.compute() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("class_name", "name"),
    [
        ("MulticlassAUROC", "multiclass_auroc"),
        ("AUROC", "auroc"),
        ("R2Score", "r2_score"),
        ("JaccardIndex", "jaccard_index"),
    ],
)
def test_an_object_is_named_after_its_class(class_name: str, name: str) -> None:
    assert one(type(class_name, (F1Score,), {})()).name == name


def test_an_objects_own_name_is_kept() -> None:
    metric = F1Score()
    metric.name = "macro f1"  # type: ignore[assignment]
    assert one(metric).name == "macro f1"


def test_a_module_that_is_called_is_a_function(numbers: tuple[Tensor, Tensor]) -> None:
    metric = one(nn.L1Loss())
    assert metric.name == "l1_loss"
    assert over(metric, *numbers, 7) == pytest.approx(F.l1_loss(*numbers).item(), rel=1e-6)


@pytest.mark.parametrize("spec", ["accuracy", share_above, F1Score()])
def test_a_metric_without_batches_is_nan(spec: Any) -> None:
    assert math.isnan(one(spec).compute())


def test_reset_forgets(scores: tuple[Tensor, Tensor]) -> None:
    metric = one("accuracy")
    metric.update(torch.eye(C), torch.arange(C).flip(0))
    assert over(metric, *scores, 32) == over(one("accuracy"), *scores, 32)


def test_a_function_metric_keeps_no_graph_and_no_batch() -> None:
    def first(preds: Tensor, targets: Tensor) -> Tensor:
        return preds[0, 0]

    metric = one(first)
    preds = torch.randn(50, 2, requires_grad=True)
    metric.update(preds, torch.randn(50, 2))
    kept = metric._sums.sums  # type: ignore[attr-defined]
    assert [tensor.requires_grad for tensor in kept] == [False, False]
    assert all(tensor.untyped_storage().nbytes() == 8 for tensor in kept)


def test_nothing_makes_no_metrics() -> None:
    assert make_metrics(None) == make_metrics([]) == make_metrics(()) == []


def test_a_sequence_is_made_in_order_and_made_metrics_stay() -> None:
    metrics = make_metrics(["rmse", accuracy, F1Score()])
    assert [metric.name for metric in metrics] == ["rmse", "accuracy", "f1_score"]
    assert make_metrics(metrics) == metrics


@pytest.mark.parametrize("spec", ["acuracy", ["mse", "acuracy"]])
def test_an_unknown_name_is_refused_with_the_nearest(spec: Any) -> None:
    with pytest.raises(UsageError, match=r"metrics: got 'acuracy', expected a known metric.* Nearest: accuracy"):
        make_metrics(spec)


def test_a_class_is_refused() -> None:
    with refused("metrics", got="F1Score", fix="Pass F1Score(...)."):
        make_metrics(F1Score)


@pytest.mark.parametrize("spec", [3, None, {"accuracy"}, object()])
def test_something_that_cannot_be_called_is_refused(spec: Any) -> None:
    with refused("metrics", got=spec):
        make_metrics([spec])


@pytest.mark.parametrize(
    ("spec", "name"),
    [(["mse", "mse"], "mse"), (["accuracy", accuracy], "accuracy"), ([F1Score(), F1Score()], "f1_score")],
)
def test_the_same_name_twice_is_refused(spec: Any, name: str) -> None:
    with refused("metrics", got=[name, name]):
        make_metrics(spec)


def test_a_function_that_returns_several_numbers_is_refused() -> None:
    def per_item(preds: Tensor, targets: Tensor) -> Tensor:
        return preds.mean(1)

    with refused("metric per_item", got=(4,), expected="one number, shape ()"):
        one(per_item).update(torch.zeros(4, 2), torch.zeros(4))


@pytest.mark.parametrize("value", [None, "0.5"])
def test_a_function_that_does_not_return_a_number_is_refused(value: Any) -> None:
    def strange(preds: Tensor, targets: Tensor) -> Any:
        return value

    with refused("metric strange", got=value):
        one(strange).update(torch.zeros(4, 2), torch.zeros(4))


@pytest.mark.parametrize(("value", "got"), [(torch.zeros(3), (3,)), ({"a": 1}, {"a": 1})])
def test_an_object_that_does_not_return_a_single_number_is_refused(value: Any, got: Any) -> None:
    metric = F1Score()
    metric.compute = lambda: value  # type: ignore[method-assign]
    made = one(metric)
    made.update(torch.zeros(4, 2), torch.zeros(4))
    with refused("metric f1_score", got=got):
        made.compute()


def test_a_column_of_the_history_is_not_a_name_for_a_metric() -> None:
    def valid_loss(preds: Tensor, targets: Tensor) -> Tensor:
        return preds.sum()

    with refused("metrics", got="valid_loss"):
        make_metrics(valid_loss)


# One object, partials, names, ignored targets, numbers per class.


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("accuracy", "accuracy"),
        (accuracy, "accuracy"),
        (functools.partial(accuracy, ignore_index=3), "accuracy"),
        (functools.partial(functools.partial(accuracy), ignore_index=3), "accuracy"),
        (FACTORIES["f1"], "f1"),
        (functools.partial(FACTORIES["f1"], average="micro"), "f1_micro"),
        (f_beta, "f1"),
        (functools.partial(f_beta, beta=0.5), "f0.5"),
        (functools.partial(f_beta_multi, beta=2), "f2_multi"),
        (functools.partial(top_k, k=2), "top_2_accuracy"),
        (functools.partial(top_k_accuracy, k=2), "top_k_accuracy"),
    ],
)
def test_a_name_a_function_and_a_partial_are_that_metric(spec: Any, name: str) -> None:
    for given in (spec, [spec], (spec,)):
        assert repr(make_metrics(given)) == f"[{name}]"


@pytest.mark.parametrize("function", [accuracy, FACTORIES["f1"], F.cross_entropy, f_beta])
def test_a_partial_keeps_its_name(function: Any) -> None:
    mine = functools.partial(function)
    mine.__name__ = "mine"  # type: ignore[attr-defined]
    assert one(mine).name == "mine"
    assert [metric.name for metric in make_metrics([function, mine])][1] == "mine"


WRONG_KEYWORDS = {**{name: named.function for name, named in METRICS.items()}, **FACTORIES, "f_beta": f_beta}


@pytest.mark.parametrize("name", WRONG_KEYWORDS)
def test_a_wrong_keyword_is_refused_by_name_before_a_batch(name: str) -> None:
    with pytest.raises(WrongTypeError, match=f"metric {name}: keyword: got 'thresh'"):
        make_metrics(functools.partial(WRONG_KEYWORDS[name], thresh=0.2))
    with pytest.raises(WrongTypeError, match=rf"metric {name}: got \(3,\), expected settings by name"):
        make_metrics(functools.partial(WRONG_KEYWORDS[name], 3))


OUT_OF_RANGE: list[tuple[Any, dict[str, Any]]] = [
    (METRICS["accuracy_multi"].function, {"threshold": 0}),
    (METRICS["accuracy_multi"].function, {"threshold": 1.5}),
    (METRICS["accuracy_multi"].function, {"threshold": math.nan}),
    (METRICS["accuracy_multi"].function, {"sigmoid": "no"}),
    (METRICS["accuracy_multi"].function, {"sigmoid": False, "threshold": math.inf}),
    *[(top_k_accuracy, {"k": k}) for k in (0, -1, 2.0, True)],
    *[(top_k, {"k": k}) for k in (0, 1.5)],
    *[(f_beta, {"beta": beta}) for beta in (0, -1, math.inf, "2")],
    *[(f_beta_multi, {"beta": beta}) for beta in (0, math.nan)],
    *[(FACTORIES[name], {"threshold": 2}) for name in ("f1", "precision", "recall_multi", "hamming_multi", "jaccard")],
    *[(FACTORIES[name], {"average": "mean"}) for name in ("f1", "auroc", "recall_multi", "auroc_multi", "dice")],
    *[(FACTORIES[name], {"ignore_index": 1.0}) for name in ("f1", "auroc", "kappa", "hamming", "iou")],
    (accuracy, {"ignore_index": "void"}),
    (FACTORIES["kappa"], {"weights": "cubic"}),
    (FACTORIES["foreground_accuracy"], {"background": None}),
]


@pytest.mark.parametrize(("function", "settings"), OUT_OF_RANGE)
def test_a_setting_out_of_range_is_refused_before_a_batch(function: Any, settings: dict[str, Any]) -> None:
    with pytest.raises((UsageError, WrongTypeError), match=next(reversed(settings))):
        make_metrics(functools.partial(function, **settings))


def test_a_threshold_for_outputs_that_are_no_probabilities_may_be_any_number() -> None:
    metric = one(functools.partial(METRICS["accuracy_multi"].function, threshold=-3.0, sigmoid=False))
    metric.update(torch.tensor([[-4.0, -2.0]]), torch.tensor([[0, 1]]))
    assert metric.compute() == 1.0


@pytest.mark.parametrize("wrap", [lambda metric: metric, lambda metric: [metric], lambda metric: (metric,)])
def test_one_object_of_torchmetrics_is_that_metric(wrap: Callable[[Any], Any]) -> None:
    torchmetrics = pytest.importorskip("torchmetrics")
    metric = one(wrap(torchmetrics.F1Score(task="multiclass", num_classes=3)))
    assert (metric.name, metric.higher_is_better) == ("multiclass_f1_score", True)


def test_a_collection_of_torchmetrics_is_its_metrics_by_their_names(scores: tuple[Tensor, Tensor]) -> None:
    torchmetrics = pytest.importorskip("torchmetrics")
    parts = {
        "f": torchmetrics.F1Score(task="multiclass", num_classes=C),
        "distance": torchmetrics.HammingDistance(task="multiclass", num_classes=C),
    }
    metrics = make_metrics([torchmetrics.MetricCollection(parts, prefix="my_"), "accuracy"])
    assert {metric.name: metric.higher_is_better for metric in metrics} == {
        "my_f": True, "my_distance": False, "accuracy": True,
    }  # fmt: skip
    whole = torchmetrics.MetricCollection(parts, prefix="my_").clone()
    whole.reset()
    for x, y in zip(*(part.split(7) for part in scores), strict=True):
        whole.update(x, y)
        for metric in metrics:
            metric.update(x, y)
    expected = {name: float(value) for name, value in whole.compute().items()}
    assert {metric.name: metric.compute() for metric in metrics[:2]} == pytest.approx(expected)


def test_a_number_per_class_needs_classes() -> None:
    with pytest.raises(UsageError, match="metric f1: average: expected data with classes"):
        make_metrics(FACTORIES["f1"](average=None), classes=[])
    with pytest.raises(UsageError, match="different names"):
        make_metrics(["accuracy", FACTORIES["f1"](average=None), Named("f1_b")], classes=["a", "b"])


def test_a_metric_of_its_own_may_have_several_columns() -> None:
    class Quantiles:
        name = "quantiles"
        higher_is_better = None
        columns = ("low", "high")

    assert columns(Quantiles()) == ["low", "high"]  # type: ignore[arg-type]
    assert columns(one("accuracy")) == ["accuracy"]


class Named:
    """A metric that only has a name."""

    def __init__(self, name: str) -> None:
        self.name = name

    def reset(self) -> None: ...
    def update(self, preds: Any, targets: Any) -> None: ...

    def compute(self) -> float:
        return 0.0


def test_results_are_by_column() -> None:
    assert results(one(Named("zero"))) == {}.fromkeys(["zero"], pytest.approx(math.nan, nan_ok=True))
    metric = one(FACTORIES["recall"](average=None))
    metric.update(torch.eye(3), torch.tensor([0, 1, 1]))
    assert results(metric) == pytest.approx({"recall_0": 1.0, "recall_1": 0.5, "recall_2": 0.0})


def test_ignored_targets_are_the_datas_unless_a_metric_has_its_own() -> None:
    preds, targets = torch.eye(3)[[0, 1, 2, 0]], torch.tensor([0, 1, 1, 255])
    for spec, expected in [
        ("accuracy", 2 / 3), (accuracy, 2 / 3), ("error_rate", 1 / 3), (functools.partial(accuracy), 2 / 3),
        (functools.partial(accuracy, ignore_index=1), 1 / 2), ("hamming", 1 / 3), (FACTORIES["hamming"], 1 / 3),
    ]:  # fmt: skip
        (metric,) = make_metrics(spec, ignore_index=255)
        metric.update(preds, targets)
        assert metric.compute() == pytest.approx(expected)
