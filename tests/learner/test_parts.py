"""The parts of a learner are checked when they are set as in the constructor, and leave it whole when refused."""

import copy
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from learnkit import (
    Classification,
    DataBunch,
    ImageDataBunch,
    Learner,
    LearnkitWarning,
    MultiLabel,
    Regression,
    Segmentation,
    load_learner,
)
from learnkit.callbacks import Progress
from learnkit.data.tasks import Task
from learnkit.errors import DataError, LearnkitError, UsageError
from learnkit.losses import CrossEntropyLossFlat, FocalLoss
from tests.doubles import Blobs, acting, linear_learner, refused

NAMES = ("ant", "bee", "cat")


def rows(n: int = 24) -> Tensor:
    return torch.randn(n, 4, generator=torch.Generator().manual_seed(0))


def bunch(task: Task | None = None, targets: Any = None, bs: int = 8) -> DataBunch:
    """Of three classes, unless there is a task; its targets are the rows' first numbers."""
    task = Classification(NAMES) if task is None else task
    x = rows()
    if targets is None and isinstance(task, Regression):
        targets = x[:, : task.n_out]
    elif targets is None and isinstance(task, MultiLabel):
        targets = (x[:, : task.n_out] > 0).float()
    elif targets is None:
        targets = torch.arange(len(x)) % task.n_out
    return DataBunch.from_tensors(x, targets, x, targets, bs=bs, task=task, device="cpu")


def net(n_out: int = 3) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, n_out))


def learner(task: Task | None = None, **options: Any) -> Learner:
    dls = bunch(task)
    return Learner(dls, net(dls.c), seed=0, **options)


def parts_of(learn: Learner) -> dict[str, Any]:
    names = ("dls", "model", "loss_func", "activation", "opt_func", "opt", "wd", "train_bn", "wd_bn_bias", "path")
    found = {name: getattr(learn, name) for name in (*names, "model_dir", "temperature", "groups", "spec")}
    return found | {"metrics": list(learn.metrics), "callbacks": list(learn.callbacks), "task": learn.dls.task}


# The same checks, early and late


