"""The items of a report: predictions, probabilities, heat maps."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from learnkit import ClassificationInterpretation, ImageDataBunch, Learner
from learnkit.interpretation import RegressionInterpretation
from learnkit.interpretation.item_source import ItemSource
from learnkit.interpretation.report import ReportContent, content_of
from learnkit.interpretation.report.render import page_of
from learnkit.interpretation.report.thumbnails import Thumbnails


def text_of(content: ReportContent) -> str:
    return page_of(content, Thumbnails(content.image))


def test_images_and_heat_maps_of_the_top_losses(learn: Learner) -> None:
    interp = ClassificationInterpretation.from_learner(learn)
    content = content_of(interp, learn=learn)
    expected = interp.losses.sort(descending=True, stable=True)
    assert [item.number for item in content.top_losses] == expected.indices.tolist()
    first = content.top_losses[0]
    assert first.heat is not None
    assert np.array_equal(first.heat, interp.grad_cam(first.number))
    assert first.prediction == interp.classes[int(interp.preds[first.number])]
    assert dict(first.probabilities)[first.target] == pytest.approx(
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


def test_a_target_that_is_not_probable_is_shown_with_its_probability() -> None:
    probs = torch.tensor([[0.4, 0.3, 0.2, 0.1]])
    interp = ClassificationInterpretation(probs, torch.tensor([3]), torch.tensor([2.0]), tuple("abcd"))
    assert [name for name, _ in content_of(interp).top_losses[0].probabilities] == ["a", "b", "d"]


def test_top_losses_are_twenty_four(interpret: Callable[..., Any]) -> None:
    assert len(content_of(interpret(60)).top_losses) == 24


@pytest.mark.parametrize(
    ("name", "shown"), [("a/b/c.png", "b/c.png"), ("a\\b\\c.png", "b/c.png"), ("c.png", "c.png"), ("12", "item 12")]
)
def test_an_item_is_named_by_its_file_and_folder(name: str, shown: str) -> None:
    interp = ClassificationInterpretation(
        torch.eye(2), torch.tensor([0, 1]), torch.zeros(2), ("a", "b"), ItemSource(name=lambda i: name)
    )
    assert content_of(interp).top_losses[0].name == shown


def test_many_numbers_of_an_item_are_counted_not_cut() -> None:
    preds = torch.arange(24.0).view(2, 12)
    interp = RegressionInterpretation(preds, preds, torch.tensor([1.0, 2.0]), tuple(f"n{k}" for k in range(12)))
    content = content_of(interp)
    assert content.top_losses[1].prediction == "0, 1, 2, 3, and 8 more"
    assert len(content.numbers) == 7
    assert content.table is not None
    assert len(content.table.rows) == 12


def test_images_are_read_once_and_only_when_they_are_shown(interpret: Callable[..., Any]) -> None:
    read: list[int] = []

    def image(i: int) -> Any:
        read.append(i)
        return np.zeros((4, 4, 3), np.uint8)

    content = content_of(interpret(30, image=image))
    assert len(read) <= 1
    del read[:]
    text_of(content)
    assert sorted(read) == list(range(30))
