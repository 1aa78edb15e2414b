"""Cross-validation: every row is validated once, and predictions are restored to the table's order."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from learnkit import DatasetType, ImageDataBunch, LearnkitWarning
from learnkit.data.table.folds import Folds, fold_numbers
from learnkit.errors import DataError, WrongTypeError
from tests.doubles import refused


@pytest.fixture
def table(tmp_path: Path) -> pd.DataFrame:
    """20 images, item i of gray value 10 * i; two classes 12 : 8, five cameras of four."""
    for i in range(20):
        Image.new("L", (8, 8), 10 * i).save(tmp_path / f"{i}.png")
    return pd.DataFrame(
        {"file": [f"{i}.png" for i in range(20)], "kind": ["ab" if i % 5 < 3 else "c" for i in range(20)],
         "camera": [i % 5 for i in range(20)], "height": [i / 2 for i in range(20)]}
    )  # fmt: skip


def bunch(root: Path, table: pd.DataFrame, **options: Any) -> ImageDataBunch:
    fixed = {"size": 8, "bs": 4, "augment": False, "channels": 1, "normalize": None, "num_workers": 0}
    return ImageDataBunch.from_df(root, table, **{**fixed, **options})


def grays(dls: ImageDataBunch, part: DatasetType) -> torch.Tensor:
    """The gray values of a part's images, (N,)."""
    return torch.cat([batch[0] for batch in dls.ordered_dl(part)])[:, 0, 0, 0] * 255


def test_every_row_is_validated_once_and_trained_on_otherwise(tmp_path: Path, table: pd.DataFrame) -> None:
    dls = bunch(tmp_path, table)
    folds = dls.folds(5)
    assert len(folds) == 5
    assert folds.samples["input"].tolist() == dls.samples["input"].tolist()
    seen: list[str] = []
    for fold in folds:
        parts = {split: set(rows["input"]) for split, rows in fold.samples.groupby("split")}
        assert parts["train"] | parts["valid"] == set(dls.samples["input"])
        assert not parts["train"] & parts["valid"]
        assert Counter(fold.samples.query("split == 'valid'")["target"]).keys() == {"ab", "c"}
        assert (fold.task, fold.input_shape, fold.batch_size) == (dls.task, dls.input_shape, dls.batch_size)
        assert fold.samples["camera"].tolist() == [int(Path(name).stem) % 5 for name in fold.samples["input"]]
        seen += parts["valid"]
    assert sorted(seen) == sorted(dls.samples["input"])


def test_predictions_are_restored_to_the_order_of_the_table(tmp_path: Path, table: pd.DataFrame) -> None:
    dls = bunch(tmp_path, table.assign(kind=["ab", "c"] * 10))
    options: Any
    for options in ({}, {"stratify": False, "seed": 3}, {"group": "camera"}):
        folds = dls.folds(3, **options)
        together = folds.in_order([grays(fold, DatasetType.Valid) for fold in folds])
        numbers = [int(Path(name).stem) for name in folds.samples["input"]]
        assert together.round().int().tolist() == [10 * number for number in numbers]


def test_groups_stay_together(tmp_path: Path, table: pd.DataFrame) -> None:
    for fold in bunch(tmp_path, table.assign(kind=["ab", "c"] * 10)).folds(5, group="camera"):
        cameras = fold.samples.groupby("split")["camera"].agg(set)
        assert not cameras["train"] & cameras["valid"]
    with refused("6 folds", DataError, got="5 groups", expected="6 or more"):
        bunch(tmp_path, table).folds(6, group="camera")
    with pytest.raises(DataError, match="no column 'lens'"):
        bunch(tmp_path, table).folds(3, group="lens")


def test_the_test_set_is_in_all_folds(tmp_path: Path, table: pd.DataFrame) -> None:
    splits = ["train"] * 10 + ["val"] * 6 + ["test"] * 4
    folds = bunch(tmp_path, table.assign(use=splits), valid_col="use").folds(4)
    assert len(folds.samples) == 16
    for fold in folds:
        assert fold.samples.groupby("split").size().to_dict() == {"train": 12, "valid": 4, "test": 4}
        assert grays(fold, DatasetType.Test).round().int().tolist() == [160, 170, 180, 190]


def test_rows_left_out_stay_out_of_every_fold(tmp_path: Path, table: pd.DataFrame) -> None:
    (tmp_path / "3.png").write_bytes(b"not an image")
    with pytest.warns(LearnkitWarning, match="1 of 20 items cannot be read"):
        dls = bunch(tmp_path, table, on_error="skip")
    folds = dls.folds(3)
    assert len(folds.samples) == 19
    for fold in folds:
        assert [Path(name).name for name in fold.skipped["input"]] == ["3.png"]
        assert len(fold.samples) == 19


