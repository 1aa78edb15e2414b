"""Dice, Dice with cross entropy, intersection over union."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from learnkit.losses.activations import activation_of
from learnkit.losses.overlap import DiceBCELoss, DiceLoss, IoULoss
from learnkit.losses.per_item import per_item_loss
from tests.doubles import refused

KINDS = [DiceLoss, DiceBCELoss, IoULoss]
LOW_HIGH = torch.tensor([-math.log(3), math.log(3)])  # probabilities 1/4 and 3/4


def binary_masks(n: int = 3) -> tuple[Tensor, Tensor]:
    torch.manual_seed(n)
    return torch.randn(n, 1, 4, 5), torch.randint(2, (n, 1, 4, 5))


def classes(n: int = 3) -> tuple[Tensor, Tensor]:
    torch.manual_seed(n)
    return torch.randn(n, 3, 4, 5), torch.randint(3, (n, 4, 5))


def sure(targets: Tensor, n_classes: int, right: bool) -> Tensor:
    """Scores that leave no doubt, for the true classes or for the next ones."""
    chosen = targets if right else (targets + 1) % n_classes
    return (F.one_hot(chosen, n_classes).movedim(-1, 1) * 2 - 1) * 100.0


# Per item: probabilities 1/4, 3/4, 3/4, 3/4; truth 0, 1, 1, 0: I = 1.5, P = 2.5, T = 2.
BY_HAND = [(DiceLoss, 1 - (3 + 1) / (4.5 + 1)), (IoULoss, 1 - (1.5 + 1) / (3 + 1))]


@pytest.mark.parametrize(("kind", "expected"), BY_HAND)
def test_binary_masks_by_hand(kind: Any, expected: float) -> None:
    preds = LOW_HIGH[torch.tensor([[[[0, 1], [1, 1]]]])]
    assert kind()(preds, torch.tensor([[[[0, 1], [1, 0]]]])).item() == pytest.approx(expected)


def test_dice_bce_by_hand() -> None:
    preds = LOW_HIGH[torch.tensor([[[[0, 1], [1, 1]]]])]
    bce = -(3 * math.log(3 / 4) + math.log(1 / 4)) / 4
    expected = BY_HAND[0][1] + bce
    assert DiceBCELoss()(preds, torch.tensor([[[[0, 1], [1, 0]]]])).item() == pytest.approx(expected)


def test_smooth_by_hand() -> None:
    preds = LOW_HIGH[torch.tensor([[[0, 1]]])]
    assert DiceLoss(smooth=0.5)(preds, torch.tensor([[0, 1]])).item() == pytest.approx(1 - (1.5 + 0.5) / (2 + 0.5))


def test_classes_by_hand() -> None:
    # Two pixels, three classes: probabilities 1/2, 1/4, 1/4 at both; truth 0 and 1. No pixel is of class 2.
    preds = torch.tensor([[[2.0, 2.0], [1.0, 1.0], [1.0, 1.0]]]).log()
    targets = torch.tensor([[0, 1]])
    dice = [(2 * 0.5 + 1) / (1 + 1 + 1), (2 * 0.25 + 1) / (0.5 + 1 + 1), (0 + 1) / (0.5 + 0 + 1)]
    iou = [(0.5 + 1) / (1.5 + 1), (0.25 + 1) / (1.25 + 1), (0 + 1) / (0.5 + 1)]
    assert DiceLoss()(preds, targets).item() == pytest.approx(1 - sum(dice) / 3)
    assert IoULoss()(preds, targets).item() == pytest.approx(1 - sum(iou) / 3)
    cross_entropy = (math.log(2) + math.log(4)) / 2
    assert DiceBCELoss()(preds, targets).item() == pytest.approx(1 - sum(dice) / 3 + cross_entropy)


def published(kind: Any, scores: Tensor, truth: Tensor) -> Tensor:
    """A common formula: all pixels of the batch in one sum, 1 added above and below."""
    probs, truth = torch.sigmoid(scores).view(-1), truth.view(-1).float()
    both = (probs * truth).sum()
    dice = 1 - (2.0 * both + 1) / (probs.sum() + truth.sum() + 1)
    if kind is DiceLoss:
        return dice
    if kind is DiceBCELoss:
        return F.binary_cross_entropy(probs, truth, reduction="mean") + dice
    return 1 - (both + 1) / ((probs + truth).sum() - both + 1)


@pytest.mark.parametrize("kind", KINDS)
def test_per_batch_is_the_published_formula(kind: Any) -> None:
    preds, targets = binary_masks()
    targets[0] = 0
    torch.testing.assert_close(kind(per_batch=True)(preds, targets), published(kind, preds, targets))


@pytest.mark.parametrize("kind", KINDS)
def test_per_item_is_that_formula_of_each_item(kind: Any) -> None:
    preds, targets = binary_masks()
    targets[0] = 0
    each = torch.stack([published(kind, p, t) for p, t in zip(preds, targets, strict=True)])
    torch.testing.assert_close(kind(reduction="none")(preds, targets), each)
    torch.testing.assert_close(kind()(preds, targets), each.mean())
    torch.testing.assert_close(kind(reduction="sum")(preds, targets), each.sum())
    assert not torch.isclose(kind()(preds, targets), kind(per_batch=True)(preds, targets))


@pytest.mark.parametrize("kind", KINDS)
def test_per_batch_with_classes_is_the_batch_as_one_image(kind: Any) -> None:
    preds, targets = classes()
    one = preds.movedim(0, -1).reshape(1, 3, -1), targets.movedim(0, -1).reshape(1, -1)
    torch.testing.assert_close(kind(per_batch=True)(preds, targets), kind()(*one))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float32])
def test_binary_masks_may_come_with_or_without_their_axis_and_in_any_dtype(kind: Any, dtype: torch.dtype) -> None:
    preds, targets = binary_masks()
    expected = kind()(preds, targets)
    torch.testing.assert_close(kind()(preds, targets[:, 0].to(dtype)), expected)
    torch.testing.assert_close(kind(binary=True)(preds[:, 0], targets.to(dtype)), expected)
    torch.testing.assert_close(kind(binary=True)(preds[:, 0], targets[:, 0].to(dtype)), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_items_may_be_single_numbers_or_rows_of_scores(kind: Any) -> None:
    scores, truth = torch.randn(4), torch.tensor([0, 1, 1, 0])
    torch.testing.assert_close(kind()(scores, truth), kind()(scores[:, None, None], truth[:, None, None]))
    rows, numbers = torch.randn(4, 3), torch.tensor([0, 2, 1, 1])
    torch.testing.assert_close(kind()(rows, numbers), kind()(rows[..., None], numbers[..., None]))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n_classes", [1, 2, 3])
def test_a_perfect_mask_has_no_loss(kind: Any, n_classes: int) -> None:
    targets = torch.randint(max(n_classes, 2), (2, 32, 32))
    preds = (targets[:, None] * 2 - 1) * 100.0 if n_classes == 1 else sure(targets, n_classes, right=True)
    assert kind()(preds, targets).item() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("kind", [DiceLoss, IoULoss])
@pytest.mark.parametrize("n_classes", [1, 2, 3])
def test_a_completely_wrong_mask_has_a_loss_near_1(kind: Any, n_classes: int) -> None:
    targets = torch.randint(max(n_classes, 2), (2, 64, 64))
    preds = (1 - targets[:, None] * 2) * 100.0 if n_classes == 1 else sure(targets, n_classes, right=False)
    assert kind()(preds, targets).item() == pytest.approx(1, abs=2e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_mask_found_empty_has_no_loss(kind: Any) -> None:
    assert kind()(torch.full((2, 1, 3, 3), -200.0), torch.zeros(2, 3, 3)).item() == 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ignored", [-100, 255])
def test_ignored_pixels_are_as_good_as_cut_off(kind: Any, ignored: int) -> None:
    for preds, targets in (binary_masks(), classes()):
        cut = kind(reduction="none")(preds[..., :3], targets[..., :3])
        targets[..., 3:] = ignored
        torch.testing.assert_close(kind(reduction="none", ignore_index=ignored)(preds, targets), cut)


@pytest.mark.parametrize("kind", KINDS)
def test_a_fully_ignored_item_has_no_loss_and_no_gradient(kind: Any) -> None:
    preds, targets = classes()
    targets[0] = 255
    preds.requires_grad_()
    losses = kind(reduction="none", ignore_index=255)(preds, targets)
    assert losses[0].item() == 0
    losses.sum().backward()
    assert preds.grad is not None
    assert preds.grad[0].abs().max() == 0
    assert preds.grad[1].abs().max() > 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_soft_target_is_between(kind: Any) -> None:
    preds, targets = binary_masks()
    soft = targets * 0.8 + 0.1
    torch.testing.assert_close(kind(per_batch=True)(preds, soft), published(kind, preds, soft))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", [binary_masks, classes])
@pytest.mark.parametrize("settings", [{}, {"reduction": "sum"}, {"ignore_index": 0}])
def test_the_loss_of_each_item_equals_that_of_a_batch_of_it(kind: Any, case: Any, settings: dict[str, Any]) -> None:
    loss, (preds, targets) = kind(**settings), case(5)
    losses = per_item_loss(loss, preds, targets)
    alone = torch.stack([loss(preds[i : i + 1], targets[i : i + 1]) for i in range(5)])
    torch.testing.assert_close(losses, alone)
    whole = losses.sum() if loss.reduction == "sum" else losses.mean()
    torch.testing.assert_close(whole, loss(preds, targets))


@pytest.mark.parametrize("kind", KINDS)
def test_single_items_of_a_loss_per_batch_have_their_own_overlap(kind: Any) -> None:
    preds, targets = binary_masks()
    each = per_item_loss(kind(per_batch=True), preds, targets)
    torch.testing.assert_close(each, kind(reduction="none")(preds, targets))


@pytest.mark.parametrize("kind", KINDS)
def test_the_activation_is_a_sigmoid_for_one_output_and_softmax_for_classes(kind: Any) -> None:
    activation = activation_of(kind())
    assert activation is not None
    for raw in (torch.randn(4), torch.randn(4, 1), torch.randn(4, 1, 5, 6)):
        torch.testing.assert_close(activation(raw), raw.sigmoid())
    for raw in (torch.randn(4, 2), torch.randn(4, 3, 5, 6)):
        torch.testing.assert_close(activation(raw), raw.softmax(1))
    of_labels = activation_of(kind(binary=True))
    assert of_labels is not None
    torch.testing.assert_close(of_labels(torch.ones(4, 3)), torch.ones(4, 3).sigmoid())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", [binary_masks, classes])
@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("per_batch", [False, True])
def test_gradients_are_finite_for_extreme_scores(kind: Any, case: Any, bf16: bool, per_batch: bool) -> None:
    preds, targets = case(2)
    preds = (preds.sign() * 100).to(torch.bfloat16 if bf16 else torch.float32).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        loss = kind(per_batch=per_batch)(preds, targets)
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.isfinite()
    assert preds.grad is not None
    assert preds.grad.isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", [binary_masks, classes])
@pytest.mark.parametrize("settings", [{}, {"per_batch": True}, {"ignore_index": 0}])
def test_gradients_are_the_slopes_of_the_loss(kind: Any, case: Any, settings: dict[str, Any]) -> None:
    preds, targets = case(2)
    preds = preds[..., :2, :2].double().requires_grad_()
    assert torch.autograd.gradcheck(kind(**settings), (preds, targets[..., :2, :2]))


SHAPES = [
    ((2, 1, 4, 5), (2, 5, 4), "targets of (2, 1, 4, 5)", ""),
    ((2, 1, 4, 5), (3, 4, 5), "targets of (2, 1, 4, 5)", ""),
    ((2, 3, 4, 5), (2, 5, 4), "class indices of (2, 4, 5)", ""),
    (
        (2, 3, 4, 5),
        (2, 3, 4, 5),
        "class indices of (2, 4, 5)",
        "If every score belongs to a separate label, pass binary=True.",
    ),
    ((), (3,), "targets of ()", ""),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("preds", "targets", "expected", "fix"), SHAPES)
def test_shapes_that_do_not_fit_are_refused(kind: Any, preds: Any, targets: Any, expected: str, fix: str) -> None:
    what = f"{kind.__name__}: the shapes of outputs and targets"
    with refused(what, got=(preds, targets), expected=expected, fix=fix):
        kind()(torch.zeros(preds), torch.zeros(targets, dtype=torch.long))


def test_class_indices_must_be_integers() -> None:
    preds, targets = classes()
    what = "DiceLoss: the targets of outputs (3, 3, 4, 5)"
    with refused(what, got=torch.float32, expected="integer class indices of (3, 4, 5)"):
        DiceLoss()(preds, targets.float())


def test_targets_out_of_range_are_refused_in_the_first_batch() -> None:
    preds, targets = binary_masks()
    what = "DiceLoss: the targets (3, 1, 4, 5) for outputs (3, 1, 4, 5)"
    with refused(what, got=[0.0, 255.0], expected="values from 0 to 1"):
        DiceLoss()(preds, targets * 255)
    preds, targets = classes()
    targets[0, 0, 0], targets[0, 0, 1] = -1, 2
    loss = DiceLoss()
    for _ in range(2):  # a batch that was refused does not count as seen
        what = "DiceLoss: the targets (3, 4, 5) for outputs (3, 3, 4, 5)"
        with refused(what, got=[-1, 2], expected="values from 0 to 2"):
            loss(preds, targets)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", [binary_masks, classes])
def test_after_the_first_batch_no_value_is_read_back(kind: Any, case: Any) -> None:
    loss, (preds, targets) = kind(ignore_index=255), case()
    loss(preds, targets)
    assert loss(preds.to("meta"), targets.to("meta")).shape == ()  # tensors without values: to read one is an error


@pytest.mark.parametrize(
    ("settings", "what", "got"),
    [
        ({"smooth": 0}, "smooth", 0),
        ({"smooth": math.inf}, "smooth", math.inf),
        ({"reduction": "avg"}, "reduction", "avg"),
        ({"reduction": "sum", "per_batch": True}, "reduction with per_batch=True", "sum"),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_settings_that_cannot_work_are_refused(kind: Any, settings: dict[str, Any], what: str, got: Any) -> None:
    with refused(what, got=got):
        kind(**settings)


def test_a_loss_shows_its_settings() -> None:
    text = "IoULoss(smooth=1.0, per_batch=False, ignore_index=None, reduction='mean', binary=False)"
    assert repr(IoULoss()) == text
