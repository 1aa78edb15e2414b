"""Rows of predictions: what they hold for each task, and how they are printed."""

import csv
import json

import pytest
import torch

from learnkit.cli.rows import Row, SetRow, print_rows, print_set_rows, row_of, set_row_of
from learnkit.data.points import Points
from learnkit.data.tasks import Classification, MultiLabel, Regression, Task
from learnkit.inference.predictor import Prediction
from learnkit.inference.sets import PredictionSet


def row(task: Task, outputs: list[float], k: int | None = None) -> Row:
    activated = torch.tensor(outputs, dtype=torch.float64)
    return row_of("a.png", Prediction(*task.decode(activated), activated), task, k)


def test_a_row_holds_what_the_task_decodes() -> None:
    classes = ("ant", "bee", "cat")
    assert row(Classification(classes), [0.25, 0.25, 0.5]) == Row("a.png", "cat", 0.5)
    assert row(Classification(classes), [0.25, 0.25, 0.5], 2).top == [("cat", 0.5), ("ant", 0.25)]
    assert row(Classification(classes), [0.25, 0.25, 0.5], 9).top == [("cat", 0.5), ("ant", 0.25), ("bee", 0.25)]
    assert row(MultiLabel(classes), [0.75, 0.25, 0.625]) == Row("a.png", ["ant", "cat"], [0.75, 0.625])
    assert row(MultiLabel(classes), [0.25, 0.25, 0.25]) == Row("a.png", [], [])
    assert row(Regression(), [1.5]) == Row("a.png", 1.5)
    assert row(Regression(("x", "y")), [1.5, 2]) == Row("a.png", {"x": 1.5, "y": 2.0})
    assert row(Points(["nose"]), [1.5, 2]) == Row("a.png", {"nose": [1.5, 2.0]})


ROWS = [
    Row("a.png", "cat", 0.5, [("cat", 0.5), ("ant", 0.25)]),
    Row("longer name.png", ["ant", "cat"], [0.75, 0.625], [("ant", 0.75)]),
    Row("b\n.png", {"x": -1.5, "nose": [1.0, 2.0]}, None, []),
]


def test_a_table_is_aligned_and_has_one_line_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows([one._replace(top=None) for one in ROWS], "table", has_top=False)
    header, *lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    place = header.index("label")
    assert [line[place:].split("  ")[0] for line in lines] == ["cat", "ant;cat", "x -1.5;nose 1 2"]
    place = header.index("probability")
    assert [line[place:] for line in lines] == ["0.5000", "0.7500;0.6250", ""]


def test_csv_can_be_read_again(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows([*ROWS, Row("=1", -2.5)], "csv", has_top=True)
    lines = capsys.readouterr().out.splitlines()
    assert list(csv.reader(lines)) == [
        ["input", "label", "probability", "top"],
        ["a.png", "cat", "0.500000", "cat 0.500000;ant 0.250000"],
        ["longer name.png", "ant;cat", "0.750000;0.625000", "ant 0.750000"],
        ["b\\n.png", "x -1.5;nose 1 2", "", ""],
        ["'=1", "-2.5", ""],
    ]


def test_json_keeps_every_character(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows(ROWS, "json", has_top=True)
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["input"] for one in found] == [one.input for one in ROWS]
    assert [one["label"] for one in found] == [one.label for one in ROWS]
    assert found[0]["top"] == [{"label": "cat", "probability": 0.5}, {"label": "ant", "probability": 0.25}]
    assert found[2] == {"input": "b\n.png", "label": {"x": -1.5, "nose": [1, 2]}, "probability": None, "top": []}


def test_sets_of_classes_and_intervals_of_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    nothing = torch.empty(0)
    classes = PredictionSet(["bee", "ant"], True, 0.5, nothing)
    empty = PredictionSet([], False, -2.25, nothing)
    numbers = PredictionSet([(-1.5, 2.0), (0.25, 0.5)], None, float("nan"), nothing)
    rows = [
        set_row_of("a.png", classes, Classification(("ant", "bee"))),
        set_row_of("b.png", empty, MultiLabel(("ant", "bee"))),
        set_row_of("c.png", numbers, Regression(("x", "y"))),
        set_row_of("=d.png", numbers._replace(labels=[(-1.5, 2.0)]), Regression()),
    ]
    assert rows[2] == SetRow("c.png", {"x": [-1.5, 2.0], "y": [0.25, 0.5]}, None, None)
    print_set_rows(rows, "json")
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert found[0] == {"input": "a.png", "labels": ["bee", "ant"], "is_familiar": True, "score": 0.5}
    assert found[3] == {"input": "=d.png", "labels": [-1.5, 2.0], "is_familiar": None, "score": None}
    print_set_rows(rows, "csv")
    assert list(csv.reader(capsys.readouterr().out.splitlines())) == [
        ["input", "labels", "is_familiar", "score"],
        ["a.png", "bee;ant", "true", "0.500000"],
        ["b.png", "", "false", "-2.250000"],
        ["c.png", "x -1.5 2;y 0.25 0.5", "", ""],
        ["'=d.png", "'-1.5 2", "", ""],
    ]
    print_set_rows(rows[:1], "table")
    assert capsys.readouterr().out.splitlines()[1].split() == ["a.png", "bee;ant", "true", "0.5000"]
