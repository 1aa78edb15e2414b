"""Settings and curves of a run."""

from datetime import date
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from learnkit import ClassificationInterpretation, DataBunch, ImageDataBunch, Learner, cnn_learner
from learnkit.callbacks.numbers import Numbers
from learnkit.interpretation.report import ReportContent, content_of
from learnkit.interpretation.report.render import page_of
from learnkit.interpretation.report.run import charts_of, history_of, run_of, settings_of
from learnkit.interpretation.report.thumbnails import Thumbnails


def text_of(content: ReportContent) -> str:
    return page_of(content, Thumbnails(content.image))


def facts_of(learn: Learner) -> dict[str, str]:
    return {name: text for group in settings_of(learn) for name, text in group.rows}


def test_a_run_is_described(learn: Learner) -> None:
    content = content_of(ClassificationInterpretation.from_learner(learn), learn=learn)
    facts = {name: text for group in content.settings for name, text in group.rows}
    parameters = 4 * 3 * 9 + 4 + 4 * 3 + 3
    assert facts["parameters"] == f"{parameters:,}, of which {parameters:,} trained"
    assert facts["seed"] == "3"
    assert facts["epochs trained"] == "2"
    assert facts["training"] == "24 items"
    assert facts["validation"] == "12 items"
    assert facts["images"] == "24 × 24, crop, bilinear"
    assert facts["augmentation"] == "none"
    assert facts["optimizer"] == "AdamW"
    assert facts["data set"] == learn.dls.path.name
    assert facts["model"] == "Sequential"
    assert facts["callbacks"] == "OneCycle"
    assert facts["metrics"] == "accuracy"
    assert facts["batches trained"] == "6"
    assert facts["batch size"] == "8"
    assert facts["input"] == "3 × 24 × 24"
    assert content.run == f"Sequential on {learn.dls.path.name}, {date.today().isoformat()}"
    assert str(learn.dls.path.parent) not in text_of(content)  # the page goes to others
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
    assert charts["accuracy"].lines[0].xs == (0.0, 1.0)  # epochs are counted as in the history
    assert charts["accuracy"].lines[0].ys == tuple(learn.history["accuracy"])
    assert content.history is not None
    assert [label for label, _ in content.history.rows] == ["0", "1"]
    assert content.history.columns[-1].name == "seconds"


def test_frozen_parameters_are_not_counted_as_trained(learn: Learner) -> None:
    learn.model[0].requires_grad_(False)
    assert facts_of(learn)["parameters"] == "127, of which 15 trained"


def test_a_network_of_a_factory_has_its_name(class_folder: Path) -> None:
    dls = ImageDataBunch.from_folder(class_folder, size=32, bs=8, num_workers=0, normalize="imagenet")
    learn = cnn_learner(dls, "resnet18", pretrained=False)
    assert run_of(learn).startswith(f"resnet18 on {class_folder.name}, ")
    facts = facts_of(learn)
    assert facts["model"] == "resnet18"
    assert facts["normalized by"] == "0.485 ± 0.229, 0.456 ± 0.224, 0.406 ± 0.225"
    assert facts["augmentation"] == "default"
    assert facts["callbacks"] == "none"


def test_a_run_without_a_fit_has_no_curves(blobs: Any) -> None:
    learn = Learner(DataBunch.from_tensors(*blobs), nn.Linear(2, 2), seed=0)
    assert charts_of(learn) == ()
    assert history_of(learn) is None
    assert run_of(learn) == f"Linear, {date.today().isoformat()}"  # tensors have no name
    assert "time in epochs" not in facts_of(learn)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (10, "10 s"),
        (119, "119 s"),
        (120, "2 min"),
        (7199, "2 h 0 min"),
        (9000, "2 h 30 min"),
    ],
)
def test_the_time_is_in_readable_units(learn: Learner, seconds: float, text: str) -> None:
    learn.recorder.rows[0]["time"], learn.recorder.rows[1]["time"] = seconds, 0.0
    assert facts_of(learn)["time in epochs"] == text


def test_epochs_without_validation_have_no_point(learn: Learner) -> None:
    del learn.recorder.rows[0]["valid_loss"], learn.recorder.rows[0]["accuracy"]
    charts = {chart.title: chart for chart in charts_of(learn)}
    assert charts["Loss"].lines[2].xs == (6.0,)
    assert charts["accuracy"].lines[0].xs == (1.0,)


def test_a_momentum_that_never_changes_is_not_drawn(learn: Learner) -> None:
    learn.recorder.moms = Numbers([0.9] * 6)
    assert "Momentum" not in [chart.title for chart in charts_of(learn)]
