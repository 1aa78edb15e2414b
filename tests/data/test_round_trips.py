"""Tables of samples that are used again: filtered, written to a file, relabeled; and what belongs to their rows."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

from learnkit import (
    ClassificationInterpretation,
    DatasetType,
    ImageDataBunch,
    Learner,
    LearnkitWarning,
    MultiLabel,
    Regression,
)
from learnkit.errors import DataError, LearnkitError, UsageError
from learnkit.splits import StratifiedSplit
from tests.doubles import refused

SMALL: dict[str, Any] = {"size": 8, "bs": 2, "augment": False, "channels": 1, "normalize": None, "num_workers": 0}
N = 24
NAMES = [f"{i:02d}.png" for i in range(N)]
EVERY_SECOND = [i % 2 == 1 for i in range(N)]


def save_images(folder: Path) -> Path:
    """00.png to 23.png, each of one gray, ten times its number."""
    for i, name in enumerate(NAMES):
        Image.new("L", (8, 8), 10 * i).save(folder / name)
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return save_images(tmp_path)


@pytest.fixture(scope="module")
def only_read(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_images(tmp_path_factory.mktemp("images"))


def bunch(root: Path, labels: Any, **options: Any) -> ImageDataBunch:
    return ImageDataBunch.from_lists(root, NAMES, labels, **{"split": lambda table: EVERY_SECOND, **SMALL, **options})


def outputs(dls: ImageDataBunch) -> dict[str, Any]:
    """{name of a file: its encoded target}, of training and validation."""
    found: dict[str, Any] = {}
    for dataset in (dls.train_ds, dls.valid_ds):
        found |= {Path(file).name: y.tolist() for file, y in zip(dataset.inputs, dataset.targets, strict=True)}
    return found


pairs = [i // 2 for i in range(N)]  # one item for training and one for validation of each
LABELED: list[tuple[str, Any, dict[str, Any]]] = [
    ("whole numbers", pairs, {}),
    ("numbers of NumPy", np.array(pairs, dtype=np.int8), {}),
    ("numbers of torch", torch.tensor(pairs), {}),
    ("whole floats", [float(p) for p in pairs], {"task": "classification"}),
    ("text of numbers", [f"{p:03d}" for p in pairs], {}),
    ("text", [f"class {p}" for p in pairs], {}),
    ("bytes", [f"class {p}".encode() for p in pairs], {}),
    ("booleans", [p % 2 == 0 for p in pairs], {}),
    ("a given order", [["low", "mid", "high"][p % 3] for p in pairs], {"classes": ["low", "mid", "high"]}),
    ("a normal form", [["Cat ", "cat", "dog"][p % 3] for p in pairs], {"normalize_labels": True}),
    ("lists", [["a", "b"] if p % 2 else ["b"] for p in pairs], {"classes": ["b", "a"]}),
    ("no labels", [["a", "b"] if p % 2 else [] for p in pairs], {}),
    ("rows of 0 and 1", np.eye(3, dtype=int)[np.array(pairs) % 3], {"classes": ["z", "y", "x"]}),
    ("rows of booleans", (np.eye(3) > 0)[np.array(pairs) % 3], {"classes": ["z", "y", "x"]}),
    ("a task", [["a"] if p % 2 else ["b"] for p in pairs], {"task": MultiLabel(("b", "a"), (0.2, 0.7))}),
    ("values", [p / 2 for p in pairs], {"task": "regression"}),
    ("points", [(p, p / 2) for p in pairs], {"task": Regression(("y", "x"))}),
]
USED_AGAIN: list[tuple[str, Callable[[pd.DataFrame], pd.DataFrame]]] = [
    ("unchanged", lambda table: table),
    ("filtered", lambda table: table[table["input"].str.contains("0[4-9]|1")]),
    ("one class left", lambda table: table.groupby("split").head(2)),
    ("shuffled", lambda table: table.sample(frac=1, random_state=0)),
    ("with another index", lambda table: table.set_axis([0] * len(table))),
    ("with categories", lambda table: table.astype({"split": "category"})),
]


@pytest.mark.filterwarnings("ignore:no (training|validation) item")
@pytest.mark.parametrize(("labels", "options"), [one[1:] for one in LABELED], ids=[one[0] for one in LABELED])
@pytest.mark.parametrize("change", [one[1] for one in USED_AGAIN], ids=[one[0] for one in USED_AGAIN])
def test_a_table_that_is_used_again_means_the_same(
    labels: Any, options: dict[str, Any], change: Callable[[pd.DataFrame], pd.DataFrame], only_read: Path
) -> None:
    dls = bunch(only_read, labels, **options)
    table = change(dls.samples)
    again = ImageDataBunch.from_samples(table, only_read, **SMALL)
    assert again.task == dls.task
    assert again.classes == dls.classes
    assert outputs(again).items() <= outputs(dls).items()
    assert len(again.samples) == len(table)
    assert again.samples.groupby("split")["input"].agg(set).to_dict() == (
        table.astype({"split": str}).groupby("split")["input"].agg(set).to_dict()
    )


@pytest.mark.parametrize(("labels", "options"), [one[1:] for one in LABELED], ids=[one[0] for one in LABELED])
def test_a_table_that_was_written_means_the_same_or_is_refused(
    labels: Any, options: dict[str, Any], root: Path
) -> None:
    dls = bunch(root, labels, **options)
    dls.samples.to_csv(root / "samples.csv")
    given = {name: options[name] for name in ("classes", "task") if name in options}
    columns = {"fn_col": "input", "label_col": "target", "valid_col": "split"}
    if isinstance(labels[0], list | tuple | np.ndarray):
        with pytest.raises(LearnkitError, match=r"text of a list|label_delim"):
            ImageDataBunch.from_csv(root, "samples.csv", **columns, **given, **SMALL)
        return
    again = ImageDataBunch.from_csv(root, "samples.csv", **columns, **given, **SMALL)
    assert again.task == dls.task
    assert outputs(again) == outputs(dls)


def test_labels_of_another_column_are_new_labels(root: Path) -> None:
    dls = bunch(root, [["cat", "dog"][p % 2] for p in pairs])
    table = dls.samples.assign(kind=["sun", "sea"] * (N // 2))
    options = {"fn_col": "input", "label_col": "kind", **SMALL}
    assert ImageDataBunch.from_df(root, table, split=StratifiedSplit(), **options).classes == ["sea", "sun"]
    with pytest.raises(UsageError, match=r"classes: .*also 'bird'\. Pass classes= with all of them"):
        ImageDataBunch.from_samples(dls.samples.replace("cat", "bird"), root, **SMALL)
    named = ImageDataBunch.from_samples(dls.samples.replace("cat", "bird"), classes=["dog", "bird"], **SMALL)
    assert named.classes == ["dog", "bird"]


@pytest.mark.parametrize("task", [None, "classification", "multilabel"])
def test_classes_have_an_order(task: Any, root: Path) -> None:
    labels: Any = [["a"], ["b"]] * (N // 2) if task == "multilabel" else ["a", "b"] * (N // 2)
    for classes in ({"a", "b"}, frozenset("ab"), {"a": 0, "b": 1}, "ab"):
        with refused("classes", got=classes, expected="a list of names in the order of the outputs"):
            bunch(root, labels, task=task, classes=classes)
        with refused("classes", got=classes):
            ImageDataBunch.single_from_classes(root, classes, **SMALL)  # type: ignore[arg-type]


def test_classes_and_a_task_must_agree(root: Path) -> None:
    labels = [["a"], ["b"]] * (N // 2)
    with pytest.raises(DataError, match=r"the classes of classes= are in another order: b, a; those of task= are a, b"):
        bunch(root, labels, task=MultiLabel(("a", "b")), classes=["b", "a"])


@pytest.mark.parametrize("labels", [["cat", "Cat "], ["café", "cafe\u0301"], [["sun"], ["Sun"]]])
def test_labels_that_look_alike_are_reported_and_merged_on_request(labels: Any, root: Path) -> None:
    other: Any = ["zebra"] if isinstance(labels[0], list) else "zebra"
    many = [[*labels, other][p % 3] for p in pairs]
    with pytest.warns(LearnkitWarning, match=r"^classes that look alike: .* / .*; normalize_labels=True"):
        assert len(bunch(root, many).classes) == 3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        merged = bunch(root, many, normalize_labels=True)
        assert len(merged.classes) == 2
        assert len(bunch(root, many, normalize_labels=lambda name: name[0].lower()).classes) == 2
        relabeled = merged.relabel(pd.DataFrame({"path": ["00.png"], "label": ["ZEBRA"]}) if other == "zebra" else
                                   pd.DataFrame({"path": ["00.png"], "label": [["ZEBRA"]]}))  # fmt: skip
    assert relabeled.samples["target"][0] == other


def drawn(dls: ImageDataBunch) -> set[str]:
    dls.train_dl.seed_epoch(0, 0)
    return {
        Path(dls.train_ds.inputs[i]).name for numbers in dls.train_dl.order.begin().batches for i in numbers.tolist()
    }


def test_weights_follow_their_rows(root: Path) -> None:
    labels = [["cat", "dog"][p % 2] for p in pairs]
    favored = {"05.png", "10.png"}
    weights = [float(name in favored) for name in NAMES]
    dls = bunch(root, labels, sampler=weights)
    assert drawn(dls) == {"10.png"}  # 05.png is for validation
    for fold in dls.folds(4):
        trained = {Path(name).name for name in fold.train_ds.inputs}
        assert drawn(fold) == favored & trained
    filtered = ImageDataBunch.from_samples(dls.samples.iloc[::-1], sampler="sampler_weight", **SMALL)
    assert drawn(filtered) == {"10.png"}
    assert drawn(dls.drop(["00.png"])) == {"10.png"}
    named = ImageDataBunch.from_df(
        root, pd.DataFrame({"name": NAMES, "label": labels, "w": weights}), split=lambda table: EVERY_SECOND,
        sampler="w", **SMALL,
    )  # fmt: skip
    assert drawn(named) == {"10.png"}


def test_weights_of_training_rows_alone_make_no_folds(root: Path) -> None:
    labels = [["cat", "dog"][p % 2] for p in pairs]
    dls = bunch(root, labels, sampler=[float(i == 3) for i in range(N // 2)])
    assert drawn(dls) == {"06.png"}  # the fourth of the training rows
    assert drawn(dls.drop(["00.png"])) == {"06.png"}
    with pytest.raises(DataError, match=r"have no number in column 'sampler_weight'.*Give a weight for every row"):
        list(dls.folds(4))
    with refused("sampler", got="wieght"):
        bunch(root, labels, sampler="wieght")


def test_rows_and_labels_are_corrected(root: Path) -> None:
    dls = bunch(root, [["cat", "dog"][p % 2] for p in pairs], classes=["dog", "cat"], sampler="balanced", bs=4)
    issues = pd.DataFrame({"item": [0], "path": [str(root / "02.png")], "label": ["cat"], "suggestion": ["cat"]})
    issues.to_csv(root / "issues.csv", index=False)
    for table in (issues, root / "issues.csv"):
        better = dls.relabel(table)
        assert outputs(better) == outputs(dls) | {"02.png": 1}
    fewer = better.drop(issues["path"])
    assert set(outputs(fewer)) == set(NAMES) - {"02.png"}
    assert outputs(dls)["02.png"] == 0  # the first bunch is unchanged
    with pytest.raises(DataError, match="no row is left to validate on"):
        dls.drop(dls.valid_ds.inputs)
    for made in (better, fewer):
        assert (made.task, made.batch_size, made.input_shape) == (dls.task, 4, dls.input_shape)
        assert made.settings.sampler == "balanced"
        assert made.valid_ds.inputs == dls.valid_ds.inputs


def test_masks_are_relabeled_with_masks(root: Path) -> None:
    for name in ("old.png", "new.png"):
        Image.new("L", (8, 8), int(name == "new.png")).save(root / name)
    (root / "images").mkdir()
    for name in NAMES[:6]:
        (root / name).rename(root / "images" / name)
    dls = ImageDataBunch.from_folder_masks(
        root, "images", lambda file: "old.png", ["a", "b"], valid_pct=0.5, **{**SMALL, "augment": False}
    )
    better = dls.relabel(pd.DataFrame({"path": ["images/03.png"], "label": ["new.png"]}))
    assert dict(
        zip(better.samples["input"].map(lambda name: Path(name).name), better.samples["target"], strict=True)
    ) == {name: str(root / ("new.png" if name == "03.png" else "old.png")) for name in NAMES[:6]}
    for options in ({}, {"task": dls.task}):
        again = ImageDataBunch.from_samples(dls.samples.iloc[::-1], root, **options, **SMALL)
        assert again.task == dls.task
        assert again.valid_dl is not None


def net(n_out: int) -> nn.Module:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, n_out))


@pytest.mark.parametrize("several", [False, True])
def test_a_test_set_with_an_unknown_class_is_predicted_and_refused_as_a_measure(several: bool, root: Path) -> None:
    for place, folder in enumerate(["cat", "dog", "bird"]):
        (root / "test" / folder).mkdir(parents=True)
        Image.new("L", (8, 8), 7 * place).save(root / "test" / folder / "x.png")
    labels: Any = [[["cat"], ["dog"]][p % 2] if several else ["cat", "dog"][p % 2] for p in pairs]
    with pytest.warns(LearnkitWarning) as caught:
        dls = bunch(root, labels, test="test")
    said = [str(warning.message) for warning in caught]
    assert any("not a class, their images stay without a label: 'bird' (1)" in text for text in said)
    assert any("1 of 3 test items have no label" in text and "bird/x.png" in text for text in said)
    test = dls.samples.query("split == 'test'")
    assert test["target"].tolist() == [None, *([["cat"], ["dog"]] if several else ["cat", "dog"])]
    learn = Learner(dls, net(2), metrics=[])
    preds, targets = learn.get_preds("test")
    assert (preds.shape, targets) == ((3, 2), None)
    with pytest.raises(DataError, match="This part of the data needs labels"):
        learn.validate("test")
    if not several:
        with pytest.raises(UsageError, match="a part of the data that has labels"):
            ClassificationInterpretation.from_learner(learn, DatasetType.Test)
    learn.dls = dls.drop(test.index[test["target"].isna()])  # as the warning says
    assert len(learn.validate("test")) == 1
    with pytest.warns(LearnkitWarning, match="1 of 3 test items have no label"):
        again = ImageDataBunch.from_samples(dls.samples, root, **SMALL)
    assert again.samples["target"].tolist() == dls.samples["target"].tolist()


def test_there_need_be_no_validation_set(root: Path) -> None:
    for i, name in enumerate(NAMES):
        folder = root / "tree" / "train" / "ab"[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        (root / name).rename(folder / name)
    files = sorted(str(file.relative_to(root)) for file in (root / "tree").rglob("*.png"))
    labels = [Path(file).parent.name for file in files]
    for dls in (
        ImageDataBunch.from_folder(root / "tree", valid=None, **SMALL),
        ImageDataBunch.from_folder(root / "tree", valid_pct=0, **SMALL),
        ImageDataBunch.from_lists(root, files, labels, valid_pct=0, **SMALL),
    ):
        assert dls.valid_dl is None
        assert dls.samples["split"].tolist() == ["train"] * N
        Learner(dls, net(2), metrics="accuracy").fit(1)
        assert len(dls.drop([0]).train_ds) == N - 1
        assert [len(fold.valid_ds) for fold in dls.folds(3)] == [8, 8, 8]
        assert ImageDataBunch.from_samples(dls.samples[1:], root, **SMALL).valid_dl is None  # the table remembers it
    split = ImageDataBunch.from_lists(root, files, labels, valid_pct=0.25, **SMALL).samples
    train = split[split["split"] == "train"]
    with pytest.raises(DataError, match=r"no row is left to validate on.*pass valid_pct=0 instead"):
        ImageDataBunch.from_samples(train, root, **SMALL)
    assert ImageDataBunch.from_samples(train, root, valid_pct=0, **SMALL).valid_dl is None


def test_a_class_of_one_item_is_named_and_the_remedy_works(root: Path) -> None:
    labels = ["new"] * 12 + [f"whale {i}" for i in range(12)]
    with pytest.raises(DataError, match=r"'whale \d+' \(1 file\).*of the validation set.*keep_in_train=True"):
        bunch(root, labels, split=StratifiedSplit(0.2))
    with pytest.warns(LearnkitWarning, match="no validation item of class whale"):
        dls = bunch(root, labels, split=StratifiedSplit(0.2, keep_in_train=True))
    assert len(dls.classes) == 13


def test_a_changed_working_directory_does_not_matter(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root.parent)
    dls = ImageDataBunch.from_lists(root.name, NAMES, ["a", "b"] * (N // 2), **SMALL)
    monkeypatch.chdir("/")
    assert dls.one_batch()[0].shape == (2, 1, 8, 8)


def test_each_column_of_yes_and_no_is_a_class_even_without_an_item(root: Path) -> None:
    table = pd.DataFrame({"name": NAMES, "sea": [0, 1] * (N // 2), "fog": 0, "Sun": ["yes", "no"] * (N // 2)})
    columns = ["sea", "fog", "Sun"]
    with pytest.warns(LearnkitWarning, match="no training item of class fog.*classes= without it"):
        dls = ImageDataBunch.from_df(root, table, label_col=columns, **SMALL)
    assert dls.classes == ["Sun", "fog", "sea"]
    with pytest.warns(LearnkitWarning, match="no training item of class fog"):
        lower = ImageDataBunch.from_df(root, table, label_col=columns, normalize_labels=True, **SMALL)
    assert lower.classes == ["sun", "fog", "sea"]
    assert ImageDataBunch.from_df(root, table, label_col=columns, classes=["sea", "Sun"], **SMALL).c == 2


def test_a_table_that_remembers_its_classes_can_be_normalized_later(root: Path) -> None:
    with pytest.warns(LearnkitWarning, match="look alike.*normalize_labels=True"):
        dls = bunch(root, ["Cat", "dog", "cat"] * 8)
    again = ImageDataBunch.from_samples(dls.samples, root, normalize_labels=True, **SMALL)
    assert again.classes == ["cat", "dog"]
