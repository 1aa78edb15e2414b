"""Metrics by name: names, directions, settings, and a fit with them."""

import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import learnkit.metrics
from learnkit import DataBunch, Learner
from learnkit.errors import UsageError
from learnkit.metrics import FACTORIES, METRICS, f1, f1_multi, f_beta, f_beta_multi, iou, make_metrics, top_k
from tests.doubles import refused

# Of these a lower value is better.
DOWN = {"error_rate", "hamming", "hamming_multi", "mae", "mse", "msle", "perplexity", "rmse"}


@pytest.mark.parametrize("name", [*METRICS, *FACTORIES])
def test_every_name_makes_a_metric_that_knows_its_direction(name: str) -> None:
    (metric,) = make_metrics(name)
    assert metric.name == name
    assert metric.higher_is_better is (name not in DOWN), f"{name} is {'' if name in DOWN else 'not '}in DOWN"
    assert math.isnan(metric.compute())


def test_a_name_is_in_one_table_only() -> None:
    assert not METRICS.keys() & FACTORIES.keys()


@pytest.mark.parametrize("name", [*METRICS, *FACTORIES])
def test_the_function_of_every_name_is_public(name: str) -> None:
    function = METRICS[name].function if name in METRICS else FACTORIES[name]
    assert getattr(learnkit.metrics, name, None) is function, "import it in learnkit/metrics/__init__.py"
    assert name in learnkit.metrics.__all__


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


@pytest.mark.parametrize("k", [0, 2.0, True])
def test_top_zero_is_refused(k: Any) -> None:
    with refused("top_k: k", got=k):
        top_k(k)


def test_more_than_there_are_classes_is_refused_at_the_first_batch() -> None:
    with refused("metric top_4_accuracy: top_k_accuracy: k", got=4):
        top_k(4).update(torch.zeros(2, 3), torch.zeros(2).long())


def test_the_function_without_settings_is_its_name() -> None:
    assert [metric.name for metric in make_metrics([f1, f1_multi, "iou"])] == ["f1", "f1_multi", "iou"]


def test_every_name_makes_a_new_metric() -> None:
    assert make_metrics("f1")[0] is not make_metrics("f1")[0]


@pytest.mark.parametrize(("name", "near"), [("f3", "f1"), ("precison", "precision"), ("aucroc", "auroc")])
def test_an_unknown_name_is_refused_with_the_nearest(name: str, near: str) -> None:
    with pytest.raises(UsageError) as caught:
        make_metrics(name)
    assert (caught.value.what, caught.value.got) == ("metrics", name)
    assert near in caught.value.fix.removeprefix("Nearest: ").rstrip(".").split(", ")


def test_a_fit_shows_no_warnings_and_records_plain_numbers() -> None:
    """Warnings are errors here; the classes 2 to 4 have no items."""
    x = torch.randn(24, 4)
    data = TensorDataset(x, (x[:, 0] > 1).long())
    dls = DataBunch(DataLoader(data, batch_size=4), DataLoader(data, batch_size=4))
    names = ["f1", "precision", "auroc", "average_precision", "mcc", "kappa", "balanced_accuracy", "perplexity"]
    learn = Learner(dls, nn.Linear(4, 5), loss_func=nn.CrossEntropyLoss(), metrics=names)
    learn.fit(1)
    row = learn.history.iloc[-1]
    assert all(math.isfinite(row[name]) for name in names)
