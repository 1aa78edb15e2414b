"""torch's losses, element by element."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import learnkit.losses
from learnkit.errors import UsageError
from learnkit.losses.activations import activation_of, identity
from learnkit.losses.flattened import BCEWithLogitsLossFlat, CrossEntropyLossFlat, L1LossFlat, MSELossFlat
from learnkit.losses.per_item import per_item_loss
from tests.doubles import refused

REDUCTIONS = ["mean", "sum", "none"]
ELEMENTWISE: list[tuple[Any, Any]] = [
    (BCEWithLogitsLossFlat, F.binary_cross_entropy_with_logits),
    (MSELossFlat, F.mse_loss),
    (L1LossFlat, F.l1_loss),
]


def pixels(n: int = 3) -> tuple[Tensor, Tensor]:
    torch.manual_seed(n)
    return torch.randn(n, 4, 2, 5), torch.randint(4, (n, 2, 5))


def test_fastais_numbers_with_and_without_label_smoothing() -> None:
    preds, targets = torch.tensor([[2.0, 0, -1], [0, 1, 0]]), torch.tensor([0, 2])
    smoothed = CrossEntropyLossFlat(label_smoothing=0.1)(preds, targets)
    assert smoothed.item() == pytest.approx(0.9273, abs=5e-5)
    assert CrossEntropyLossFlat()(preds, targets).item() == pytest.approx(0.8606, abs=5e-5)
    torch.testing.assert_close(smoothed, nn.CrossEntropyLoss(label_smoothing=0.1)(preds, targets))


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize(
    "settings", [{}, {"weight": torch.tensor([1.0, 2, 3, 4])}, {"ignore_index": 0}, {"label_smoothing": 0.1}]
)
def test_cross_entropy_of_pixels_is_torchs(settings: dict[str, Any], reduction: str) -> None:
    preds, targets = pixels()
    expected = nn.CrossEntropyLoss(reduction=reduction, **settings)(preds, targets)
    torch.testing.assert_close(CrossEntropyLossFlat(reduction=reduction, **settings)(preds, targets), expected)


@pytest.mark.parametrize("axis", [1, 2, 3, -1, -2])
def test_classes_may_be_on_any_axis(axis: int) -> None:
    preds, targets = pixels()
    moved = preds.movedim(1, axis)
    loss = CrossEntropyLossFlat(axis=axis, reduction="none")
    torch.testing.assert_close(loss(moved, targets), F.cross_entropy(preds, targets, reduction="none"))
    activation = activation_of(loss)
    assert activation is not None
    torch.testing.assert_close(activation(moved).movedim(axis, 1), preds.softmax(1))


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("as_type", [torch.Tensor.float, torch.Tensor.long])
@pytest.mark.parametrize("axis", [True, False])
@pytest.mark.parametrize("pos_weight", [None, torch.tensor(3.0)])
def test_binary_pixels_that_are_ignored_do_not_count(
    reduction: str, as_type: Any, axis: bool, pos_weight: Tensor | None
) -> None:
    preds = torch.randn(3, 1, 2, 5, generator=torch.Generator().manual_seed(0)).requires_grad_()
    targets = torch.arange(30).reshape(3, 2, 5) % 2
    targets[0, 0], targets[2] = 255, 255  # half of the first item, all of the last
    loss = BCEWithLogitsLossFlat(pos_weight=pos_weight, reduction=reduction, ignore_index=255)
    found = loss(preds, as_type(targets[:, None] if axis else targets))
    counted = targets != 255
    each = F.binary_cross_entropy_with_logits(
        preds[:, 0][counted], targets[counted].float(), pos_weight=pos_weight, reduction="none"
    )
    if reduction == "none":
        assert found.shape == preds.shape
        torch.testing.assert_close(found[:, 0][counted], each)
        assert found[:, 0][~counted].unique().tolist() == [0]
    else:
        torch.testing.assert_close(found, each.mean() if reduction == "mean" else each.sum())
    found.sum().backward()
    assert preds.grad is not None
    assert preds.grad.isfinite().all()
    assert preds.grad[:, 0][~counted].unique().tolist() == [0]


def test_the_mean_of_binary_pixels_says_what_it_is_divided_by() -> None:
    """Without ignored ones it is divided by the items, as the losses of torch."""
    targets = torch.tensor([[0.0, 1.0, 255.0], [255.0, 255.0, 1.0]])
    assert BCEWithLogitsLossFlat(ignore_index=255).divisor(targets).item() == 3
    assert not hasattr(BCEWithLogitsLossFlat(), "divisor")


def test_class_indices_may_have_an_axis_of_size_1_and_any_integer_dtype() -> None:
    preds, targets = pixels()
    for given in (targets[:, None], targets.to(torch.uint8), targets[..., None].int()):
        torch.testing.assert_close(CrossEntropyLossFlat()(preds, given), F.cross_entropy(preds, targets))
        unreduced = CrossEntropyLossFlat(reduction="none")(preds, given)
        assert unreduced.shape == given.shape
    column = torch.tensor([[1], [0]])
    torch.testing.assert_close(
        CrossEntropyLossFlat()(torch.eye(2), column), F.cross_entropy(torch.eye(2), column[:, 0])
    )


@pytest.mark.parametrize(("kind", "function"), ELEMENTWISE)
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_a_column_against_a_row_is_element_by_element(kind: Any, function: Any, reduction: str) -> None:
    preds, targets = torch.randn(6), torch.rand(6)
    expected = function(preds, targets, reduction=reduction)
    loss = kind(reduction=reduction)
    torch.testing.assert_close(loss(preds, targets[:, None]), expected)
    column = loss(preds[:, None], targets)
    torch.testing.assert_close(column, expected[:, None] if reduction == "none" else expected)


@pytest.mark.parametrize(("kind", "function"), ELEMENTWISE)
@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float64, torch.float16])
def test_targets_of_any_dtype_are_converted(kind: Any, function: Any, dtype: torch.dtype) -> None:
    preds, targets = torch.randn(3, 1, 4, 4), torch.randint(2, (3, 4, 4))
    loss = kind()(preds, targets.to(dtype))
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, function(preds[:, 0], targets.float()))


def test_one_weight_per_label() -> None:
    preds, targets = torch.randn(5, 3), torch.randint(2, (5, 3))
    pos_weight, weight = torch.tensor([1.0, 2, 3]), torch.tensor([3.0, 1, 2])
    expected = nn.BCEWithLogitsLoss(weight, pos_weight=pos_weight)(preds, targets.float())
    torch.testing.assert_close(BCEWithLogitsLossFlat(weight, pos_weight)(preds, targets), expected)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("kind", [kind for kind, _ in ELEMENTWISE])
@pytest.mark.parametrize("shape", [(5, 1), (5, 3), (5, 1, 2, 2)])
def test_the_losses_of_items_make_up_the_loss(kind: Any, shape: tuple[int, ...], reduction: str) -> None:
    preds, targets = torch.randn(shape), torch.rand(shape).squeeze(1)
    loss = kind(reduction=reduction)
    losses = per_item_loss(loss, preds, targets)
    alone = torch.stack([loss(preds[i : i + 1], targets[i : i + 1]) for i in range(5)])
    torch.testing.assert_close(losses, alone)
    torch.testing.assert_close(losses.mean() if reduction == "mean" else losses.sum(), loss(preds, targets))


@pytest.mark.parametrize("axis", [1, -1])
@pytest.mark.parametrize("with_axis", [False, True])
@pytest.mark.parametrize("settings", [{}, {"label_smoothing": 0.1}, {"ignore_index": 0}, {"reduction": "sum"}])
def test_cross_entropy_per_item_equals_that_of_a_batch_of_it(
    settings: dict[str, Any], with_axis: bool, axis: int
) -> None:
    preds, targets = pixels(5)
    preds, targets = preds.movedim(1, axis), targets[:, None] if with_axis else targets
    loss = CrossEntropyLossFlat(axis, **settings)
    losses = per_item_loss(loss, preds, targets)
    alone = torch.stack([loss(preds[i : i + 1], targets[i : i + 1]) for i in range(5)])
    torch.testing.assert_close(losses, alone)
    if not settings:
        torch.testing.assert_close(losses.mean(), loss(preds, targets))


def test_the_activations_are_those_of_torchs_losses() -> None:
    assert activation_of(BCEWithLogitsLossFlat()) is torch.sigmoid
    assert activation_of(MSELossFlat()) is identity
    assert activation_of(L1LossFlat()) is identity


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("kind", [CrossEntropyLossFlat, BCEWithLogitsLossFlat, MSELossFlat, L1LossFlat])
def test_gradients_are_finite_for_extreme_scores(kind: Any, bf16: bool) -> None:
    preds, targets = pixels()
    targets = targets if kind is CrossEntropyLossFlat else (preds > 0.5).long()
    preds = (preds.sign() * 100).to(torch.bfloat16 if bf16 else torch.float32).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        loss = kind()(preds, targets)
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.isfinite()
    assert preds.grad is not None
    assert preds.grad.isfinite().all()


@pytest.mark.parametrize("axis", [1, -1])
def test_gradients_of_cross_entropy_are_the_slopes_of_the_loss(axis: int) -> None:
    preds, targets = pixels(1)
    moved = preds.movedim(1, axis).double().requires_grad_()
    assert torch.autograd.gradcheck(CrossEntropyLossFlat(axis, label_smoothing=0.1), (moved, targets))


@pytest.mark.parametrize("kind", [kind for kind, _ in ELEMENTWISE])
def test_gradients_are_the_slopes_of_the_loss(kind: Any) -> None:
    preds, targets = torch.randn(4, 1).double().requires_grad_(), torch.rand(4).double()
    assert torch.autograd.gradcheck(kind(), (preds, targets))


@pytest.mark.parametrize("kind", [kind for kind, _ in ELEMENTWISE])
@pytest.mark.parametrize(("preds", "targets"), [((4, 3), (4,)), ((4, 1), (1, 4)), ((2, 3, 4), (2, 4, 3)), ((4,), (2,))])
def test_nothing_is_broadcast(kind: Any, preds: Any, targets: Any) -> None:
    what = f"{kind.__name__}: the shapes of outputs and targets"
    with refused(what, got=(preds, targets), expected=f"targets of {preds}"):
        kind()(torch.zeros(preds), torch.zeros(targets))


@pytest.mark.parametrize(
    ("axis", "preds", "targets", "expected"),
    [
        (1, (4, 3, 5), (4, 3), "class indices of (4, 5)"),
        (-1, (4, 5, 3), (4, 3), "class indices of (4, 5)"),
        (1, (4,), (4,), "outputs with classes on axis 1, (N, C, ...)"),
        (0, (4, 3), (3,), "outputs with classes on axis 0, (N, C, ...)"),
        (-2, (4, 3), (3,), "outputs with classes on axis -2, (N, C, ...)"),
        (2, (4, 3), (4,), "outputs with classes on axis 2, (N, C, ...)"),
    ],
)
def test_classes_that_do_not_fit_are_refused(axis: int, preds: Any, targets: Any, expected: str) -> None:
    what = "CrossEntropyLossFlat: the shapes of outputs and targets"
    with refused(what, got=(preds, targets), expected=expected):
        CrossEntropyLossFlat(axis)(torch.zeros(preds), torch.zeros(targets).long())


def test_class_indices_must_be_integers() -> None:
    with pytest.raises(UsageError, match=r"got torch.float32, expected integer class indices of \(4,\)\. .*long"):
        CrossEntropyLossFlat()(torch.zeros(4, 3), torch.zeros(4))


def test_targets_out_of_range_are_refused() -> None:
    what = "CrossEntropyLossFlat: the targets (2,) for outputs (2, 3)"
    with refused(what, got=[1, 3], expected="values from 0 to 2"):
        CrossEntropyLossFlat()(torch.zeros(2, 3), torch.tensor([1, 3]))
    what = "BCEWithLogitsLossFlat: the targets (2, 1) for outputs (2, 1)"
    with refused(what, got=[0.0, 255.0], expected="values from 0 to 1"):
        BCEWithLogitsLossFlat()(torch.zeros(2, 1), torch.tensor([0, 255]))
    assert CrossEntropyLossFlat()(torch.zeros(2, 3), torch.tensor([-100, 2])).isfinite()


@pytest.mark.parametrize("kind", [CrossEntropyLossFlat, BCEWithLogitsLossFlat, MSELossFlat, L1LossFlat])
def test_after_the_first_batch_no_value_is_read_back(kind: Any) -> None:
    loss, (preds, targets) = kind(), pixels()
    targets = targets if kind is CrossEntropyLossFlat else (preds > 0.5).long()
    loss(preds, targets)
    assert loss(preds.to("meta"), targets.to("meta")).shape == ()  # tensors without values: to read one is an error


def test_every_loss_is_offered_by_the_package() -> None:
    for name in learnkit.losses.__all__:
        assert hasattr(learnkit.losses, name)
    assert {"DiceLoss", "FocalLoss", "CrossEntropyLossFlat", "balanced_weights"} < set(learnkit.losses.__all__)
