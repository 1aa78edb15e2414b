"""The state of a fit: its position, its progress, and the columns of its record."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

from learnkit.device import Compute
from learnkit.errors import UsageError
from learnkit.metrics.metric import make_metrics
from learnkit.training.limits import Limits
from learnkit.training.state import TrainState, loader_length


def state(**options: Any) -> TrainState:
    compute = Compute(torch.device("cpu"), accumulate=options.pop("accumulate", None))
    made: dict[str, Any] = {"train_dl": [0] * 6, "compute": compute, "n_epochs": 2, **options}
    return TrainState(model=nn.Linear(2, 2), loss_func=nn.CrossEntropyLoss(), **made)


class Sized(list[int]):
    batch_size = 4


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        yield torch.zeros(1)


@pytest.mark.parametrize(
    ("loader", "n"), [([1, 2], 2), (iter([1]), None), (DataLoader(Stream()), None), (DataLoader([1, 2, 3], 2), 2)]
)
def test_the_length_of_a_loader_may_be_unknown(loader: Any, n: int | None) -> None:
    assert loader_length(loader) == n
    assert state(train_dl=loader).n_batches == n


def test_an_unknown_attribute_is_an_error() -> None:
    with pytest.raises(AttributeError):
        state().lss = 0  # type: ignore[attr-defined]


@pytest.mark.parametrize(("epoch", "batch", "progress"), [(0, 0, 0), (0, 3, 0.25), (1, 0, 0.5), (1, 5, 11 / 12)])
def test_progress_counts_batches(epoch: int, batch: int, progress: float) -> None:
    assert state(epoch=epoch, batch=batch).progress == progress


@pytest.mark.parametrize(
    ("epoch", "batch", "progress"),
    [(2, 0, 12 / 21), (3, 2, 20 / 21), (3, 5, 20 / 21)],  # steps that float16 skips take no part of `max_steps`
)
def test_max_steps_count_from_the_first_epoch(epoch: int, batch: int, progress: float) -> None:
    """Nine steps from the third epoch on, of six batches each: the first two epochs are 12 of 21."""
    running = state(n_epochs=9, start_epoch=2, first_epoch=2, epoch=epoch, batch=batch)
    running.limit(Limits.of(max_steps=9))
    assert running.progress == progress
    assert running.planned_epochs == 4


@pytest.mark.parametrize(("n_epochs", "planned"), [(3, 3), (4, 4), (5, 4)])
def test_no_more_epochs_are_planned_than_there_are(n_epochs: int, planned: int) -> None:
    running = state(n_epochs=n_epochs, first_epoch=2)
    assert running.planned_epochs == n_epochs
    running.limit(Limits.of(max_steps=9))
    assert running.planned_epochs == planned


@pytest.mark.parametrize(("batch", "progress"), [(0, 0), (2, 0), (3, 1 / 4), (5, 1 / 4)])
def test_batches_of_one_step_have_one_progress(batch: int, progress: float) -> None:
    """12 items per step, 4 per batch: 2 steps per epoch of 6 batches."""
    assert state(train_dl=Sized([0] * 6), accumulate=12, batch=batch).progress == progress


def test_a_last_step_of_fewer_batches_counts_as_one() -> None:
    running = state(train_dl=Sized([0] * 7), accumulate=12)
    running.epoch, running.batch = 1, 6
    assert running.progress == 5 / 6  # 3 steps per epoch


@pytest.mark.parametrize(
    ("accumulate", "size", "n"), [(None, 4, 1), (12, 4, 3), (13, 4, 4), (2, 4, 1), (12, None, 1), (12, 0, 1)]
)
def test_batches_per_step(accumulate: int | None, size: int | None, n: int) -> None:
    loader = Sized([0])
    loader.batch_size = size  # type: ignore[assignment]
    assert state(train_dl=loader, accumulate=accumulate).batches_per_step == n


def test_without_a_length_there_is_no_progress() -> None:
    with pytest.raises(UsageError, match="train_dl has no length"):
        state(train_dl=iter([1])).progress  # noqa: B018


@pytest.mark.parametrize(
    ("start_batch", "epoch", "continues"), [(3, 1, True), (3, 2, False), (0, 1, False), (1, 1, True), (3, 0, False)]
)
def test_a_fit_continues_in_the_epoch_it_was_interrupted_in(start_batch: int, epoch: int, continues: bool) -> None:
    assert state(start_epoch=1, start_batch=start_batch, epoch=epoch).continues is continues


def test_the_record_has_a_column_per_metric_and_those_of_callbacks() -> None:
    metrics = make_metrics("accuracy")
    assert state(valid_dl=[0], metrics=metrics, columns={"rate": 0.5}).record_names == [
        "train_loss",
        "valid_loss",
        "accuracy",
        "rate",
    ]
    assert state(metrics=metrics).record_names == ["train_loss"]
