"""Checks when a learner is made: metrics of another task than the data's, and a model with other outputs."""

import functools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from learnkit import DataBunch, ImageDataBunch, Learner
from learnkit.data.segmentation import Segmentation
from learnkit.data.tasks import Classification, MultiLabel, Regression
from learnkit.errors import UsageError
from learnkit.metrics import FACTORIES, METRICS, accuracy_multi, dice, f1, f_beta_multi, iou, make_metrics, rmse, top_k
from learnkit.metrics.metric import metrics_for, targets_of


def bunch(x: Tensor, y: Tensor, task: Any = None) -> DataBunch:
    return DataBunch.from_tensors(x, y, x, y, bs=6, task=task, device="cpu")


def rows(n: int = 12) -> Tensor:
    return torch.randn(n, 6, generator=torch.Generator().manual_seed(0))


def classes() -> Learner:
    return Learner(bunch(rows(), torch.arange(12) % 6), nn.Linear(6, 6), seed=0)


def labels() -> Learner:
    return Learner(bunch(rows(), (rows() > 0).float(), MultiLabel(tuple("abcdef"))), nn.Linear(6, 6), seed=0)


def label() -> Learner:
    return Learner(bunch(rows(), (rows()[:, :1] > 0).float(), MultiLabel(("a",))), nn.Linear(6, 1), seed=0)


def numbers() -> Learner:
    model = nn.Sequential(nn.Linear(6, 2), nn.Softplus())
    return Learner(bunch(rows(), rows()[:, :2].abs(), Regression(("u", "v"))), model, seed=0)


def number() -> Learner:
    return Learner(bunch(rows(), rows()[:, 0].abs(), Regression()), nn.Linear(6, 1), seed=0)


