"""Metrics of the training batches, as columns of the record."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from learnkit import Learner, LearnkitWarning
from learnkit.callbacks import EarlyStopping, GradientAccumulation, MicroBatches
from learnkit.callbacks.train_metrics import TrainMetrics
from learnkit.errors import WrongTypeError
from learnkit.metrics import auroc, f1, make_metrics
from tests.doubles import Blobs, acting, linear_learner, raising, refused

SPECS = ["accuracy", "error_rate", "auroc", "f1", "kappa", "perplexity", torch.nn.functional.cross_entropy]


@pytest.mark.parametrize("extra", [(), (GradientAccumulation(32),), (MicroBatches(4),)], ids=["plain", "sum", "micro"])
def test_they_are_of_the_outputs_the_loss_is_of(extra: Any, blobs: Blobs) -> None:
    seen: list[tuple[Tensor, Tensor]] = []
    spy = acting(after_loss=lambda state: seen.append((state.preds.detach().clone(), state.targets.clone())))
    learn = linear_learner(blobs, metrics=SPECS)
    learn.fit(2, 1e-2, callbacks=[*extra, spy], train_metrics=True)
    half = len(seen) // 2
    for epoch, batches in enumerate((seen[:half], seen[half:])):
        preds, targets = (torch.cat(parts) for parts in zip(*batches, strict=True))
        for metric in make_metrics(SPECS):
            metric.update(preds, targets)
            found = learn.history[f"train_{metric.name}"][epoch]
            assert found == pytest.approx(metric.compute(), rel=1e-6), metric.name


class TwoOutputs(torch.nn.Linear):
    def forward(self, input: Tensor) -> Any:
        return {"logits": super().forward(input), "hidden": input}


def test_of_several_outputs_they_take_the_one_that_is_the_prediction(blobs: Blobs) -> None:
    def of_all(outputs: Any, targets: Tensor) -> Tensor:
        return torch.nn.functional.cross_entropy(outputs["logits"], targets)

    torch.manual_seed(0)
    learn = linear_learner(blobs, TwoOutputs(2, 2), metrics=SPECS, loss_func=of_all, output="logits")
    plain = linear_learner(blobs, metrics=SPECS, loss_func=torch.nn.CrossEntropyLoss())
    for each in (learn, plain):
        each.fit(1, 1e-2, train_metrics=True)
    assert learn.history.drop(columns="time").equals(plain.history.drop(columns="time"))


def test_results_of_the_validation_are_those_without_it(blobs: Blobs) -> None:
    plain, both = linear_learner(blobs, metrics=SPECS), linear_learner(blobs, metrics=SPECS)
    plain.fit(2, 1e-2)
    both.fit(2, 1e-2, callbacks=TrainMetrics())
    names = [name for name in plain.history if name != "time"]
    assert both.history[names].equals(plain.history[names])
    assert list(both.history) == [*names, *(f"train_{name}" for name in names[3:]), "time"]


def test_a_number_per_class_has_a_column_per_class(blobs: Blobs) -> None:
    learn = linear_learner(blobs, metrics=[f1(average=None), auroc(average=None)])
    learn.fit(1, 1e-2, train_metrics=True)
    columns = [f"{part}{name}_{label}" for part in ("", "train_") for name in ("f1", "auroc") for label in "01"]
    assert list(learn.history)[3:-1] == columns
    assert learn.history[columns].notna().all(axis=None)


def test_they_can_be_monitored(blobs: Blobs) -> None:
    learn = linear_learner(blobs, metrics="accuracy")
    learn.fit(3, 1e-9, callbacks=EarlyStopping("train_accuracy"), train_metrics=True)
    assert len(learn.history) == 2


@pytest.mark.parametrize("at", [1, 4, 6])
def test_a_resumed_epoch_has_the_same_numbers(at: int, blobs: Blobs) -> None:
    def trained(folder: str, *callbacks: Any) -> Learner:
        learn = linear_learner(blobs, metrics=SPECS, model_dir=folder)
        options: dict[str, Any] = {"checkpoint_every": 1, "resume": "auto", "train_metrics": True}
        learn.fit(2, 1e-2, callbacks=callbacks, **options)
        return learn

    whole = trained("whole")
    with pytest.raises(ZeroDivisionError):
        trained("broken", acting(after_batch=raising(ZeroDivisionError(), epoch=at // 4, batch=at % 4), order=99))
    again = trained("broken")
    assert again.history.drop(columns="time").equals(whole.history.drop(columns="time"))


def test_an_object_without_state_is_nan_in_a_resumed_epoch(blobs: Blobs) -> None:
    torchmetrics = pytest.importorskip("torchmetrics")

    def trained(*callbacks: Any) -> Learner:
        learn = linear_learner(blobs, metrics=torchmetrics.F1Score(task="multiclass", num_classes=2))
        learn.fit(2, 1e-2, callbacks=[TrainMetrics(), *callbacks], checkpoint_every=1, resume="auto")
        return learn

    with pytest.raises(ZeroDivisionError):
        trained(acting(after_batch=raising(ZeroDivisionError(), batch=2), order=99))
    with pytest.warns(LearnkitWarning, match="train_multiclass_f1_score of the resumed epoch is nan"):
        learn = trained()
    assert [math.isnan(value) for value in learn.history["train_multiclass_f1_score"]] == [True, False]


def test_names_of_the_record_are_refused(blobs: Blobs) -> None:
    def loss(preds: Tensor, targets: Tensor) -> float:
        return 0.0

    with refused("train_metrics", got="train_loss"):
        linear_learner(blobs, metrics=loss).fit(1, train_metrics=True)
    with refused("train_metrics", WrongTypeError, got="yes"):
        linear_learner(blobs).fit(1, train_metrics="yes")  # type: ignore[arg-type]
