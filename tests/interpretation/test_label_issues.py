"""Label issues: wrong labels planted in real data come first."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict
from torch import Tensor

from learnkit.interpretation.label_issues import count_label_issues, label_issues_table, rank_label_issues
from tests.doubles import refused


def planted(seed: int, share: float = 0.05, imbalanced: bool = False) -> tuple[Tensor, Tensor, np.ndarray, np.ndarray]:
    """(probabilities, labels, which are wrong, the right ones) of digits, predicted by folds that did not see them."""
    numbers = np.random.default_rng(seed)
    x, y = load_digits(return_X_y=True)
    if imbalanced:  # from 12 to 178 of a digit
        kept = numbers.random(len(y)) < np.geomspace(0.07, 1, 10)[y]
        x, y = x[kept], y[kept]
    is_wrong = numbers.random(len(y)) < share
    labels = np.where(is_wrong, (y + numbers.integers(1, 10, len(y))) % 10, y)
    model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.1)
    probs = cross_val_predict(model, x, labels, cv=5, method="predict_proba")
    return torch.from_numpy(probs), torch.from_numpy(labels), is_wrong, y


@pytest.mark.parametrize("imbalanced", [False, True])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_wrong_labels_planted_in_digits_come_first(seed: int, imbalanced: bool) -> None:
    probs, labels, is_wrong, right = planted(seed, imbalanced=imbalanced)
    scores, suggestions = rank_label_issues(probs, labels)
    assert roc_auc_score(is_wrong, scores) >= 0.95
    found = is_wrong & (suggestions != labels).numpy()
    assert found.sum() >= 0.7 * is_wrong.sum()
    assert (suggestions.numpy() == right)[found].mean() >= 0.9


def test_the_score_is_the_margin_of_the_best_other_class() -> None:
    probs = torch.tensor([[0.8, 0.15, 0.05], [0.3, 0.1, 0.6], [0.2, 0.7, 0.1]], dtype=torch.float64)
    scores, _ = rank_label_issues(probs, torch.tensor([0, 0, 2]))
    assert scores.tolist() == pytest.approx([0.15 - 0.8, 0.6 - 0.3, 0.7 - 0.1])


def test_a_class_is_suggested_if_it_is_as_probable_as_for_its_own_items() -> None:
    probs = torch.tensor([[0.9, 0.1], [0.3, 0.7], [0.4, 0.6], [0.2, 0.8], [0.4, 0.6]])
    # The means are 0.6 of class 0 (0.9 and 0.3) and 2 / 3 of class 1 (0.6, 0.8, 0.6).
    _, suggestions = rank_label_issues(probs, torch.tensor([0, 0, 1, 1, 1]))
    assert suggestions.tolist() == [0, 1, 1, 1, 1]
    _, suggestions = rank_label_issues(probs[[0, 4, 3, 3]], torch.tensor([0, 0, 1, 1]))
    assert suggestions.tolist() == [0, 0, 1, 1]  # 0.6 is below the 0.8 that items of class 1 have


def test_exactly_as_probable_is_enough() -> None:
    probs = torch.tensor([[0.4, 0.6], [0.4, 0.6]])  # the mean of class 1 over its one item is 0.6
    assert rank_label_issues(probs, torch.tensor([0, 1]))[1].tolist() == [1, 1]


def test_a_class_the_model_is_never_confident_of_keeps_its_items() -> None:
    probs = torch.tensor([[0.95, 0.05]] * 9 + [[0.6, 0.4]] * 3)
    targets = torch.tensor([0] * 9 + [1] * 3)
    assert torch.equal(rank_label_issues(probs, targets)[1], targets)


def test_a_class_without_items_is_not_suggested() -> None:
    probs = torch.tensor([[0.5, 0.1, 0.4], [0.1, 0.8, 0.1], [0.0, 0.1, 0.9]])
    scores, suggestions = rank_label_issues(probs, torch.tensor([0, 1, 1]))
    assert suggestions.tolist() == [0, 1, 1]
    assert scores.isfinite().all()


def test_the_table_has_the_most_suspicious_item_first() -> None:
    probs = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.95, 0.05], [0.1, 0.9]])
    targets = torch.tensor([0, 1, 1, 1])
    table = label_issues_table(probs, targets, ["cat", "dog"], lambda i: f"{i}.png")
    assert list(table.columns) == ["item", "path", "label", "suggestion", "score", "is_issue"]
    assert table.iloc[0][["item", "path", "label", "suggestion"]].tolist() == [2, "2.png", "dog", "cat"]
    assert sorted(table["item"]) == [0, 1, 2, 3]
    assert table["score"].is_monotonic_decreasing
    assert table["score"].tolist() == rank_label_issues(probs, targets)[0][table["item"].tolist()].tolist()
    assert label_issues_table(probs, targets, ["cat", "dog"])["path"].tolist()[0] == "2"


def test_a_set_without_items_has_an_empty_table() -> None:
    assert len(label_issues_table(torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64), ["cat", "dog"])) == 0


@pytest.mark.parametrize(
    ("probs", "targets", "what", "got"),
    [
        (torch.ones(2, 2), torch.zeros(3, dtype=torch.int64), "probs: the shapes", ((2, 2), (3,))),
        (torch.ones(2, 1), torch.zeros(2, dtype=torch.int64), "probs: the shapes", ((2, 1), (2,))),
        (torch.ones(2, 2), torch.tensor([0, 2]), "targets", 2),
    ],
)
def test_inconsistent_numbers_are_refused(probs: Tensor, targets: Tensor, what: str, got: object) -> None:
    with refused(what, got=got):
        rank_label_issues(probs, targets)


@pytest.mark.parametrize("share", [0.0, 0.05, 0.2])
@pytest.mark.parametrize("seed", [0, 1])
def test_planted_labels_are_counted_with_the_items_the_model_is_wrong_about(seed: int, share: float) -> None:
    probs, labels, is_wrong, right = planted(seed, share)
    mistaken = ~is_wrong & (probs.numpy().argmax(1) != right)
    assert 0.8 * is_wrong.sum() <= count_label_issues(probs, labels) <= is_wrong.sum() + mistaken.sum() + 20


def test_the_count_follows_the_paper_step_by_step() -> None:
    probs, labels, _, _ = planted(3, 0.1, imbalanced=True)
    p, y, classes = probs.numpy(), labels.numpy(), range(10)
    thresholds = [p[y == c, c].mean() for c in classes]
    joint = np.zeros((10, 10))
    for row, label in zip(p, y, strict=True):
        sure = [c for c in classes if row[c] >= thresholds[c]]
        if sure:
            joint[label, max(sure, key=lambda c: row[c])] += 1
    assert count_label_issues(probs, labels) == joint.sum() - np.trace(joint)


def test_the_count_is_the_joint_of_labels_and_classes_off_its_diagonal() -> None:
    # Means: 0.6 of class 0 over items 0 to 3, 0.75 of class 1 over items 4 and 5.
    probs = torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.65, 0.35], [0.25, 0.75], [0.35, 0.65], [0.15, 0.85]])
    targets = torch.tensor([0, 0, 0, 0, 1, 1])
    # Confident of class 0: items 0, 1, 2; of class 1: items 3 and 5; of none: item 4. Rows (3, 1) and (0, 1).
    assert count_label_issues(probs, targets) == 1


def test_the_table_marks_as_many_as_are_counted() -> None:
    probs, labels, _, _ = planted(0)
    table = label_issues_table(probs, labels, [str(i) for i in range(10)])
    n = count_label_issues(probs, labels)
    assert table["is_issue"].tolist() == [True] * n + [False] * (len(labels) - n)
    assert count_label_issues(torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64)) == 0
