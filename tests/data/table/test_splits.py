"""Splits: properties that hold for every size and seed, and results that are refused."""

import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from learnkit.data.table.split_results import split_names
from learnkit.data.table.splits import (
    ColumnSplit,
    FileListSplit,
    FolderSplit,
    GroupSplit,
    RandomSplit,
    StratifiedGroupSplit,
    StratifiedSplit,
)
from learnkit.errors import DataError, MissingFileError, UsageError
from tests.doubles import refused

SHARES = (0.05, 0.2, 0.33, 0.5, 0.8)


def table(targets: Any, **columns: Any) -> pd.DataFrame:
    targets = list(targets)
    samples = pd.DataFrame({"input": [f"{i}.jpg" for i in range(len(targets))], **columns})
    samples["target"] = pd.Series(targets, dtype=object)
    return samples


def letters(n: int, seed: int) -> list[str]:
    drawn: list[str] = np.random.default_rng(seed).choice(list("abcd"), n, p=[0.6, 0.25, 0.1, 0.05]).tolist()
    return drawn


def test_a_random_split_takes_the_first_of_a_seeded_permutation() -> None:
    ten = table("x" * 10)
    permutation = torch.randperm(10, generator=torch.Generator().manual_seed(42))
    chosen = np.flatnonzero(RandomSplit(0.2, 42)(ten))
    assert chosen.tolist() == sorted(permutation[:2].tolist()) == [2, 6]
    assert np.flatnonzero(RandomSplit(0.2, 43)(ten)).tolist() != [2, 6]


@pytest.mark.parametrize("split", [RandomSplit, StratifiedSplit])
def test_the_count_is_the_share_rounded_down_and_at_least_one(split: Any) -> None:
    for n in (2, 3, 9, 10, 57):
        for share in SHARES:
            for seed in range(5):
                chosen = split(share, seed)(table(letters(n, seed)))
                assert chosen.shape == (n,)
                assert chosen.sum() == max(1, int(share * n))


