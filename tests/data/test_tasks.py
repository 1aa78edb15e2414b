"""Tasks: encoding, losses, activations and decoding by hand."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from learnkit import Classification, DataBunch, Learner, MultiLabel, Regression
from learnkit.errors import DataError
from tests.doubles import refused


def test_classification() -> None:
    task = Classification(("cat", "dog"))
    assert task.n_out == 2
    assert task.encode("dog").item() == 1
    assert isinstance(task.loss(), nn.CrossEntropyLoss)
    probs = task.activation(torch.tensor([[0.0, torch.log(torch.tensor(3.0))]]))[0]
    torch.testing.assert_close(probs, torch.tensor([0.25, 0.75]))
    label, index = task.decode(probs)
    assert (label, index.item()) == ("dog", 1)
    assert task.text(torch.tensor(1)) == "dog"
    with refused("label", DataError, got="dgo", expected="one of the classes: dog, cat, ..."):
        task.encode("dgo")


def test_classes_are_two_or_more_and_distinct() -> None:
    with refused("only class 'a'", DataError, expected="two or more"):
        Classification(("a",))
    with refused("no classes", DataError, expected="two or more"):
        Classification(())
    for classes in (("a", "a"), ("a", "b", "a")):
        with refused("classes", got=list(classes), expected="each class once"):
            Classification(classes)


def test_multi_label_predicts_what_is_above_the_threshold() -> None:
    task = MultiLabel(("a", "b", "c"))
    assert task.encode(["c", "a"]).tolist() == [1, 0, 1]
    assert task.encode([]).tolist() == [0, 0, 0]
    assert isinstance(task.loss(), nn.BCEWithLogitsLoss)
    label, chosen = task.decode(task.activation(torch.tensor([[2.0, 0.0, 0.1]]))[0])
    assert label == ["a", "c"]
    assert chosen.tolist() == [True, False, True]
    assert task.text(torch.tensor([1.0, 0.0, 1.0])) == "a; c"
    assert task.text(torch.zeros(3)) == "(none)"
    with refused("label", DataError, got="z"):
        task.encode(["z"])


def test_a_threshold_of_zero_predicts_every_possible_class() -> None:
    assert MultiLabel(("a", "b"), 0).decode(torch.tensor([0.0, 1e-6]))[0] == ["b"]
    assert MultiLabel(("a", "b"), (0.0, 0.5)).decode(torch.tensor([0.1, 0.1]))[0] == ["a"]


def test_each_class_may_have_its_own_threshold() -> None:
    task = MultiLabel(("a", "b", "c"), (0.25, 0.5, 0.75))
    label, chosen = task.decode(torch.tensor([0.375, 0.5, 0.875]))
    assert label == ["a", "c"]
    assert chosen.tolist() == [True, False, True]
    assert task.chosen(torch.full((2, 3), 0.6)).tolist() == [[True, True, False]] * 2
    assert task.chosen(torch.full((3,), 0.6, dtype=torch.float64)).tolist() == [True, True, False]


def test_a_list_of_thresholds_is_kept_as_a_tuple() -> None:
    task = MultiLabel(("a", "b"), [0.25, 0.5])  # type: ignore[arg-type]
    assert task.threshold == (0.25, 0.5)
    assert hash(task) == hash(MultiLabel(("a", "b"), (0.25, 0.5)))


@pytest.mark.parametrize(
    "threshold", [1.0, -0.1, float("nan"), (0.5,), (0.5, 1.0), (0.5, 0.5, 0.5), (), "0.5", None, (0.5, None), True]
)
def test_an_invalid_threshold_is_refused(threshold: Any) -> None:
    with refused("threshold", got=threshold):
        MultiLabel(("a", "b"), threshold)


def test_numbers_are_shown_with_their_names() -> None:
    assert Regression().text(torch.tensor([1.23456])) == "1.235"
    assert Regression(("x", "y")).text(torch.tensor([1.0, -2.5])) == "x 1; y -2.5"
    with refused("label", DataError, got=[1.0], expected="2 numbers: x, y"):
        Regression(("x", "y")).encode([1.0])


def test_regression_keeps_its_numbers() -> None:
    task = Regression(("x", "y"))
    assert task.n_out == 2
    assert not task.classes
    assert task.encode([1, 2.5]).tolist() == [1.0, 2.5]
    assert isinstance(task.loss(), nn.MSELoss)
    raw = torch.tensor([[1.5, -2.0]])
    label, numbers = task.decode(task.activation(raw)[0])
    assert label == (1.5, -2.0)
    assert torch.equal(numbers, raw[0])


def test_one_number_per_item_is_learned_with_a_column_or_without() -> None:
    class Flat(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x)[:, 0]

    def trained(model: type[nn.Linear], y: Tensor) -> Learner:
        torch.manual_seed(0)
        dls = DataBunch.from_tensors(x, y, x, y, bs=8, task=Regression())
        learn = Learner(dls, model(2, 1), seed=0)
        learn.fit(3, 0.1)
        return learn

    x = torch.randn(24, 2, generator=torch.Generator().manual_seed(0))
    y = x[:, 0] - 2 * x[:, 1] + 3
    runs = [trained(model, targets) for model in (nn.Linear, Flat) for targets in (y, y[:, None])]
    error = (runs[0].model(x)[:, 0] - y).square().mean().item()
    for run in runs:
        assert run.recorder.losses == runs[0].recorder.losses
        assert torch.equal(run.model.weight, runs[0].model.weight)
        assert run.history["valid_loss"].iloc[-1] == pytest.approx(error)
