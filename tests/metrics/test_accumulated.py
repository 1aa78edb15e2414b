"""Every metric by name: shards merged are the whole, and no batch makes the device wait."""

import copy
import math
import sys
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from learnkit.metrics import (
    FACTORIES,
    METRICS,
    auroc_multi,
    dice,
    f1,
    f1_multi,
    foreground_accuracy,
    iou,
    kappa,
    make_metrics,
    top_k,
)
from learnkit.metrics.accumulated import AccumulatedMetric
from learnkit.metrics.metric import targets_of
from learnkit.training.snapshot import Copies
from tests.doubles import refused

# Every name, and settings with a different path through the code.
SPECS: list[Any] = [
    *METRICS,
    *FACTORIES,
    top_k(2),
    f1(average="weighted"),
    f1_multi(average="samples"),
    auroc_multi(average="micro"),
    kappa(weights="quadratic"),
    iou(ignore_index=1, name="iou without 1"),
    dice(ignore_index=255, average="micro"),
    foreground_accuracy(ignore_index=2, name="foreground without 2"),
]
N, C = 41, 7
UNEVEN = [1, 23, 2, 15]


def made(spec: Any) -> AccumulatedMetric:
    """A metric without batches that shares nothing with others."""
    (metric,) = make_metrics(spec)
    assert isinstance(metric, AccumulatedMetric)
    return copy.deepcopy(metric)


def batch_for(metric: AccumulatedMetric, device: str = "cpu") -> tuple[Tensor, Tensor]:
    """Raw outputs and targets of 41 items, of the kind that the metric takes."""
    draw = torch.Generator().manual_seed(3)
    kind = (targets_of(metric) or ())[-1]
    shape = (N, C, 3, 2) if kind == "mask" else (N, C)
    preds = torch.randn(shape, generator=draw)
    if kind in ("class", "mask"):
        targets = torch.randint(C, (N, *shape[2:]), generator=draw)
    elif kind == "labels":
        targets = torch.rand(shape, generator=draw) > 0.5
    else:
        preds, targets = torch.rand(shape, generator=draw), torch.rand(shape, generator=draw)
    return preds.to(device), targets.to(device)


def name_of(spec: Any) -> str:
    return spec if isinstance(spec, str) else str(spec.name)


@pytest.fixture(params=SPECS, ids=name_of)
def metric(request: pytest.FixtureRequest) -> AccumulatedMetric:
    return made(request.param)


def of_whole(metric: AccumulatedMetric) -> float:
    whole = copy.deepcopy(metric)
    whole.update(*batch_for(metric))
    value = whole.compute()
    assert math.isfinite(value)
    return value


def test_shards_of_uneven_size_merged_are_the_whole(metric: AccumulatedMetric) -> None:
    shards = []
    for preds, targets in zip(*(part.split(UNEVEN) for part in batch_for(metric)), strict=True):
        shards.append(copy.deepcopy(metric))
        shards[-1].update(preds, targets)
    alone = [shard.compute() for shard in shards]
    merged = copy.deepcopy(metric)
    for shard in [shards[1], copy.deepcopy(metric), *shards[2:], shards[0]]:  # one process had nothing to do
        merged.merge(shard)
    assert merged.compute() == pytest.approx(of_whole(metric), rel=1e-12)
    assert [shard.compute() for shard in shards] == pytest.approx(alone, nan_ok=True, abs=0)


def test_after_a_merge_more_batches_can_come(metric: AccumulatedMetric) -> None:
    (first, second), (of_first, of_second) = (part.split([30, 11]) for part in batch_for(metric))
    other = copy.deepcopy(metric)
    other.update(first, of_first)
    metric.merge(other)
    metric.update(second, of_second)
    assert metric.compute() == pytest.approx(of_whole(metric), rel=1e-12)
    metric.reset()
    assert math.isnan(metric.compute())