@pytest.mark.parametrize(
    "split",
    [
        RandomSplit(0.3, 7),
        StratifiedSplit(0.3, 7),
        GroupSplit("camera", 0.3, 7),
        StratifiedGroupSplit("camera", 0.3, 7),
    ],
    ids=lambda split: str(split),
)
def test_a_draw_depends_on_its_seed_alone(split: Any) -> None:
    samples = table(letters(80, 0), camera=np.arange(80) // 4)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()  # type: ignore[index]
    first = split(samples)
    torch.rand(3)
    assert np.array_equal(first, split(samples))
    assert any(not np.array_equal(first, type(split)(**{**vars(split), "seed": seed})(samples)) for seed in range(3))
    torch.set_rng_state(before[0])
    split(samples)
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == random.getstate()
    assert (before[2] == np.random.get_state()[1]).all()  # type: ignore[index]


@pytest.mark.parametrize("share", [0, 1, 2, -0.2, float("nan"), "0.2", True, None])
@pytest.mark.parametrize(
    "split",
    [
        RandomSplit,
        StratifiedSplit,
        lambda share: GroupSplit("camera", share),
        lambda share: StratifiedGroupSplit("camera", share),
    ],
)
def test_a_share_that_cannot_work_is_refused(share: Any, split: Any) -> None:
    with refused("valid_pct", got=share, expected="a share in (0, 1)"):
        split(share)


@pytest.mark.parametrize("split", [RandomSplit(), StratifiedSplit()])
def test_one_row_cannot_be_split(split: Any) -> None:
    with refused("valid_pct", DataError, got="1 item"):
        split(table("a"))


def test_every_class_gives_its_share_to_within_one() -> None:
    for n in (8, 23, 100, 181):
        for share in SHARES:
            for seed in range(6):
                targets = letters(n, seed)
                chosen = StratifiedSplit(share, seed)(table(targets))
                taken = Counter(target for target, is_taken in zip(targets, chosen, strict=True) if is_taken)
                for name, count in Counter(targets).items():
                    assert abs(taken[name] - count * chosen.sum() / n) < 1


def test_integer_shares_per_class_are_met_exactly() -> None:
    chosen = StratifiedSplit(0.25, 3)(table("ab" * 20 + "c" * 8))
    assert Counter(np.array(list("ab" * 20 + "c" * 8))[chosen].tolist()) == {"a": 5, "b": 5, "c": 2}


def test_which_items_of_a_class_are_taken_is_random() -> None:
    taken = np.mean([StratifiedSplit(0.5, seed)(table("a" * 10 + "b" * 10)) for seed in range(200)], axis=0)
    assert (abs(taken - 0.5) < 0.15).all()  # four standard deviations of 200 even draws


def test_numbers_are_taken_from_every_part_of_their_range() -> None:
    values = np.random.default_rng(0).normal(size=100)
    chosen = StratifiedSplit(0.2, 5)(table(values))
    ranks = values.argsort().argsort()
    for start in range(0, 100, 10):
        assert chosen[(ranks >= start) & (ranks < start + 10)].sum() == 2


def test_combinations_of_labels_share_whatever_their_order() -> None:
    one, other = ["sea", "sun"], ["sun", "sea"]
    for rows in ([one, other] * 4 + [["sun"]] * 4 + [[]] * 4, [{"sea", "sun"}] * 8 + [{"sun"}] * 4 + [set()] * 4):
        chosen = StratifiedSplit(0.25, 1)(table(rows))
        assert [chosen[:8].sum(), chosen[8:12].sum(), chosen[12:].sum()] == [2, 1, 1]


def test_the_order_in_which_labels_are_listed_does_not_matter() -> None:
    mixed = [["sea", "sun"], ["sun", "sea"], ["sun"], ["boat"]] * 6
    for seed in range(5):
        chosen = StratifiedSplit(0.3, seed)(table(mixed))
        assert np.array_equal(chosen, StratifiedSplit(0.3, seed)(table([sorted(row) for row in mixed])))


def test_a_stratified_split_takes_missing_and_mixed_labels() -> None:
    rows: list[Any] = ["a", None, 3, 4.5, float("nan"), np.array([1, 2]), ("x", 1)] * 2
    assert StratifiedSplit(0.5)(table(rows)).sum() == 7


def test_groups_are_never_divided() -> None:
    for seed in range(40):
        groups = np.random.default_rng(seed).integers(0, 12, 90)
        chosen = GroupSplit("camera", 0.25, seed)(table("a" * 90, camera=groups))
        assert not set(groups[chosen]) & set(groups[~chosen])
        assert 0 < chosen.sum() < 90
        assert abs(chosen.sum() - 0.25 * 90) <= np.bincount(groups).max() / 2  # a smaller group would be nearer


def test_a_huge_group_is_trained_on() -> None:
    groups = ["big"] * 90 + ["small"] * 10
    for seed in range(10):
        assert GroupSplit("camera", 0.1, seed)(table("a" * 100, camera=groups)).tolist() == [False] * 90 + [True] * 10
        # Where every group is too large, the smallest is taken.
        assert GroupSplit("camera", 0.01, seed)(table("a" * 100, camera=groups)).sum() == 10
        assert GroupSplit("camera", 0.99, seed)(table("a" * 100, camera=groups)).sum() in (10, 90)


@pytest.mark.parametrize(
    ("column", "cameras", "text"),
    [
        ("camera", ["x"] * 4, "got 'one group', expected at least 2"),
        ("camera", ["x", None, "y", None], r"no group in rows \[1, 3\]"),
        ("lens", ["x", "y", "x", "y"], "no column 'lens'; columns are input, camera, target"),
    ],
)
def test_groups_that_cannot_work_are_refused(column: str, cameras: list[Any], text: str) -> None:
    for split in (GroupSplit, StratifiedGroupSplit):
        with pytest.raises(DataError, match=text):
            split(column, 0.5)(table("aabb", camera=cameras))


def grouped(seed: int, n: int = 200, n_groups: int = 25) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    groups = random.integers(0, n_groups, n)
    leaning = random.integers(0, 4, n_groups)  # the class that most items of a group have
    targets = np.where(random.random(n) < 0.6, leaning[groups], random.integers(0, 4, n))
    return table([f"class {target}" for target in targets], camera=groups)


def off(samples: pd.DataFrame, chosen: Any, share: float) -> float:
    """The sum over the classes, and all rows, of the squared differences between share and part taken."""
    taken = samples[chosen]["target"].value_counts()
    parts = [taken.get(name, 0) / count for name, count in samples["target"].value_counts().items()]
    return float(sum((part - share) ** 2 for part in [*parts, np.mean(chosen)]))


def test_stratified_groups_are_never_divided_and_preserve_class_shares() -> None:
    for seed in range(20):
        samples = grouped(seed)
        chosen = StratifiedGroupSplit("camera", 0.2, seed)(samples)
        cameras = samples["camera"].to_numpy()
        assert not set(cameras[chosen]) & set(cameras[~chosen])
        assert off(samples, chosen, 0.2) <= off(samples, GroupSplit("camera", 0.2, seed)(samples), 0.2)
        for name, count in samples["target"].value_counts().items():
            assert abs((samples["target"][chosen] == name).sum() / count - 0.2) < 0.06


@pytest.mark.parametrize("n_groups", [8, 25])
def test_classes_are_spread_as_evenly_as_scikit_learn_spreads_them(n_groups: int) -> None:
    model_selection = pytest.importorskip("sklearn.model_selection")
    for seed in range(8):
        samples = grouped(seed, n_groups=n_groups)
        folds = model_selection.StratifiedGroupKFold(5, shuffle=True, random_state=seed)
        chosen = StratifiedGroupSplit("camera", 0.2, seed)(samples)
        for _, valid in folds.split(samples, samples["target"], samples["camera"]):
            theirs = np.isin(np.arange(len(samples)), valid)
            assert off(samples, chosen, 0.2) <= off(samples, theirs, 0.2) + 1e-3


def test_a_stratified_group_split_takes_labels_of_any_kind() -> None:
    cameras = np.arange(60) // 3
    for targets in ([["a", "b"], ["b"], []] * 20, np.linspace(0, 1, 60), list(range(3)) * 20, [(1.0, 2.0)] * 60):
        samples = table(targets, camera=cameras)
        chosen = StratifiedGroupSplit("camera", 0.25, 1)(samples)
        assert chosen.sum() == 15
        assert not set(cameras[chosen]) & set(cameras[~chosen])
        assert split_names(samples, StratifiedGroupSplit("camera", 0.25, 1)).count("valid") == 15


@pytest.mark.parametrize(
    "values",
    [
        [True, False, False],
        [1, 0, 0],
        [1.0, 0.0, 0.0],
        ["1", "0", "0"],
        ["True", "false", "FALSE"],
        ["valid", "train", "train"],
        ["val", " Train ", "training"],
        ["validation", "train", "train"],
    ],
)
def test_a_column_defines_the_split_in_many_ways(values: list[Any]) -> None:
    assert split_names(table("aab", kind=values), ColumnSplit("kind")) == ["valid", "train", "train"]


def test_a_column_may_name_the_test_set_and_be_passed_by_position() -> None:
    samples = table("aab", kind=["val", "train", "test"])
    assert split_names(samples, ColumnSplit("kind")) == ["valid", "train", "test"]
    assert split_names(samples, ColumnSplit(1)) == ["valid", "train", "test"]
    assert split_names(samples, ColumnSplit(-2)) == ["valid", "train", "test"]
    for absent in ("sort", 3, -4, True):
        with pytest.raises(DataError, match="no column"):
            split_names(samples, ColumnSplit(absent))


def test_a_name_that_two_columns_have_is_refused() -> None:
    samples = pd.concat([table("ab", kind=[0, 1]), pd.DataFrame({"kind": [1, 0]})], axis=1)
    with pytest.raises(DataError, match="several columns are called 'kind'"):
        split_names(samples, ColumnSplit("kind"))
    assert split_names(samples, ColumnSplit(3)) == ["valid", "train"]


@pytest.mark.parametrize("value", ["dev", 2, 0.5, None, float("nan"), pd.NA, ""])
def test_a_value_that_is_not_a_split_is_reported_with_its_row(value: Any) -> None:
    samples = table("abc", kind=pd.Series([True, False, value], dtype=object))
    samples.index = pd.Index([10, 11, 12])
    with pytest.raises(DataError, match=r"split: row 12: got .* expected True or False, 1 or 0"):
        split_names(samples, ColumnSplit("kind"))


@pytest.mark.parametrize(
    ("result", "text"),
    [
        ([True, False], r"split: got '2 results', expected one per row, 3 in all"),
        (None, r"split: got None, expected one result per row, 3 in all"),
        ([False] * 3, "no row is left to validate on"),
        ([True] * 3, "no row is left to train on"),
        (["test"] * 3, "no row is left to train on"),
    ],
)
def test_a_function_must_decide_every_row_and_fill_both_sides(result: Any, text: str) -> None:
    with pytest.raises(DataError, match=text):
        split_names(table("abc"), lambda samples: result)


def test_a_function_of_the_table_splits() -> None:
    assert split_names(table("aba"), lambda samples: samples["target"] == "b") == ["train", "valid", "train"]


def test_folders_define_the_split() -> None:
    samples = table("a" * 5)
    samples["input"] = ["d/train/a/1.jpg", "d/a/valid/2.jpg", "d/test/3.jpg", "valid.jpg", "d/invalid/5.jpg"]
    assert split_names(samples, FolderSplit()) == ["train", "valid", "test", "train", "train"]
    assert split_names(samples, FolderSplit("invalid", None)) == ["train"] * 4 + ["valid"]


def test_listed_files_are_for_validation(tmp_path: Path) -> None:
    samples = table("a" * 4)
    samples["input"] = ["d/a/1.jpg", "d/b/1.jpg", "d/b/11.jpg", "d/c/2.jpg"]
    assert FileListSplit(["b/1.jpg", "2.jpg"])(samples).tolist() == [False, True, False, True]
    assert FileListSplit(["1.jpg"])(samples).tolist() == [True, True, False, False]
    (tmp_path / "valid.txt").write_text("11.jpg\n\n  a/1.jpg \n", encoding="utf-8")
    for file in (tmp_path / "valid.txt", str(tmp_path / "valid.txt")):
        assert FileListSplit(file)(samples).tolist() == [True, False, True, False]
    with pytest.raises(DataError, match=r"2 of the files listed .* first \['3.jpg', 'x/1.jpg'\]"):
        FileListSplit(["3.jpg", "2.jpg", "x/1.jpg"])(samples)
    with pytest.raises(MissingFileError, match=r"no file .*none\.txt"):
        FileListSplit(tmp_path / "none.txt")(samples)


@pytest.mark.parametrize("share", [0.1, 0.2, 0.5, 0.9])
@pytest.mark.parametrize("as_lists", [False, True])
def test_every_class_may_keep_an_item_in_training(share: float, as_lists: bool) -> None:
    for seed in range(5):
        names = ["new"] * 12 + [f"whale {i}" for i in range(12)] + ["pair"] * 2 + letters(20, seed)
        samples = table([[name] for name in names] if as_lists else names)
        plain = StratifiedSplit(share, seed)(samples)
        kept = StratifiedSplit(share, seed, keep_in_train=True)(samples)
        trained = {name for name, is_valid in zip(names, kept, strict=True) if not is_valid}
        assert trained == set(names)
        assert not (kept & ~plain).any()
        for name in set(names):
            of_class = np.array(names) == name
            n_valid = plain[of_class].sum()
            assert kept[of_class].sum() == (n_valid if n_valid < of_class.sum() else n_valid - 1)


@pytest.mark.parametrize("root", ["/valid/data", "/test", "/train/x", "/"])
def test_folders_above_the_data_are_no_splits(root: str) -> None:
    samples = table("aabb")
    names = ["train/a/1.jpg", "train/test/2.jpg", "Validation/b/3.jpg", "val/b/4.jpg"]
    samples["input"] = [f"{root.rstrip('/')}/{name}" for name in names]
    assert split_names(samples, FolderSplit()) == ["train", "train", "valid", "valid"]
    samples["input"] = [
        f"{root.rstrip('/')}/{name}" for name in ("train/2023/1.jpg", "train/2024/2.jpg", "b/3.jpg", "test/4.jpg")
    ]
    assert split_names(samples, FolderSplit("2024")) == ["train", "valid", "train", "test"]


@pytest.mark.parametrize("kind", [RandomSplit, StratifiedSplit])
@pytest.mark.parametrize("seed", ["a", 1.5, None, 2**70])
def test_a_seed_that_torch_does_not_take_is_refused(kind: Any, seed: Any) -> None:
    with pytest.raises(UsageError, match=r"seed: got .*expected an integer of 64 bits"):
        kind(seed=seed)
    kind(seed=np.int64(-3))(table("aabb"))
