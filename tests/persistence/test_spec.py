"""ExportSpec: what it refuses, the names of losses, and the facts about training."""

import hashlib
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import nn

from learnkit import Classification, DataBunch, ImageDataBunch, MultiLabel, Regression
from learnkit.errors import UsageError
from learnkit.losses import FocalLoss
from learnkit.persistence.spec import ExportSpec, loss_name, training_facts
from tests.doubles import refused


@pytest.mark.parametrize("temperature", [0, -1.0, float("nan"), float("inf"), "1"])
def test_a_temperature_is_above_zero(temperature: Any) -> None:
    with pytest.raises(UsageError) as caught:
        ExportSpec(nn.Linear(2, 2), (2,), temperature=temperature)
    assert (caught.value.what, caught.value.expected) == ("temperature", "a finite number above 0")


@pytest.mark.parametrize("card", [None, 3, b"text", "x" * 100_001])
def test_a_card_is_a_string_of_limited_length(card: Any) -> None:
    with refused("card", expected="a string of at most 100,000 characters"):
        ExportSpec(nn.Linear(2, 2), (2,), card=card)
    ExportSpec(nn.Linear(2, 2), (2,), card="x" * 100_000)


def own_loss(preds: Any, targets: Any) -> Any:
    return preds


@pytest.mark.parametrize(
    ("loss", "task", "name"),
    [
        (nn.CrossEntropyLoss(), Classification(("a", "b")), "cross_entropy"),
        (Classification(("a", "b")).loss(), Classification(("a", "b")), "cross_entropy"),
        (nn.CrossEntropyLoss(label_smoothing=0.1), Classification(("a", "b")), "own:CrossEntropyLoss"),
        (nn.CrossEntropyLoss(reduction="sum"), Classification(("a", "b")), "own:CrossEntropyLoss"),
        (nn.CrossEntropyLoss(), None, "own:CrossEntropyLoss"),
        (MultiLabel(("a", "b")).loss(), MultiLabel(("a", "b")), "bce_with_logits"),
        (nn.MSELoss(), Regression(), "mse"),
        (Regression().loss(), Regression(), "mse"),
        (nn.MSELoss(), Classification(("a", "b")), "own:MSELoss"),
        (FocalLoss(), Classification(("a", "b")), "own:FocalLoss"),
        (own_loss, Regression(), "own:own_loss"),
        (type("L" * 200, (), {})(), Regression(), "own:" + "L" * 100),
    ],
)
def test_a_loss_has_a_name(loss: Any, task: Any, name: str) -> None:
    assert loss_name(loss, task) == name


def test_the_metrics_are_the_finite_numbers_of_the_last_row() -> None:
    rows = [{"epoch": 0, "accuracy": 0.1}, {"epoch": 1, "valid_loss": 2, "accuracy": 0.5, "bad": float("nan"),
            "time": 3.0, "note": "x"}]  # fmt: skip
    assert training_facts(2, rows, None, Path()) == {"epochs": 2, "metrics": {"valid_loss": 2.0, "accuracy": 0.5}}
    assert training_facts(0, [], None, Path()) == {"epochs": 0, "metrics": {}}


def test_the_digest_of_the_data_has_no_path_of_the_machine() -> None:
    def table(folder: str) -> pd.DataFrame:
        rows = [(f"{folder}/train/a.png", "cat", "train"), ("/else/where/b.png", f"{folder}/masks/b.png", "valid")]
        return pd.DataFrame(rows, columns=["input", "target", "split"])

    lines = "train/a.png\tcat\ttrain\nb.png\tmasks/b.png\tvalid\n"
    expected = hashlib.sha256(lines.encode()).hexdigest()
    for folder in ("/data/pets", "/home/ann/pets"):
        assert training_facts(1, [], table(folder), Path(folder))["data_sha256"] == expected
    here = table(str(Path("data").absolute()))
    assert training_facts(1, [], here, Path("data"))["data_sha256"] == expected  # the folder as it was typed
    assert "data_sha256" not in training_facts(1, [], table("/data")[:0], Path("/data"))


def test_the_spec_of_data_in_memory_has_its_shape_and_type(blobs: Any) -> None:
    model, task = nn.Linear(2, 2), Classification(("a", "b"))
    x, y = blobs.x_train.double(), blobs.y_train
    dls = DataBunch.from_tensors(x, y, x, y, task=task, device="cpu")
    spec = ExportSpec.of(model, dls, loss=nn.CrossEntropyLoss(), epochs=2, rows=[{"accuracy": 1}], card="mine")
    training = {"epochs": 2, "metrics": {"accuracy": 1.0}}
    assert spec == ExportSpec(
        model, (2,), task, dtype=torch.float64, loss_name="cross_entropy", training=training, card="mine"
    )


def test_the_spec_of_images_has_their_preprocessing_and_a_digest(class_folder: Path) -> None:
    dls = ImageDataBunch.from_folder(class_folder, size=(16, 24), bs=4, num_workers=0, device="cpu")
    spec = ExportSpec.of(nn.Linear(2, 3), dls, loss=FocalLoss(), epochs=0, rows=[])
    assert (spec.input_shape, spec.preprocess, spec.dtype) == ((3, 16, 24), dls.preprocess, torch.float32)
    assert spec.task == dls.task
    assert len(spec.training["data_sha256"]) == 64
