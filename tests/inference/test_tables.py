"""Tables of predictions; tests/learner covers more, through a learner."""

import csv
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import Tensor

from learnkit import Classification, MultiLabel, Regression, Segmentation
from learnkit.data.tasks import Task
from learnkit.errors import DataError
from learnkit.inference.predictions import Predictions
from learnkit.inference.tables import check_table, write_table
from tests.doubles import refused

CLASSES = Classification(("=1+1", "b"))


def batch(*rows: list[float], targets: Tensor | None = None) -> Predictions:
    return torch.tensor(rows), targets, None


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_batches_follow_each_other_and_items_are_numbered(ending: str, tmp_path: Path) -> None:
    file = tmp_path / f"p.{ending}"
    batches = [
        batch([0.75, 0.25], [0.5, 0.5], targets=torch.tensor([1, 0])),
        batch([0.0, 1.0], targets=torch.tensor([1])),
    ]
    write_table(file, batches, None, Classification(("a", "b")), safe=False)
    table = pd.read_csv(file) if ending == "csv" else pd.read_parquet(file)
    assert table.to_dict("list") == {
        "input": [0, 1, 2],
        "label": ["a", "a", "b"],
        "p_a": [0.75, 0.5, 0.0],
        "p_b": [0.25, 0.5, 1.0],
        "target": ["b", "a", "b"],
    }


@pytest.mark.parametrize(("safe", "prefix"), [(True, "'"), (False, "")])
def test_cells_that_a_spreadsheet_would_run_get_an_apostrophe(safe: bool, prefix: str, tmp_path: Path) -> None:
    write_table(tmp_path / "p.csv", [batch([0.75, 0.25])], ["@cat.png"], CLASSES, safe=safe)
    with (tmp_path / "p.csv").open(newline="", encoding="utf-8") as file:
        header, row = csv.reader(file)
    assert header == ["input", "label", "p_=1+1", "p_b"]
    assert row == [f"{prefix}@cat.png", f"{prefix}=1+1", "0.75", "0.25"]


@pytest.mark.parametrize(
    ("task", "n_out"), [(CLASSES, 2), (MultiLabel(("a", "b", "c")), 3), (Regression(("x", "y")), 2)]
)
def test_outputs_of_another_shape_are_refused(task: Task, n_out: int, tmp_path: Path) -> None:
    for shape in ((4, n_out + 1), (4, n_out, 1), (4, 1, n_out), (4,)):
        with refused("write_preds: outputs", got=shape, expected=f"(N, {n_out})"):
            write_table(tmp_path / "p.csv", [(torch.zeros(shape), None, None)], None, task, safe=True)
    assert not (tmp_path / "p.csv").exists()


def test_targets_of_another_width_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="longer"):
        write_table(
            tmp_path / "p.csv", [(torch.zeros(4, 2), torch.zeros(4, 3), None)], None, Regression(("x", "y")), safe=True
        )
    assert not (tmp_path / "p.csv").exists()


def test_a_single_number_per_item_may_lack_the_axis(tmp_path: Path) -> None:
    write_table(tmp_path / "p.csv", [(torch.tensor([0.5, 2.0]), None, None)], None, Regression(("x",)), safe=True)
    assert pd.read_csv(tmp_path / "p.csv")["label_x"].tolist() == [0.5, 2.0]


def test_without_items_there_is_no_table(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no items to predict"):
        write_table(tmp_path / "p.csv", [], None, CLASSES, safe=True)


def test_a_table_that_cannot_be_written_is_refused_by_its_name_or_task() -> None:
    assert check_table("a/p.CSV", CLASSES) == Path("a/p.CSV")
    for name in ("p.txt", "p", "csv"):
        with refused("file", got=name, expected="a name that ends in .csv or .parquet"):
            check_table(name, CLASSES)
    with refused("write_preds: the data has no task"):
        check_table("p.csv", None)
    with refused("write_preds: masks cannot be tabulated"):
        check_table("p.csv", Segmentation(("a", "b")))
