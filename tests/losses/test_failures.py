"""What a loss refuses is said with what it was given; an error of a user's own loss stays as it is."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from learnkit.errors import DataError, UsageError
from learnkit.losses import CrossEntropyLossFlat, FocalLoss
from learnkit.losses.failures import loss_explained
from learnkit.losses.per_item import loss_of_items

PREDS = torch.zeros(3, 2)
BAD: dict[str, tuple[Any, str]] = {
    "int32": (torch.zeros(3, dtype=torch.int32), r"targets \(3,\) torch.int32"),
    "floats": (torch.zeros(3), r"targets \(3,\) torch.float32"),
    "a column": (torch.zeros(3, 1).long(), r"targets \(3, 1\) torch.int64"),
    "out of range": (torch.tensor([0, 1, 2]), r"targets \(3,\) torch.int64"),
    "a dict": ({"y": torch.zeros(3).long()}, "targets a dict of y"),
}


@pytest.mark.parametrize("case", BAD)
def test_targets_that_a_loss_of_torch_refuses_are_named(case: str) -> None:
    targets, got = BAD[case]
    for compute in (lambda loss: loss(PREDS, targets), lambda loss: loss_of_items(loss, None, PREDS, targets)):
        loss = nn.CrossEntropyLoss()
        with (
            pytest.raises(UsageError, match=rf"CrossEntropyLoss: .*got 'outputs \(3, 2\) torch.float32, {got}'"),
            loss_explained(loss, PREDS, targets),
        ):
            compute(loss)


def test_an_own_loss_fails_at_its_own_line_with_a_note() -> None:
    def own(preds: Tensor, targets: Tensor) -> Tensor:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no") as caught, loss_explained(own, PREDS, PREDS):
        own(PREDS, PREDS)
    assert caught.value.__notes__[-1].endswith("got outputs (3, 2) torch.float32, targets (3, 2) torch.float32")


def test_what_is_explained_already_stays() -> None:
    with pytest.raises(DataError, match="known"), loss_explained(FocalLoss(), PREDS, PREDS):
        raise DataError("known")


@pytest.mark.parametrize("kind", [nn.CrossEntropyLoss, CrossEntropyLossFlat])
def test_weights_of_another_type_than_the_outputs_are_what_is_to_be_changed(kind: Any) -> None:
    loss, preds, targets = kind(weight=torch.ones(2).double()), torch.zeros(3, 2), torch.zeros(3).long()
    expected = r"Its weights are of another type .*weight\.to\(torch\.float32\)"
    with pytest.raises(UsageError, match=expected), loss_explained(loss, preds, targets):
        loss(preds, targets)
