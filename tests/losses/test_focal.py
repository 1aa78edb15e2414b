"""The focal loss."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from learnkit.errors import UsageError
from learnkit.losses.activations import activation_of
from learnkit.losses.focal import FocalLoss
from learnkit.losses.per_item import per_item_loss
from learnkit.losses.weights import balanced_weights
from tests.doubles import refused


def binary_scores(n: int = 4) -> tuple[Tensor, Tensor]:
    torch.manual_seed(n)
    return torch.randn(n, 1), torch.randint(2, (n, 1))


def labels(n: int = 4) -> tuple[Tensor, Tensor]:
    torch.manual_seed(n)
    return torch.randn(n, 3), torch.randint(2, (n, 3))


def classes(n: int = 4) -> tuple[Tensor, Tensor]:
    torch.manual_seed(n)
    return torch.randn(n, 3), torch.randint(3, (n,))


def pixels(n: int = 4) -> tuple[Tensor, Tensor]:
    torch.manual_seed(n)
    return torch.randn(n, 3, 2, 5), torch.randint(3, (n, 2, 5))


CASES = [(binary_scores, False), (labels, True), (classes, False), (pixels, False)]


def test_fastais_number() -> None:
    preds, targets = torch.tensor([[2.0, 0, -1], [0, 1, 0]]), torch.tensor([0, 2])
    assert FocalLoss(gamma=2)(preds, targets).item() == pytest.approx(0.4838, abs=5e-5)


def test_binary_scores_by_hand() -> None:
    preds = torch.tensor([math.log(3), math.log(3), 0.0])  # probabilities 3/4, 3/4, 1/2
    expected = [-(0.25**2) * math.log(0.75), -(0.75**2) * math.log(0.25), -(0.5**2) * math.log(0.5)]
    losses = FocalLoss(reduction="none")(preds, torch.tensor([1, 0, 1]))
    torch.testing.assert_close(losses, torch.tensor(expected))
    weighted = [0.8 * expected[0], 0.2 * expected[1], 0.8 * expected[2]]
    losses = FocalLoss(alpha=0.8, reduction="none")(preds, torch.tensor([1, 0, 1]))
    torch.testing.assert_close(losses, torch.tensor(weighted))
    assert FocalLoss(alpha=0.8)(preds, torch.tensor([1, 0, 1])).item() == pytest.approx(sum(weighted) / 3)
    assert FocalLoss(0.8, 2, "sum")(preds, torch.tensor([1, 0, 1])).item() == pytest.approx(sum(weighted))


def test_classes_by_hand() -> None:
    preds = torch.tensor([[2.0, 1.0, 1.0], [2.0, 1.0, 1.0]]).log()  # probabilities 1/2, 1/4, 1/4
    expected = torch.tensor([0.5**3 * math.log(2), 0.75**3 * math.log(4)])
    targets = torch.tensor([0, 2])
    torch.testing.assert_close(FocalLoss(gamma=3, reduction="none")(preds, targets), expected)
    alpha = torch.tensor([2.0, 9.0, 0.5])
    weighted = expected * torch.tensor([2.0, 0.5])
    torch.testing.assert_close(FocalLoss(alpha, 3, "none")(preds, targets), weighted)
    torch.testing.assert_close(FocalLoss(alpha, 3)(preds, targets), weighted.mean())
    torch.testing.assert_close(FocalLoss(0.25, 3)(preds, targets), expected.mean() / 4)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(("case", "binary"), CASES)
def test_without_focus_it_is_cross_entropy(case: Any, binary: bool, reduction: str) -> None:
    preds, targets = case(16)
    preds = preds.double() * 3
    loss = FocalLoss(gamma=0, reduction=reduction, binary=binary)(preds, targets)
    if preds.shape == targets.shape:
        expected = F.binary_cross_entropy_with_logits(preds, targets.double(), reduction=reduction)
    else:
        expected = F.cross_entropy(preds, targets, reduction=reduction)
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("gamma", [0.0, 2.0])
@pytest.mark.parametrize("index", [-100, 1, 255])
@pytest.mark.parametrize(("case", "binary"), CASES)
def test_ignored_targets_do_not_count(case: Any, binary: bool, index: int, gamma: float, reduction: str) -> None:
    """The others alone have the same loss, and the scores of the ignored ones no gradient."""
    preds, targets = case(16)
    preds.requires_grad_()
    targets = targets.masked_fill(torch.rand(targets.shape) > 0.6, index)
    counted = targets != index
    loss = FocalLoss(gamma=gamma, reduction=reduction, binary=binary, ignore_index=index)(preds, targets)
    if preds.shape == targets.shape:
        alone = FocalLoss(gamma=gamma, reduction=reduction)(preds[counted], targets[counted])
    else:
        alone = FocalLoss(gamma=gamma, reduction=reduction)(preds.movedim(1, -1)[counted], targets[counted])
    torch.testing.assert_close(loss[counted] if reduction == "none" else loss, alone)
    assert reduction != "none" or not loss[~counted].any()
    loss.sum().backward()
    assert preds.grad is not None
    has_gradient = preds.grad.ne(0) if preds.shape == targets.shape else preds.grad.ne(0).any(1)
    assert torch.equal(has_gradient, counted)


def test_what_is_not_ignored_is_still_checked() -> None:
    with pytest.raises(UsageError, match="values from 0 to 2"):
        FocalLoss(ignore_index=255)(torch.zeros(3, 3), torch.tensor([0, 255, 7]))


def published(scores: Tensor, truth: Tensor, alpha: float = 0.8, gamma: float = 2) -> Tensor:
    """A common formula: the mean cross entropy of the batch is focused as if it were one element's."""
    probs = torch.sigmoid(scores).view(-1)
    bce = F.binary_cross_entropy(probs, truth.view(-1).float(), reduction="mean")
    return alpha * (1 - torch.exp(-bce)) ** gamma * bce


