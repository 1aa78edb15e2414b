"""learnkit pack: a stream of the images that are meant, which other commands read."""

import shutil
from pathlib import Path

import pytest

from learnkit import ImageDataBunch
from tests.cli.trained import COLORS, Command, Model


@pytest.mark.slow
def test_folders_become_a_stream(run: Model, command: Command, tmp_path: Path) -> None:
    answer = command("pack", run.data, "packed")
    assert (answer.code, answer.err) == (0, "")
    n_bytes = sum(file.stat().st_size for file in Path("packed").rglob("*") if file.is_file())
    assert answer.lines == [f"{tmp_path / 'packed'}: 15 images (train 9, valid 6), {n_bytes:,} bytes"]
    dls = ImageDataBunch.from_stream(tmp_path / "packed", size=32, bs=3)
    assert dls.classes == ["blue", "green", "red"]
    labels = [label for _, labels in dls.valid_dl for label in labels.tolist()]
    assert sorted(labels) == [0, 0, 1, 1, 2, 2]
    measured = command("validate", run.file / "model.lk", "packed", "--stream")
    assert measured.lines == command("validate", run.file).lines
    assert "one by one" in command("validate", run.file / "model.lk", "packed", "--stream", "--on", "all").err


def test_options_of_data_and_of_packing_apply(multilabel: Model, command: Command, tmp_path: Path) -> None:
    data = shutil.copytree(multilabel.data, tmp_path / "data")
    (data / "g.png").write_text("no image")
    with (data / "labels.csv").open("a") as table:
        table.write("\ng.png,sea\n")
    options = ["--csv", "labels.csv", "--label-delim", " ", "--valid-pct", "0"]
    answer = command("pack", data, "packed", *options)
    assert (answer.code, answer.lines, answer.err.count("\n")) == (1, [], 1)
    assert "g.png" in answer.err
    assert not Path("packed").exists()
    answer = command("pack", data, "packed", *options, "--on-error", "skip", "--chunk-bytes", "1MB")
    assert (answer.code, answer.err.count("\n")) == (1, 1)
    assert "6 images (train 6)" in answer.lines[0]
    assert ImageDataBunch.from_stream("packed", size=32, bs=2).classes == ["sea", "sky"]


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["nowhere", "packed"], "no folder nowhere"),
        (["."], "out"),
        ([".", "here"], "exists already"),
        ([".", "packed", "--size", "64"], "no option --size"),
        ([".", "packed", "--on-error", "ignore"], "--on-error"),
    ],
)
def test_what_cannot_work_is_one_sentence(command: Command, tmp_path: Path, args: list[str], says: str) -> None:
    (tmp_path / "here").mkdir()
    answer = command("pack", *args)
    assert (answer.code, answer.lines, answer.err.count("\n")) == (2, [], 1)
    assert says in answer.err
    assert [file.name for file in tmp_path.iterdir()] == ["here"]


def test_a_hugging_face_dataset_is_packed_and_measured(run: Model, command: Command, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=list(COLORS))})
    parts = {}
    for split, name in (("train", "train"), ("valid", "validation")):
        files = sorted((run.data / split).rglob("*.png"))
        rows = {"image": list(map(str, files)), "label": [file.parent.name for file in files]}
        parts[name] = datasets.Dataset.from_dict(rows, features=features)
    datasets.DatasetDict(parts).save_to_disk(str(tmp_path / "saved"))
    capture = command("validate", run.file / "model.lk", tmp_path / "saved", "--hf", "--on", "valid")
    assert capture.lines[-1] == command("validate", run.file).lines[-1]
    assert "one by one" in command("validate", run.file / "model.lk", "saved", "--hf", "--on", "all").err
    answer = command("pack", tmp_path / "saved", "packed", "--hf")
    assert answer.code == 0
    assert "15 images (train 9, valid 6)" in answer.lines[-1]
