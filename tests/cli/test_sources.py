"""Which data the options mean."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from learnkit import ImageDataBunch, pack
from learnkit.cli.sources import NOT_TYPED, data_options, data_values, make_data, source_of
from learnkit.cli.typed_parser import TypedParser
from learnkit.data.options import ImageSettings
from learnkit.data.segmentation import Segmentation
from learnkit.errors import DataError, LearnkitError, MissingFileError, UsageError


def values(*words: object) -> dict[str, Any]:
    parser = TypedParser(prog="learnkit train")
    parser.add_place("data", "")
    parser.add_options("images", data_options())
    return vars(parser.parse_args(list(map(str, words))))


SMALL = ("--size", "16", "--num-workers", "0", "--bs", "2")


def test_every_setting_of_images_is_an_option_but_functions() -> None:
    names = {option.name for option in data_options()}
    settings = {"split_seed" if field.name == "seed" else field.name for field in fields(ImageSettings)}
    assert settings - names == set(NOT_TYPED)
    assert all(option.help for option in data_options())
    assert len(names) == len(data_options())


def test_folders(photos: Path) -> None:
    dls = make_data(values(photos, *SMALL))
    assert dls.classes == ["blue", "red"]
    assert dls.samples["split"].value_counts().to_dict() == {"train": 8, "valid": 4}
    assert dls.input_shape == (3, 16, 16)
    assert make_data(values(photos, "--valid", "none", *SMALL)).valid_dl is None
    halves = make_data(values(photos / "train", "--valid-pct", "0.5", "--split-seed", "3", *SMALL))
    assert halves.samples["split"].value_counts().to_dict() == {"train": 4, "valid": 4}


def test_other_names_of_the_folders(photos: Path) -> None:
    (photos / "train").rename(photos / "fit")
    (photos / "valid").rename(photos / "check")
    dls = make_data(values(photos, "--train", "fit", "--valid", "check", *SMALL))
    assert dls.samples["split"].value_counts().to_dict() == {"train": 8, "valid": 4}


def test_a_csv_file(flat: Path) -> None:
    words = ("--csv", "labels.csv", "--folder", "images", "--suffix", ".png", "--valid-col", "is_valid", *SMALL)
    dls = make_data(values(flat, "--label-col", "color", *words))
    assert dls.classes == ["blue", "red"]
    assert dls.samples["split"].value_counts().to_dict() == {"train": 8, "valid": 4}
    tags = make_data(values(flat, "--label-col", "tags", "--label-delim", " ", *words))
    assert (type(tags.task).__name__, tags.classes) == ("MultiLabel", ["blue", "dark", "red"])
    numbers = make_data(values(flat, "--label-col", "2", "--task", "regression", *words))
    assert type(numbers.task).__name__ == "Regression"
    assert numbers.samples["target"].max() == 5.5


def a_table(flat: Path, separator: str, *names: str, label: int = 2) -> tuple[str, ...]:
    """A table with a line for each image, "x", the file, and the color at the place `label`; the options to read it."""
    lines = [separator.join(names)]
    for file in sorted((flat / "images").iterdir()):
        cells = ["x", file.name, "y"]
        cells[label] = file.name.partition("_")[0]
        lines.append(separator.join(cells))
    (flat / "t.csv").write_text("\n".join(lines))
    return ("--csv", "t.csv", "--folder", "images", "--valid-pct", "0.25", *SMALL)


@pytest.mark.parametrize(
    "columns",
    [("--fn-col", "2020", "--label-col", "2021"), ("--fn-col", "1", "--label-col", "2"),
     ("--fn-col", '"2020"', "--label-col", '"2021"')],
)  # fmt: skip
@pytest.mark.parametrize("names", [("2019", "2020", "2021")])
def test_columns_that_numbers_name(flat: Path, columns: tuple[str, ...], names: tuple[str, ...]) -> None:
    words = a_table(flat, ",", *names)
    assert make_data(values(flat, *columns, *words)).classes == ["blue", "red"]


@pytest.mark.parametrize("names", [("true", "null", "2026-01-01"), ("~", "1.5", "no"), ("yes", "0x1", "007")])
def test_columns_that_look_like_other_values(flat: Path, names: tuple[str, ...]) -> None:
    words = a_table(flat, ",", *names)
    found = make_data(values(flat, "--fn-col", names[1], "--label-col", names[2], *words))
    assert found.classes == ["blue", "red"]


def test_a_number_that_is_a_place_and_the_name_of_another_column_is_refused(flat: Path) -> None:
    words = ("--fn-col", '"0"', *a_table(flat, ",", "", "0", "1"))
    with pytest.raises(DataError, match=r"column 1 is called '0', and another one is called '1'"):
        make_data(values(flat, "--label-col", "1", *words))
    assert make_data(values(flat, "--label-col", '"1"', *words)).classes == ["blue", "red"]


@pytest.mark.parametrize(
    ("separator", "typed"), [("\t", r"\t"), ("\t", "\t"), ("\t", r"\s+"), ("   ", r"\s+"), (";", ";"), ("|", "|")]
)
def test_a_separator_is_typed_as_in_a_shell(flat: Path, separator: str, typed: str) -> None:
    words = a_table(flat, separator, "a", "b", "c")
    assert make_data(values(flat, "--fn-col", "b", "--label-col", "c", "--delimiter", typed, *words)).classes == [
        "blue", "red",
    ]  # fmt: skip


@pytest.mark.parametrize("typed", [r"\t", "\t"])
def test_several_labels_are_separated_by_a_tab(flat: Path, typed: str) -> None:
    text = (flat / "labels.csv").read_text()
    (flat / "labels.csv").write_text(text.replace(" dark", "\tdark"))
    words = ("--csv", "labels.csv", "--folder", "images", "--suffix", ".png", "--label-col", "tags")
    found = make_data(values(flat, *words, "--label-delim", typed, "--valid-pct", "0.25", *SMALL))
    assert found.classes == ["blue", "dark", "red"]


def test_a_csv_file_without_names_of_columns(flat: Path) -> None:
    lines = (flat / "labels.csv").read_text().splitlines()[1:]
    (flat / "bare.csv").write_text("\n".join(lines))
    words = ("--csv", "bare.csv", "--folder", "images", "--suffix", ".png", "--valid-pct", "0.25", *SMALL)
    assert len(make_data(values(flat, "--no-header", "--label-col", "1", *words)).samples) == 12


def test_names_of_files(flat: Path) -> None:
    dls = make_data(values(flat, "--pattern", r"/(\w+)_\d\.png$", "--valid-pct", "0.25", *SMALL))
    assert dls.classes == ["blue", "red"]
    assert len(dls.samples) == 12


@pytest.mark.parametrize("pattern", ["masks/{stem}_mask.png", "images/{folder}/../../masks/{stem}_mask.png"])
def test_masks(scenes: Path, pattern: str) -> None:
    dls = make_data(values(scenes, "--masks", pattern, "--codes", "left,right", "--ignore-index", "9", *SMALL))
    assert dls.classes == ["left", "right"]
    mask = dls.task.read(scenes / "masks/0_mask.png")
    assert (mask[0, 0], mask[5, 5], mask[5, 20]) == (255, 0, 1)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--label-col", "3"], "--label-col needs --csv"),
        (["--codes", "a,b"], "--codes needs --masks"),
        (["--image", "x"], "--image needs --stream"),
        (["--csv", "a.csv", "--pattern", "x"], "--csv and --pattern name different data"),
        (["--csv", "a.csv", "--valid", "check"], "--valid needs data in a folder per class, and --csv names other"),
        (["--masks", "{stm}.png", "--codes", "a,b"], r"--masks: got '\{stm\}.png', expected a path with"),
        (["--masks", "{stem.x}.png", "--codes", "a,b"], r"--masks: got '\{stem.x\}.png', expected a path with"),
        (["--masks", "{stem[x]}.png", "--codes", "a,b"], r"--masks: got '\{stem\[x\]\}.png', expected a path with"),
        (["--masks", "{stem}.png", "--codes", "a,b", "--classes", "a,b"], "--classes cannot be combined with --masks"),
    ],
)
def test_options_that_exclude_each_other(photos: Path, words: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make_data(values(photos, *words))


def test_only_the_options_of_the_source_are_kept() -> None:
    kept = data_values(values("photos", "--csv", "a.csv"))
    assert "label_col" in kept
    assert "train" not in kept
    assert "codes" not in kept
    assert source_of(values("photos")).chosen_by == ""


def test_a_missing_folder_and_a_missing_file_are_named(photos: Path) -> None:
    with pytest.raises(MissingFileError, match="no folder nowhere"):
        make_data(values("nowhere"))
    with pytest.raises(LearnkitError, match=r"none\.csv"):
        make_data(values(photos, "--csv", "none.csv"))


def test_settings_of_the_caller_replace_options(photos: Path) -> None:
    assert make_data(values(photos, *SMALL), size=8, augment=False).input_shape == (3, 8, 8)


def test_what_is_fixed_replaces_the_options(photos: Path, scenes: Path) -> None:
    dls = make_data(values(photos, "--size", "16", "--num-workers", "0"), size=20, bs=1, augment=False)
    assert (dls.input_shape, dls.batch_size) == ((3, 20, 20), 1)
    task = Segmentation({0: "left", 1: "right", 9: "other"})
    dls = make_data(values(scenes, "--masks", "masks/{stem}_mask.png", "--no-binary"), task=task, size=16, bs=1)
    assert dls.task == task


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A dataset of 12 images with the splits train and dev, as save_to_disk writes it."""
    datasets = pytest.importorskip("datasets")
    rng = np.random.default_rng(0)
    images = [Image.fromarray(rng.integers(0, 255, (24, 24, 3), dtype=np.uint8)) for _ in range(12)]
    features = datasets.Features({"photo": datasets.Image(), "kind": datasets.ClassLabel(names=["cat", "dog"])})
    rows = {"photo": images, "kind": [0, 1] * 6}
    whole = datasets.Dataset.from_dict(rows, features=features)
    parts = datasets.DatasetDict({"fit": whole.select(range(8)), "dev": whole.select(range(8, 12))})
    parts.save_to_disk(str(tmp_path / "saved"))
    return tmp_path / "saved"