class Reads(TorchDispatchMode):
    """Counts what makes a device wait: a number read, or a shape that depends on values."""

    WAITS = ("_local_scalar_dense", "nonzero", "bincount", "unique", "masked_select", "is_nonzero", "equal")

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.name().removeprefix("aten::").partition(".")[0]
        by_mask = name.startswith("index") and any(
            isinstance(index, Tensor) and index.dtype in (torch.bool, torch.uint8)
            for index in (args[1] if isinstance(args[1], list | tuple) else ())
        )
        if by_mask or any(name.startswith(wait) for wait in self.WAITS):
            self.found.append(name)
        return func(*args, **(kwargs or {}))


def test_no_batch_reads_a_number_from_the_device(metric: AccumulatedMetric) -> None:
    preds, targets = batch_for(metric)
    with Reads() as reads:
        for x, y in zip(preds.split(7), targets.split(7), strict=True):
            metric.update(x, y)
        metric.merge(copy.deepcopy(metric))
    assert reads.found == []


def test_reads_are_counted() -> None:
    x, other = torch.arange(4), torch.arange(4)
    with Reads() as reads:
        x.max().item()
        bool((x > 1).any())
        x[x > 1]
        x[x > 1] = 0
        torch.bincount(x)
        x.tolist()
        torch.equal(x, other)
    assert {"_local_scalar_dense", "index", "index_put_", "bincount", "equal"} <= set(reads.found)


def test_no_batch_needs_values_at_all(metric: AccumulatedMetric) -> None:
    """On the meta device nothing can be read, nor be copied to the CPU."""
    for _ in range(2):
        metric.update(*batch_for(metric, "meta"))
    other = copy.deepcopy(metric)
    metric.merge(other)


def test_kept_values_hold_neither_the_graph_nor_the_batch(metric: AccumulatedMetric) -> None:
    preds, targets = batch_for(metric)
    metric.update(preds.requires_grad_(), targets)
    kept = tensors_of(metric)
    assert kept
    batch = {preds.untyped_storage().data_ptr(), targets.untyped_storage().data_ptr()}
    assert not any(tensor.requires_grad or tensor.untyped_storage().data_ptr() in batch for tensor in kept)


@pytest.mark.parametrize("name", [*METRICS, *FACTORIES])
def test_the_state_does_not_grow_except_for_ranks(name: str) -> None:
    metric = made(name)
    sizes = []
    for _ in range(3):
        metric.update(*batch_for(metric))
        sizes.append(sum(tensor.untyped_storage().nbytes() for tensor in tensors_of(metric)))
    grows = {"auroc", "auroc_multi", "average_precision", "average_precision_multi", "spearman"}
    assert (sizes[2] > sizes[0]) == (name in grows)
    assert sizes[0] <= 1.5 * sum(part.nbytes for part in batch_for(metric))


def tensors_of(metric: AccumulatedMetric) -> list[Tensor]:
    """Every tensor that is held by a metric's accumulators."""
    leaves = tree_leaves([vars(metric._accumulator), vars(metric._range)])
    return [leaf for leaf in leaves if isinstance(leaf, Tensor)]


