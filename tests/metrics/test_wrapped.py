"""A user's functions and objects as metrics: what they may be, their names, and what is refused when they are made."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from learnkit.errors import UsageError, WrongTypeError
from learnkit.metrics import make_metrics
from learnkit.metrics.metric import columns
from learnkit.metrics.wrapped import FunctionMetric, ObjectMetric, check_call, own_name


def scaled(preds: Tensor, targets: Tensor, scale: float = 1.0, *, offset: float = 0.0) -> Tensor:
    return (preds - targets).abs().mean() * scale + offset


class Sizes(NamedTuple):
    """Outputs by name."""

    main: Tensor
    aux: Tensor


@dataclass
class Output:
    logits: Tensor


STRUCTURES: dict[str, Callable[[Tensor], Any]] = {
    "tensor": lambda x: x,
    "dict": lambda x: {"logits": x},
    "tuple": lambda x: (x, torch.zeros(7, 2)),
    "list": lambda x: [x],
    "named tuple": lambda x: Sizes(x, torch.zeros(9)),
    "dataclass": Output,
}


def numbers(tree: Any) -> Tensor:
    """The first tensor of one of these structures."""
    if isinstance(tree, dict | Output):
        tree = tree["logits"] if isinstance(tree, dict) else tree.logits
    return tree if isinstance(tree, Tensor) else tree[0]


@pytest.mark.parametrize("of_targets", STRUCTURES)
@pytest.mark.parametrize("of_preds", STRUCTURES)
def test_items_are_weighted_alike_whatever_the_structures(of_preds: str, of_targets: str) -> None:
    def mean(preds: Any, targets: Any) -> Tensor:
        return (numbers(preds) - numbers(targets)).mean()

    metric = FunctionMetric(mean)
    for values in ([4.0], [1.0, 2.0, 3.0]):
        x = torch.tensor(values)
        metric.update(STRUCTURES[of_preds](x), STRUCTURES[of_targets](torch.zeros(len(x))))
    assert metric.compute() == 10 / 4


def test_a_total_and_its_weight_make_a_weighted_mean() -> None:
    def weighted(preds: Tensor, targets: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        y, weights = targets
        return (weights * (preds - y).abs()).sum(), weights.sum()

    preds, y, weights = torch.tensor([1.0, 2.0, 4.0]), torch.zeros(3), torch.tensor([1.0, 0.0, 3.0])
    for bs in (1, 2, 3):
        metric = FunctionMetric(weighted)
        for x, t, w in zip(preds.split(bs), y.split(bs), weights.split(bs), strict=True):
            metric.update(x, (t, w))
        assert metric.compute() == (1 * 1 + 3 * 4) / 4


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (scaled, "scaled"),
        (partial(scaled, scale=2.0), "scaled"),
        (partial(partial(scaled, scale=2.0), offset=1.0), "scaled"),
        (nn.L1Loss(), "l1_loss"),
        (F.mse_loss, "mse_loss"),
    ],
)
def test_the_name_is_that_of_the_function(function: Any, name: str) -> None:
    assert FunctionMetric(function).name == name
    assert repr(FunctionMetric(function)) == name


@pytest.mark.parametrize("attribute", ["name", "__name__"])
def test_a_partial_keeps_the_name_and_direction_it_was_given(attribute: str) -> None:
    twice = partial(scaled, scale=2.0)
    setattr(twice, attribute, "twice")
    twice.higher_is_better = False  # type: ignore[attr-defined]
    metric = FunctionMetric(twice)
    assert (metric.name, metric.higher_is_better, own_name(twice)) == ("twice", False, "twice")


@pytest.mark.parametrize(
    "function",
    [
        scaled,
        partial(scaled, scale=2.0, offset=1.0),
        lambda *args: 1.0,
        lambda preds, targets, **more: 1.0,
        partial(lambda scale, preds, targets: 1.0, 2.0),
        nn.L1Loss(),
        F.cross_entropy,
        partial(F.cross_entropy, label_smoothing=0.1),
        torch.dist,  # a built-in function without a signature
    ],
)
def test_what_can_be_called_is_accepted(function: Any) -> None:
    check_call(function, "m")


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (partial(scaled, scle=2.0), "keyword: got 'scle', .* Nearest: scale"),
        (partial(F.cross_entropy, smoothing=0.1), "Nearest: label_smoothing"),
        (lambda preds: 1.0, r"cannot be called with \(preds, targets\)"),
        (lambda preds, targets, weights: 1.0, "missing a required argument: 'weights'"),
        (partial(scaled, targets=torch.zeros(1)), "too many positional arguments"),
        (lambda: 1.0, "too many positional arguments"),
    ],
)
def test_what_cannot_be_called_is_refused_when_it_is_made(function: Any, words: str) -> None:
    with pytest.raises(WrongTypeError, match=f"metric .*{words}"):
        make_metrics([function])


@pytest.mark.parametrize("value", ["1", None, [1.0, 2.0], (1.0, 2.0, 3.0), torch.zeros(2)])
def test_a_value_that_is_no_number_is_refused(value: Any) -> None:
    metric = FunctionMetric(lambda preds, targets: value)
    with pytest.raises(UsageError, match=r"one number|a number per batch"):
        metric.update(torch.zeros(3), torch.zeros(3))


def test_a_function_is_saved_and_restored_within_a_set() -> None:
    first, again = FunctionMetric(scaled), FunctionMetric(scaled)
    first.update(torch.ones(3), torch.zeros(3))
    again.load_state_dict(first.state_dict())
    for metric in (first, again):
        metric.update(torch.full((1,), 5.0), torch.zeros(1))
    assert again.compute() == first.compute() == 2.0


torchmetrics = pytest.importorskip("torchmetrics")
N_CLASSES = {"task": "multiclass", "num_classes": 3}


def outputs() -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    return torch.randn(40, 3, generator=draw), torch.randint(3, (40,), generator=draw)


@pytest.mark.parametrize("average", [None, "none"])
@pytest.mark.parametrize("kind", ["F1Score", "Precision", "Recall", "Accuracy", "JaccardIndex", "AUROC"])
def test_an_object_with_a_number_per_class_has_a_column_per_class(kind: str, average: str | None) -> None:
    (metric,) = make_metrics(getattr(torchmetrics, kind)(**N_CLASSES, average=average), classes=list("abc"))
    reference = getattr(torchmetrics, kind)(**N_CLASSES, average=average)
    names = [f"{metric.name}_{label}" for label in "abc"]
    assert columns(metric) == names
    assert list(metric.compute()) == names  # type: ignore[arg-type]  # nan before the first batch
    for x, y in zip(*(part.split(7) for part in outputs()), strict=True):
        metric.update(x, y)
        reference.update(x, y)
    assert metric.compute() == pytest.approx(dict(zip(names, reference.compute().tolist(), strict=True)))


def test_an_object_with_one_number_has_one_column() -> None:
    metric = ObjectMetric(torchmetrics.F1Score(**N_CLASSES), "f")
    assert (metric.columns, repr(metric), metric.higher_is_better) == (["f"], "f", True)


@pytest.mark.parametrize(
    ("kind", "name", "error"),
    [
        ("BinaryAUROC", "binary_auroc", IndexError),
        ("BinaryAccuracy", "binary_accuracy", RuntimeError),
        ("MulticlassAccuracy", "multiclass_accuracy", ValueError),
    ],
)
def test_an_object_that_does_not_fit_says_which_it_is_and_what_it_got(kind: str, name: str, error: Any) -> None:
    options = {"num_classes": 5} if kind.startswith("Multi") else {}
    (metric,) = make_metrics(getattr(torchmetrics.classification, kind)(**options))
    with pytest.raises(error) as caught:
        metric.update(*outputs()) or metric.compute()  # where it shows is up to torchmetrics
    (note,) = caught.value.__notes__
    assert note.startswith(f"in metric {name}, ")
    assert "preds float32 (40, 3), targets int64 (40,)." in note


def test_a_function_that_fails_keeps_its_error_and_is_named() -> None:
    def share(preds: Any, targets: Tensor) -> float:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine") as caught:
        FunctionMetric(share).update({"a": torch.ones(4, 2), "b": [torch.ones(4).half(), 3]}, torch.zeros(4).long())
    (note,) = caught.value.__notes__
    assert note.startswith("in metric share, ")
    assert "preds float32 (4, 2) and float16 (4,) and int, targets int64 (4,)." in note
    assert caught.traceback[-1].name == "share"


def test_other_names_than_numbers_are_refused() -> None:
    (metric,) = make_metrics(torchmetrics.F1Score(**N_CLASSES, average=None), classes=["a", "b"])
    metric.update(*outputs())
    with pytest.raises(UsageError, match="got '3 numbers', expected one for each of 2 classes"):
        metric.compute()


def test_an_object_of_dict_outputs_goes_to_their_device() -> None:
    class OfDict(nn.Module):
        def reset(self) -> None:
            self.total = torch.zeros(())

        def update(self, preds: dict[str, Tensor], targets: Tensor) -> None:
            self.total = self.total + preds["logits"].sum()

        def compute(self) -> Tensor:
            return self.total

    metric = ObjectMetric(OfDict())
    metric.reset()
    metric.update({"logits": torch.ones(4)}, torch.zeros(4))
    assert (metric.name, metric.compute()) == ("of_dict", 4.0)