def test_regressions_keep_the_names_of_their_numbers(tmp_path: Path, table: pd.DataFrame) -> None:
    dls = bunch(tmp_path, table, label_col=["height", "camera"], task="regression")
    for fold in dls.folds(4):
        assert fold.task == dls.task
        assert dls.task is not None
        heights = fold.samples.query("split == 'valid'")["height"]
        assert len(heights) == 5
        assert heights.max() - heights.min() > 4  # every part of the range: one from each quarter or so


def test_a_class_of_one_item_is_reported_when_it_cannot_be_learned(tmp_path: Path, table: pd.DataFrame) -> None:
    late = [i > 9 for i in range(20)]
    with pytest.warns(LearnkitWarning, match="no validation item of class rare"):
        dls = bunch(tmp_path, table.assign(kind=["rare", *["a", "b"] * 9, "a"], late=late), valid_col="late")
    folds = dls.folds(2)
    alone = int(folds.numbers[0])  # the fold that validates on it
    with pytest.warns(LearnkitWarning, match="no training item of class rare: it cannot be learned"):
        assert folds[alone].classes == ["a", "b", "rare"]
    with pytest.warns(LearnkitWarning, match="no validation item of class rare"):
        assert folds[1 - alone].classes == ["a", "b", "rare"]


def test_folds_are_the_draw_of_their_seed(tmp_path: Path, table: pd.DataFrame) -> None:
    dls = bunch(tmp_path, table)
    before = torch.get_rng_state()
    assert np.array_equal(dls.folds(5).numbers, dls.folds(5).numbers)
    assert not np.array_equal(dls.folds(5).numbers, dls.folds(5, seed=1).numbers)
    assert torch.equal(before, torch.get_rng_state())


def test_folds_are_made_when_asked_for_by_number() -> None:
    made: list[int] = []

    def fold(number: int) -> int:
        made.append(number)
        return number

    folds = Folds(pd.DataFrame({"input": list("abcde")}), np.array([0, 1, 2, 0, 1]), fold)
    assert not made
    assert [folds[0], folds[2], folds[-1], folds[-3]] == [0, 2, 2, 0]
    assert list(folds) == [0, 1, 2]
    for number in (3, -4):
        with pytest.raises(IndexError, match=f"fold {number} of 3"):
            folds[number]
    assert len(made) == 7


def test_values_of_any_shape_are_put_in_order() -> None:
    folds = Folds(pd.DataFrame({"input": list("abcde")}), np.array([1, 0, 0, 1, 0]), lambda number: number)
    parts = [torch.tensor([[1, 10], [2, 20], [4, 40]]), torch.tensor([[0, 0], [3, 30]])]
    assert folds.in_order(parts).tolist() == [[0, 0], [1, 10], [2, 20], [3, 30], [4, 40]]
    assert folds.in_order(parts).dtype == torch.int64
    for wrong in (parts[:1], parts[::-1], [*parts, parts[0]], []):
        with pytest.raises(DataError, match=r"folds: got 'parts of .* rows', expected \[3, 2\]"):
            folds.in_order(wrong)


@pytest.mark.parametrize("k", [1, 2.5, "3"])
def test_numbers_of_folds_that_cannot_work_are_refused(k: Any, tmp_path: Path, table: pd.DataFrame) -> None:
    with refused("k", got=k):
        bunch(tmp_path, table).folds(k)


def numbered(targets: Any, **columns: Any) -> pd.DataFrame:
    targets = list(targets)
    samples = pd.DataFrame({"input": [f"{i}.jpg" for i in range(len(targets))], **columns})
    samples["target"] = pd.Series(targets, dtype=object)
    return samples


def letters(n: int, seed: int) -> list[str]:
    drawn: list[str] = np.random.default_rng(seed).choice(list("abcd"), n, p=[0.6, 0.25, 0.1, 0.05]).tolist()
    return drawn


@pytest.mark.parametrize("stratify", [True, False])
def test_every_row_is_in_one_fold_and_folds_are_even(stratify: bool) -> None:
    for n in (5, 7, 20, 83):
        for k in (2, 3, 5):
            for seed in range(4):
                targets = letters(n, seed)
                folds = fold_numbers(numbered(targets), k, stratify=stratify, group=None, seed=seed)
                sizes = np.bincount(folds, minlength=k)
                assert folds.shape == (n,)
                assert len(sizes) == k
                assert sizes.max() - sizes.min() <= 1
                if stratify:
                    for name in set(targets):
                        counts = np.bincount(folds[np.array(targets) == name], minlength=k)
                        assert counts.max() - counts.min() <= 1