def masks() -> Learner:
    x = torch.randn(12, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    y = torch.arange(12 * 16).reshape(12, 4, 4) % 6
    return Learner(bunch(x, y, Segmentation(list("abcdef"))), nn.Conv2d(3, 6, 1), seed=0)


def again(learn: Learner, metrics: Any, **options: Any) -> Learner:
    """The same data and model with these metrics."""
    return Learner(learn.dls, learn.model, metrics=metrics, seed=0, **options)


@pytest.mark.parametrize(
    ("make", "metric", "task", "fits"),
    [
        (classes, "accuracy_multi", "Classification", "error_rate"),
        (classes, "rmse", "Classification", "accuracy"),
        (classes, "dice", "Classification", "f1"),
        (classes, "f1_multi", "Classification", "top_k_accuracy"),
        (labels, "accuracy", "MultiLabel", "accuracy_multi"),
        (labels, "f1", "MultiLabel", "f1_multi"),
        (labels, "r2", "MultiLabel", "hamming_multi"),
        (label, "accuracy", "MultiLabel", "accuracy_multi"),
        (numbers, "accuracy", "Regression", "rmse"),
        (number, "accuracy", "Regression", "mae"),
        (number, "f1", "Regression", "r2"),
        (numbers, "accuracy_multi", "Regression", "pearson"),
        (masks, "mse", "Segmentation", "iou"),
        (masks, "f1_multi", "Segmentation", "foreground_accuracy"),
    ],
)
def test_a_metric_of_another_task_is_refused_when_the_learner_is_made(
    make: Callable[[], Learner], metric: str, task: str, fits: str
) -> None:
    learn = make()
    with pytest.raises(UsageError, match=rf"metrics: got '{metric}', .* task, {task}: .*\b{fits}\b"):
        again(learn, metric)
    with pytest.raises(UsageError, match=f"metrics: got '{metric}'"):
        again(learn, [own, metric])


@pytest.mark.parametrize(
    ("make", "metric", "name"),
    [
        (classes, accuracy_multi, "accuracy_multi"),
        (classes, f_beta_multi(2), "f2_multi"),
        (classes, iou(ignore_index=0, name="overlap"), "overlap"),
        (classes, rmse, "rmse"),
        (labels, top_k(3), "top_3_accuracy"),
        (labels, f1, "f1"),
        (numbers, f1(average="micro"), "f1_micro"),
    ],
)
def test_functions_and_configured_metrics_of_learnkit_are_refused_too(
    make: Callable[[], Learner], metric: Any, name: str
) -> None:
    with pytest.raises(UsageError, match=f"metrics: got '{name}'"):
        again(make(), metric)


@pytest.mark.parametrize(
    ("make", "targets"),
    [
        (classes, "class"),
        (labels, "labels"),
        (label, "label"),
        (numbers, "numbers"),
        (number, "numbers"),
        (masks, "mask"),
    ],
)
def test_the_metrics_that_the_message_names_can_be_computed(make: Callable[[], Learner], targets: Any) -> None:
    names = metrics_for(targets)
    assert len(names) > 5
    learn = again(make(), names)
    learn.fit(1)
    row = learn.history.iloc[-1]
    assert learn.validate() == pytest.approx([row["valid_loss"], *row[names]], nan_ok=True)
    assert sum(map(math.isfinite, learn.validate())) > len(names) // 2


def test_every_name_is_meant_for_some_targets() -> None:
    assert all(targets_of(metric) for metric in make_metrics([*METRICS, *FACTORIES]))
    found = {name for targets in ("class", "label", "labels", "mask", "numbers") for name in metrics_for(targets)}
    assert found == {*METRICS, *FACTORIES}


def own(preds: Tensor, targets: Tensor) -> Tensor:
    """A custom metric."""
    return preds.mean()


class Own(Classification):
    """A custom task."""


class Gathering:
    """An object like those of torchmetrics, with the name of one of learnkit's."""

    name = "rmse"
    takes = ("numbers",)

    def reset(self) -> None:
        self.n = 0

    def update(self, preds: Tensor, targets: Tensor) -> None:
        self.n += len(preds)

    def compute(self) -> float:
        return float(self.n)


@pytest.mark.parametrize("metric", [own, functools.partial(own), Gathering()])
@pytest.mark.parametrize("make", [classes, labels, numbers, masks])
def test_custom_metrics_are_not_checked(make: Callable[[], Learner], metric: Any) -> None:
    learn = again(make(), metric)
    x = torch.cat([x for x, _ in learn.dls.valid_dl])
    with torch.no_grad():
        expected = len(x) if isinstance(metric, Gathering) else learn.model.eval()(x).mean().item()
    assert learn.validate()[1] == pytest.approx(expected, abs=1e-6)


def test_combinations_that_work_are_accepted() -> None:
    x, y = rows(), torch.arange(12) % 2
    yes = y.float()[:, None]
    learners = [
        # one output per item and a loss for yes/no
        Learner(
            bunch(x, y), nn.Sequential(nn.Linear(6, 1), nn.Flatten(0)), metrics="accuracy_multi",
            loss_func=lambda preds, targets: F.binary_cross_entropy_with_logits(preds, targets.float()),
        ),
        Learner(bunch(x, yes, Regression()), nn.Linear(6, 1), loss_func=nn.BCEWithLogitsLoss(), metrics=["f1", "mcc"]),
        Learner(bunch(x, yes, MultiLabel(("a",))), nn.Linear(6, 1), metrics=["f1", "mcc", "f1_multi"]),
        # mixed labels
        Learner(bunch(x, x.softmax(1), Classification(tuple("abcdef"))), nn.Linear(6, 6), metrics="mse"),
        # a custom task
        Learner(bunch(x, y, Own(("a", "b"))), nn.Linear(6, 2), metrics=["dice", "f1"]),
    ]  # fmt: skip
    for learn in learners:
        learn.fit(1)
        metrics = learn.history[[metric.name for metric in learn.metrics]]
        assert np.isfinite(metrics.to_numpy(float)).all()


def test_masks_of_loaders_whose_task_is_a_classification_have_metrics_of_masks() -> None:
    data = TensorDataset(torch.randn(8, 3, 4, 4), torch.arange(8 * 16).reshape(8, 4, 4) % 2)
    loader: Any = DataLoader(data, batch_size=4)
    dls = DataBunch.from_loaders(loader, loader, classes=["ground", "cell"], device="cpu")
    learn = Learner(dls, nn.Conv2d(3, 2, 1), metrics=[dice(average="binary"), "iou"], seed=0)
    learn.fit(1)
    chosen, targets = learn.get_preds()[0].argmax(1), data.tensors[1]
    both = [((chosen == c) & (targets == c)).sum().item() for c in (0, 1)]
    either = [((chosen == c) | (targets == c)).sum().item() for c in (0, 1)]
    sizes = (chosen == 1).sum().item() + (targets == 1).sum().item()
    expected = [2 * both[1] / sizes, sum(b / e for b, e in zip(both, either, strict=True)) / 2]
    assert learn.validate()[1:] == pytest.approx(expected)
    again(learn, "f1").fit(1)


@pytest.mark.parametrize("kind", ["loader", "dataset", "batches"])
def test_classes_of_datasets_and_loaders_are_checked_too(kind: str) -> None:
    x, y = rows(), torch.arange(12) % 6
    data = TensorDataset(x, y)
    loader: Any = DataLoader(data, batch_size=6) if kind == "loader" else [(x, y)]
    dls = (
        DataBunch.from_datasets(data, data, bs=6, classes=list("abcdef"), device="cpu")
        if kind == "dataset"
        else DataBunch.from_loaders(loader, loader, classes=list("abcdef"), device="cpu")
    )
    with pytest.raises(UsageError, match="metrics: got 'rmse'"):
        Learner(dls, nn.Linear(6, 6), metrics="rmse")


def test_targets_known_only_from_a_batch_are_left_to_the_metric() -> None:
    x, y = rows(), torch.arange(12) % 6
    loader: Any = DataLoader(TensorDataset(x, y), batch_size=6, collate_fn=lambda items: (x[:6], y[:6]))
    dls = DataBunch.from_loaders(loader, loader, classes=list("abcdef"), device="cpu")
    assert [metric.name for metric in Learner(dls, nn.Linear(6, 6), metrics="dice").metrics] == ["dice"]


@pytest.mark.parametrize("metric", ["top_k_accuracy", top_k(4)])
def test_a_k_of_more_classes_than_there_are_is_refused_when_the_learner_is_made(metric: Any) -> None:
    with pytest.raises(UsageError) as caught:
        Learner(bunch(rows(), torch.arange(12) % 3), nn.Linear(6, 3), metrics=["accuracy", metric])
    assert caught.value.what.endswith("k")
    assert caught.value.expected == "between 1 and the 3 classes"


def test_checking_metrics_leaves_no_item_in_them() -> None:
    metric = top_k(2)
    again(classes(), metric)
    assert math.isnan(metric.compute())


def tied_weight() -> nn.Sequential:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 3))
    model[1].weight = model[0].weight
    return model


