"""Rows of a batch by hand; what is refused is tested with the metrics."""

import pytest
import torch

from learnkit.metrics.shapes import (
    check_classes,
    check_labels,
    class_rows,
    class_scores,
    label_rows,
    number_rows,
    rows,
)
from tests.doubles import refused


def test_rows_have_the_classes_last() -> None:
    x = torch.arange(24).reshape(2, 3, 2, 2)
    assert rows(x)[0].tolist() == [0, 4, 8]
    assert rows(x)[5].tolist() == [13, 17, 21]
    assert rows(x).shape == (8, 3)


def test_pixels_that_do_not_count_are_marked() -> None:
    preds = torch.tensor([[[0.0, 5.0, 5.0]], [[1.0, 0.0, 0.0]], [[0.0, 1.0, 9.0]]]).permute(1, 0, 2)  # (1, 3, 3)
    made = class_rows(preds, torch.tensor([[1, 255, 2]]), ignore_index=255)
    assert made.predicted.tolist() == [1, 0, 2]
    assert made.actual.tolist() == [1, 0, 2]
    assert made.counted.tolist() == [True, False, True]
    assert made.checked.tolist() == [1, 0, 2]
    assert (made.n_outputs, made.n_classes) == (3, 3)


def test_class_indices_out_of_range_are_kept_for_the_check_only() -> None:
    made = class_rows(torch.eye(3), torch.tensor([-1, 1, 7]))
    assert made.actual.tolist() == [0, 1, 2]
    assert made.checked.tolist() == [-1, 1, 7]


def test_one_output_is_a_yes_above_the_threshold() -> None:
    logit = torch.tensor(0.75).logit().item()
    preds = torch.tensor([[logit - 0.01], [logit + 0.01], [0.01]])
    made = class_rows(preds, torch.tensor([0.0, 1.0, 1.0]), threshold=0.75)
    assert made.predicted.tolist() == [0, 1, 0]
    assert made.actual.tolist() == [0, 1, 1]
    assert (made.n_outputs, made.n_classes) == (1, 2)
    assert class_rows(torch.zeros(1), torch.zeros(1)).predicted.item() == 0  # a probability of exactly 0.5


def test_of_two_outputs_the_second_may_be_the_yes() -> None:
    probs = torch.tensor([[0.7, 0.3], [0.2, 0.8], [0.5, 0.5]])
    made = class_rows(probs.log(), torch.tensor([1, 1, 0]), threshold=0.25, second=True)
    assert made.predicted.tolist() == [1, 1, 1]
    assert made.n_outputs == 1


def test_scores_and_targets_of_items_and_pixels() -> None:
    scores, targets = class_scores(torch.zeros(2, 3, 4, 5), torch.zeros(2, 4, 5).long())
    assert (scores.shape, targets.shape) == ((40, 3), (40,))
    for shape in ((6,), (6, 1), (2, 1, 3)):
        scores, targets = class_scores(torch.zeros(shape), torch.zeros(6).reshape(shape) > 0)
        assert (scores.shape, targets.shape, targets.dtype) == ((6, 1), (6,), torch.uint8)


def test_labels_above_one_half_are_a_yes() -> None:
    made = label_rows(torch.zeros(1, 3), torch.tensor([[0.5, 0.6, 1.0]]))
    assert made.actual.tolist() == [[False, True, True]]
    assert label_rows(torch.zeros(2, 3), torch.ones(2, 3) > 0).actual.all()


@pytest.mark.parametrize(
    ("preds", "targets", "expected"),
    [((6,), (6, 1), (6, 1)), ((6, 1), (6,), (6, 1)), ((6, 2, 3), (6, 2, 3), (6, 6)), ((6, 1, 2, 3), (6, 2, 3), (6, 6))],
)
def test_numbers_are_rows_of_the_same_shape(
    preds: tuple[int, ...], targets: tuple[int, ...], expected: tuple[int, ...]
) -> None:
    made = number_rows(torch.zeros(preds), torch.zeros(targets))
    assert [part.shape for part in made] == [expected, expected]


@pytest.mark.parametrize(
    ("low", "high", "n_outputs", "got"),
    [(-1, 2, 3, -1), (0, 3, 3, 3), (0, 2, 1, 2), (0, 2, 2, 2)],
)
def test_class_indices_end_below_the_number_of_classes(low: int, high: int, n_outputs: int, got: int) -> None:
    with refused("targets", got=got, expected=f"0 to {max(n_outputs, 2) - 1}"):
        check_classes(low, high, n_outputs)
    check_classes(0, max(n_outputs, 2) - 1, n_outputs)


def test_labels_end_at_one() -> None:
    check_labels(0, 1, 5)
    for low, high in ((-1, 1), (0, 2)):
        with refused("targets", got=low or high):
            check_labels(low, high, 5)