def test_a_hugging_face_dataset(saved: Path) -> None:
    words = ("--hf", "--image", "photo", "--label", "kind", "--splits", "train=fit,valid=dev", *SMALL)
    dls = make_data(values(saved, *words))
    assert dls.classes == ["cat", "dog"]
    assert dls.samples["split"].value_counts().to_dict() == {"train": 8, "valid": 4}
    with pytest.raises(DataError, match="column"):
        make_data(values(saved, "--hf", "--splits", "train=fit,valid=dev", *SMALL))


def test_columns_of_a_hugging_face_dataset_have_names_alone(saved: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    parts = datasets.load_from_disk(str(saved)).rename_columns({"photo": "1", "kind": "0"})
    parts.save_to_disk(str(tmp_path / "numbered"))
    words = ("--hf", "--image", "1", "--label", "0", "--splits", "train=fit,valid=dev", *SMALL)
    assert make_data(values(tmp_path / "numbered", *words)).classes == ["cat", "dog"]


def test_what_is_no_hugging_face_dataset(saved: Path) -> None:
    (saved / "dataset_dict.json").write_text("{}")
    with pytest.raises(DataError, match="cannot be loaded as a Hugging Face dataset"):
        make_data(values(saved, "--hf"))


def test_a_packed_stream(photos: Path, tmp_path: Path) -> None:
    pytest.importorskip("litdata")
    pack(ImageDataBunch.from_folder(photos, size=16, num_workers=0, bs=2), tmp_path / "packed")
    dls = make_data(values(tmp_path / "packed", "--stream", *SMALL))
    assert (dls.classes, len(dls.train_ds), len(dls.valid_ds)) == (["blue", "red"], 8, 4)