def used_twice(layer: nn.Module) -> nn.Sequential:
    return nn.Sequential(layer, nn.ReLU(), layer, nn.Linear(4, 3))


class HoldsTwice(nn.Module):
    """A layer under two names, and a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.body = used_twice(nn.BatchNorm1d(4))
        self.head = self.body[3]
        self.register_buffer("scale", torch.ones(3))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.body(x) * self.scale
        return out


@pytest.mark.parametrize(
    "make_model",
    [
        lambda: used_twice(nn.Linear(4, 4)),
        lambda: used_twice(nn.BatchNorm1d(4)),
        lambda: used_twice(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))),
        tied_weight,
        HoldsTwice,
    ],
    ids=["a layer twice", "a norm twice", "a block twice", "a weight twice", "a head twice"],
)
def test_checking_the_outputs_leaves_the_weights_where_they_are(make_model: Callable[[], nn.Module]) -> None:
    model = make_model()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    x, y = torch.randn(12, 4), torch.arange(12) % 3
    learn = Learner(DataBunch.from_tensors(x, y, x, y, bs=4, classes=list("abc")), model)
    assert {name: tensor.device.type for name, tensor in model.state_dict().items()} == dict.fromkeys(before, "cpu")
    torch.testing.assert_close(dict(model.state_dict()), before)
    learn.fit(1, 1e-3)
    y = torch.arange(12) % 4
    more = DataBunch.from_tensors(x, y, x, y, bs=4, classes=list("abcd"))
    with pytest.raises(UsageError, match="outputs"):  # they are checked all the same
        Learner(more, make_model())


def on_rings(outputs: Tensor, targets: Tensor) -> Tensor:
    """Embeddings (N, n), those of class c at the distance c from 0."""
    return (outputs.norm(dim=1) - targets).abs().mean()


@pytest.mark.parametrize("kind", ["tensors", "images"])
def test_embeddings_of_classes_train_as_the_error_says(kind: str, class_folder: Path) -> None:
    if kind == "tensors":
        dls, model = bunch(rows(), torch.arange(12) % 6), nn.Linear(6, 2)
    else:
        dls = ImageDataBunch.from_folder(class_folder, size=8, bs=4)
        model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 2))
    with pytest.raises(UsageError) as caught:
        Learner(dls, model, loss_func=on_rings)
    assert "DataBunch.from_loaders(dls.train_dl, dls.valid_dl)" in str(caught.value.fix)
    learn = Learner(DataBunch.from_loaders(dls.train_dl, dls.valid_dl), model, loss_func=on_rings, seed=0)
    before = learn.validate()[0]
    learn.fit(3, 1e-3)
    assert learn.validate()[0] < before
    assert learn.get_preds()[0].shape == (12, 2)


@pytest.mark.parametrize("answer", ["predict", "predict_many", "predictor"])
@pytest.mark.parametrize("kind", ["tensors", "datasets"])
def test_without_a_task_the_error_says_how_items_are_predicted(kind: str, answer: str) -> None:
    x = rows()[:, None]  # signals (1, 6), to which the targets are equal
    dls = bunch(x, x) if kind == "tensors" else DataBunch.from_datasets(*[TensorDataset(x, x)] * 2, bs=6)
    learn = Learner(dls, nn.Linear(6, 6), loss_func=nn.MSELoss())
    with pytest.raises(UsageError, match=f"{answer}: the data has no task") as caught:
        getattr(learn, answer)(*{"predict": [x[0]], "predict_many": [list(x[:2])], "predictor": []}[answer])
    assert "learn.get_preds(learn.dls.test_dl_from(items))[0]" in str(caught.value.fix)
    items = [x[0], x[1]]
    assert torch.equal(learn.get_preds(learn.dls.test_dl_from(items))[0], learn.model(x[:2]).detach())
