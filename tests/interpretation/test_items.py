"""What every interpretation does: losses, tables and images of the right items, made from a learner's predictions."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from learnkit import ClassificationInterpretation, DataBunch, DatasetType, ImageDataBunch, Learner
from learnkit.data.tasks import Regression
from learnkit.errors import LearnkitWarning
from tests.doubles import refused


@pytest.fixture
def learn(class_folder: Path) -> Learner:
    dls = ImageDataBunch.from_folder(class_folder, size=16, bs=5, num_workers=0)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    return Learner(dls, net, seed=0)


def learner_of(task: Any, y: Tensor, n_out: int) -> Learner:
    x = torch.arange(8.0).view(4, 2)
    return Learner(DataBunch.from_tensors(x, y, x, y, bs=2, task=task), nn.Linear(2, n_out))


def test_losses_of_the_table_can_be_computed_again(learn: Learner) -> None:
    interp = learn.interpret(DatasetType.Train)
    table = interp.top_losses_table()
    assert sorted(table["item"]) == list(range(24))
    assert table["loss"].is_monotonic_decreasing
    for row in table.to_dict("records"):
        label, _, probs = learn.predict(row["path"])
        assert row["prediction"] == label
        assert row["target"] == Path(row["path"]).parent.name
        p_target = probs[interp.classes.index(row["target"])].item()
        assert row["loss"] == pytest.approx(-np.log(p_target), abs=1e-6)


def test_without_names_an_item_is_named_by_its_index() -> None:
    interp = ClassificationInterpretation(torch.eye(2), torch.tensor([0, 1]), torch.tensor([1.0, 2.0]), ("a", "b"))
    assert interp.top_losses_table()["path"].tolist() == ["1", "0"]
    assert interp.top_losses_table(1, largest=False)["path"].tolist() == ["0"]
    assert len(interp.top_losses_table(3)) == 2
    with refused("k", got=0):
        interp.top_losses_table(0)


def test_an_item_whose_loss_is_nan_comes_first() -> None:
    losses = torch.tensor([1.0, torch.nan, 2.0])
    interp = ClassificationInterpretation(torch.eye(3), torch.tensor([0, 1, 2]), losses, ("a", "b", "c"))
    assert interp.top_losses(2)[1].tolist() == [1, 2]


def test_asking_does_not_change_the_model(learn: Learner) -> None:
    learn.model.train()
    learn.model[0].eval()
    before = {name: value.clone() for name, value in learn.model.state_dict().items()}
    interp = learn.interpret()
    interp.grad_cam(0)
    interp.plot_top_losses(2)
    assert [module.training for module in learn.model] == [False, True, True, True, True]
    assert all(torch.equal(value, before[name]) for name, value in learn.model.state_dict().items())
    assert all(parameter.grad is None for parameter in learn.model.parameters())


def test_a_page_is_written(learn: Learner, tmp_path: Path) -> None:
    path = learn.interpret().report(tmp_path / "report.html", learn=learn)
    assert path == tmp_path / "report.html"
    assert "accuracy" in path.read_text(encoding="utf-8")


def test_items_are_accepted_as_returned_by_tables_and_top_losses(learn: Learner) -> None:
    interp = ClassificationInterpretation.from_learner(learn)
    _, indices = interp.top_losses(1)
    i = int(indices[0])
    expected = interp.grad_cam(i, int(interp.targets[i]))
    assert np.array_equal(interp.grad_cam(indices[0], interp.targets[i]), expected)  # type: ignore[arg-type]
    assert np.array_equal(interp.grad_cam(interp.top_losses_table(1).loc[0, "item"], interp.targets[i]), expected)
    assert len(interp.plot_grad_cam(indices[0], interp.targets[i]).axes) == 2  # type: ignore[arg-type]
    for wrong in (True, 0.0, torch.tensor(0.0)):
        with refused("i", got=wrong):
            interp.grad_cam(wrong)


def test_predictions_that_are_nan_are_reported() -> None:
    learn = learner_of(Regression(("v",)), torch.ones(4, 1), 1)
    learn.dls.valid_ds.tensors[0][2] = torch.nan
    with pytest.warns(LearnkitWarning, match="the predictions of 1 of 4 items are nan, the first of them item 2"):
        learn.interpret()
