"""Problems of the data: labels, files, and the distribution of the classes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from learnkit import (
    ClassificationInterpretation,
    DatasetType,
    ImageDataBunch,
    Learner,
    MultiLabelInterpretation,
    pack,
)
from learnkit.errors import LearnkitWarning
from learnkit.interpretation.report import ReportContent, content_of
from learnkit.interpretation.report.problems import problems_of
from learnkit.interpretation.report.render import page_of
from learnkit.interpretation.report.thumbnails import Thumbnails

Net = Callable[[int], nn.Module]


def text_of(content: ReportContent) -> str:
    return page_of(content, Thumbnails(content.image))


def test_problems_of_the_data_are_listed(class_folder: Path, net: Net) -> None:
    for path in sorted((class_folder / "train" / "red").iterdir())[2:]:
        path.unlink()
    for path in (class_folder / "valid" / "green").iterdir():
        path.unlink()
    (class_folder / "train" / "blue" / "<b>broken.png").write_bytes(b"not an image")
    with pytest.warns(LearnkitWarning, match="cannot be read"), pytest.warns(LearnkitWarning, match="class green"):
        dls = ImageDataBunch.from_folder(
            class_folder, size=24, bs=4, augment=False, num_workers=0, on_error="skip", classes=["blue", "green", "red"]
        )
    learn = Learner(dls, net(3), seed=0)
    content = content_of(ClassificationInterpretation.from_learner(learn), learn=learn)
    assert content.problems is not None
    notes = " ".join(content.problems.notes)
    assert "4.0 times as many training items" in notes
    assert "1 class has no item in valid: “green”" in notes
    assert "could not be read: 1 item." in notes
    file, why = content.problems.skipped[0]
    assert file == "blue/<b>broken.png"
    assert "<b>broken.png cannot be read" in why
    assert str(class_folder) not in text_of(content)  # the page goes to others
    assert content.problems.counts is not None
    assert content.problems.counts.rows == (("blue", (8.0, 4.0)), ("green", (8.0, 0.0)), ("red", (2.0, 4.0)))
    assert content.problems.counts.totals == (("(all)", (18.0, 8.0)),)
    assert "Items by class (3)" in text_of(content)
    assert "&lt;b&gt;broken.png" in text_of(content)


def test_suspicious_labels_are_shown(interpret: Callable[..., Any]) -> None:
    interp = interpret(60)
    issues = interp.label_issues()
    problems = content_of(interp).problems
    assert problems is not None
    expected = issues[(issues["score"] > 0) & (issues["label"] != issues["suggestion"])].head(20)
    assert [one.item.number for one in problems.suspects] == expected["item"].tolist()
    assert [one.suggestion for one in problems.suspects] == expected["suggestion"].tolist()


def test_a_label_is_not_a_suggestion_for_itself() -> None:
    probs = torch.tensor([[0.95, 0.05], [0.99, 0.01], [0.4, 0.6], [0.52, 0.48]])
    interp = ClassificationInterpretation(probs, torch.tensor([0, 0, 1, 1]), torch.ones(4), ("a", "b"))
    assert interp.label_issues().loc[0, ["label", "suggestion"]].tolist() == ["b", "b"]  # sure of neither
    problems = content_of(interp).problems
    assert problems is not None
    assert problems.suspects == ()
    assert problems.notes == ("No label looks suspicious.",)


def test_of_a_stream_nothing_is_said_of_labels_that_were_not_looked_at(tmp_path: Path, class_folder: Path) -> None:
    pytest.importorskip("litdata")
    pack(class_folder, tmp_path / "packed")
    dls = ImageDataBunch.from_stream(tmp_path / "packed", size=8, bs=4, augment=False, num_workers=0, device="cpu")
    learn = Learner(dls, nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 3)))
    probs, ones = torch.tensor([[0.9, 0.2]]), torch.ones(1)
    labels = MultiLabelInterpretation(probs, torch.tensor([[1.0, 0.0]]), ones, ("a", "b"))
    assert problems_of(labels, learn, duplicates=True) is None
    one = ClassificationInterpretation(probs, torch.tensor([0]), ones, ("a", "b"))
    problems = problems_of(one, learn, duplicates=True)
    assert problems is not None
    assert problems.notes == ("No label looks suspicious.",)


def test_a_class_named_as_a_sum_is_a_class(class_folder: Path, net: Net) -> None:
    for split in ("train", "valid"):
        (class_folder / split / "red").rename(class_folder / split / "(all)")
    dls = ImageDataBunch.from_folder(class_folder, size=24, bs=8, augment=False, num_workers=0)
    problems = content_of(Learner(dls, net(3), seed=0).interpret(), learn=Learner(dls, net(3))).problems
    assert problems is not None
    assert problems.counts is not None
    assert [name for name, _ in problems.counts.rows] == ["(all)", "blue", "green"]
    assert [name for name, _ in problems.counts.totals] == ["(all)"]


def test_only_checked_problems_are_reported(class_folder: Path, net: Net) -> None:
    files = sorted((class_folder / "train").rglob("*.png"))
    dls = ImageDataBunch.from_lists(
        class_folder, files, [float(len(file.name)) for file in files], task="regression",
        valid_pct=0.5, size=24, bs=4, augment=False, num_workers=0,
    )  # fmt: skip
    learn = Learner(dls, net(1), seed=0)
    problems = content_of(learn.interpret(), learn=learn).problems
    assert problems is not None
    assert problems.notes[0] == "No problems were found: no file left out."
    assert "learn.report(path, duplicates=True)" in problems.notes[1]
    assert len(problems.notes) == 2
    assert problems.counts is None


def test_suspects_of_the_training_set_are_explained_without_a_learner_too(learn: Learner) -> None:
    notes = [content_of(learn.interpret(part)).problems for part in (DatasetType.Train, DatasetType.Valid)]
    assert ["it has learned their labels" in str(problems) for problems in notes] == [True, False]


@pytest.mark.parametrize(("left", "note"), [(2, "4.0 times"), (3, "")])
def test_an_imbalance_is_reported_from_three_times_on(class_folder: Path, net: Net, left: int, note: str) -> None:
    for path in sorted((class_folder / "train" / "red").iterdir())[left:]:
        path.unlink()
    dls = ImageDataBunch.from_folder(class_folder, size=24, bs=4, augment=False, num_workers=0)
    learn = Learner(dls, net(3), seed=0)
    problems = content_of(learn.interpret(), learn=learn).problems
    assert problems is not None
    assert ("times as many training items" in " ".join(problems.notes)) == bool(note)
    assert note in " ".join(problems.notes)


def test_suspects_with_numeric_class_names_are_introduced() -> None:
    probs = torch.tensor([[0.95, 0.05], [0.99, 0.01], [0.1, 0.9], [0.98, 0.02]])
    interp = ClassificationInterpretation(probs, torch.tensor([0, 0, 1, 1]), torch.ones(4), ("7", "9"))
    problems = content_of(interp).problems
    assert problems is not None
    assert [(one.label, one.suggestion) for one in problems.suspects] == [("class 9", "class 7")]


def test_one_class_has_no_suspects() -> None:
    interp = ClassificationInterpretation(torch.ones(2, 1), torch.tensor([0, 0]), torch.zeros(2), ("only",))
    assert content_of(interp).problems is None
