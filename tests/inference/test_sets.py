"""Answers of one batch, against the parts that they are made of."""

import math

import pytest
import torch
from torch import nn

from learnkit.certainty.conformal import ClassSets, Intervals, LabelSets
from learnkit.certainty.fitted import FittedCertainty
from learnkit.device import Compute
from learnkit.inference.sets import SetAnswers, not_fitted
from tests.certainty.test_fitted import whole

X = torch.tensor([[0.25, 0.5, 0.25], [0.125, 0.125, 0.75]])


def answers(fitted: FittedCertainty, model: nn.Module | None = None) -> SetAnswers:
    compute = Compute(torch.device("cpu"))
    return SetAnswers(model or nn.Identity(), compute, nn.Identity(), None, fitted, ("a", "b", "c"))


def test_classes_are_named_the_most_probable_first() -> None:
    found = answers(FittedCertainty(ClassSets(0.1, "lac", 0.75, 100)))(X)
    assert [each.labels for each in found] == [["b", "a", "c"], ["c"]]
    assert [each.probs.tolist() for each in found] == X.tolist()
    assert all(each.is_familiar is None and math.isnan(each.score) for each in found)
    empty = answers(FittedCertainty(ClassSets(0.1, "lac", 0.1, 100)))(X)
    assert [each.labels for each in empty] == [[], []]


def test_labels_and_intervals() -> None:
    found = answers(FittedCertainty(LabelSets(0.1, (0.2, 0.6, 0.0), (10, 10, 3))))(X)
    assert [each.labels for each in found] == [["a", "c"], ["c"]]
    found = answers(FittedCertainty(Intervals(0.1, (1.0, 2.0, 0.25), (9, 9, 9))))(X)
    assert found[0].labels == [(-0.75, 1.25), (-1.5, 2.5), (0.0, 0.5)]


def test_familiarity_is_that_of_raw_outputs_and_features() -> None:
    fitted = whole(ClassSets(0.1, "lac", 0.75, 100))
    fitted = FittedCertainty(fitted.conformal, fitted.familiarity, "0")
    model, x = nn.Sequential(nn.Linear(10, 2)), torch.randn(4, 10)
    ask = answers(fitted, model)
    with torch.no_grad():
        found = ask(x)
        assert fitted.familiarity is not None
        expected = fitted.familiarity.scores(model(x), x)
    assert [each.score for each in found] == pytest.approx(expected.tolist())
    assert [each.is_familiar for each in found] == (expected >= 0).tolist()
    ask.close()
    assert not model[0]._forward_pre_hooks


def test_the_error_says_what_to_call() -> None:
    assert str(not_fitted("predict_set")).endswith("that the model was not trained on.")
