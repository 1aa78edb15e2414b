"""Metrics by name that need torchmetrics: names, directions, and what happens without it."""

import math
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from learnkit.data.bunch import DataBunch
from learnkit.errors import UsageError
from learnkit.learner.learner import Learner
from learnkit.metrics import FACTORIES, METRICS, f1, f1_multi, f_beta, f_beta_multi, iou, make_metrics, top_k

DOWN = {"error_rate", "hamming", "hamming_multi", "mae", "mse", "msle", "perplexity", "rmse"}


@pytest.mark.parametrize("name", [*METRICS, *FACTORIES])
def test_every_name_makes_a_metric_that_knows_its_direction(name: str) -> None:
    (metric,) = make_metrics(name)
    assert (metric.name, metric.higher_is_better) == (name, name not in DOWN)
    assert math.isnan(metric.compute())


def test_a_name_is_in_one_table_only() -> None:
    assert not METRICS.keys() & FACTORIES.keys()


@pytest.mark.parametrize(
    ("metric", "name"),
    [
        (f_beta(beta=2), "f2"),
        (f_beta(0.5, average="micro"), "f0.5_micro"),
        (f_beta_multi(2, average="samples"), "f2_multi_samples"),
        (iou(average="weighted"), "iou_weighted"),
        (f1(name="my f1"), "my f1"),
        (top_k(3), "top_3_accuracy"),
        (top_k(3, name="top"), "top"),
    ],
)
def test_a_metric_with_settings_is_named_after_them(metric: Any, name: str) -> None:
    assert [made.name for made in make_metrics([metric])] == [name]
    assert make_metrics(metric) == [metric]


@pytest.mark.parametrize("k", [1, 2, 3])
def test_top_k_takes_that_many(k: int) -> None:
    (metric,) = make_metrics(top_k(k))
    metric.update(torch.tensor([[3.0, 2.0, 1.0]]).repeat(3, 1), torch.arange(3))
    assert metric.compute() == pytest.approx(k / 3)


def test_top_zero_is_refused() -> None:
    with pytest.raises(UsageError, match="top_k: k: got 0, expected 1 or more"):
        top_k(0)


def test_the_function_without_settings_is_its_name() -> None:
    assert [metric.name for metric in make_metrics([f1, f1_multi, "iou"])] == ["f1", "f1_multi", "iou"]


def test_a_metric_is_made_anew_for_every_name() -> None:
    assert make_metrics("f1")[0] is not make_metrics("f1")[0]


@pytest.mark.parametrize(("name", "near"), [("f3", "f1"), ("precison", "precision"), ("aucroc", "auroc")])
def test_an_unknown_name_is_refused_with_the_nearest(name: str, near: str) -> None:
    with pytest.raises(UsageError, match=rf"metrics: got '{name}', expected a known metric.* Nearest: .*\b{near}\b"):
        make_metrics(name)


@pytest.mark.parametrize("name", FACTORIES)
def test_without_torchmetrics_the_message_says_what_to_install(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchmetrics", None)
    with pytest.raises(UsageError, match=rf'metric {name} needs torchmetrics.*pip install "learnkit\[metrics\]"'):
        make_metrics(name)


def test_without_torchmetrics_the_other_names_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchmetrics", None)
    assert [metric.name for metric in make_metrics([*METRICS])] == [*METRICS]


def test_learnkit_does_not_import_torchmetrics() -> None:
    code = "import sys, learnkit.metrics; sys.exit('torchmetrics' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_fit_shows_no_warnings_and_records_plain_numbers() -> None:
    """Warnings are errors here; the classes 2 to 4 are never there, and class 1 in the first batches only."""
    x = torch.randn(24, 4)
    data = TensorDataset(x, (x[:, 0] > 1).long())
    dls = DataBunch(DataLoader(data, batch_size=4), DataLoader(data, batch_size=4))
    names = ["f1", "precision", "auroc", "average_precision", "mcc", "kappa", "balanced_accuracy", "perplexity"]
    learn = Learner(dls, nn.Linear(4, 5), loss_func=nn.CrossEntropyLoss(), metrics=names)
    learn.fit(1)
    row = learn.history.iloc[-1]
    assert all(math.isfinite(row[name]) for name in names)


def test_nothing_of_the_graph_is_kept() -> None:
    (metric,) = make_metrics("spearman")
    preds = torch.randn(9, requires_grad=True)
    metric.update(preds, torch.randn(9))
    assert math.isfinite(metric.compute())
    kept = list(metric._metric.preds)  # type: ignore[attr-defined]
    assert [tensor.requires_grad for tensor in kept] == [False]
