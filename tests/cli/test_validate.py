"""learnkit validate: the numbers of the model on the images that are meant, prepared as the file says."""

import json
import math
import shutil
from pathlib import Path

import pytest
import torch

from learnkit import load_learner
from tests.cli.trained import COLORS, Command, Model, draw


def by_hand(run: Model, *splits: str) -> tuple[float, float]:
    """(loss, accuracy) of the predictions for single files."""
    learn = load_learner(run.file / "model.lk")
    files = [file for split in splits for file in sorted((run.data / split).rglob("*.png"))]
    found = [(file.parent.name, learn.predict(file)) for file in files]
    chances = [answer.probs[learn.dls.classes.index(label)].item() for label, answer in found]
    right = [label == answer.label for label, answer in found]
    return -sum(map(math.log, chances)) / len(found), sum(right) / len(found)


def numbers(line: str) -> dict[str, float]:
    words = line.split()
    return {name: float(value) for name, value in zip(words[::2], words[1::2], strict=True)}


def test_a_run_is_measured_on_its_own_validation_images(run: Model, command: Command) -> None:
    loss, accuracy = by_hand(run, "valid")
    answer = command("validate", run.file)
    assert (answer.code, answer.err, answer.lines[0]) == (0, "", "valid: 6 images")
    assert numbers(answer.lines[1]) == pytest.approx({"loss": loss, "accuracy": accuracy}, abs=2e-5)
    assert command("validate", run.file / "model.lk", run.data) == answer


@pytest.mark.parametrize(("on", "splits"), [("train", ["train"]), ("all", ["train", "valid"])])
def test_other_images_of_the_data_can_be_measured(run: Model, command: Command, on: str, splits: list[str]) -> None:
    loss, accuracy = by_hand(run, *splits)
    answer = command("validate", run.file, "--on", on, "--format", "json", "--bs", "4")
    found = json.loads(answer.lines[0])
    assert (found.pop("on"), found.pop("images")) == (on, 9 if on == "train" else 15)
    assert found == pytest.approx({"loss": loss, "accuracy": accuracy}, abs=2e-5)


def test_a_folder_of_classes_is_measured_as_a_whole_if_that_is_asked_for(run: Model, command: Command) -> None:
    model, folder = run.file / "model.lk", run.data / "valid"
    answer = command("validate", model, folder)
    assert (answer.code, answer.lines) == (2, [])
    assert "has no folders train and valid. Measure all its images by --on all" in answer.err
    assert command("validate", model, folder, "--on", "all").lines[1:] == command("validate", run.file).lines[1:]


def test_a_test_folder_is_named(run: Model, command: Command) -> None:
    answer = command("validate", run.file, "--on", "test")
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert "--test FOLDER" in answer.err
    tested = command("validate", run.file, "--on", "test", "--test", "valid")
    assert tested.lines == ["test: 6 images", command("validate", run.file).lines[1]]


def test_metrics_are_chosen_by_name(run: Model, command: Command) -> None:
    answer = command("validate", run.file, "--metrics", "error_rate,f1")
    _, accuracy = by_hand(run, "valid")
    found = numbers(answer.lines[1])
    assert list(found) == ["loss", "error_rate", "f1"]
    assert found["error_rate"] == pytest.approx(1 - accuracy, abs=1e-6)


def test_the_split_of_the_run_is_repeated(run: Model, command: Command, tmp_path: Path) -> None:
    shutil.copy(run.file / "model.lk", tmp_path)
    config = (
        f'data = "{run.data / "train"}"\n[images]\nvalid_pct = 0.4\nsize = "32"\naugment = true\n[model]\narch = "x"'
    )
    (tmp_path / "config.toml").write_text(config)
    assert command("validate", tmp_path).lines[0] == "valid: 3 images"  # int(0.4 * 9)
    assert command("validate", tmp_path, "--valid-pct", "0.8").lines[0] == "valid: 7 images"


def test_labels_that_the_model_does_not_know_are_refused(run: Model, command: Command, tmp_path: Path) -> None:
    for label in (*COLORS, "mauve"):
        draw(tmp_path / label / "0.png", (1, 2, 3), len(label))
    answer = command("validate", run.file, tmp_path, "--on", "all")
    assert (answer.code, answer.lines, answer.err.count("\n")) == (2, [], 1)
    assert "mauve" in answer.err


def test_labels_that_are_missing_do_not_change_the_classes(run: Model, command: Command) -> None:
    red = run.data.parent / "only"
    shutil.copytree(run.data / "valid/red", red / "red", dirs_exist_ok=True)
    learn = load_learner(run.file / "model.lk")
    right = [learn.predict(file).label == "red" for file in sorted(red.rglob("*.png"))]
    answer = command("validate", run.file, red, "--on", "all")
    assert numbers(answer.lines[-1])["accuracy"] == pytest.approx(sum(right) / len(right))


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--size", "64"], "no option --size"),
        (["--classes", "a,b"], "no option --classes"),
        (["--on", "vaild"], "--on: got 'vaild', expected"),
        (["--metrics", "acuracy"], "accuracy"),
        (["--bs", "0"], "--bs: got 0"),
        (["--csv", "none.csv"], "none.csv"),
    ],
)
def test_what_cannot_work_is_one_sentence(run: Model, command: Command, args: list[str], says: str) -> None:
    answer = command("validate", run.file, *args)
    assert (answer.code, answer.lines, answer.err.count("\n")) == (2, [], 1)
    assert says in answer.err


def test_a_file_without_data_and_a_run_without_a_model_are_explained(
    run: Model, command: Command, tmp_path: Path
) -> None:
    assert "DATA is missing" in command("validate", run.file / "model.lk").err
    (tmp_path / "config.toml").write_text(f'data = "{run.data}"')
    answer = command("validate", tmp_path)
    assert answer.code == 2
    assert f"learnkit train --resume --out {tmp_path}" in answer.err
    assert command("validate", tmp_path / "none.lk", run.data).code == 2


def test_every_task_is_measured(multilabel: Model, regression: Model, masks: Model, command: Command) -> None:
    labels = ["--csv", "labels.csv", "--on", "all", "--format", "json"]
    found = json.loads(command("validate", *multilabel, *labels, "--label-delim", " ").lines[0])
    assert (found["images"], set(found)) == (6, {"on", "images", "loss", "accuracy_multi"})
    learn = load_learner(regression.file)
    ages = torch.stack([learn.predict(regression.data / f"{i}.png").probs for i in range(6)]).flatten()
    found = json.loads(command("validate", *regression, *labels).lines[0])
    assert found["mae"] == pytest.approx((ages - torch.arange(6) / 4).abs().mean().item(), abs=1e-4)
    answer = command("validate", *masks, "--masks", "masks/{split}/{name}", "--format", "json")
    assert json.loads(answer.lines[0])["images"] == 2
