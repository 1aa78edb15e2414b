"""Outputs that are nan are told of wherever they are given a label."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from learnkit import Classification, DataBunch, Learner, LearnkitWarning, MultiLabel
from learnkit.inference.nan_outputs import tell_of_nan

ITEMS = [torch.ones(4), torch.full((4,), 2.0), torch.full((4,), 3.0)]


class Root(nn.Module):
    """Outputs that are nan where the input is below a number."""

    def __init__(self, least: float) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 2)
        self.least = least

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) + (x[:, :2] - self.least).sqrt()  # type: ignore[no-any-return]


def learner(least: float, task: Any) -> Learner:
    x = torch.stack(ITEMS)
    y = torch.tensor([0, 1, 0]) if isinstance(task, Classification) else torch.eye(3)[:, :2]
    return Learner(DataBunch.from_tensors(x, y, x, y, bs=3, task=task), Root(least), seed=0)


CALLS: dict[str, Callable[[Learner, Path], Any]] = {
    "predict": lambda learn, path: learn.predict(ITEMS[0]),
    "predict_many": lambda learn, path: learn.predict_many(ITEMS),
    "predictor batch": lambda learn, path: learn.predictor().predict_batch(ITEMS),
    "predictor each": lambda learn, path: list(learn.predictor().predict_each(ITEMS)),
    "write_preds": lambda learn, path: learn.write_preds(path / "preds.csv"),
}
TASKS = [Classification(["cat", "dog"]), MultiLabel(["cat", "dog"])]


@pytest.mark.parametrize("task", TASKS, ids=["classes", "labels"])
@pytest.mark.parametrize("name", CALLS)
def test_a_label_of_nan_is_warned_of(name: str, task: Any, tmp_path: Path) -> None:
    n = 1 if name == "predict" else 3
    with pytest.warns(LearnkitWarning, match=f"of 1 of {n} items are nan, the first of them item 0: their labels"):
        CALLS[name](learner(1.5, task), tmp_path)


@pytest.mark.parametrize("task", TASKS, ids=["classes", "labels"])
@pytest.mark.parametrize("name", CALLS)
def test_nothing_is_said_of_numbers(name: str, task: Any, tmp_path: Path) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        CALLS[name](learner(0.5, task), tmp_path)
    assert not caught


@pytest.mark.parametrize("shape", [(4,), (4, 3), (4, 2, 5, 5)])
def test_the_first_of_several_is_named(shape: tuple[int, ...]) -> None:
    outputs = torch.zeros(shape)
    outputs.view(4, -1)[[1, 3], -1] = torch.nan
    with pytest.warns(LearnkitWarning, match="of 2 of 4 items are nan, the first of them item 1"):
        tell_of_nan(outputs)


@pytest.mark.parametrize("outputs", [torch.zeros(0, 3), torch.tensor([[1, 2]]), torch.tensor([[torch.inf, 0]])])
def test_no_items_whole_numbers_and_infinity_are_fine(outputs: Tensor) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        tell_of_nan(outputs)
    assert not caught


@pytest.mark.parametrize("name", ["0.weight", "1.running_var"])
def test_a_predictor_of_weights_that_are_nan_is_warned_of(name: str) -> None:
    """It is where one item after another is predicted, none of which is looked at."""
    model = nn.Sequential(nn.Linear(4, 2), nn.BatchNorm1d(2))
    x, y = torch.stack(ITEMS), torch.tensor([0, 1, 0])
    learn = Learner(DataBunch.from_tensors(x, y, x, y, bs=3), model, seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        learn.predictor()
    with torch.no_grad():
        model.state_dict()[name][-1] = torch.nan
    with pytest.warns(LearnkitWarning, match=f"the weights of the model are nan or infinite: {name}. Predictions"):
        learn.predictor()
