"""Counts by hand; the metrics that are made of them are tested by name."""

import torch
from sklearn import metrics as sk

from learnkit.metrics.counts import (
    class_counts,
    class_tally,
    f_of,
    jaccard_of,
    label_counts,
    precision_of,
    recall_of,
    tally,
)
from learnkit.metrics.shapes import ClassRows, class_rows


def test_formulas_are_numerators_and_denominators() -> None:
    counts = torch.tensor([3.0]), torch.tensor([1.0]), torch.tensor([2.0])
    quotients = [
        (top.item(), bottom.item())
        for top, bottom in (formula(*counts) for formula in (precision_of, recall_of, jaccard_of, f_of(1), f_of(2)))
    ]
    assert quotients == [(3, 4), (3, 5), (3, 6), (6, 9), (15, 24)]


def test_numbers_that_count_are_tallied() -> None:
    numbers, counted = torch.tensor([0, 2, 2, 3, 0, 2]), torch.tensor([True, True, True, False, True, True])
    assert tally(numbers, counted, 5).tolist() == [2, 0, 3, 0, 0]
    assert tally(numbers[:0], counted[:0], 2).tolist() == [0, 0]


def test_a_class_is_right_predicted_and_actual() -> None:
    predicted, actual = torch.tensor([0, 1, 1, 2, 2]), torch.tensor([0, 1, 2, 2, 0])
    counted = torch.tensor([True, True, True, True, False])
    made = ClassRows(predicted, actual, counted, 3, actual)
    assert class_tally(made).tolist() == [[1, 1, 1], [1, 2, 1], [1, 1, 2]]


def test_the_tally_is_that_of_the_confusion_matrix() -> None:
    draw = torch.Generator().manual_seed(0)
    preds, targets = torch.randn(50, 4, generator=draw), torch.randint(4, (50,), generator=draw)
    table = sk.confusion_matrix(targets, preds.argmax(1))
    assert class_tally(class_rows(preds, targets)).tolist() == [
        table.diagonal().tolist(),
        table.sum(0).tolist(),
        table.sum(1).tolist(),
    ]


def test_settings_are_accepted_with_and_without_a_call() -> None:
    for make in (class_counts, label_counts):
        metric = make("some", precision_of)
        assert metric.name == "some"
        assert metric.higher_is_better
    assert class_counts("some", precision_of, takes=("mask",)).takes == ("mask",)
