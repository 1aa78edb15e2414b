"""Invalid arguments are refused where they are passed, before anything is read, drawn or trained."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from learnkit import DataBunch, ImageDataBunch, Learner, cnn_learner
from learnkit.data.segmentation import Segmentation

Tree = Callable[..., Path]
Make = Callable[..., Learner]
Refusal = Callable[..., Any]


def test_empty_folder_advice_fits_the_layout(tree: Tree, tmp_path: Path, refused: Refusal) -> None:
    flat = tree() / "train" / "ant"
    with refused(ValueError, f"expected {flat}/<class>/... Labels in file names", "found 3 files"):
        ImageDataBunch.from_folder(flat, valid_pct=0.2)
    with refused(ValueError, "train/<class>/... Class folders directly below the path need valid_pct=0.2."):
        ImageDataBunch.from_folder(flat)
    (tmp_path / "none").mkdir()
    with refused(ValueError, f"expected images below {tmp_path / 'none'}"):
        ImageDataBunch.from_folder(tree(name="more"), test=str(tmp_path / "none"))


@pytest.mark.parametrize("path", ["x" * 5000, "a/" * 3000])
def test_missing_path_with_a_name_no_file_system_accepts(path: str, refused: Refusal) -> None:
    with refused(FileNotFoundError, "no folder"):
        ImageDataBunch.from_folder(path)


@pytest.mark.parametrize("path", [None, 3, ["pets"]])
def test_missing_path_that_is_not_a_path(path: Any, tree: Tree, refused: Refusal) -> None:
    with refused(TypeError, f"path: got {path!r}, expected the path of a folder"):
        ImageDataBunch.from_folder(path)
    if path is not None:
        with refused(TypeError, "test: got"):
            ImageDataBunch.from_folder(tree(), test=path)


def test_one_class_through_every_factory(refused: Refusal) -> None:
    items = [(torch.zeros(2), 0)] * 3
    with refused(ValueError, "only class 'ant'", "two or more"):
        DataBunch.from_datasets(items, items, classes=["ant"], bs=2)
    with refused(ValueError, "only class 'ant'"):
        DataBunch.from_loaders([(torch.zeros(3, 2), torch.zeros(3))], None, classes=["ant"])
    with refused(ValueError, "only class 'ant'"):
        ImageDataBunch.single_from_classes(".", ["ant"])


@pytest.mark.parametrize("label", ["", "  "])
def test_missing_labels_include_blank_strings(label: str, tree: Tree, refused: Refusal) -> None:
    root = tree()
    files = sorted(root.rglob("*.png"))
    with refused(ValueError, "1 row has no label, first rows [2]"):
        ImageDataBunch.from_lists(root, files, ["a", "b", label, *"ab" * 4, "a"])


def test_not_an_image_in_any_file(tree: Tree, refused: Refusal) -> None:
    root = tree()
    for file in root.rglob("*.png"):
        file.write_text("not an image")
    with (
        pytest.warns(UserWarning, match="12 of 12 items"),
        refused(ValueError, "none of the 12 files can be read", ".png"),
    ):
        ImageDataBunch.from_folder(root, on_error="skip", size=8)


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"normalize": 3}, "normalize: got 3"),
        ({"normalize": (["a"] * 3, [1] * 3)}, "a mean and a std for each of 3 channels"),
        ({"normalize": ([float("nan")] * 3, [1] * 3)}, "normalize: got ((nan"),
        ({"normalize": ([0] * 3, [float("inf")] * 3)}, "a std above 0"),
        ({"reader": 3}, "reader: got 3, expected a function"),
        ({"size": 20_000}, "size: got 20000, expected at most 100,000,000 pixels"),
        ({"seed": 1.5}, "seed: got 1.5, expected an integer"),
        ({"bs": 0}, "bs: got 0"),
    ],
)
def test_invalid_image_settings(options: dict[str, Any], parts: str, tree: Tree, refused: Refusal) -> None:
    with refused(ValueError, parts):
        ImageDataBunch.from_folder(tree(), **{"size": 8, "bs": 2, **options})


def test_invalid_tables_and_codes(tmp_path: Path, refused: Refusal) -> None:
    with refused(TypeError, "samples: got [1], expected a DataFrame"):
        ImageDataBunch.from_samples([1])  # type: ignore[arg-type]
    with refused(ValueError, "bs: got 0"):
        ImageDataBunch.single_from_classes(tmp_path, ["a", "b"], bs=0)
    with refused(ValueError, "codes: got 2, expected names of the classes"):
        Segmentation(2)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"loss_func": "ce"}, "loss_func: got 'ce', expected a function or a module"),
        ({"loss_func": nn.CrossEntropyLoss}, "such as nn.CrossEntropyLoss()"),
        ({"seed": "one"}, "seed: got 'one', expected an integer"),
    ],
)
def test_invalid_learner_settings(options: dict[str, Any], parts: str, numbers: DataBunch, refused: Refusal) -> None:
    with refused(ValueError, parts):
        Learner(numbers, nn.Linear(2, 2), **options)


def test_wrong_types_for_data_model_and_activation(numbers: DataBunch, refused: Refusal) -> None:
    with refused(TypeError, "model: got 'resnet18', expected an nn.Module"):
        Learner(numbers, "resnet18")  # type: ignore[arg-type]
    with refused(TypeError, "model: got <class", "expected an nn.Module"):
        Learner(numbers, nn.Linear)  # type: ignore[arg-type]
    for make in (Learner, cnn_learner):
        with refused(TypeError, "dls: got [1], expected a DataBunch"):
            make([1], nn.Linear(2, 2))  # type: ignore[arg-type]
    with refused(TypeError, "activation: got 3"):
        Learner(numbers, nn.Linear(2, 2), activation=3)  # type: ignore[arg-type]


def test_nothing_to_train(numbers: DataBunch, refused: Refusal) -> None:
    with refused(ValueError, "the model has no trainable parameters"):
        Learner(numbers, nn.Identity()).fit(1)
    frozen = Learner(numbers, nn.Linear(2, 2).requires_grad_(False))
    for train in (lambda: frozen.fit(1), frozen.lr_find):
        with refused(ValueError, "the model has no trainable parameters", "learn.unfreeze()"):
            train()
    frozen.unfreeze()
    frozen.fit(1)


def test_channels_the_data_does_not_have(tree: Tree, refused: Refusal) -> None:
    with refused(ValueError, "in_chans: got 1, expected 3, the channels of the data"):
        cnn_learner(ImageDataBunch.from_folder(tree(), size=32, bs=2), "resnet18", pretrained=False, in_chans=1)


@pytest.mark.parametrize(
    "options",
    [{"freeze_epochs": -1}, {"freeze_epochs": "1"}, {"pct_start": 3}, {"div": 0}, {"epochs": -1}, {"base_lr": 0}],
)
def test_fine_tune_refuses_before_its_first_stage(options: dict[str, Any], learner: Make, refused: Refusal) -> None:
    model = nn.Sequential(nn.Linear(2, 4), nn.Linear(4, 2))
    learn = learner(model, groups=list(model))
    before = [parameter.clone() for parameter in model.parameters()]
    with refused(ValueError):
        learn.fine_tune(**{"epochs": 1, **options})
    assert all(torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_numpy_numbers_are_accepted(learner: Make) -> None:
    learn = learner()
    learn.fit(1, np.float32(1e-3))
    assert learn.lr_range(np.float32(0.5)) == [0.5]
    assert Learner(learn.dls, nn.Linear(2, 2), seed=np.int64(3)).seed == 3  # type: ignore[arg-type]


@pytest.mark.parametrize("n", ["head", 1.0, None, True])
def test_freezing_to_a_group_that_does_not_exist(n: Any, learner: Make, refused: Refusal) -> None:
    model = nn.Sequential(nn.Linear(2, 4), nn.Linear(4, 2))
    with refused(ValueError, f"freeze_to: got {n!r}, expected an integer"):
        learner(model, groups=list(model)).freeze_to(n)