@pytest.mark.parametrize("target", [0, 1])
def test_a_batch_of_one_element_agrees_with_the_published_formula(target: int) -> None:
    preds, targets = torch.tensor([[0.7]]), torch.tensor([[target]])
    alpha = 0.8 if target else 0.2  # there it weights both equally
    torch.testing.assert_close(FocalLoss(alpha)(preds, targets), published(preds, targets))


def test_a_larger_batch_does_not() -> None:
    preds, targets = torch.tensor([9.0, 9, 9, -9]), torch.ones(4)  # three easy ones, and one that is completely wrong
    assert FocalLoss()(preds, targets).item() == pytest.approx(9 / 4, rel=1e-3)
    assert published(preds, targets, alpha=1).item() < 9 / 4 * 0.9


@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_a_soft_target_mixes_the_losses_of_both(gamma: float) -> None:
    preds, share = torch.randn(6), torch.rand(6)
    loss = FocalLoss(0.25, gamma, "none")
    mixed = share * loss(preds, torch.ones(6)) + (1 - share) * loss(preds, torch.zeros(6))
    torch.testing.assert_close(loss(preds, share), mixed)


def test_two_classes_are_one_binary_score() -> None:
    preds, targets = binary_scores()
    both = torch.cat([torch.zeros_like(preds), preds], dim=1)
    torch.testing.assert_close(FocalLoss(gamma=1.5)(both, targets[:, 0]), FocalLoss(gamma=1.5)(preds, targets))


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float64])
def test_binary_targets_may_lack_the_axis_of_one_output_and_have_any_dtype(dtype: torch.dtype) -> None:
    preds, targets = binary_scores()
    torch.testing.assert_close(FocalLoss()(preds, targets[:, 0].to(dtype)), FocalLoss()(preds, targets))


def test_one_weight_per_label() -> None:
    preds, targets = labels()
    alpha = torch.tensor([0.1, 0.5, 0.9])
    losses = FocalLoss(alpha, reduction="none", binary=True)(preds, targets)
    for label, share in enumerate(alpha.tolist()):
        alone = FocalLoss(share, reduction="none")(preds[:, label], targets[:, label])
        torch.testing.assert_close(losses[:, label], alone)


def test_one_weight_per_class_holds_for_its_pixels() -> None:
    preds, targets = pixels()
    alpha = balanced_weights(targets, 3)
    losses = FocalLoss(alpha, gamma=0, reduction="none")(preds, targets)
    torch.testing.assert_close(losses, F.cross_entropy(preds, targets, weight=alpha, reduction="none"))


def test_weights_move_with_the_loss() -> None:
    loss = FocalLoss(torch.tensor([0.5, 0.5])).to("meta")
    assert isinstance(loss.alpha, Tensor)
    assert loss.alpha.device.type == "meta"


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("alpha", [None, 0.25])
@pytest.mark.parametrize(("case", "binary"), CASES)
def test_the_losses_of_items_make_up_the_loss(case: Any, binary: bool, alpha: float | None, reduction: str) -> None:
    loss, (preds, targets) = FocalLoss(alpha, reduction=reduction, binary=binary), case(5)
    losses = per_item_loss(loss, preds, targets)
    alone = torch.stack([loss(preds[i : i + 1], targets[i : i + 1]) for i in range(5)])
    torch.testing.assert_close(losses, alone)
    torch.testing.assert_close(losses.mean() if reduction == "mean" else losses.sum(), loss(preds, targets))


