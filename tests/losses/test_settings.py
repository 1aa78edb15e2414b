"""Settings of losses: what torch takes without a word and cannot be meant is refused where the loss enters."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from learnkit import DataBunch, Learner
from learnkit.errors import UsageError
from learnkit.losses import (
    BCEWithLogitsLossFlat,
    CrossEntropyLossFlat,
    DiceLoss,
    FocalLoss,
    IoULoss,
    L1LossFlat,
    MSELossFlat,
)
from learnkit.losses.settings import check_settings, weights_of
from tests.doubles import refused

WRONG_WEIGHTS: list[Any] = [
    torch.tensor([1.0, -2.0]), torch.tensor([0.0, 0.0]), torch.tensor([1.0, math.nan]), torch.tensor([math.inf, 1.0]),
]  # fmt: skip
WRONG: list[tuple[str, dict[str, Any]]] = [
    *(("weight", {"weight": weight}) for weight in WRONG_WEIGHTS),
    *(("label_smoothing", {"label_smoothing": share}) for share in (-0.1, math.nan, 1.5, "0.1")),
    *(("reduction", {"reduction": reduction}) for reduction in ("men", 3)),
    *(("ignore_index", {"ignore_index": ignored}) for ignored in ("1", 1.0, [1])),
]


@pytest.mark.parametrize(
    "given", [[1, 2], (1.0, 2.0), np.array([1, 2]), torch.tensor([1, 2]), torch.tensor([1.0, 2.0])]
)
def test_weights_are_numbers_in_any_form(given: Any) -> None:
    for loss in (CrossEntropyLossFlat(weight=given), BCEWithLogitsLossFlat(pos_weight=given)):
        weights = loss.weight if isinstance(loss, CrossEntropyLossFlat) else loss.pos_weight
        assert weights is not None
        assert weights.tolist() == [1.0, 2.0]
        assert weights.dtype == torch.float32
    raw, targets = torch.randn(6, 2), torch.tensor([0, 1, 1, 0, 1, 1])
    expected = F.cross_entropy(raw, targets, torch.tensor([1.0, 2.0]))
    assert torch.equal(CrossEntropyLossFlat(weight=given)(raw, targets), expected)


def test_no_weights_are_none_and_doubles_stay_doubles() -> None:
    assert weights_of("weight", None) is None
    doubles = weights_of("weight", np.array([0.5, 1.5]))
    assert doubles is not None
    assert doubles.dtype == torch.float64


@pytest.mark.parametrize("weight", [*WRONG_WEIGHTS, "balanced", {1, 2}, [1, "2"], [[1], [2, 3]], 10**400, []])
def test_weights_that_cannot_work_are_refused_when_a_loss_is_made(weight: Any) -> None:
    for what, make in (("weight", CrossEntropyLossFlat), ("weight", BCEWithLogitsLossFlat),
                       ("pos_weight", BCEWithLogitsLossFlat)):  # fmt: skip
        with refused(what, got=weight, expected="finite numbers of 0 or more, not all of them 0"):
            make(**{what: weight})


@pytest.mark.parametrize(("what", "settings"), WRONG)
@pytest.mark.parametrize(
    "make",
    [nn.CrossEntropyLoss, CrossEntropyLossFlat, lambda **settings: partial(F.cross_entropy, **settings)],
    ids=["of torch", "of learnkit", "a function"],
)
def test_settings_that_cannot_be_meant_are_refused_by_the_learner(
    make: Callable[..., Any], what: str, settings: dict[str, Any]
) -> None:
    data = DataBunch.from_tensors(torch.randn(8, 3), torch.tensor([0, 1] * 4), bs=4)
    with pytest.raises(UsageError, match=what):
        Learner(data, nn.Linear(3, 2), loss_func=make(**settings))


@pytest.mark.parametrize("loss", [FocalLoss, DiceLoss, IoULoss])
@pytest.mark.parametrize("ignored", ["1", 1.0, 1.5, [1], True])
def test_what_is_ignored_is_an_integer(loss: Any, ignored: Any) -> None:
    with refused("ignore_index", got=ignored, expected="an integer"):
        loss(ignore_index=ignored)
    assert loss(ignore_index=np.int64(1)).ignore_index == 1


@pytest.mark.parametrize("kind", [nn.MSELoss, MSELossFlat, nn.L1Loss, L1LossFlat, nn.BCEWithLogitsLoss])
def test_reductions_are_those_there_are(kind: Any) -> None:
    with refused(f"{kind.__name__}: reduction", got="men", expected="'mean', 'none' or 'sum'"):
        check_settings(kind(reduction="men"))


def test_weights_of_whole_numbers_are_refused_with_what_makes_them_floats() -> None:
    with pytest.raises(UsageError, match=r"CrossEntropyLoss: weight: .* Pass weight=weight.float\(\)"):
        check_settings(nn.CrossEntropyLoss(weight=torch.tensor([1, 2])))


@pytest.mark.parametrize(
    "loss",
    [
        nn.CrossEntropyLoss(torch.tensor([0.0, 2.0]), label_smoothing=1, ignore_index=255),
        nn.CrossEntropyLoss(label_smoothing=np.float32(0.1), ignore_index=np.int64(-1)),  # type: ignore[arg-type]
        nn.NLLLoss(reduction="sum"), FocalLoss([0.25, 0.75]), nn.HuberLoss(), F.cross_entropy, nn.TripletMarginLoss(),
        nn.KLDivLoss(reduction="batchmean"), partial(F.kl_div, reduction="batchmean"),
        partial(F.cross_entropy, label_smoothing=0.1), nn.BCEWithLogitsLoss(pos_weight=torch.ones(3)),
    ],
)  # fmt: skip
def test_settings_that_work_pass(loss: Any) -> None:
    check_settings(loss)


def test_a_loss_of_ones_own_may_have_settings_of_its_own() -> None:
    class Own(nn.Module):
        weight, reduction, label_smoothing, ignore_index = -1, "my way", 7, "x"

    check_settings(Own())
    check_settings(lambda outputs, targets, reduction="my way": outputs.sum())


@pytest.mark.parametrize("axis", [torch.ones(2), [1.0, 2.0], 1.0, None])
def test_weights_in_the_place_of_the_axis_are_refused(axis: Any) -> None:
    """As they are written for torch's `CrossEntropyLoss(weights)`."""
    with pytest.raises(UsageError, match=r"axis: .* weights are weight="):
        CrossEntropyLossFlat(axis)