BAD: list[tuple[str, Any]] = [
    ("dls", 3), ("dls", [(rows(), rows())]), ("model", "resnet18"), ("model", nn.Linear), ("model", net(4)),
    ("loss_func", 3), ("loss_func", nn.CrossEntropyLoss), ("loss_func", partial(F.cross_entropy, weigth=None)),
    ("activation", "softmax"), ("activation", partial(torch.nn.functional.softmax, dimension=1)),
    ("metrics", "acuracy"), ("metrics", "rmse"), ("metrics", ["accuracy", "accuracy"]), ("metrics", 3),
    ("callbacks", 3), ("callbacks", [Progress]), ("callbacks", [Progress(), Progress()]),
    ("opt_func", 3), ("opt_func", partial(torch.optim.AdamW, weigth_decay=1)),
    ("wd", -1), ("wd", "high"), ("wd", float("nan")), ("wd_bn_bias", 1), ("train_bn", None),
    ("path", 3), ("model_dir", None), ("seed", 1.5), ("groups", lambda model: 3), ("groups", [nn.Linear(4, 3)]),
    ("groups", [3]), ("groups", 3), ("groups", "head"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value"), BAD, ids=[f"{name}-{type(value).__name__}-{i}" for i, (name, value) in enumerate(BAD)]
)
def test_what_the_constructor_refuses_is_refused_later_and_changes_nothing(name: str, value: Any) -> None:
    given = {"dls": bunch(), "model": net(), "metrics": "accuracy", "temperature": None} | {name: value}
    given.pop("temperature")
    dls, model = given.pop("dls"), given.pop("model")
    with pytest.raises(LearnkitError) as early:
        Learner(dls, model, **given)
    learn = learner(metrics="accuracy")
    learn.fit(1)
    before = parts_of(learn)
    with pytest.raises(LearnkitError) as late:
        setattr(learn, name, value)
    assert type(late.value) is type(early.value)
    if "object at" not in str(early.value) and " at 0x" not in str(early.value):
        assert str(late.value) == str(early.value)
    after = parts_of(learn)
    assert all(after[key] is value or after[key] == value for key, value in before.items())
    learn.fit(1)


GOOD: list[tuple[str, Any, Callable[[Learner], Any]]] = [
    ("loss_func", F.cross_entropy, lambda learn: learn.loss_func),
    ("metrics", "accuracy", lambda learn: [metric.name for metric in learn.metrics]),
    ("metrics", "default", lambda learn: [metric.name for metric in learn.metrics]),
    ("metrics", [F.cross_entropy, "f1"], lambda learn: [metric.name for metric in learn.metrics]),
    ("metrics", (), lambda learn: learn.metrics),
    ("metrics", None, lambda learn: learn.metrics),
    ("callbacks", Progress(), lambda learn: [callback.label for callback in learn.callbacks]),
    ("opt_func", "sgd", lambda learn: (learn.opt_func, learn.opt)),
    ("opt_func", partial(torch.optim.SGD, weight_decay=0.25), lambda learn: (learn.wd, learn.opt)),
    ("wd", 0.5, lambda learn: learn.wd),
    ("wd_bn_bias", True, lambda learn: learn.wd_bn_bias),
    ("path", "elsewhere", lambda learn: learn.path),
    ("model_dir", Path("weights"), lambda learn: learn.model_dir),
    ("activation", torch.sigmoid, lambda learn: learn.activation),
]


@pytest.mark.parametrize(
    ("name", "value", "found"),
    GOOD,
    ids=[f"{name}-{type(value).__name__}-{i}" for i, (name, value, _) in enumerate(GOOD)],
)
def test_what_is_set_later_is_what_the_constructor_takes(
    name: str, value: Any, found: Callable[[Learner], Any]
) -> None:
    learn = learner()
    setattr(learn, name, value)
    assert found(learn) == found(learner(**{name: value}))
    learn.fit(1)
    learn.validate()


def test_a_fit_after_setting_is_the_fit_of_a_learner_made_so() -> None:
    made = learner(metrics="accuracy", opt_func="sgd", wd=0.5, loss_func=nn.MultiMarginLoss())
    later = learner()
    later.metrics, later.opt_func, later.wd, later.loss_func = "accuracy", "sgd", 0.5, nn.MultiMarginLoss()
    for learn in (made, later):
        learn.fit(2, 0.1)
    assert later.history.drop(columns="time").equals(made.history.drop(columns="time"))
    assert torch.equal(later.get_preds()[0], made.get_preds()[0])


# Data


def test_data_under_its_other_name() -> None:
    learn, other = learner(), bunch(bs=4)
    learn.data = other
    assert learn.data is learn.dls is other
    seen: set[int] = set()
    learn.fit(1, callbacks=acting(after_batch=lambda state: seen.add(len(state.targets))))
    assert seen == {4}


TASKS: list[Task] = [
    Classification(NAMES), MultiLabel(NAMES), Regression(("u", "v", "w")),
    Classification(("ant", "cat", "bee")), MultiLabel(("cat", "bee", "ant")), Regression(("v", "u", "w")),
    Classification(("ant", "bee", "dog")), Classification(("ant", "bee")), Classification((*NAMES, "dog")),
    Regression(("u", "v")), Regression(), MultiLabel(("ant",)),
]  # fmt: skip


@pytest.mark.parametrize("now", range(len(TASKS)))
@pytest.mark.parametrize("before", range(3))
def test_only_data_of_the_same_meaning_can_be_set(before: int, now: int) -> None:
    learn, other = learner(TASKS[before]), bunch(TASKS[now])
    if before == now:
        learn.dls = other
        assert learn.dls is other
        return
    dls = learn.dls
    with pytest.raises(LearnkitError) as found:
        learn.dls = other
    assert learn.dls is dls
    if type(TASKS[before]) is type(TASKS[now]) and TASKS[now].n_out == 3:
        names = [getattr(TASKS[at], "names", TASKS[at].classes) for at in (before, now)]
        assert all(", ".join(one) in str(found.value) for one in names), "both lists are shown"


def test_data_without_a_meaning_is_refused_where_there_was_one(blobs: Blobs) -> None:
    learn = linear_learner(blobs)
    batches = [(blobs[0][:8], blobs[1][:8])]
    with pytest.raises(UsageError, match="Pass the bunch classes="):
        learn.dls = DataBunch.from_loaders(batches, batches)
    learn.dls = DataBunch.from_loaders(batches, batches, classes=["0", "1"])  # as advised
    assert learn.predict(blobs[0][0]).label in ("0", "1")


def test_data_with_a_meaning_is_taken_where_there_was_none(blobs: Blobs) -> None:
    batches = [(blobs[0][:8], blobs[1][:8])]
    learn = Learner(DataBunch.from_loaders(batches, batches), nn.Linear(2, 2), loss_func=F.cross_entropy)
    learn.dls = DataBunch.from_loaders(batches, batches, classes=["a", "b"])
    with pytest.raises(DataError, match="others"):
        learn.dls = DataBunch.from_loaders(batches, batches, classes=["a", "c"])


def test_the_default_loss_is_that_of_the_new_data() -> None:
    task = Segmentation(["sky", "road"])
    x, y = torch.randn(4, 3, 4, 4), torch.zeros(4, 4, 4, dtype=torch.long)
    y[:, 0] = 1
    dls = DataBunch.from_tensors(x, y, x, y, bs=2, task=task, device="cpu")
    learn = Learner(dls, nn.Conv2d(3, 2, 1), seed=0)
    ignoring = Segmentation(["sky", "road"], ignore_index=255)
    y = y.clone()
    y[:, 1] = 255
    learn.dls = DataBunch.from_tensors(x, y, x, y, bs=2, task=ignoring, device="cpu")
    assert learn.loss_func.ignore_index == ignoring.loss().ignore_index  # type: ignore[attr-defined]
    learn.fit(1)


def test_balanced_weights_are_those_of_the_new_data_and_numbers_stay() -> None:
    rare = torch.tensor([0] * 12 + [1] * 8 + [2] * 4)
    balanced = learner(class_weights="balanced")
    balanced.dls = bunch(targets=rare)
    torch.testing.assert_close(balanced.loss_func.weight, 24 / (3 * torch.tensor([12.0, 8.0, 4.0])))  # type: ignore[attr-defined]
    fixed = learner(class_weights=[1.0, 2.0, 3.0])
    fixed.dls = bunch(targets=rare)
    assert fixed.loss_func.weight.tolist() == [1.0, 2.0, 3.0]  # type: ignore[attr-defined]


def test_class_weights_are_dropped_with_a_word_by_another_loss() -> None:
    learn = learner(class_weights=[1.0, 2.0, 3.0])
    with pytest.warns(LearnkitWarning, match="class_weights"):
        learn.loss_func = F.cross_entropy
    learn.loss_func = None  # type: ignore[assignment]
    assert learn.loss_func.weight is None  # type: ignore[attr-defined]


@pytest.mark.parametrize("loss", [FocalLoss(), CrossEntropyLossFlat(), nn.NLLLoss()])
def test_metrics_are_compared_with_the_task_under_every_loss_of_it(loss: Any) -> None:
    learn = learner(loss_func=loss)
    own = isinstance(loss, nn.NLLLoss) and type(loss) is nn.NLLLoss  # its outputs are log-probabilities
    with nullcontext() if own else pytest.raises(UsageError, match="fits the data's task"):
        learn.metrics = "rmse"


def test_inputs_that_the_model_does_not_take_are_refused_and_other_sizes_are_not() -> None:
    def images(shape: tuple[int, ...]) -> DataBunch:
        x, y = torch.rand(6, *shape), torch.arange(6) % 3
        return DataBunch.from_tensors(x, y, x, y, bs=2, classes=NAMES, device="cpu")

    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    learn = Learner(images((3, 8, 8)), model)
    learn.dls = images((3, 12, 10))
    with refused("dls: the shape of an input", got=(1, 8, 8)):
        learn.dls = images((1, 8, 8))
    assert learn.dls.input_shape == (3, 12, 10)


def test_images_of_other_channels_are_refused_and_of_another_normalization_warned_of(class_folder: Path) -> None:
    def images(**options: Any) -> ImageDataBunch:
        return ImageDataBunch.from_folder(class_folder, size=16, bs=4, device="cpu", **options)

    learn = Learner(images(), nn.Sequential(nn.Conv2d(3, 3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    learn.dls = images(normalize=((0.48, 0.46, 0.41), (0.23, 0.22, 0.22)))  # alike
    with refused("dls: channels of the images", got=1, fix="Make the data with channels=3."):
        learn.dls = images(channels=1)
    with pytest.warns(
        LearnkitWarning, match=r"normalized by mean \(0.48.*by mean \(0.0, 0.0, 0.0\).*normalize=\(\(0.48"
    ):
        learn.dls = images(normalize=None)


# Metrics that are changed in place


def test_metrics_appended_to_the_list_are_checked_before_they_measure() -> None:
    learn = learner(metrics="accuracy")
    learn.metrics.append("f1")  # type: ignore[arg-type]
    learn.fit(1)
    assert list(learn.recorder.rows[-1])[3:5] == ["accuracy", "f1"]
    learn.metrics.append("rmse")  # type: ignore[arg-type]
    for act in (lambda: learn.fit(1), learn.validate, learn.lr_find):
        with pytest.raises(UsageError, match="fits the data's task"):
            act()


@pytest.mark.parametrize("given", ["default", "accuracy", ["accuracy"]])
def test_metrics_that_are_added_leave_the_others_exportable_by_name(given: Any, tmp_path: Path) -> None:
    learn = learner(metrics=given)
    names = [metric.name for metric in learn.metrics]
    learn.metrics += ["f1"]  # type: ignore[list-item]
    with pytest.raises(UsageError):
        learn.metrics += ["nothing"]  # type: ignore[list-item]
    loaded = load_learner(learn.export(tmp_path / "a.lk"), model=net())
    assert [metric.name for metric in loaded.metrics] == [metric.name for metric in learn.metrics] == [*names, "f1"]


def test_class_weights_can_be_set() -> None:
    learn = learner()
    learn.class_weights = [1, 2, 3]
    assert learn.loss_func.weight.tolist() == [1, 2, 3]  # type: ignore[union-attr]
    learn.class_weights = None
    assert learn.loss_func.weight is None  # type: ignore[union-attr]
    with refused("class_weights", got=[1], expected="3 numbers of 0 or more, one per class, not all of them 0"):
        learn.class_weights = [1]


def test_groups_can_be_set_as_split_takes_them() -> None:
    learn = learner()
    learn.groups = lambda model: [model[2]]  # type: ignore[assignment]
    learn.fit(1, [1e-3, 1e-2])
    assert len(learn.groups) == 2


# What was fitted to the model


def test_fitted_thresholds_and_the_temperature_stay_with_other_data() -> None:
    learn = learner(MultiLabel(NAMES))
    learn.temperature = 2.0
    thresholds = learn.fit_thresholds()
    assert thresholds != (0.5, 0.5, 0.5)
    learn.dls = bunch(MultiLabel(NAMES), bs=4)
    assert learn.dls.task.threshold == thresholds  # type: ignore[union-attr]
    assert learn.temperature == 2.0


def test_fitted_thresholds_are_those_of_one_learner() -> None:
    dls, fresh = bunch(MultiLabel(NAMES)), bunch(MultiLabel(NAMES))
    learn, other = Learner(dls, net(), seed=0), Learner(dls, net(), seed=0)
    thresholds = learn.fit_thresholds()
    learn.metrics = "accuracy_multi"  # another part keeps them
    learn.dls = fresh
    assert learn.dls.task.threshold == thresholds  # type: ignore[union-attr]
    assert all(one.task.threshold == 0.5 for one in (other.dls, dls, fresh))  # type: ignore[union-attr]


def test_thresholds_that_new_data_brings_replace_others_with_a_word() -> None:
    learn = learner(MultiLabel(NAMES))
    learn.fit_thresholds()
    with pytest.warns(LearnkitWarning, match="thresholds are those of the new data"):
        learn.dls = bunch(MultiLabel(NAMES, (0.1, 0.2, 0.3)))
    assert learn.dls.task.threshold == (0.1, 0.2, 0.3)  # type: ignore[union-attr]


def test_another_model_drops_both_with_a_word() -> None:
    learn = learner(MultiLabel(NAMES, 0.25))
    learn.temperature = 2.0
    learn.fit_thresholds()
    with pytest.warns(LearnkitWarning) as found:
        learn.model = net(3)
    assert {str(warning.message).split()[1] for warning in found} == {"temperature", "thresholds"}
    assert learn.temperature == 1
    assert learn.dls.task.threshold == 0.25  # type: ignore[union-attr]
    learn.fit(1)


class Wrapper(nn.Module):
    def __init__(self, inner: nn.Module, **more: nn.Module) -> None:
        super().__init__()
        self.inner, self.more = inner, nn.ModuleDict(more)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.inner(x)
        return out


def test_a_wrapper_around_the_model_keeps_groups_optimizer_and_temperature() -> None:
    learn = learner()
    learn.split([learn.model[0], learn.model[2]])  # type: ignore[index]
    learn.fit(1)
    learn.temperature, opt = 2.0, learn.opt
    learn.model = Wrapper(learn.model)
    assert (len(learn.groups), learn.opt, learn.temperature) == (2, opt, 2.0)
    learn.fit(1, [1e-3, 1e-2])


def test_another_model_trains_as_in_a_learner_of_its_own() -> None:
    learn, made = learner(), learner()
    learn.fit(1)
    learn.model = net()
    assert (len(learn.groups), learn.opt, learn.spec) == (1, None, None)
    made.counter = copy.copy(learn.counter)
    for one in (learn, made):
        one.fit(2, 1e-2)
    assert torch.equal(learn.get_preds()[0], made.get_preds()[0])


# The loss and the activation

LOSSES: list[Any] = [
    nn.CrossEntropyLoss(), nn.NLLLoss(), nn.BCEWithLogitsLoss(), nn.MSELoss(), F.cross_entropy, F.l1_loss,
    partial(F.cross_entropy, label_smoothing=0.1),
]  # fmt: skip


@pytest.mark.parametrize("loss", LOSSES)
def test_the_activation_follows_the_loss(loss: Any) -> None:
    learn = learner()
    learn.loss_func = loss
    raw = rows()[:, :3]
    assert torch.equal(learn.activate(raw), learner(loss_func=loss).activate(raw))


def test_an_activation_that_was_passed_stays_until_it_is_taken_back() -> None:
    learn = learner(activation=torch.tanh)
    learn.loss_func = nn.BCEWithLogitsLoss()
    assert learn.activation is torch.tanh
    learn.activation = None  # type: ignore[assignment]
    assert learn.activation is torch.sigmoid
    learn.loss_func = lambda preds, targets: F.cross_entropy(preds, targets)
    assert learn.activation is torch.sigmoid, "of a loss that says nothing, the one before"


# While a fit runs


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("dls", bunch()), ("data", bunch()), ("model", net()), ("loss_func", F.cross_entropy), ("metrics", "accuracy"),
        ("activation", torch.sigmoid), ("opt_func", "sgd"), ("wd_bn_bias", True),
    ],
)  # fmt: skip
def test_nothing_that_a_fit_would_not_notice_is_set_while_it_runs(name: str, value: Any) -> None:
    learn = learner()
    with pytest.raises(UsageError, match=r"while a fit is running\. Set it before or after the fit"):
        learn.fit(1, callbacks=acting(after_batch=lambda state: setattr(learn, name, value)))
    setattr(learn, name, value)