def test_the_activation_is_a_sigmoid_of_binary_scores_and_a_softmax_of_classes() -> None:
    raw = torch.randn(4, 3)
    for loss, given, expected in [
        (FocalLoss(), raw, raw.softmax(1)),
        (FocalLoss(), raw[:, :1], raw[:, :1].sigmoid()),
        (FocalLoss(binary=True), raw, raw.sigmoid()),
    ]:
        activation = activation_of(loss)
        assert activation is not None
        torch.testing.assert_close(activation(given), expected)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize(("case", "binary"), CASES)
def test_gradients_are_finite_for_extreme_scores(case: Any, binary: bool, bf16: bool, gamma: float) -> None:
    preds, targets = case(16)
    preds = (preds.sign() * 100).to(torch.bfloat16 if bf16 else torch.float32).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        loss = FocalLoss(gamma=gamma, binary=binary)(preds, targets)
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.isfinite()
    assert preds.grad is not None
    assert preds.grad.isfinite().all()


@pytest.mark.parametrize("alpha", [None, 0.25, torch.tensor([0.2])])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize(("case", "binary"), CASES)
def test_gradients_are_the_slopes_of_the_loss(case: Any, binary: bool, gamma: float, alpha: Any) -> None:
    preds, targets = case(2)
    loss = FocalLoss(alpha, gamma, binary=binary)
    assert torch.autograd.gradcheck(loss, (preds.double().requires_grad_(), targets))


@pytest.mark.parametrize(
    ("preds", "targets", "expected"),
    [
        ((4, 3), (5,), "class indices of (4,)"),
        ((4, 3), (4, 3), "class indices of (4,)"),
        ((4, 1), (4, 3), "targets of (4, 1)"),
        ((4,), (1, 4), "targets of (4,)"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(preds: Any, targets: Any, expected: str) -> None:
    with refused("FocalLoss: the shapes of outputs and targets", got=(preds, targets), expected=expected):
        FocalLoss()(torch.zeros(preds), torch.zeros(targets, dtype=torch.long))


def test_targets_of_several_labels_are_refused_with_what_to_pass() -> None:
    with pytest.raises(UsageError, match=r"expected class indices of \(4,\)\. .* pass binary=True\."):
        FocalLoss()(torch.zeros(4, 3), torch.zeros(4, 3))


def test_targets_out_of_range_are_refused() -> None:
    what = "FocalLoss: the targets (2,) for outputs (2, 3)"
    with refused(what, got=[1, 3], expected="values from 0 to 2"):
        FocalLoss()(torch.zeros(2, 3), torch.tensor([1, 3]))
    what = "FocalLoss: the targets (2,) for outputs (2,)"
    with refused(what, got=[-1.0, 1.0], expected="values from 0 to 1"):
        FocalLoss()(torch.zeros(2), torch.tensor([-1, 1]))


@pytest.mark.parametrize("alpha", [None, 0.25, torch.tensor([0.2])])
@pytest.mark.parametrize(("case", "binary"), CASES)
def test_after_the_first_batch_no_value_is_read_back(case: Any, binary: bool, alpha: Any) -> None:
    loss, (preds, targets) = FocalLoss(alpha, binary=binary), case()
    loss(preds, targets)
    assert loss.to("meta")(preds.to("meta"), targets.to("meta")).shape == ()  # to read a value is an error there


@pytest.mark.parametrize(
    "settings",
    [
        {"gamma": -1},
        {"gamma": math.inf},
        {"alpha": -0.1},
        {"alpha": torch.tensor([1.0, math.nan])},
        {"alpha": torch.tensor([1.0, -1.0])},
        {"alpha": torch.ones(2, 2)},
        {"reduction": "all"},
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any]) -> None:
    ((what, _),) = settings.items()
    with refused(what):
        FocalLoss(**settings)


def test_a_gamma_of_zero_and_weights_of_zero_are_settings() -> None:
    """A class of weight 0 does not count."""
    preds, targets = torch.randn(6, 2), torch.tensor([0, 1, 0, 1, 1, 0])
    losses = FocalLoss(torch.tensor([0.0, 1.0]), gamma=0, reduction="none")(preds, targets)
    expected = F.cross_entropy(preds, targets, reduction="none") * targets
    torch.testing.assert_close(losses, expected)
    assert not FocalLoss(0)(torch.randn(3), torch.ones(3)).any()


def test_weights_that_do_not_fit_the_scores_are_refused() -> None:
    with refused("alpha for scores (4, 3)", got=(2,), expected="one number, or (3,)"):
        FocalLoss(torch.ones(2))(*classes())
    with refused("alpha for binary targets", got=2, expected="at most 1"):
        FocalLoss(2)(*binary_scores())
    assert FocalLoss(1.0)(*binary_scores()).isfinite()


def test_a_loss_shows_its_settings() -> None:
    assert repr(FocalLoss(0.25)) == "FocalLoss(alpha=0.25, gamma=2.0, reduction='mean', binary=False)"
