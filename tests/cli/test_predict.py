"""learnkit predict: every image that is named, in order, as the model predicts it alone."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from learnkit import ImageDataBunch, load_learner
from tests.cli.trained import Command, Model, draw

BROKEN = "cannot be read as an image"


def alone(model: Path, files: list[Path]) -> list[Any]:
    """Single predictions for files."""
    learn = load_learner(model)
    return [learn.predict(file) for file in files]


def process(*args: object, **options: Any) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "learnkit", "predict", *map(str, args)]
    return subprocess.run(command, capture_output=True, check=False, timeout=300, **options)


def test_a_folder_is_a_table_of_its_images(run: Model, command: Command) -> None:
    files = sorted((run.data / "valid").rglob("*.png"))
    answer = command("predict", run.file, run.data / "valid", "--bs", "4")
    assert (answer.code, answer.err) == (0, "")
    header, *rows = [line.split() for line in answer.lines]
    assert header == ["input", "label", "probability"]
    expected = [
        [str(file), one.label, f"{one.probs.max():.4f}"]
        for file, one in zip(files, alone(run.file / "model.lk", files), strict=True)
    ]
    assert [row[:2] for row in rows] == [row[:2] for row in expected]
    assert [float(row[2]) for row in rows] == pytest.approx([float(row[2]) for row in expected], abs=2e-4)
    assert (
        len({line.index(row[1], len(row[0])) for line, row in zip(answer.lines[1:], rows, strict=True)}) == 1
    )  # aligned


def test_json_is_one_object_a_line_in_the_order_of_the_items(run: Model, command: Command) -> None:
    files = [run.data / "valid/red/1.png", *sorted(run.data.glob("train/blue/*.png")), run.data / "valid/green/0.png"]
    items = [files[0], run.data / "train/*lue/*.png", files[-1]]  # the second is a pattern that no shell has expanded
    answer = command("predict", run.file / "model.lk", *items, "--format", "json", "--top", "2", "--num-workers", "2")
    found = [json.loads(line) for line in answer.lines]
    assert [list(one) for one in found] == [["input", "label", "probability", "top"]] * 5
    assert [one["input"] for one in found] == list(map(str, files))
    for one, expected in zip(found, alone(run.file / "model.lk", files), strict=True):
        chances = dict(zip(("blue", "green", "red"), expected.probs.tolist(), strict=True))
        assert one["label"] == expected.label
        assert one["probability"] == pytest.approx(chances[one["label"]], abs=1e-5)
        assert [top["label"] for top in one["top"]] == sorted(chances, key=chances.__getitem__, reverse=True)[:2]
        assert [top["probability"] for top in one["top"]] == pytest.approx(sorted(chances.values())[:0:-1], abs=1e-5)


def test_csv_is_printed_without_formulas(run: Model, command: Command, tmp_path: Path) -> None:
    draw(tmp_path / "=1+1.png", (200, 10, 10), 0)
    answer = command("predict", run.file, "=1+1.png", "--format", "csv", "--top", "1")
    header, row = csv.reader(answer.lines)
    (expected,) = alone(run.file / "model.lk", [tmp_path / "=1+1.png"])
    chance = f"{expected.probs.max():.6f}"
    assert header == ["input", "label", "probability", "top"]
    assert row == ["'=1+1.png", expected.label, chance, f"{expected.label} {chance}"]


def test_an_image_that_cannot_be_read_does_not_stop_the_others(run: Model, command: Command, tmp_path: Path) -> None:
    for i in (0, 2, 4):
        draw(tmp_path / f"{i}.png", (200, 10, 10), i)
    (tmp_path / "1.png").write_text("<html>")
    (tmp_path / "3.png").write_bytes((tmp_path / "0.png").read_bytes()[:300])
    (tmp_path / "notes.txt").write_text("no image")
    answer = command("predict", run.file, *sorted(tmp_path.iterdir()), "--format", "json", "--bs", "2")
    assert answer.code == 1
    assert [json.loads(line)["input"] for line in answer.lines] == [str(tmp_path / f"{i}.png") for i in (0, 2, 4)]
    assert [
        tmp_path.joinpath(name).as_posix() in line
        for name, line in zip(("1.png", "3.png", "notes.txt"), answer.err.splitlines(), strict=True)
    ] == [True] * 3
    expected = alone(run.file / "model.lk", [tmp_path / f"{i}.png" for i in (0, 2, 4)])
    assert [json.loads(line)["probability"] for line in answer.lines] == pytest.approx(
        [one.probs.max().item() for one in expected], abs=1e-5
    )


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["https://example.org/cat.jpg"], "is a URL, and only files are predicted"),
        (["none.png"], "no file or folder none.png"),
        (["*.jpeg"], "no file has a name like *.jpeg"),
        (["empty"], "no images"),
        (["-", "-"], "stdin twice"),
        (["one.png", "--null"], "--null"),
        (["one.png", "--bs", "0"], "--bs: got 0"),
        (["one.png", "--format", "xml"], "xml"),
        (["one.png", "--out", "preds.txt"], ".csv or .parquet"),
        (["one.png", "--out", "preds.csv", "--format", "json"], "exclude each other"),
        (["one.png", "--out", "preds.csv", "--top", "2"], "--top"),
        (["one.png", "--force"], "--force"),
        (["one.png", "--device", "abacus"], "abacus"),
        ([], "ITEM"),
    ],
)
def test_what_cannot_work_is_one_sentence_before_anything_is_predicted(
    run: Model, command: Command, tmp_path: Path, args: list[str], says: str
) -> None:
    draw(tmp_path / "one.png", (1, 2, 3), 0)
    (tmp_path / "empty").mkdir()
    answer = command("predict", run.file, *(["one.png"] if args and args[0] != "one.png" else []), *args)
    assert (answer.code, answer.lines, answer.err.count("\n")) == (2, [], 1)
    assert says in answer.err
    assert {file.name for file in tmp_path.iterdir()} == {"one.png", "empty"}


@pytest.mark.parametrize("name", ["preds.csv", "preds.parquet"])
def test_out_is_the_table_of_write_preds(run: Model, command: Command, tmp_path: Path, name: str) -> None:
    files = sorted((run.data / "train").rglob("*.png"))
    answer = command("predict", run.file, run.data / "train", "--out", name)
    assert answer == (0, [f"{name}: 9 images"], "")
    learn = load_learner(run.file / "model.lk")
    learn.write_preds(tmp_path / f"expected-{name}", learn.dls.test_dl_from(files))
    read = pd.read_csv if name.endswith("csv") else pd.read_parquet
    pd.testing.assert_frame_equal(read(name), read(f"expected-{name}"), rtol=1e-4)


def test_a_table_is_not_overwritten_and_not_left_half_written(run: Model, command: Command, tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("mine")
    assert command("predict", run.file, run.data / "valid", "--out", "p.csv").code == 2
    assert (tmp_path / "p.csv").read_text() == "mine"
    (tmp_path / "bad.png").write_text("")
    answer = command("predict", run.file, "bad.png", "--out", "new.csv")
    assert (answer.code, answer.lines, answer.err.count("\n")) == (1, [], 1)
    assert not (tmp_path / "new.csv").exists()
    answer = command("predict", run.file, "bad.png", run.data / "valid", "--out", "p.csv", "--force")
    assert (answer.code, answer.lines) == (1, ["p.csv: 6 images"])
    assert len(pd.read_csv("p.csv")) == 6
    answer = command("predict", run.file, run.data / "valid", "--out", "bad.png/p.csv")
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["bad.png", "p.csv"]


@pytest.mark.parametrize("end", [b"\n", b"\0", b"\r\n"])
def test_names_come_from_stdin(
    run: Model, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: bytes
) -> None:
    files = sorted((run.data / "valid").rglob("*.png"))
    (tmp_path / "names").write_bytes(end.join(os.fsencode(file) for file in files))
    with (tmp_path / "names").open() as names:
        monkeypatch.setattr(sys, "stdin", names)
        null = ["--null"] if end == b"\0" else []
        answer = command("predict", run.file, "-", files[0], "--format", "json", *null)
    assert [json.loads(line)["input"] for line in answer.lines] == [str(file) for file in [*files, files[0]]]


@pytest.mark.parametrize(
    "options", [["--format", "table"], ["--format", "csv"], ["--format", "json"], ["--out", "p.csv"], ["--top", "1"]]
)
def test_nothing_on_stdin_is_an_error_of_usage(
    run: Model, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("names").touch()
    with Path("names").open() as names:
        monkeypatch.setattr(sys, "stdin", names)
        answer = command("predict", run.file, "-", *options)
    assert (answer.code, answer.lines) == (2, [])
    assert answer.err.startswith("learnkit: no names on stdin, so there is nothing to predict")
    assert not Path("p.csv").exists()


def test_a_missing_name_on_stdin_does_not_stop_the_others(
    run: Model, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "names").write_text(f"none.png\n{run.data / 'valid/red/0.png'}\n")
    with (tmp_path / "names").open() as names:
        monkeypatch.setattr(sys, "stdin", names)
        answer = command("predict", run.file, "-", "--format", "json")
    assert (answer.code, len(answer.lines), answer.err.count("\n")) == (1, 1, 1)
    assert "none.png" in answer.err


def test_several_labels_have_a_probability_each(multilabel: Model, command: Command) -> None:
    files = sorted(multilabel.data.glob("*.png"))
    expected = alone(multilabel.file, files)
    found = [json.loads(line) for line in command("predict", multilabel.file, *files, "--format", "json").lines]
    assert [one["label"] for one in found] == [one.label for one in expected]
    chances = [dict(zip(("sea", "sky"), one.probs.tolist(), strict=True)) for one in expected]
    for one, chance in zip(found, chances, strict=True):
        assert one["probability"] == pytest.approx([chance[name] for name in one["label"]], abs=1e-5)
    rows = list(csv.DictReader(command("predict", multilabel.file, *files, "--format", "csv").lines))
    assert [row["label"] for row in rows] == [";".join(one["label"]) for one in found]
    assert [row["probability"].count(";") for row in rows] == [max(0, len(one["label"]) - 1) for one in found]


def test_numbers_and_points_have_no_probability(regression: Model, points: Model, command: Command) -> None:
    file = regression.data / "3.png"
    (line,) = command("predict", regression.file, file, "--format", "json").lines
    (number,) = alone(regression.file, [file])[0].label
    assert json.loads(line) == {"input": str(file), "label": pytest.approx(number, abs=1e-5), "probability": None}
    assert command("predict", regression.file, file).lines[1].split() == [str(file), f"{number:.6g}"]
    file = points.data / "1.png"
    (line,) = command("predict", points.file, file, "--format", "json").lines
    (x, y), *_ = alone(points.file, [file])[0].label
    assert json.loads(line)["label"] == {"nose": pytest.approx([x, y], abs=1e-3)}
    assert command("predict", points.file, file, "--out", "p.csv").code == 0
    table = pd.read_csv("p.csv")
    assert [table["label_nose x"][0], table["label_nose y"][0]] == pytest.approx([x, y], abs=1e-3)
    answer = command("predict", regression.file, file, "--top", "2")
    assert (answer.code, answer.err.count("\n")) == (2, 1)


def test_masks_are_files_of_the_pixel_values_of_the_training(masks: Model, command: Command, tmp_path: Path) -> None:
    images = masks.data / "images"
    answer = command("predict", masks.file, images, "--out", "found", "--format", "json")
    assert answer.code == 0
    files = sorted(images.rglob("*.png"))
    for line, file, expected in zip(answer.lines, files, alone(masks.file, files), strict=True):
        mask = Path("found") / file.relative_to(images)
        assert json.loads(line) == {"input": str(file), "label": str(mask), "probability": None}
        assert np.mean(np.asarray(Image.open(mask)) != expected.label * 7) < 0.01
    assert "--out FOLDER" in command("predict", masks.file, images).err
    assert command("predict", masks.file, images, "--out", "found").code == 2  # it holds masks


def test_sets_are_those_of_predict_set(run: Model, command: Command, tmp_path: Path) -> None:
    learn = load_learner(run.file / "model.lk")
    learn.dls = ImageDataBunch.from_folder(run.data, size=32, bs=3, augment=False)
    learn.fit_conformal(0.4)
    file, broken = learn.export(tmp_path / "m.lk"), tmp_path / "broken.png"
    broken.write_text("<html>")
    files = sorted((run.data / "valid").rglob("*.png"))
    expected = [learn.predict_set(image) for image in files]
    answer = command("predict", file, *files, broken, "--sets", "--format", "json", "--bs", "4")
    assert (answer.code, answer.err.count("\n")) == (1, 1)
    found = [json.loads(line) for line in answer.lines]
    assert [list(one) for one in found] == [["input", "labels", "is_familiar", "score"]] * 6
    assert [one["input"] for one in found] == list(map(str, files))
    assert [one["labels"] for one in found] == [one.labels for one in expected]
    assert [one["is_familiar"] for one in found] == [one.is_familiar for one in expected]
    assert [one["score"] for one in found] == pytest.approx([one.score for one in expected], abs=1e-3)
    rows = list(csv.DictReader(command("predict", file, *files, "--sets", "--format", "csv").lines))
    assert [row["labels"] for row in rows] == [";".join(one.labels) for one in expected]
    assert [row["is_familiar"] for row in rows] == [str(one.is_familiar).lower() for one in expected]
    assert command("predict", file, *files, "--sets").lines[0].split() == ["input", "labels", "is_familiar", "score"]


def test_sets_that_cannot_be_answered(run: Model, masks: Model, command: Command) -> None:
    answer = command("predict", run.file, run.data, "--sets")
    assert (answer.code, answer.lines, answer.err.count("\n")) == (2, [], 1)
    assert "learnkit train DATA --conformal 0.1" in answer.err
    for words in (["--top", "2"], ["--out", "p.csv"]):
        assert "--sets excludes --top and --out" in command("predict", run.file, run.data, "--sets", *words).err
    assert "a model of masks has no sets" in command("predict", masks.file, masks.data, "--sets").err


def started(*args: object, **options: Any) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "learnkit", "predict", *map(str, args)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


@pytest.mark.slow
def test_a_reader_that_stops_is_no_error(run: Model) -> None:
    with started(run.file, run.data, "--bs", "1", "--format", "json") as running:
        assert running.stdout is not None
        assert running.stderr is not None
        assert json.loads(running.stdout.readline())["label"]
        running.stdout.close()
        assert running.stderr.read() == b""
        assert running.wait(60) in (0, 1)


@pytest.mark.slow
def test_a_process_reads_a_pipe_and_exits_as_the_command_does(run: Model, tmp_path: Path) -> None:
    names = b"\0".join(os.fsencode(file) for file in sorted((run.data / "valid").rglob("*.png"))) + b"\0gone.png"
    done = process(run.file, "-", "--null", "--format", "json", input=names, cwd=tmp_path)
    assert (done.returncode, done.stdout.count(b"\n"), done.stderr.count(b"\n")) == (1, 6, 1)
    done = process(run.file, "gone.png", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (
        2,
        b"",
        b"learnkit: no file or folder gone.png. Check the path.\n",
    )


@pytest.mark.slow
def test_ctrl_c_ends_it_without_a_traceback(run: Model) -> None:
    first = run.data / "valid/red/0.png"
    with started(run.file, first, "-", "--bs", "1", "--format", "json", stdin=subprocess.PIPE) as waiting:
        assert waiting.stdout is not None
        assert waiting.stdout.readline()
        waiting.send_signal(2)
        _, err = waiting.communicate(timeout=60)
        assert (waiting.returncode, err) == (130, b"learnkit: interrupted\n")