def test_fold_numbers_are_the_draw_of_their_seed() -> None:
    samples = numbered(letters(50, 0))
    before = torch.get_rng_state()
    one, same, other = (fold_numbers(samples, 5, stratify=True, group=None, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)
    assert torch.equal(before, torch.get_rng_state())


def test_groups_share_a_fold() -> None:
    for seed in range(20):
        groups = np.random.default_rng(seed).integers(0, 15, 100)
        folds = fold_numbers(numbered("a" * 100, camera=groups), 4, stratify=True, group="camera", seed=seed)
        assert all(len(set(folds[groups == group])) == 1 for group in set(groups))
        sizes = np.bincount(folds, minlength=4)
        assert sizes.min() > 0
        assert sizes.max() - sizes.min() <= np.bincount(groups).max()  # the last group went into the emptiest fold


def test_equal_groups_make_equal_folds() -> None:
    folds = fold_numbers(numbered("a" * 60, camera=np.arange(60) % 12), 4, stratify=False, group="camera", seed=0)
    assert np.bincount(folds).tolist() == [15] * 4


def test_large_groups_are_dealt_out_first() -> None:
    groups = list("a" * 8 + "b" * 3 + "c" * 3 + "d" * 2)
    for seed in range(10):
        folds = fold_numbers(numbered(groups, camera=groups), 2, stratify=False, group="camera", seed=seed)
        assert np.bincount(folds).tolist() == [8, 8]


@pytest.mark.parametrize("k", [1, 0, -2, 2.0, True, "5", None])
def test_fold_counts_that_cannot_work_are_refused(k: Any) -> None:
    with refused("k", got=k, expected="a number of folds, 2 or more"):
        fold_numbers(numbered("abcd"), k, stratify=True, group=None, seed=0)


def test_more_folds_than_rows_or_groups_are_refused() -> None:
    with refused("5 folds", DataError, got="4 rows", expected="5 or more"):
        fold_numbers(numbered("abcd"), 5, stratify=True, group=None, seed=0)
    with refused("3 folds", DataError, got="2 groups"):
        fold_numbers(numbered("abcd", camera=[1, 1, 2, 2]), 3, stratify=True, group="camera", seed=0)


def test_groups_are_dealt_out_so_that_classes_are_even() -> None:
    model_selection = pytest.importorskip("sklearn.model_selection")

    def uneven(samples: pd.DataFrame, folds: Any) -> float:
        """How far the folds' shares of every class are from one in five, squared."""
        shares = pd.crosstab(folds, samples["target"], normalize="columns").to_numpy()
        return float(((shares - 0.2) ** 2).sum())

    ours, theirs, alone = [], [], []
    for seed in range(4):
        random = np.random.default_rng(seed)
        cameras, leaning = random.integers(0, 30, 300), random.integers(0, 3, 30)
        targets = np.where(random.random(300) < 0.7, leaning[cameras], random.integers(0, 3, 300))
        samples = numbered(map(str, targets), camera=cameras)
        folds = fold_numbers(samples, 5, stratify=True, group="camera", seed=seed)
        assert all(len(set(folds[cameras == camera])) == 1 for camera in set(cameras))
        assert set(folds) == set(range(5))
        ours.append(uneven(samples, folds))
        alone.append(uneven(samples, fold_numbers(samples, 5, stratify=False, group="camera", seed=seed)))
        split = model_selection.StratifiedGroupKFold(5, shuffle=True, random_state=seed)
        reference = np.empty(300, dtype=int)
        for number, (_, valid) in enumerate(split.split(samples, samples["target"], cameras)):
            reference[valid] = number
        theirs.append(uneven(samples, reference))
    assert np.mean(ours) < 0.5 * np.mean(alone)
    assert np.mean(ours) < 1.5 * np.mean(theirs)


@pytest.mark.parametrize("stratify", [True, False])
def test_as_many_groups_as_folds_fill_every_fold(stratify: bool) -> None:
    samples = numbered("aaaaabbbbc", camera=[0] * 5 + [1] * 4 + [2])
    folds = fold_numbers(samples, 3, stratify=stratify, group="camera", seed=0)
    assert sorted(np.bincount(folds)) == [1, 4, 5]


def test_parts_may_be_arrays_or_come_one_by_one_and_must_fit() -> None:
    folds: Folds[int] = Folds(pd.DataFrame({"n": range(4)}), np.array([1, 0, 0, 1]), lambda number: number)
    parts = [np.array([[1.0], [2.0]]), np.array([[0.0], [3.0]])]
    expected = torch.tensor([[0.0], [1.0], [2.0], [3.0]], dtype=torch.float64)
    for given in (parts, tuple(parts), iter(parts), [torch.from_numpy(part) for part in parts]):
        assert torch.equal(folds.in_order(given), expected)
    with pytest.raises(DataError, match=r"get_preds\(\) returns \(predictions, targets\): pass one of them"):
        folds.in_order([(torch.ones(2), torch.ones(2))] * 2)  # type: ignore[list-item]
    with pytest.raises(DataError, match=r"items of the shapes \[\(1,\), \(2,\)\]"):
        folds.in_order([torch.ones(2, 1), torch.ones(2, 2)])
    for wrong in ("a", slice(2), 0.0):
        with pytest.raises(WrongTypeError, match=r"fold: got .*, expected a number from 0 to 1"):
            folds[wrong]  # type: ignore[index]
    assert folds[np.int64(-1)] == 1
    assert list(folds) == [0, 1]
