"""RegressionInterpretation against scikit-learn and hand computation."""

from typing import Any

import numpy as np
import pytest
import sklearn.metrics
import torch
from torch import Tensor, nn

from learnkit import DataBunch, DatasetType, Learner
from learnkit.data.tasks import Regression
from learnkit.interpretation.item_source import ItemSource
from learnkit.interpretation.regression import RegressionInterpretation
from tests.doubles import refused


def interpretation(n: int = 50, names: tuple[str, ...] = ("x", "y")) -> RegressionInterpretation:
    random = torch.Generator().manual_seed(0)
    targets = torch.randn(n, len(names), generator=random) * 3
    preds = targets + torch.randn(n, len(names), generator=random) + 0.5
    return RegressionInterpretation(preds, targets, (preds - targets).square().mean(1), names)


def test_the_report_is_that_of_scikit_learn() -> None:
    interp = interpretation()
    table = interp.regression_report()
    assert list(table.columns) == ["mae", "rmse", "r2", "bias", "n"]
    for c, name in enumerate(("x", "y")):
        pair = interp.targets[:, c].double(), interp.preds[:, c].double()
        assert table["mae"][name] == pytest.approx(sklearn.metrics.mean_absolute_error(*pair))
        assert table["rmse"][name] == pytest.approx(sklearn.metrics.root_mean_squared_error(*pair))
        assert table["r2"][name] == pytest.approx(sklearn.metrics.r2_score(*pair))
        assert table["bias"][name] == pytest.approx(float(np.mean((pair[1] - pair[0]).tolist())))
        assert table["n"][name] == 50


def test_r2_is_nan_for_constant_targets() -> None:
    interp = RegressionInterpretation(torch.tensor([[1.0], [3.0]]), torch.ones(2, 1), torch.zeros(2))
    row = interp.regression_report().loc["value"]
    assert np.isnan(row["r2"])
    assert (row["mae"], row["bias"]) == (1, 1)


def test_the_table_of_the_top_losses_of_one_name() -> None:
    preds, targets = torch.tensor([[1.0], [2.0], [4.0]]), torch.tensor([[1.5], [0.0], [4.0]])
    interp = RegressionInterpretation(preds, targets, (preds - targets).square()[:, 0], ("age",))
    assert interp.top_losses_table(2).to_dict("records") == [
        {"item": 1, "path": "1", "prediction": 2.0, "target": 0.0, "loss": 4.0},
        {"item": 0, "path": "0", "prediction": 1.0, "target": 1.5, "loss": 0.25},
    ]


def test_of_several_names_each_has_its_columns_too() -> None:
    preds, targets = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0]])
    interp = RegressionInterpretation(preds, targets, torch.tensor([4.0]), ("x", "y"))
    assert interp.top_losses_table().to_dict("records") == [
        {
            "item": 0, "path": "0", "prediction": (1.0, 2.0), "target": (3.0, 4.0), "loss": 4.0,
            "prediction_x": 1.0, "target_x": 3.0, "prediction_y": 2.0, "target_y": 4.0,
        }
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "what", "got"),
    [
        ({"preds": torch.zeros(2, 1)}, "preds: the shape", (2, 1)),
        ({"targets": torch.zeros(2)}, "targets: the shape", (2,)),
        ({"losses": torch.zeros(2, 2)}, "losses: the shape", (2, 2)),
    ],
)
def test_inconsistent_numbers_are_refused(changes: dict[str, Any], what: str, got: object) -> None:
    given: dict[str, Any] = {"preds": torch.zeros(2, 2), "targets": torch.zeros(2, 2), "losses": torch.zeros(2)}
    with refused(what, got=got):
        RegressionInterpretation(**given | {"names": ("x", "y")} | changes)


@pytest.mark.parametrize("flat", [True, False])
def test_it_is_made_of_a_learners_predictions(blobs: tuple[Tensor, ...], flat: bool) -> None:
    x, y, xv, yv = (part.float() for part in blobs)
    if not flat:
        y, yv = y[:, None], yv[:, None]
    dls = DataBunch.from_tensors(x, y, xv, yv, x_test=x, bs=16, task=Regression(("v",)))
    learn = Learner(dls, nn.Sequential(nn.Linear(2, 1), *([nn.Flatten(0)] if flat else [])), seed=0)
    interp = RegressionInterpretation.from_learner(learn)
    with torch.no_grad():
        errors = learn.model(xv).view(-1) - yv.view(-1)
    torch.testing.assert_close(interp.residuals[:, 0], errors.double())
    torch.testing.assert_close(interp.losses, errors.square())
    with refused("ds_type", got="Test"):
        RegressionInterpretation.from_learner(learn, DatasetType.Test)


def test_predictions_are_drawn_against_targets() -> None:
    interp = interpretation(names=("x", "y"))
    figure = interp.plot_predictions()
    for c, (axes, name) in enumerate(zip(figure.axes, ("x", "y"), strict=True)):
        dots = axes.collections[0].get_offsets()
        np.testing.assert_allclose(dots, torch.stack([interp.targets[:, c], interp.preds[:, c]], 1))
        assert (axes.get_title(), axes.get_xlabel(), axes.get_ylabel()) == (name, "actual", "predicted")


def test_many_items_are_drawn_by_their_number() -> None:
    interp = interpretation(6000, names=("x",))
    figure = interp.plot_predictions()
    figure.canvas.draw()
    cells = figure.axes[0].collections[0]
    assert 100 < len(cells.get_offsets()) < 6000
    assert cells.get_array().sum() == 6000
    centers = np.average(cells.get_offsets(), axis=0, weights=cells.get_array())
    means = [float(interp.targets.mean()), float(interp.preds.mean())]
    assert centers.tolist() == pytest.approx(means, abs=0.05)


def test_residuals_are_counted() -> None:
    interp = interpretation()
    for c, axes in enumerate(interp.plot_residuals().axes):
        assert sum(bar.get_height() for bar in axes.patches) == 50
        assert axes.get_lines()[1].get_xdata()[0] == pytest.approx(float(interp.residuals[:, c].mean()))


def test_numbers_that_are_nan_are_left_out_of_the_figures() -> None:
    preds = torch.tensor([[1.0], [torch.nan], [torch.inf], [2.0]])
    interp = RegressionInterpretation(preds, torch.ones(4, 1), torch.zeros(4))
    interp.plot_predictions().canvas.draw()
    assert sum(bar.get_height() for bar in interp.plot_residuals().axes[0].patches) == 2
    RegressionInterpretation(preds[1:2], torch.ones(1, 1), torch.zeros(1)).plot_residuals().canvas.draw()


def test_the_worst_items_are_drawn_with_both_numbers() -> None:
    interp = RegressionInterpretation(
        torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0]]), torch.tensor([4.0]), ("x", "y"),
        source=ItemSource(lambda i: np.zeros((4, 4, 3), np.uint8)),
    )  # fmt: skip
    assert interp.plot_top_losses(1).axes[0].get_title() == "x 3 / 1\ny 4 / 2\nloss 4"


def test_a_notebook_shows_the_errors() -> None:
    html = interpretation(names=("<i>", "y"))._repr_html_()
    assert "&lt;i&gt;" in html
    assert "<i>" not in html
    assert "RMSE" in html
