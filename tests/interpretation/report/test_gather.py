"""What is gathered from learners and interpretations of every task."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from learnkit import ClassificationInterpretation, DataBunch, ImageDataBunch, Learner
from learnkit.callbacks import OneCycle
from learnkit.errors import LearnkitWarning, WrongTypeError
from learnkit.interpretation import MultiLabelInterpretation, RegressionInterpretation, SegmentationInterpretation
from learnkit.interpretation.report import ReportContent, content_of
from learnkit.interpretation.report.page import page_of
from learnkit.interpretation.report.thumbnails import Thumbnails


def text_of(content: ReportContent) -> str:
    return page_of(content, Thumbnails(content.picture))


def small_net(n_out: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, n_out))


@pytest.fixture
def learn(class_folder: Path) -> Learner:
    dls = ImageDataBunch.from_folder(class_folder, size=24, bs=8, augment=False, num_workers=0)
    learn = Learner(dls, small_net(3), metrics="accuracy", seed=3)
    learn.fit(2, callbacks=OneCycle())
    return learn


def test_a_run_is_described(learn: Learner) -> None:
    content = content_of(ClassificationInterpretation.from_learner(learn), learn=learn)
    facts = {name: text for group in content.settings for name, text in group.rows}
    parameters = 4 * 3 * 9 + 4 + 4 * 3 + 3
    assert facts["parameters"] == f"{parameters:,}, of which {parameters:,} trained"
    assert facts["seed"] == "3"
    assert facts["epochs trained"] == "2"
    assert facts["training"] == "24 items"
    assert facts["validation"] == "12 items"
    assert facts["pictures"] == "24 × 24, crop, bilinear"
    assert facts["augmentation"] == "none"
    assert facts["optimizer"] == "AdamW"
    assert facts["torch"] == torch.__version__
    assert facts["learnkit"]


def test_curves_are_those_of_the_recorder(learn: Learner) -> None:
    content = content_of(ClassificationInterpretation.from_learner(learn), learn=learn)
    charts = {chart.title: chart for chart in content.charts}
    assert list(charts) == ["Loss", "accuracy", "Learning rate", "Momentum"]
    losses = {line.name: line for line in charts["Loss"].lines}
    assert losses[""].ys == tuple(learn.recorder.losses)
    assert losses["validation"].xs == (3.0, 6.0)  # batches of 8 from 24 items
    assert losses["validation"].ys == tuple(learn.history["valid_loss"])
    assert charts["accuracy"].lines[0].ys == tuple(learn.history["accuracy"])
    assert content.history is not None
    assert [label for label, _ in content.history.rows] == ["1", "2"]
    assert content.history.columns[-1].name == "time"


def test_pictures_and_heat_maps_of_the_top_losses(learn: Learner) -> None:
    interp = ClassificationInterpretation.from_learner(learn)
    content = content_of(interp, learn=learn)
    expected = interp.losses.sort(descending=True, stable=True)
    assert [item.number for item in content.top_losses] == expected.indices.tolist()
    first = content.top_losses[0]
    assert first.heat is not None
    assert np.array_equal(first.heat, interp.grad_cam(first.number))
    assert first.prediction == interp.classes[int(interp.preds[first.number])]
    assert dict(first.chances)[first.target] == pytest.approx(
        float(interp.probs[first.number, interp.targets[first.number]])
    )
    assert "heat map of where the model looked" in text_of(content)


def test_a_model_without_feature_maps_has_no_heat_maps(class_folder: Path) -> None:
    dls = ImageDataBunch.from_folder(class_folder, size=24, bs=8, augment=False, num_workers=0)
    learn = Learner(dls, nn.Sequential(nn.Flatten(), nn.Linear(3 * 24 * 24, 3)), seed=0)
    content = content_of(ClassificationInterpretation.from_learner(learn), learn=learn)
    assert all(item.heat is None for item in content.top_losses)
    assert "heat map" not in text_of(content)
    assert content.charts == ()


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


def test_problems_of_the_data_are_told(class_folder: Path) -> None:
    for path in sorted((class_folder / "train" / "red").iterdir())[2:]:
        path.unlink()
    for path in (class_folder / "valid" / "green").iterdir():
        path.unlink()
    (class_folder / "train" / "blue" / "<b>broken.png").write_bytes(b"no picture")
    with pytest.warns(LearnkitWarning, match="cannot be read"), pytest.warns(LearnkitWarning, match="class green"):
        dls = ImageDataBunch.from_folder(
            class_folder, size=24, bs=4, augment=False, num_workers=0, on_error="skip", classes=["blue", "green", "red"]
        )
    learn = Learner(dls, small_net(3), seed=0)
    content = content_of(ClassificationInterpretation.from_learner(learn), learn=learn)
    assert content.problems is not None
    notes = " ".join(content.problems.notes)
    assert "4.0 times as many training items" in notes
    assert "1 class has no item in valid: “green”" in notes
    assert "could not be read: 1 item." in notes
    assert content.problems.skipped[0][0] == "blue/<b>broken.png"
    assert "&lt;b&gt;broken.png" in text_of(content)


def test_suspicious_labels_are_shown(interpret: Callable[..., Any]) -> None:
    interp = interpret(60)
    issues = interp.label_issues()
    problems = content_of(interp).problems
    assert problems is not None
    expected = issues[issues["score"] > 0].head(20)
    assert [one.item.number for one in problems.suspects] == expected["item"].tolist()
    assert [one.suggestion for one in problems.suspects] == expected["suggestion"].tolist()


def test_data_without_pictures(blobs: Any) -> None:
    learn = Learner(DataBunch.from_tensors(*blobs), nn.Linear(2, 2), seed=0)
    learn.fit(1)
    content = content_of(ClassificationInterpretation.from_learner(learn), learn=learn)
    assert content.picture is None
    assert "<img " not in text_of(content)
    facts = {name: text for group in content.settings for name, text in group.rows}
    assert facts["training"] == "64 items"
    assert facts["input"] == "2"


def test_several_labels_an_item() -> None:
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
    assert ">By number</h2>" in text_of(content)


def test_masks() -> None:
    random = torch.Generator().manual_seed(0)
    preds, targets = (torch.randint(0, 2, (3, 6, 8), generator=random).to(torch.uint8) for _ in range(2))
    pixels = np.full((3, 6, 8, 3), 128, np.uint8)
    interp = SegmentationInterpretation(
        preds, targets, torch.tensor([0.1, 3.0, 2.0]), ("sky", "car"), None, picture=lambda i: pixels[i]
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


def test_what_is_no_interpretation_is_refused() -> None:
    with pytest.raises(WrongTypeError, match="report: got Tensor, expected an interpretation"):
        content_of(torch.zeros(3))


def test_pictures_are_read_once_and_only_when_they_are_shown(interpret: Callable[..., Any]) -> None:
    read: list[int] = []

    def picture(i: int) -> Any:
        read.append(i)
        return np.zeros((4, 4, 3), np.uint8)

    content = content_of(interpret(30, picture=picture))
    assert len(read) <= 1
    del read[:]
    text_of(content)
    assert sorted(read) == list(range(30))
