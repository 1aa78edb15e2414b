"""The interpretation of key points: distances in pixels, missing points left out."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from learnkit import PointsInterpretation
from learnkit.interpretation.item_source import ItemSource

NAN = math.nan
PREDS = torch.tensor([[3.0, 4.0, 1.0, 1.0], [0.0, 0.0, 5.0, 5.0], [9.0, 9.0, 9.0, 9.0]])
TARGETS = torch.tensor([[0.0, 0.0, 1.0, 3.0], [0.0, 8.0, NAN, NAN], [NAN, NAN, NAN, NAN]])


@pytest.fixture
def interp() -> PointsInterpretation:
    source = ItemSource(image=lambda i: np.zeros((20, 30, 3), np.uint8), name=str)
    names = ("nose x", "nose y", "tail x", "tail y")
    return PointsInterpretation(PREDS, TARGETS, torch.tensor([1.0, 3.0, 0.0]), names, source, (20, 30))


def test_distances(interp: PointsInterpretation) -> None:
    off = interp.distances()
    assert list(off.columns) == ["nose", "tail"]
    np.testing.assert_allclose(off.to_numpy(), [[5, 2], [8, NAN], [NAN, NAN]])
    numbers = interp.main_numbers()
    assert (numbers["mean distance"], numbers["nose"], numbers["tail"]) == ("5 px", "6.5 px off", "2 px off")


def test_the_report_leaves_missing_points_out(interp: PointsInterpretation) -> None:
    report = interp.regression_report()
    assert report["mae"].tolist() == [1.5, 6.0, 0.0, 2.0]
    assert report["bias"].tolist() == [1.5, -2.0, 0.0, -2.0]
    assert report["rmse"].tolist() == pytest.approx([math.sqrt(4.5), math.sqrt(40), 0, 2])
    assert report["n"].tolist() == [2, 2, 1, 1]


def test_top_losses(interp: PointsInterpretation) -> None:
    table = interp.top_losses_table(2)
    assert table["item"].tolist() == [1, 0]
    assert table["target_nose y"].tolist() == [8.0, 0.0]
    figure = interp.plot_top_losses(3)
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["8 px\nloss 3", "3.5 px\nloss 1", "no known points\nloss 0"]
    image: Any = figure.axes[0].images[0].get_array()
    for color in ((0, 114, 178), (213, 94, 0)):
        assert (np.asarray(image) == color).all(2).any()


def test_without_any_known_point_there_is_no_distance() -> None:
    nothing = PointsInterpretation(PREDS[2:, :2], TARGETS[2:, :2], torch.zeros(1))
    assert nothing.main_numbers()["mean distance"] == "no known points"


def test_the_page(interp: PointsInterpretation, tmp_path: Path) -> None:
    text = interp.report(tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Key point report" in text
    assert "6.5 px off" in text