def test_every_name_works_without_torchmetrics(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchmetrics", None)  # an import of it fails
    for name in [*METRICS, *FACTORIES]:
        assert math.isfinite(of_whole(made(name)))


@pytest.mark.parametrize("name", [*FACTORIES])
def test_a_change_of_the_number_of_outputs_is_refused(name: str) -> None:
    metric = made(name)
    preds, targets = batch_for(metric)
    fewer = preds[:, : C - 1], targets[:, : C - 1] if targets.shape == preds.shape else targets.clamp(max=C - 2)
    other = copy.deepcopy(metric)
    other.update(*fewer)
    metric.update(preds, targets)
    with refused(f"metric {name}: outputs per item", got=C - 1, expected=f"{C}, as in the batches before"):
        metric.update(*fewer)
    with refused(f"metric {name}: outputs per item", got=C - 1):
        metric.merge(other)
    metric.reset()
    metric.update(*fewer)
    assert metric.compute() == pytest.approx(other.compute())


def test_targets_of_another_process_are_checked_too() -> None:
    metric, other = made("f1"), made("f1")
    metric.update(torch.eye(3), torch.arange(3))
    other.update(torch.eye(3), torch.arange(1, 4))
    metric.merge(other)
    with refused("metric f1: targets", got=3, expected="0 to 2"):
        metric.compute()


def test_a_metric_goes_on_from_its_state(metric: AccumulatedMetric) -> None:
    shards = list(zip(*(part.split(UNEVEN) for part in batch_for(metric)), strict=True))
    again = copy.deepcopy(metric)
    metric.update(*shards[0])
    again.load_state_dict(Copies().take(metric.state_dict()))
    metric.update(*shards[1])  # what it sees later is not the other's
    for shard in shards[1:]:
        again.update(*shard)
    metric.reset()
    assert again.compute() == pytest.approx(of_whole(metric), rel=1e-12)


def test_targets_from_before_a_state_was_loaded_are_checked_too() -> None:
    metric, again = made("f1"), made("f1")
    metric.update(torch.eye(3), torch.arange(1, 4))
    again.load_state_dict(Copies().take(metric.state_dict()))
    again.update(torch.eye(3), torch.arange(3))
    with refused("metric f1: targets", got=3, expected="0 to 2"):
        again.compute()


MULTICLASS: dict[str, tuple[str, dict[str, Any]]] = {
    "accuracy": ("Accuracy", {"average": "micro"}),
    "precision": ("Precision", {"average": "macro"}),
    "recall": ("Recall", {"average": "macro"}),
    "f1": ("F1Score", {"average": "macro"}),
    "jaccard": ("JaccardIndex", {"average": "macro"}),
    "balanced_accuracy": ("Accuracy", {"average": "macro"}),
    "kappa": ("CohenKappa", {}),
    "mcc": ("MatthewsCorrCoef", {}),
    "hamming": ("HammingDistance", {"average": "micro"}),
    "auroc": ("AUROC", {"average": "macro"}),
    "average_precision": ("AveragePrecision", {"average": "macro"}),
}
MULTILABEL: dict[str, tuple[str, dict[str, Any]]] = {
    "accuracy_multi": ("Accuracy", {"average": "micro"}),
    "precision_multi": ("Precision", {"average": "macro"}),
    "recall_multi": ("Recall", {"average": "macro"}),
    "f1_multi": ("F1Score", {"average": "macro"}),
    "jaccard_multi": ("JaccardIndex", {"average": "macro"}),
    "hamming_multi": ("HammingDistance", {"average": "micro"}),
    "auroc_multi": ("AUROC", {"average": "macro"}),
    "average_precision_multi": ("AveragePrecision", {"average": "macro"}),
}
OF_NUMBERS: dict[str, tuple[str, dict[str, Any]]] = {
    "mse": ("MeanSquaredError", {}),
    "mae": ("MeanAbsoluteError", {}),
    "r2": ("R2Score", {}),
    "explained_variance": ("ExplainedVariance", {}),
    "pearson": ("PearsonCorrCoef", {"num_outputs": C}),
    "spearman": ("SpearmanCorrCoef", {"num_outputs": C}),
}


@pytest.mark.filterwarnings("ignore:Metric .* will save all targets:UserWarning")
@pytest.mark.parametrize("name", [*MULTICLASS, *MULTILABEL, *OF_NUMBERS])
def test_torchmetrics_returns_the_same(name: str) -> None:
    torchmetrics = pytest.importorskip("torchmetrics")
    if name in OF_NUMBERS:
        kind, settings = OF_NUMBERS[name]
        reference = getattr(torchmetrics.regression, kind)(**settings)
    elif name in MULTICLASS:
        kind, settings = MULTICLASS[name]
        reference = getattr(torchmetrics.classification, f"Multiclass{kind}")(num_classes=C, **settings)
    else:
        kind, settings = MULTILABEL[name]
        reference = getattr(torchmetrics.classification, f"Multilabel{kind}")(num_labels=C, **settings)
    metric = made(name)
    preds, targets = batch_for(metric)
    for x, y in zip(preds.split(8), targets.split(8), strict=True):
        metric.update(x, y)
        reference.update(x, y.long() if y.dtype == torch.bool else y)
    assert metric.compute() == pytest.approx(float(reference.compute().mean()), abs=1e-5)
