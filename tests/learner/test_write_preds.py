"""Predictions written to CSV and Parquet: what is in the cells, and that no partial file is ever visible."""

import csv
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from learnkit import DataBunch, DatasetType, ImageDataBunch, Learner
from learnkit.data.tasks import MultiLabel, Regression
from learnkit.errors import DataError, LearnkitError, UsageError

X = torch.tensor([[2.0, 0.0, 0.0], [0.0, 3.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


def learner(y: Tensor, *, classes: Any = None, task: Any = None, x_test: Tensor | None = None) -> Learner:
    dls = DataBunch.from_tensors(X, y, X, y, x_test, bs=2, classes=classes, task=task)
    return Learner(dls, nn.Identity(), seed=0)


def read(path: Path, file: str) -> "pd.DataFrame":
    return pd.read_parquet(path / file) if file.endswith("parquet") else pd.read_csv(path / file)


@pytest.mark.parametrize("file", ["preds.csv", "preds.parquet", "sub/PREDS.CSV"])
def test_classes(file: str, tmp_path: Path) -> None:
    path = learner(torch.tensor([0, 1, 2, 1, 1]), classes=["ant", "bee", "fly"]).write_preds(tmp_path / file)
    assert path == tmp_path / file
    table = pd.read_parquet(path) if file.endswith("parquet") else pd.read_csv(path)
    assert list(table) == ["input", "label", "p_ant", "p_bee", "p_fly", "target"]
    assert table["input"].tolist() == [0, 1, 2, 3, 4]
    assert table["label"].tolist() == ["ant", "bee", "fly", "ant", "bee"]
    assert table["target"].tolist() == ["ant", "bee", "fly", "bee", "bee"]
    expected = np.exp(X.numpy()) / np.exp(X.numpy()).sum(1, keepdims=True)
    np.testing.assert_allclose(table[["p_ant", "p_bee", "p_fly"]].to_numpy(), expected, rtol=1e-6)


def test_classes_may_have_the_names_of_columns(tmp_path: Path) -> None:
    names = ["input", "label", "target"]
    path = learner(torch.tensor([0, 1, 2, 1, 1]), classes=names).write_preds(tmp_path / "p.csv")
    table = pd.read_csv(path)
    assert list(table) == ["input", "label", "p_input", "p_label", "p_target", "target"]
    assert table["label"].tolist() == ["input", "label", "target", "input", "label"]


@pytest.mark.parametrize("file", ["preds.csv", "preds.parquet"])
def test_several_labels(file: str, tmp_path: Path) -> None:
    task = MultiLabel(("a", "b", "c"), threshold=0.7)
    y = torch.tensor([[1.0, 0, 1], [0, 1, 0], [0, 0, 0], [1, 1, 1], [0, 0, 1]])
    learner(y, task=task).write_preds(tmp_path / file)
    table = read(tmp_path, file).fillna("")
    # sigmoid(1) = 0.731, sigmoid(0) = 0.5
    assert table["label"].tolist() == ["a", "b", "c", "a", "b"]
    assert table["target"].tolist() == ["a;c", "b", "", "a;b;c", "c"]
    np.testing.assert_allclose(table["p_a"], 1 / (1 + np.exp(-X[:, 0].numpy())), rtol=1e-6)


@pytest.mark.parametrize("file", ["preds.csv", "preds.parquet"])
def test_numbers(file: str, tmp_path: Path) -> None:
    learn = learner(X + 1, task=Regression(("input", "x", "label")))
    learn.write_preds(tmp_path / file)
    table = read(tmp_path, file)
    names = ["label_input", "label_x", "label_label", "target_input", "target_x", "target_label"]
    assert list(table) == ["input", *names]
    assert np.array_equal(table[names[:3]].to_numpy(), X.numpy())
    assert np.array_equal(table[names[3:]].to_numpy(), X.numpy() + 1)


def test_floats_are_written_with_the_fewest_digits_that_round_trip(tmp_path: Path) -> None:
    y = torch.full((5, 3), 0.3)
    learner(y, task=Regression(("a", "b", "c"))).write_preds(tmp_path / "p.csv")
    with open(tmp_path / "p.csv", newline="", encoding="utf-8") as file:
        row = next(csv.DictReader(file))
    assert row["target_a"] == "0.3"


def test_without_labels_there_is_no_target(tmp_path: Path) -> None:
    learn = learner(torch.tensor([0, 1, 2, 1, 1]), x_test=X[:3])
    table = pd.read_csv(learn.write_preds(tmp_path / "p.csv", DatasetType.Test))
    assert list(table) == ["input", "label", "p_0", "p_1", "p_2"]
    assert len(table) == 3


def test_images_are_named_by_their_paths(class_folder: Path, tmp_path: Path) -> None:
    dls = ImageDataBunch.from_folder(class_folder, size=8, bs=5, num_workers=0)
    learn = Learner(dls, nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 3)), seed=0)
    table = pd.read_csv(learn.write_preds(tmp_path / "p.csv"))
    rows = dls.samples.query("split == 'valid'")
    assert table["input"].tolist() == rows["input"].tolist()
    assert table["target"].tolist() == rows["target"].tolist()
    two = rows["input"].tolist()[:2]
    again = pd.read_csv(learn.write_preds(tmp_path / "q.csv", dls.test_dl_from(two)))
    assert again["input"].tolist() == two
    assert again["label"].tolist() == table["label"].tolist()[:2]
    rows = dls.samples.query("split == 'train'")
    drawn = pd.read_csv(learn.write_preds(tmp_path / "r.csv", dls.train_dl))
    assert drawn["input"].tolist() == rows["input"].tolist()
    assert drawn["target"].tolist() == rows["target"].tolist()
    other = ImageDataBunch.from_folder(class_folder, size=8, bs=5, num_workers=0)
    with pytest.raises(UsageError, match="cannot name its images"):
        learn.write_preds(tmp_path / "s.csv", other.train_dl)


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are text there")
@pytest.mark.parametrize("file", ["p.csv", "p.parquet"])
def test_names_need_not_be_utf_8(file: str, tmp_path: Path) -> None:
    odd = os.fsdecode(b"\xff")
    for name in (f"train/{odd}/1.png", "train/b/2.png", f"valid/{odd}/3.png", f"valid/b/{odd}.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    dls = ImageDataBunch.from_folder(tmp_path, size=8, bs=2, num_workers=0)
    learn = Learner(dls, nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2)), seed=0)
    learn.write_preds(tmp_path / file)
    table = read(tmp_path, file)
    assert list(table) == ["input", "label", "p_b", "p_\\udcff", "target"]
    assert table["input"].tolist() == [f"{tmp_path}/valid/b/\\udcff.png", f"{tmp_path}/valid/\\udcff/3.png"]
    assert table["target"].tolist() == ["b", "\\udcff"]


