"""Monitors: which column, which direction, and by how much."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from learnkit import DataBunch, Learner
from learnkit.callbacks import Callback, EarlyStopping, ReduceLROnPlateau, SaveModel
from learnkit.callbacks.monitor import Mode, Monitor
from learnkit.errors import UsageError, WrongTypeError
from learnkit.training.limits import Limits
from learnkit.training.state import TrainState
from tests.callbacks.scripted import Scripted, run
from tests.doubles import Blobs, acting, refused


def improvements(
    values: list[float],
    name: str = "scripted",
    higher: bool | None = False,
    delta: float = 0,
    mode: Mode = None,
    baseline: float | None = None,
) -> list[bool]:
    """For each epoch, whether the monitor sees an improvement."""
    monitor, seen = Monitor(name, delta, mode=mode, baseline=baseline), list[bool]()
    watch = acting(
        before_fit=monitor.start,
        after_epoch=lambda state: seen.append(monitor.improves(state, state.row[monitor.name])),
        order=99,
    )
    run(Scripted(values, higher, name), watch)
    return seen


@pytest.mark.parametrize(
    ("values", "delta", "expected"),
    [
        ([3, 2, 2.1, 2, 1], 0, [True, True, False, False, True]),
        ([3, 2.75, 2.5, 2.25], 0.5, [True, False, False, True]),  # 2.5 is not better by more than 0.5
        ([math.nan, 3, math.nan, 2], 0, [False, True, False, True]),
    ],
)
def test_an_improvement_beats_the_best_by_more_than_min_delta(
    values: list[float], delta: float, expected: list[bool]
) -> None:
    assert improvements(values, delta=delta) == expected
    assert improvements([-value for value in values], higher=True, delta=delta) == expected


@pytest.mark.parametrize(
    ("name", "higher_is_better", "rising_is_better"),
    [
        ("any", True, True),
        ("any", False, False),
        ("my_loss", None, False),
        ("my_error", None, False),
        ("mae_years", None, False),
        ("valRMSE", None, False),
        ("MAPE", None, False),
        ("cross_entropy", None, False),
        ("accuracy_of_cats", None, True),
        ("top5_acc", None, True),
        ("score", True, True),
        ("my_loss", True, True),  # the metric says so
    ],
)
def test_the_metric_or_its_name_defines_the_direction(
    name: str, higher_is_better: bool | None, rising_is_better: bool
) -> None:
    assert improvements([1, 2, 3], name, higher_is_better) == [True, rising_is_better, rising_is_better]


UNKNOWN = [
    "score",
    "neg_mse",
    "loss_reduction",
    "accuracy_loss",
    "error_free",
    "glossy",
    "macro",
    "distance",
    "log_prob",
]


@pytest.mark.parametrize("name", UNKNOWN)
@pytest.mark.parametrize("make", [EarlyStopping, SaveModel, ReduceLROnPlateau])
def test_a_direction_that_nobody_knows_is_refused_before_anything_runs(name: str, make: type[Callback]) -> None:
    metric = Scripted([1, 2, 3], None, name)
    with refused("monitor", got=name, fix="Pass mode='min' or mode='max', or set higher_is_better of the metric."):
        run(metric, make(name))  # type: ignore[call-arg]
    assert metric.n == -1


@pytest.mark.parametrize("make", [EarlyStopping, SaveModel, ReduceLROnPlateau])
def test_the_advice_of_that_error_is_true(make: Callable[..., Callback], tmp_path: Path) -> None:
    metrics = [Scripted([1, 2, 3], higher, "score") for higher in (None, None, True, False)]
    for metric, options in zip(metrics, ({"mode": "min"}, {"mode": "max"}, {}, {}), strict=True):
        run(metric, make("score", **options), folder=tmp_path)
    last_epochs = [1, 2, 2, 1] if make is EarlyStopping else [2, 2, 2, 2]  # of three: it stops where lower is better
    assert [metric.n for metric in metrics] == last_epochs


@pytest.mark.parametrize("higher", [True, False, None])
def test_a_mode_goes_before_what_the_metric_or_its_name_says(higher: bool | None) -> None:
    for name in ("score", "my_loss", "accuracy"):
        assert improvements([1, 2, 3], name, higher, mode="max") == [True, True, True]
        assert improvements([1, 2, 3], name, higher, mode="min") == [True, False, False]


def test_the_first_value_must_beat_the_baseline() -> None:
    assert improvements([3, 2, 1.8, 1], baseline=2) == [False, False, True, True]
    assert improvements([3, 1.8, 1], baseline=2, delta=0.5) == [False, False, True]
    assert improvements([1, 3], higher=True, baseline=2) == [False, True]
    for baseline in (math.nan, "2", math.inf):
        with refused("baseline"):
            Monitor("valid_loss", baseline=baseline)  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", ["auto", "lower", 1, True])
def test_another_mode_is_refused(mode: Any) -> None:
    for make in (EarlyStopping, SaveModel, ReduceLROnPlateau, Monitor):
        with refused("mode", expected="'min', 'max' or None"):
            make("valid_loss", mode=mode)


def test_columns_of_training_metrics_have_the_direction_of_the_metric() -> None:
    metric = Scripted([1, 2, 3], True, "score")
    monitor, seen = Monitor("train_score"), list[bool]()
    values = iter([1.0, 2.0, 1.5])
    fake = acting(
        label="Columns",
        before_fit=lambda state: state.columns.update(train_score=math.nan),
        after_epoch=lambda state: state.columns.update(train_score=next(values)),
        order=1,
    )
    watch = acting(
        before_fit=monitor.start,
        after_epoch=lambda state: seen.append(monitor.improves(state, state.row[monitor.name])),
        order=99,
    )
    run(metric, fake, watch)
    assert seen == [True, True, False]


def test_an_epoch_without_validation_is_not_looked_at() -> None:
    monitor, seen = Monitor("scripted"), list[float | None]()

    def look(state: TrainState) -> None:
        seen.append(monitor.value(state))

    limit = acting(label="Limit", before_fit=lambda state: state.limit(Limits.of(validate_every="2 epochs")))
    run(Scripted([3, 2, 1, 0, 7]), limit, acting(before_fit=monitor.start, after_epoch=look, order=99))
    assert seen == [None, 3, None, 2, 1]  # and at the end of the fit


def test_the_best_value_is_kept_until_the_next_fit() -> None:
    monitor, bests = Monitor("scripted"), list[float]()

    def look(state: TrainState) -> None:
        monitor.improves(state, state.row[monitor.name])
        bests.append(monitor.best)

    watch = acting(before_fit=monitor.start, after_epoch=look, order=99)
    run(Scripted([2, 1, 3]), watch)
    run(Scripted([5]), watch)
    assert bests == [2, 1, 1, 5]


@pytest.mark.parametrize("callback", [EarlyStopping("acuracy"), SaveModel("acuracy"), ReduceLROnPlateau("acuracy")])
def test_an_unknown_name_is_refused_before_anything_runs(callback: Callback) -> None:
    metric = Scripted([1], name="accuracy")
    with refused("monitor", got="acuracy", expected="one of accuracy, train_loss, valid_loss"):
        run(metric, callback)
    assert metric.n == -1


@pytest.mark.parametrize(
    ("name", "valid", "advice"),
    [
        (
            "valid_loss",
            False,
            "This fit has no validation set: monitor the training (such as 'train_accuracy', ",
        ),
        ("accuracy", False, "This fit has no validation set"),
        ("train_accuracy", False, "Or pass train_metrics=True."),
        ("train_accuracy", True, "Or pass train_metrics=True."),
        ("f1", True, "Or add it to metrics=."),
        ("f1", False, ""),
        ("lr", True, ""),
        ("val_loss", True, ""),
    ],
)
def test_the_advice_about_an_unknown_name_works(name: str, valid: bool, advice: str, blobs: Blobs) -> None:
    def fit(monitor: str, metrics: str = "accuracy", **options: Any) -> None:
        dls = DataBunch.from_tensors(*blobs, bs=16)
        dls = dls if valid else DataBunch.from_loaders(dls.train_dl, None, classes=dls.classes)
        Learner(dls, nn.Linear(2, 2), metrics=metrics).fit(1, callbacks=EarlyStopping(monitor), **options)

    with pytest.raises(UsageError, match="monitor: got") as caught:
        fit(name)
    assert caught.value.fix.startswith(advice)
    assert bool(caught.value.fix) == bool(advice)
    if "train_metrics" in advice:
        fit("train_accuracy", train_metrics=True)
    elif "add it" in advice:
        fit(name, name)


@pytest.mark.parametrize("name", [None, 3, len])
def test_a_monitor_is_named(name: Any) -> None:
    for kind in (EarlyStopping, SaveModel, ReduceLROnPlateau):
        with refused("monitor", WrongTypeError):
            kind(name)


@pytest.mark.parametrize("min_delta", [-1, math.nan, "much"])
def test_an_invalid_min_delta_is_refused(min_delta: float) -> None:
    with refused("min_delta"):
        Monitor("valid_loss", min_delta)
