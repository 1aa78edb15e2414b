"""Weights of rare classes and labels."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor

from learnkit.errors import LearnkitWarning, UsageError
from learnkit.losses.weights import balanced_pos_weights, balanced_weights, weights_of_counts
from tests.doubles import refused


@pytest.mark.parametrize("n_classes", [1, 2, 7])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64])
def test_weights_of_classes_are_scikit_learns(n_classes: int, dtype: torch.dtype) -> None:
    targets = torch.cat([torch.arange(n_classes), torch.randint(n_classes, (200,)) ** 2 % n_classes]).to(dtype)
    weights = balanced_weights(targets, n_classes)
    expected = compute_class_weight("balanced", classes=np.arange(n_classes), y=targets.numpy())
    assert weights.dtype == torch.float32
    np.testing.assert_allclose(weights.numpy(), expected, rtol=1e-6)


def test_a_class_without_items_has_weight_0_and_the_others_are_scikit_learns() -> None:
    targets = torch.tensor([0, 0, 3, 0, 3, 1])
    with pytest.warns(LearnkitWarning, match=r"classes \[2, 4\] have no items; their weight is 0") as caught:
        weights = balanced_weights(targets, 5)
    assert caught[0].filename == __file__
    expected = compute_class_weight("balanced", classes=np.array([0, 1, 3]), y=targets.numpy())
    np.testing.assert_allclose(weights[[0, 1, 3]].numpy(), expected, rtol=1e-6)
    assert weights[[2, 4]].tolist() == [0, 0]


def test_weights_of_counts_are_those_of_what_was_counted() -> None:
    targets = torch.tensor([0] * 7 + [1] * 2 + [3])
    expected = compute_class_weight("balanced", classes=np.array([0, 1, 3]), y=targets.numpy())
    weights = weights_of_counts(torch.bincount(targets))
    np.testing.assert_allclose(weights[[0, 1, 3]].numpy(), expected, rtol=1e-6)
    assert (weights[2], weights.dtype) == (0, torch.float32)


def test_every_class_has_the_same_share() -> None:
    targets = torch.tensor([0] * 90 + [1] * 9 + [2])
    shares = torch.zeros(3).index_add(0, targets, balanced_weights(targets, 3)[targets])
    torch.testing.assert_close(shares, torch.full((3,), 100 / 3))


@pytest.mark.parametrize("targets", [[0, 1, 1, 1], np.array([0, 1, 1, 1]), torch.tensor([[0, 1], [1, 1]])])
def test_targets_may_be_a_list_an_array_or_pixels(targets: Any) -> None:
    torch.testing.assert_close(balanced_weights(targets, 2), torch.tensor([2.0, 2 / 3]))


@pytest.mark.parametrize(
    ("targets", "what", "got"),
    [
        (torch.tensor([0, 3]), "targets: the lowest and the highest", (0, 3)),
        (torch.tensor([-1, 2]), "targets: the lowest and the highest", (-1, 2)),
        (torch.tensor([0.0, 1.0]), "targets", torch.float32),
        (torch.tensor([0j, 1]), "targets", torch.complex64),
        (torch.empty(0).long(), "targets: the shape", (0,)),
        ([], "targets: the shape", (0,)),
    ],
)
def test_targets_that_are_not_class_indices_are_refused(targets: Any, what: str, got: Any) -> None:
    with refused(what, got=got):
        balanced_weights(targets, 3)


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.float32])
def test_weights_of_labels_are_negatives_over_positives(dtype: torch.dtype) -> None:
    targets = torch.tensor([[1, 0], [0, 1], [0, 1], [0, 1]]).to(dtype)
    weights = balanced_pos_weights(targets)
    assert weights.dtype == torch.float32
    torch.testing.assert_close(weights, torch.tensor([3.0, 1 / 3]))


def test_the_weights_balance_both_values_of_a_label() -> None:
    torch.manual_seed(0)
    targets = (torch.rand(50, 3) < torch.tensor([0.1, 0.5, 0.9])).float()

    def slope(counted: Tensor) -> Tensor:
        """How the loss of the items that count pulls at each label's score, all scores being 0."""
        raw = torch.zeros(50, 3, requires_grad=True)
        loss = F.binary_cross_entropy_with_logits(
            raw, targets, pos_weight=balanced_pos_weights(targets), reduction="none"
        )
        (gradient,) = torch.autograd.grad((loss * counted).sum(), raw)
        return gradient.sum(0)

    torch.testing.assert_close(slope(targets), -slope(1 - targets))


def test_labels_that_are_never_or_always_1_are_reported() -> None:
    targets = torch.tensor([[0, 1, 1], [0, 1, 0]])
    with pytest.warns(LearnkitWarning) as caught:
        weights = balanced_pos_weights(targets)
    assert [str(warning.message) for warning in caught] == [
        "labels [0] are never 1; their pos_weight is 1",
        "labels [1] are always 1; their pos_weight is 0",
    ]
    assert weights.tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (torch.tensor([0, 1]), r"targets: the shape: got \(2,\), expected \(N, C\)"),
        (torch.zeros(0, 3), r"targets: the shape: got \(0, 3\)"),
        (torch.tensor([[0, 2]]), r"targets: got 2, expected only 0 and 1\. For class indices use balanced_weights"),
        (torch.tensor([[0.0, float("nan")]]), r"targets: got nan, expected only 0 and 1"),
    ],
)
def test_targets_that_are_not_labels_are_refused(targets: Tensor, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        balanced_pos_weights(targets)