def test_one_number_per_item_needs_no_second_dimension(tmp_path: Path) -> None:
    x = torch.tensor([[1.0], [2.0], [3.0]])
    dls = DataBunch.from_loaders([(x, x[:, 0])], [(x, x[:, 0])], task=Regression(("age",)))
    Learner(dls, nn.Flatten(0), seed=0).write_preds(tmp_path / "p.csv")
    assert read(tmp_path, "p.csv").to_dict("list") == {
        "input": [0, 1, 2],
        "label_age": [1, 2, 3],
        "target_age": [1, 2, 3],
    }


HOSTILE = ["=1+1", "+cmd", "-2+3", "@sum", "\tx", "\rx", "plain", 'a,"b"\nc']


def test_text_that_a_spreadsheet_would_run_is_harmless(tmp_path: Path) -> None:
    x = torch.eye(len(HOSTILE)) * 5
    dls = DataBunch.from_tensors(x, torch.arange(8), x, torch.arange(8), bs=3, classes=HOSTILE)
    learn = Learner(dls, nn.Identity(), seed=0)

    def labels(file: str, **options: Any) -> list[str]:
        path = learn.write_preds(tmp_path / file, **options)
        with open(path, newline="", encoding="utf-8") as opened:
            header, *rows = list(csv.reader(opened))
        assert header[2:-1] == [f"p_{name}" for name in HOSTILE]
        assert all(row[1] == row[-1] for row in rows)
        return [row[1] for row in rows]

    assert labels("safe.csv") == ["'=1+1", "'+cmd", "'-2+3", "'@sum", "'\tx", "'\rx", "plain", 'a,"b"\nc']
    assert labels("bare.csv", safe=False) == HOSTILE
    assert pd.read_parquet(learn.write_preds(tmp_path / "p.parquet"))["label"].tolist() == HOSTILE


