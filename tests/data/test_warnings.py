"""Warnings of the data point at the line of the caller, whatever factory and however deep below it they are given."""

import inspect
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import TensorDataset

from learnkit import DataBunch, ImageDataBunch, LearnkitWarning

SMALL: dict[str, Any] = {"size": 8, "bs": 4, "num_workers": 0, "augment": False}


@contextmanager
def warns_here(*parts: str) -> Iterator[None]:
    """One warning per part, which is in its text; all point at the line inside that calls learnkit."""
    frame = inspect.currentframe()
    assert frame is not None
    caller = frame.f_back.f_back  # type: ignore[union-attr]  # over contextlib
    assert caller is not None
    start = caller.f_lineno
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    assert [one.category for one in caught] == [LearnkitWarning] * len(parts)
    for part, one in zip(parts, caught, strict=True):
        assert part in str(one.message)
        assert one.filename == __file__
        assert one.lineno == start + 1, "the line after `with`"


def all_paths(root: Path) -> tuple[list[str], list[str]]:
    files = sorted(str(file) for file in root.rglob("*.png"))
    return files, [Path(file).parent.name for file in files]


def table(root: Path) -> pd.DataFrame:
    files, labels = all_paths(root)
    return pd.DataFrame({"name": files, "label": labels})


def parent(path: str) -> str:
    return Path(path).parent.name


# Each makes a bunch of the folder `root` within one line of this file.
FACTORIES: dict[str, Callable[..., Any]] = {
    "from_folder": lambda root, **options: ImageDataBunch.from_folder(root, valid_pct=0.5, **options),
    "from_csv": lambda root, **options: ImageDataBunch.from_csv(root, "../labels.csv", valid_pct=0.5, **options),
    "from_df": lambda root, **options: ImageDataBunch.from_df(root, table(root), **options),
    "from_lists": lambda root, **options: ImageDataBunch.from_lists(root, *all_paths(root), **options),
    "from_name_func": lambda root, **options: ImageDataBunch.from_name_func(root, None, parent, **options),
    "from_path_func": lambda root, **options: ImageDataBunch.from_path_func(root, None, parent, **options),
    "from_name_re": lambda root, **options: ImageDataBunch.from_name_re(root, None, r"(\w+)/\d+.png", **options),
}


@pytest.mark.parametrize("name", FACTORIES)
def test_every_factory_points_at_its_caller(name: str, class_folder: Path) -> None:
    table(class_folder).to_csv(class_folder.parent / "labels.csv", index=False)
    line = FACTORIES[name].__code__.co_firstlineno
    with pytest.warns(LearnkitWarning, match="bs=4000 is more than") as caught:
        FACTORIES[name](class_folder, **{**SMALL, "bs": 4000})
    assert [(one.filename, one.lineno) for one in caught] == [(__file__, line)]


def test_a_batch_size_above_the_training_set_is_reported_at_the_call(class_folder: Path) -> None:
    with warns_here("bs=4000 is more than the 24 training items"):
        ImageDataBunch.from_folder(class_folder, **{**SMALL, "bs": 4000})
    x, y = torch.zeros(12, 2), torch.tensor([0, 1] * 6)
    with warns_here("bs=64 is more than the 12"):
        DataBunch.from_tensors(x, y, x, y)
    with warns_here("bs=64 is more than the 12"):
        DataBunch.from_datasets(TensorDataset(x, y), TensorDataset(x, y))


def test_missing_classes_are_reported_at_the_call(class_folder: Path) -> None:
    for number in range(4):
        (class_folder / "valid" / "red" / f"{number}.png").unlink()
    with warns_here("no validation item of class red"):
        dls = ImageDataBunch.from_folder(class_folder, **SMALL)
    with warns_here("no validation item of class red"):
        ImageDataBunch.from_samples(dls.samples, **SMALL)
    x, y = torch.zeros(12, 2), torch.tensor([0, 1] * 6)
    with warns_here("no training item of class 1", "no validation item of class 0"):
        DataBunch.from_tensors(x, y * 0, x, y * 0 + 1, bs=4)


def test_repeated_rows_are_reported_at_the_call(class_folder: Path) -> None:
    files, labels = all_paths(class_folder)
    valid = np.array([Path(file).parts[-3] == "valid" for file in files])
    files[1] = files[0]
    with warns_here("1 row repeats a file"):
        ImageDataBunch.from_lists(class_folder, files, labels, split=lambda samples: valid, **SMALL)


def test_files_left_out_are_reported_at_the_call(class_folder: Path) -> None:
    (class_folder / "train" / "red" / "0.png").write_bytes(b"")
    with warns_here("1 of 36 items cannot be read"):
        ImageDataBunch.from_folder(class_folder, on_error="skip", **SMALL)


@pytest.mark.parametrize("kind", ["disk", "memory"])
def test_a_cache_without_room_is_reported_at_the_call(
    class_folder: Path, kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(*arguments: object) -> None:
        raise OSError("no room")

    for build in ("_build_in_memory", "_build_on_disk"):
        monkeypatch.setattr(f"learnkit.data.image.cache.{build}", no_room)
    with warns_here(*["files are read directly"] * 2):  # of training and of validation
        ImageDataBunch.from_folder(class_folder, cache=kind, **SMALL)


def test_missing_classes_of_a_fold_are_reported_where_it_is_asked_for(class_folder: Path) -> None:
    for number in range(1, 8):
        os.unlink(class_folder / "train" / "red" / f"{number}.png")
    os.unlink(class_folder / "valid" / "red" / "0.png")
    folds = ImageDataBunch.from_folder(class_folder, **SMALL).folds(5)
    with_red = {int(number) for number in folds.numbers[folds.samples["target"] == "red"]}
    without_red = min(set(range(5)) - with_red)  # four red images in five folds
    with warns_here("no validation item of class red"):
        folds[without_red]
