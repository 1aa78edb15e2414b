"""Operations that would pair each output with every target are refused; all others are left alone."""

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from learnkit.errors import UsageError
from learnkit.losses import DiceLoss, FocalLoss, MSELossFlat
from learnkit.losses.broadcasting import no_broadcasting

COLUMN, PLAIN = torch.rand(4, 1), torch.rand(4)

BROADCAST: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": nn.MSELoss(),
    "l1": nn.L1Loss(),
    "smooth l1": nn.SmoothL1Loss(),
    "huber": nn.HuberLoss(),
    "binary": nn.BCELoss(),
    "binary logits": nn.BCEWithLogitsLoss(),
    "poisson": nn.PoissonNLLLoss(),
    "divergence": nn.KLDivLoss(reduction="sum"),
    "soft margin": nn.SoftMarginLoss(),
    "hinge": nn.HingeEmbeddingLoss(),
    "gaussian": lambda preds, targets: F.gaussian_nll_loss(preds, targets, torch.ones(4, 1)),
    "minus": lambda preds, targets: (preds - targets).abs().mean(),
    "the other way": lambda preds, targets: (targets - preds).abs().mean(),
    "times": lambda preds, targets: (preds.sigmoid() * targets).sum(),
    "equal": lambda preds, targets: ((preds > 0.5) == (targets > 0.5)).float().mean(),
    "keyword": lambda preds, targets: torch.sub(preds, other=targets).mean(),
    "computed": lambda preds, targets: (preds.sigmoid() - targets.float().clamp(0, 1).log1p()).mean(),
    "three operands": lambda preds, targets: torch.lerp(preds, targets, 0.5).mean(),
}

HARMLESS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "flattened": lambda preds, targets: F.mse_loss(preds.view(-1), targets),
    "squeezed": lambda preds, targets: (preds[:, 0] - targets).square().mean(),
    "as a column": lambda preds, targets: nn.MSELoss()(preds, targets[:, None]),
    "flat": MSELossFlat(),
    "binary focal": FocalLoss(),
    "pairs on purpose": lambda preds, targets: (targets[:, None] - targets[None]).abs().mean() + preds.mean(),
    "pairs of outputs": lambda preds, targets: (preds - preds.T).abs().mean(),
    "one number": lambda preds, targets: F.mse_loss(preds.mean(), targets.mean()) + (preds - targets.mean()).mean(),
    "scaled": lambda preds, targets: (preds * torch.tensor(2.0)).mean(),
    "matrix product": lambda preds, targets: (targets @ preds).mean(),
}


@pytest.mark.filterwarnings("ignore:Using a target size")
@pytest.mark.parametrize("loss_func", BROADCAST.values(), ids=BROADCAST)
def test_pairing_all_items_is_refused(loss_func: Any) -> None:
    refused = pytest.raises(UsageError, match=r"my loss: outputs \(.*\) and targets \(.*\) would be broadcast")
    with refused as caught, no_broadcasting("my loss", COLUMN, PLAIN, "Hint."):
        loss_func(COLUMN, PLAIN)
    assert caught.value.fix == "Hint."


@pytest.mark.parametrize("loss_func", HARMLESS.values(), ids=HARMLESS)
def test_what_reshapes_first_may_take_any_shapes(loss_func: Any) -> None:
    with no_broadcasting("my loss", COLUMN, PLAIN):
        watched = loss_func(COLUMN, PLAIN)
    assert torch.equal(watched, loss_func(COLUMN, PLAIN))


@pytest.mark.parametrize(
    ("loss_func", "preds", "targets"),
    [
        (nn.CrossEntropyLoss(), torch.rand(4, 3), torch.tensor([0, 1, 2, 0])),
        (nn.CrossEntropyLoss(), torch.rand(4, 4), torch.tensor([0, 1, 2, 0])),
        (nn.CrossEntropyLoss(), torch.rand(4, 4, 4), torch.randint(4, (4, 4))),
        (DiceLoss(), torch.rand(4, 1, 5, 5), torch.randint(2, (4, 5, 5))),
        (nn.MSELoss(), torch.rand(4, 3), torch.rand(4, 3)),
        (nn.MultiLabelMarginLoss(), torch.rand(4, 3), torch.tensor([[0, -1, -1]] * 4)),
        (F.mse_loss, torch.rand(1, 1), torch.rand(1)),  # one item
        # As many items as classes: weights of the classes have the shape of the targets, but are not targets.
        (FocalLoss(alpha=torch.rand(4)), torch.rand(4, 4), torch.tensor([0, 1, 2, 0])),
        (lambda preds, targets: (preds * torch.ones(4)).mean(), torch.rand(4, 4), torch.tensor([0, 1, 2, 0])),
        (lambda preds, targets: F.nll_loss((preds - preds.mean(0)), targets), torch.rand(4, 4), torch.arange(4)),
    ],
)
def test_losses_of_other_shapes_pass(loss_func: Any, preds: Tensor, targets: Tensor) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with no_broadcasting("my loss", preds, targets):
            assert loss_func(preds, targets).isfinite()


def test_masks_with_a_channel_are_no_masks_without() -> None:
    preds, targets = torch.rand(3, 1, 5, 5), torch.rand(3, 5, 5)
    with pytest.raises(UsageError, match="would be broadcast"), no_broadcasting("dice", preds, targets):
        (preds * targets).sum()


def test_sizes_that_differ_get_other_advice() -> None:
    preds, targets = torch.rand(4, 3), torch.rand(4, 1)
    refused = pytest.raises(UsageError, match="Give the targets the shape of the outputs")
    with refused, no_broadcasting("my loss", preds, targets):
        F.l1_loss(preds, targets)


def test_parts_of_structures_are_watched_too() -> None:
    preds, targets = {"a": COLUMN, "b": None}, (PLAIN, "name")
    with pytest.raises(UsageError, match="would be broadcast"), no_broadcasting("my loss", preds, targets):
        (preds["a"] - targets[0]).abs()  # type: ignore[operator]


def test_afterwards_nothing_is_watched() -> None:
    with no_broadcasting("my loss", COLUMN, PLAIN):
        pass
    assert (COLUMN - PLAIN).shape == (4, 4)