def test_numbers_below_zero_stay_numbers(tmp_path: Path) -> None:
    learn = learner(-X, task=Regression(("a", "b", "c")))
    table = pd.read_csv(learn.write_preds(tmp_path / "p.csv"))
    assert table["target_a"].tolist() == (-X[:, 0]).tolist()


@pytest.mark.parametrize("file", ["p.csv", "p.parquet"])
def test_an_interrupted_run_leaves_no_half_file(file: str, tmp_path: Path) -> None:
    learn = learner(torch.tensor([0, 1, 2, 1, 1]))
    learn.write_preds(tmp_path / file)
    before = (tmp_path / file).read_bytes()

    def stop(batches: list[Any]) -> Any:
        yield batches[0]
        raise KeyboardInterrupt

    for target in (tmp_path / file, tmp_path / f"new_{file}"):
        with pytest.raises(KeyboardInterrupt):
            learn.write_preds(target, stop([(X, torch.zeros(5, dtype=torch.int64))]))
    assert [one.name for one in tmp_path.iterdir()] == [file]
    assert (tmp_path / file).read_bytes() == before


def test_batches_are_written_as_they_come(tmp_path: Path) -> None:
    learn = learner(torch.tensor([0, 1, 2, 1, 1]))
    sizes = []

    def batches() -> Any:
        for _ in range(30):
            partial = [one.stat().st_size for one in tmp_path.iterdir()]
            sizes.append(partial[0] if partial else 0)
            yield (X.repeat(200, 1),)

    path = learn.write_preds(tmp_path / "p.csv", batches())
    assert len(pd.read_csv(path)) == 30_000
    assert sizes[15] > sizes[5] > 0


def test_what_cannot_be_tabulated_is_refused_before_anything_is_computed(scenes: Path, tmp_path: Path) -> None:
    learn = learner(torch.tensor([0, 1, 2, 1, 1]))
    for file in ("p.xlsx", "p", "csv", "p.csv.gz"):
        with pytest.raises(UsageError, match=r"\.csv or \.parquet"):
            learn.write_preds(tmp_path / file)
    with pytest.raises(UsageError, match="file: got '', expected a name"):
        learn.write_preds("")
    with pytest.raises(DataError, match="no items"):
        learn.write_preds(tmp_path / "p.csv", [])
    odd = Learner(learn.dls, nn.Identity(), activation=lambda raw: raw[:, :2], seed=0)
    with pytest.raises(UsageError, match=r"outputs: got \(2, 2\)"):
        odd.write_preds(tmp_path / "p.csv")
    learn.dls.task = None
    with pytest.raises(UsageError, match="write_preds: the data has no task"):
        learn.write_preds(tmp_path / "p.csv")
    masks = ImageDataBunch.from_folder_masks(
        scenes, "images", lambda image: str(image).replace("images", "masks"), ["ground", "box"], size=8, bs=2,
        num_workers=0,
    )  # fmt: skip
    with pytest.raises(UsageError, match="predict_iter"):
        Learner(masks, nn.Conv2d(3, 2, 1), seed=0).write_preds(tmp_path / "p.csv")
    assert not [one for one in tmp_path.iterdir() if one.is_file()]


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    root = tmp_path / "scenes"
    for split in ("train", "valid"):
        for kind in ("images", "masks"):
            (root / kind / split).mkdir(parents=True)
            for number in range(3):
                mode = "RGB" if kind == "images" else "L"
                Image.new(mode, (8, 8), 1 + number % 2 if mode == "RGB" else number % 2).save(
                    root / kind / split / f"{split}{number}.png"
                )
    return root


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(LearnkitError, match=r"learnkit\[parquet\]"):
        learner(torch.tensor([0, 1, 2, 1, 1])).write_preds(tmp_path / "p.parquet")
