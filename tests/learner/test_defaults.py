"""What a learner uses when nothing is passed."""

import warnings
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from learnkit import DataBunch, LearnkitWarning, MultiLabel, Regression, Segmentation
from learnkit.errors import UsageError, WrongTypeError
from learnkit.learner.defaults import chosen_activation, chosen_decay, chosen_loss, chosen_metrics
from learnkit.losses import BCEWithLogitsLossFlat, CrossEntropyLossFlat, DiceBCELoss, DiceLoss, FocalLoss, IoULoss
from learnkit.metrics import FACTORIES, accuracy
from learnkit.metrics.metric import columns, metrics_for
from learnkit.text import name_of
from tests.doubles import Blobs, refused


@pytest.fixture
def dls(blobs: Blobs) -> DataBunch:
    return DataBunch.from_tensors(*blobs, bs=16)


def test_the_loss_is_the_one_passed_or_that_of_the_task(dls: DataBunch) -> None:
    own = nn.CrossEntropyLoss(label_smoothing=0.5)
    assert chosen_loss(dls, own, None) is own
    assert chosen_loss(dls, F.cross_entropy, None) is F.cross_entropy
    assert isinstance(chosen_loss(dls, None, None), nn.CrossEntropyLoss)
    weighted: Any = chosen_loss(dls, None, [1.0, 3.0])
    assert weighted.weight.tolist() == [1.0, 3.0]


@pytest.mark.parametrize("loss", [nn.CrossEntropyLoss, "cross_entropy", 3])
def test_what_is_not_a_loss_is_refused(loss: Any, dls: DataBunch) -> None:
    with refused("loss_func", got=loss):
        chosen_loss(dls, loss, None)


class OfThree(nn.Module):
    def forward(self, preds: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        return preds.mean()


@pytest.mark.parametrize("loss", [lambda preds: preds.mean(), OfThree(), partial(F.mse_loss, target=torch.zeros(1))])
def test_a_loss_that_cannot_be_called_is_refused(loss: Any, blobs: Blobs) -> None:
    with pytest.raises(WrongTypeError, match=r"loss_func: .* cannot be called with \(outputs, targets\)"):
        chosen_loss(DataBunch.from_tensors(*blobs), loss, None)


def test_weights_do_not_go_with_a_loss_that_is_passed(dls: DataBunch) -> None:
    with refused("class_weights", got="balanced", expected="None when loss_func= is passed"):
        chosen_loss(dls, F.cross_entropy, "balanced")


def test_without_a_task_a_loss_is_needed() -> None:
    batches = [(torch.ones(2, 2), torch.ones(2, 2))]
    with pytest.raises(UsageError, match="Pass loss_func="):
        chosen_loss(DataBunch.from_loaders(batches, batches), None, None)


def test_a_loss_is_moved_to_the_data(blobs: Blobs) -> None:
    batches = [(blobs.x_train, blobs.y_train)]
    dls = DataBunch.from_loaders(batches, batches, classes=["a", "b"], device="meta")
    loss: Any = chosen_loss(dls, nn.CrossEntropyLoss(weight=torch.ones(2)), None)
    assert loss.weight.device.type == "meta"
    weighted: Any = chosen_loss(dls, None, [1.0, 3.0])
    assert weighted.weight.device.type == "meta"


def own(preds: Tensor, targets: Tensor) -> Tensor:
    return (preds - targets).mean()


RAW = torch.tensor([[0.5, -2.0]])


@pytest.mark.parametrize(
    ("task", "loss", "passed", "expected"),
    [
        (None, nn.CrossEntropyLoss(), None, RAW.softmax(1)),  # of the loss
        (None, nn.NLLLoss(), None, RAW.exp()),  # of the loss, which differs from that of the task
        (None, own, None, RAW.softmax(1)),  # of the task, as this loss has none
        (MultiLabel(("a", "b")), own, None, RAW.sigmoid()),
        (Regression(("a", "b")), own, None, RAW),
        (None, nn.CrossEntropyLoss(), torch.neg, -RAW),
    ],
)
def test_the_activation_is_the_one_passed_or_of_the_loss_or_of_the_task(
    task: Any, loss: Any, passed: Any, expected: Tensor, dls: DataBunch
) -> None:
    if task is not None:
        dls.task = task
    torch.testing.assert_close(chosen_activation(dls, loss, passed)(RAW), expected)


def test_without_task_and_activation_outputs_stay_raw() -> None:
    batches = [(torch.ones(2, 2), torch.ones(2, 2))]
    assert chosen_activation(DataBunch.from_loaders(batches, batches), own, None)(RAW) is RAW


def test_what_is_not_an_activation_is_refused(dls: DataBunch) -> None:
    with refused("activation", WrongTypeError, got="softmax"):
        chosen_activation(dls, own, "softmax")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("opt_func", "decay"),
    [
        ("adamw", 0.5),
        (torch.optim.SGD, 0.5),
        (partial(torch.optim.SGD, momentum=0.9), 0.5),
        (partial(torch.optim.SGD, weight_decay=0.25), 0.25),
        (partial(torch.optim.SGD, weight_decay=0.0), 0.0),
    ],
)
def test_a_decay_set_in_the_factory_takes_precedence(opt_func: Any, decay: float) -> None:
    assert chosen_decay(opt_func, 0.5) == decay


