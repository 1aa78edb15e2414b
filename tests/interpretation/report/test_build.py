"""What is gathered from interpretations of every task."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from learnkit import ClassificationInterpretation, DataBunch, Learner
from learnkit.data.tasks import MultiLabel, Regression
from learnkit.errors import WrongTypeError
from learnkit.interpretation import MultiLabelInterpretation, RegressionInterpretation, SegmentationInterpretation
from learnkit.interpretation.item_source import ItemSource
from learnkit.interpretation.report import ReportContent, content_of
from learnkit.interpretation.report.render import page_of, write_report
from learnkit.interpretation.report.thumbnails import Thumbnails
from learnkit.types import DatasetType
from tests.doubles import refused


def text_of(content: ReportContent) -> str:
    return page_of(content, Thumbnails(content.image))


def test_the_matrix_holds_every_item_once(learn: Learner) -> None:
    interp = ClassificationInterpretation.from_learner(learn)
    matrix = content_of(interp).matrix
    assert matrix is not None
    counts = interp.confusion_matrix()
    assert matrix.counts == {(r, c): int(counts[r, c]) for r, c in counts.nonzero().tolist()}
    assert sorted(item.number for items in matrix.items.values() for item in items) == list(range(12))
    for (row, column), items in matrix.items.items():
        assert {(item.target, item.prediction) for item in items} == {(interp.classes[row], interp.classes[column])}
        losses = [item.loss for item in items]
        assert losses == sorted(losses, reverse=True)


def test_weakest_classes_that_are_several_are_counted() -> None:
    preds = torch.eye(4)[[0, 0, 0, 3]]
    interp = ClassificationInterpretation(preds, torch.tensor([0, 1, 2, 3]), torch.ones(4), ("a", "b", "c", "d"))
    weakest = content_of(interp).numbers[-1]
    assert (weakest.value, weakest.note) == ("0", "b and 1 more")


def test_data_without_images(blobs: Any) -> None:
    learn = Learner(DataBunch.from_tensors(*blobs), nn.Linear(2, 2), seed=0)
    learn.fit(1)
    content = content_of(ClassificationInterpretation.from_learner(learn), learn=learn)
    assert content.image is None
    text = text_of(content)
    assert "<img " not in text
    assert "see its items" in text
    assert content.top_losses[0].name == f"item {content.top_losses[0].number}"
    facts = {name: text for group in content.settings for name, text in group.rows}
    assert facts["training"] == "64 items"
    assert facts["input"] == "2"


def test_several_labels_per_item() -> None:
    random = torch.Generator().manual_seed(0)
    probs, targets = torch.rand(20, 3, generator=random), (torch.rand(20, 3, generator=random) > 0.5).float()
    interp = MultiLabelInterpretation(probs, targets, torch.rand(20, generator=random), ("<a>", "b", "c"))
    content = content_of(interp)
    assert content.table is not None
    assert [name for name, _ in content.table.rows] == ["<a>", "b", "c"]
    assert len(content.table.totals) == 4
    assert content.matrix is None
    assert [item.number for item in content.top_losses] == interp.top_losses()[1].tolist()
    assert "&lt;a&gt;" in text_of(content)


@pytest.mark.parametrize("names", [("age",), ("x", "y")])
def test_numbers(names: tuple[str, ...]) -> None:
    preds, targets = torch.arange(8.0).view(4, 2)[:, : len(names)], torch.ones(4, len(names))
    interp = RegressionInterpretation(preds, targets, (preds - targets).square().mean(1), names)
    content = content_of(interp)
    assert content.table is not None
    assert [name for name, _ in content.table.rows] == list(names)
    mae = [column.name for column in content.table.columns].index("mae")
    assert content.table.rows[0][1][mae] == pytest.approx((1 + 1 + 3 + 5) / 4)
    assert content.top_losses[0].number == 3
    assert content.top_losses[0].prediction == ("6" if len(names) == 1 else "6, 7")
    text = text_of(content)
    assert ">By number</h2>" in text
    assert ("A dash is" in text) == bool(interp.regression_report().isna().any(axis=None))


def test_classes_that_are_numbers_are_introduced() -> None:
    probs = torch.tensor([[0.75, 0.25], [0.25, 0.75]])
    interp = ClassificationInterpretation(probs, torch.tensor([1, 1]), torch.tensor([2.0, 1.0]), ("3", "4"))
    content = content_of(interp)
    first = content.top_losses[0]
    assert (first.target, first.prediction) == ("class 4", "class 3")
    assert first.probabilities == (("class 3", 0.75), ("class 4", 0.25))
    assert content.numbers[-1].note == "class 3"
    assert content.table is not None
    assert [name for name, _ in content.table.rows] == ["3", "4"]  # the column is headed class
    labels = MultiLabelInterpretation(probs, torch.ones(2, 2), torch.zeros(2), ("3", "4"))
    assert content_of(labels).top_losses[0].target == "class 3, class 4"


def test_numbers_of_any_size_can_be_read() -> None:
    targets = torch.tensor([[90_000.25, 1e-4], [80_000.0, 5e-4]])
    preds = targets + torch.tensor([[1.0, 3e-4], [1.0, 3e-4]])
    interp = RegressionInterpretation(preds, targets, torch.tensor([4.1e9, 2.0]), ("price", "share"))
    content = content_of(interp)
    assert content.top_losses[0].target == "90000, 0.0001"
    text = text_of(content)
    assert "loss 4.1e+09" in text
    assert ">0.0003</td>" in text  # the mean error of the share, not 0.000


def test_masks() -> None:
    random = torch.Generator().manual_seed(0)
    preds, targets = (torch.randint(0, 2, (3, 6, 8), generator=random).to(torch.uint8) for _ in range(2))
    pixels = np.full((3, 6, 8, 3), 128, np.uint8)
    interp = SegmentationInterpretation(
        preds, targets, torch.tensor([0.1, 3.0, 2.0]), ("sky", "car"), None, source=ItemSource(lambda i: pixels[i])
    )
    content = content_of(interp)
    assert content.table is not None
    assert [name for name, _ in content.table.rows] == ["sky", "car"]
    assert [name for name, _ in content.table.totals] == ["mean"]
    assert [item.number for item in content.top_losses] == [1, 2, 0]
    assert content.top_losses[0].overlay is not None
    assert content.top_losses[0].overlay.shape == (6, 8, 3)
    text = text_of(content)
    assert text.count("where it is wrong: ") == 3
    assert len(re.findall("<img ", text)) == 6


def test_what_is_not_an_interpretation_is_refused() -> None:
    with refused("interp", WrongTypeError, got="Tensor"):
        content_of(torch.zeros(3))


def test_what_is_not_a_learner_is_refused(interpret: Callable[..., Any]) -> None:
    with refused("learn", WrongTypeError, got="int"):
        interpret().report("report.html", learn=3)


def test_one_mistake_in_thousands_is_not_all_right() -> None:
    preds = torch.zeros(4000, dtype=torch.int64)
    preds[0] = 1
    interp = ClassificationInterpretation(
        torch.eye(2)[preds], torch.zeros(4000, dtype=torch.int64), torch.ones(4000), ("a", "b")
    )
    accuracy, errors = content_of(interp).numbers[:2]
    assert (accuracy.value, errors.value) == (">99.9%", "1")


def test_a_single_thing_is_counted_in_the_singular() -> None:
    interp = ClassificationInterpretation(torch.eye(2)[:1], torch.tensor([1]), torch.ones(1), ("a", "b"))
    content = content_of(interp)
    assert content.subtitle == "1 item, 2 classes"
    assert content.numbers[1].note == "in 1 item"


@pytest.mark.parametrize("name", ["", ".", "/", "a/.."])
def test_a_report_without_a_name_is_refused_before_anything_is_predicted(
    learn: Learner, interpret: Callable[..., Any], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    interp = interpret()
    monkeypatch.setattr(Learner, "interpret", None)
    for report in (learn.report, interp.report, lambda path: write_report(path, ReportContent("Title"))):
        with refused("path", got=name):
            report(name)


@pytest.mark.parametrize(
    ("ds_type", "n", "part"),
    [
        (DatasetType.Valid, 12, "validation"),
        (DatasetType.Train, 24, "training"),
        (DatasetType.Fix, 24, "training"),
    ],
)
def test_the_report_names_its_set(learn: Learner, ds_type: DatasetType, n: int, part: str) -> None:
    content = content_of(learn.interpret(ds_type), learn=learn)
    assert content.subtitle == f"{n} items of the {part} set, 3 classes"
    assert content.problems is not None
    learned = [note for note in content.problems.notes if "that the model was trained on" in note]
    assert len(learned) == (part == "training")
    assert content.subtitle in text_of(content)


@pytest.mark.parametrize(
    ("task", "y", "subtitle"),
    [
        (None, torch.arange(4) % 2, "4 items of the test set, 2 classes"),
        (MultiLabel(("a", "b")), torch.eye(2).repeat(2, 1), "4 items of the test set, 2 labels"),
        (Regression(("a", "b")), torch.ones(4, 2), "4 items of the test set"),
    ],
)
def test_every_task_names_the_test_set(task: Any, y: torch.Tensor, subtitle: str) -> None:
    x = torch.ones(4, 3)
    learn = Learner(DataBunch.from_tensors(x, y, x, y, x, y, bs=4, task=task), nn.Linear(3, 2), seed=0)
    assert content_of(learn.interpret(DatasetType.Test)).subtitle == subtitle


def test_no_more_than_a_thousand_items_are_gathered(interpret: Callable[..., Any]) -> None:
    matrix = content_of(interpret(1200, ("a", "b"), image=None)).matrix
    assert matrix is not None
    assert sum(map(len, matrix.items.values())) == 1000
    assert sum(matrix.counts.values()) == 1200
