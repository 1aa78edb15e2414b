"""Metrics of one process, which sees everything; `tests/distributed/matrix.py` has those of several."""

from typing import Any

import pytest
import torch
from torch import Tensor

from learnkit.distributed import exchange
from learnkit.distributed.world import World
from learnkit.errors import UsageError
from learnkit.metrics import shared
from learnkit.metrics.metric import Metric, make_metrics
from learnkit.metrics.shared import observe, results_of_all
from learnkit.metrics.wrapped import ObjectMetric


def test_alone_a_metric_sees_its_batches() -> None:
    (metric,) = make_metrics("accuracy")
    observe(metric, torch.eye(4), torch.tensor([0, 1, 2, 0]), 4)
    assert results_of_all(metric) == {"accuracy": 0.75}


@pytest.fixture
def one_of_two(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """The first of two processes, the other of which has the same rows; what was sent is returned."""
    world, sent = World(), []
    world._size = 2

    def gathered_rows(rows: Tensor, n: int) -> Tensor:
        sent.append(rows[:n])
        return torch.cat([rows[:n], rows[:n]])

    monkeypatch.setattr(shared, "world", world)
    monkeypatch.setattr(exchange, "gathered_rows", gathered_rows)
    return sent


def largest(preds: Tensor, targets: Tensor) -> Tensor:
    return preds.sum()


def test_a_function_sees_the_batch_of_all(one_of_two: list[Tensor]) -> None:
    (metric,) = make_metrics(largest)
    observe(metric, torch.ones(3, 1), torch.zeros(3), 3)
    assert results_of_all(metric) == {"largest": 6.0}  # the sum over both, once
    assert [tuple(rows.shape) for rows in one_of_two] == [(3, 1), (3,)]


def test_an_item_that_does_not_count_is_not_sent(one_of_two: list[Tensor]) -> None:
    named: list[Metric] = make_metrics(["accuracy", largest])
    for metric in named:
        observe(metric, torch.ones(1, 2), torch.zeros(1, dtype=torch.long), 0)
    assert [len(rows) for rows in one_of_two] == [0, 0]


def test_structures_that_are_not_rows_are_refused(one_of_two: list[Tensor]) -> None:
    (metric,) = make_metrics(largest)
    with pytest.raises(UsageError, match=r"metric largest: a tensor \(4,\) for 2 items"):
        observe(metric, torch.zeros(2, 1), torch.zeros(4), 2)


@pytest.mark.usefixtures("one_of_two")
def test_names_of_items_cannot_be_put_together() -> None:
    (metric,) = make_metrics(largest)
    with pytest.raises(UsageError, match="metric largest: str for 2 items"):
        observe(metric, torch.zeros(2, 1), ["a", "b"], 2)


def test_torchmetrics_do_not_put_processes_together_again(one_of_two: list[Tensor]) -> None:
    torchmetrics = pytest.importorskip("torchmetrics")
    kept: Any = torchmetrics.MeanSquaredError()
    metric = ObjectMetric(kept)
    observe(metric, torch.ones(2), torch.zeros(2), 2)
    assert not kept.distributed_available_fn()
    assert results_of_all(metric) == {"mean_squared_error": 1.0}