def test_the_metrics_are_those_passed_or_the_tasks(blobs: Blobs) -> None:
    torchmetrics = pytest.importorskip("torchmetrics")
    dls = DataBunch.from_tensors(*blobs)
    for spec, names in [("default", ["accuracy"]), ((), []), (None, []), ("f1", ["f1"]), (accuracy, ["accuracy"])]:
        assert [metric.name for metric in chosen_metrics(dls, spec, own)] == names
    one = torchmetrics.F1Score(task="multiclass", num_classes=2)  # its == is another metric, which is true
    for spec in (one, [one], torchmetrics.MetricCollection({"multiclass_f1_score": one})):
        assert [metric.name for metric in chosen_metrics(dls, spec, own)] == ["multiclass_f1_score"]


def test_metrics_know_the_datas_classes_and_ignored_pixels() -> None:
    x, masks = torch.rand(4, 3, 2, 2), torch.tensor([[[0, 255], [1, 1]]] * 4)
    task = Segmentation(["sky", "road"], ignore_index=255)
    dls = DataBunch.from_tensors(x, masks, x, masks, bs=2, task=task)
    preds = torch.stack([1 - masks.clamp(max=1), masks.clamp(max=1)], dim=1).float()  # right where a pixel counts
    for spec in ("default", *metrics_for("mask"), *(FACTORIES[name] for name in ("dice", "iou", "f1"))):
        if spec == "top_k_accuracy":
            continue  # its five are more than the two classes
        (metric,) = chosen_metrics(dls, spec, own)
        metric.update(preds * 50, masks)
        perfect = 1.0 if metric.higher_is_better or metric.name == "perplexity" else 0.0
        assert metric.compute() == pytest.approx(perfect), metric.name
    (metric,) = chosen_metrics(dls, FACTORIES["iou"](average=None, ignore_index=255), own)
    assert columns(metric) == ["iou_sky", "iou_road"]


class Own(nn.Module):
    """A loss that does not say what it ignores."""

    def forward(self, preds: Tensor, targets: Tensor) -> Tensor:
        return preds.mean()


def pixels(**options: Any) -> DataBunch:
    binary = bool(options.get("binary"))
    y = torch.zeros(4, *([1] if binary else []), 2, 2)
    task = Segmentation(["sky", "road"], **options)
    return DataBunch.from_tensors(torch.rand(4, 3, 2, 2), y if binary else y.long(), bs=2, task=task)


TRAINS = [
    nn.CrossEntropyLoss(), nn.CrossEntropyLoss(ignore_index=7), CrossEntropyLossFlat(), F.cross_entropy,
    partial(F.cross_entropy, ignore_index=0), DiceLoss(), DiceBCELoss(), IoULoss(), FocalLoss(), nn.MSELoss(),
    partial(F.mse_loss, reduction="sum"),
]  # fmt: skip
OF_BINARY = [nn.BCEWithLogitsLoss(), F.binary_cross_entropy_with_logits, BCEWithLogitsLossFlat(), DiceLoss()]


@pytest.mark.parametrize(
    ("loss", "options", "ignored"),
    [(loss, {"ignore_index": 1}, 1) for loss in TRAINS]
    + [(loss, {"ignore_index": 9}, 255) for loss in TRAINS]
    + [(loss, {"ignore_index": 9, "binary": True}, 255) for loss in OF_BINARY],
    ids=name_of,
)
def test_a_loss_that_trains_what_the_data_ignores_is_warned_of(
    loss: Any, options: dict[str, Any], ignored: int
) -> None:
    with pytest.warns(LearnkitWarning, match=f"ignores the target {ignored}, and .* is trained on it all the same"):
        assert chosen_loss(pixels(**options), loss, None) is loss


@pytest.mark.parametrize(
    "loss",
    [
        None, nn.CrossEntropyLoss(ignore_index=1), CrossEntropyLossFlat(ignore_index=1), DiceLoss(ignore_index=1),
        FocalLoss(ignore_index=1), partial(F.cross_entropy, ignore_index=1), Own(), lambda preds, targets: preds.mean(),
    ],
    ids=name_of,
)  # fmt: skip
def test_nothing_is_said_of_a_loss_that_ignores_the_same_or_is_the_users(loss: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        chosen_loss(pixels(ignore_index=1), loss, None)


def test_where_nothing_is_ignored_a_loss_may_ignore_what_it_likes() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for loss in TRAINS:
            chosen_loss(pixels(), loss, None)
    assert not caught
