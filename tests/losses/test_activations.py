"""The activation that belongs to a loss."""

import functools
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import learnkit.losses
from learnkit.errors import UsageError
from learnkit.losses.activations import activation_of, identity, softmax

KNOWN = [
    (nn.CrossEntropyLoss(), softmax),
    (nn.CrossEntropyLoss(weight=torch.ones(3), label_smoothing=0.1), softmax),
    (nn.NLLLoss(), torch.exp),
    (nn.KLDivLoss(reduction="batchmean"), torch.exp),
    (nn.BCEWithLogitsLoss(), torch.sigmoid),
    (nn.MultiLabelSoftMarginLoss(), torch.sigmoid),
    (nn.SoftMarginLoss(), torch.sigmoid),
    (nn.BCELoss(), identity),
    (nn.MSELoss(), identity),
    (nn.L1Loss(), identity),
    (nn.SmoothL1Loss(), identity),
    (nn.HuberLoss(), identity),
    (nn.GaussianNLLLoss(), identity),
    (nn.MultiMarginLoss(), identity),
    (nn.MultiLabelMarginLoss(), identity),
    (nn.HingeEmbeddingLoss(), identity),
    (nn.PoissonNLLLoss(), torch.exp),
    (nn.PoissonNLLLoss(log_input=False), identity),
    (F.cross_entropy, softmax),
    (F.nll_loss, torch.exp),
    (F.kl_div, torch.exp),
    (F.binary_cross_entropy_with_logits, torch.sigmoid),
    (F.multilabel_soft_margin_loss, torch.sigmoid),
    (F.soft_margin_loss, torch.sigmoid),
    (F.binary_cross_entropy, identity),
    (F.mse_loss, identity),
    (F.l1_loss, identity),
    (F.smooth_l1_loss, identity),
    (F.huber_loss, identity),
    (F.gaussian_nll_loss, identity),
    (F.multi_margin_loss, identity),
    (F.multilabel_margin_loss, identity),
    (F.hinge_embedding_loss, identity),
    (F.poisson_nll_loss, torch.exp),
    (functools.partial(F.poisson_nll_loss, log_input=False), identity),
    (functools.partial(F.poisson_nll_loss, full=True), torch.exp),
    (functools.partial(F.cross_entropy, label_smoothing=0.1), softmax),
    (functools.partial(functools.partial(F.cross_entropy), label_smoothing=0.1), softmax),
]


@pytest.mark.parametrize(("loss_func", "activation"), KNOWN)
def test_torchs_losses_have_their_activation(loss_func: Any, activation: Any) -> None:
    assert activation_of(loss_func) is activation


def test_the_activation_of_cross_entropy_makes_the_probabilities_the_loss_is_of() -> None:
    raw, targets = torch.randn(5, 4), torch.tensor([0, 3, 1, 1, 2])
    probs = softmax(raw)
    torch.testing.assert_close(probs.sum(1), torch.ones(5))
    torch.testing.assert_close(-probs[range(5), targets].log().mean(), F.cross_entropy(raw, targets))


def test_softmax_is_over_the_classes_of_pixels_too() -> None:
    torch.testing.assert_close(softmax(torch.randn(2, 3, 4, 5)).sum(1), torch.ones(2, 4, 5))


class Dice(nn.Module):
    """A loss that knows its activation."""

    def activation(self, raw: Tensor) -> Tensor:
        return raw.sigmoid()


class Focal(nn.CrossEntropyLoss):
    """A subclass has the activation of its base."""


def test_a_losss_own_activation_takes_precedence() -> None:
    own = Dice()
    assert activation_of(own) == own.activation
    loss = nn.CrossEntropyLoss()
    loss.activation = torch.sigmoid  # type: ignore[assignment]
    assert activation_of(loss) is torch.sigmoid


def test_a_subclass_has_the_activation_of_its_base() -> None:
    assert activation_of(Focal()) is softmax


def my_loss(preds: Tensor, targets: Tensor) -> Tensor:
    return (preds - targets).mean()


@pytest.mark.parametrize(
    "loss_func", [my_loss, functools.partial(my_loss), nn.TripletMarginLoss(), nn.CrossEntropyLoss, nn.CTCLoss()]
)
def test_an_unknown_loss_has_none(loss_func: Any) -> None:
    assert activation_of(loss_func) is None


def test_an_activation_that_cannot_be_called_is_refused() -> None:
    loss = nn.MSELoss()
    loss.activation = "softmax"  # type: ignore[assignment]
    with pytest.raises(UsageError, match=r"the activation of MSELoss: got 'softmax', expected a function"):
        activation_of(loss)


def test_the_public_names_are_sorted() -> None:
    assert learnkit.losses.__all__ == sorted(learnkit.losses.__all__)
