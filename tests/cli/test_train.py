"""learnkit train: a run folder, its config, going on with it, and what is refused."""

import csv
import os
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchvision.models import shufflenet_v2_x0_5

import learnkit as package
from learnkit import load_learner
from learnkit.cli.run_options import NOT_KEPT, RUN
from learnkit.cli.values import CODES

from .conftest import Run

QUICK = (
    *("--size", "32", "--num-workers", "0", "--bs", "4", "--no-pretrained", "--arch", "shufflenet_v2_x0_5"),
    *("--epochs", "1", "--lr", "1e-3"),
)
EXAMPLE = Path(__file__).parents[2] / "examples/train.toml"
FILES = {"config.toml", "history.csv", "checkpoints", "model.lk", "report.html", "log.txt", "best.pth"}


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_learner(run / "model.lk").model.state_dict()


def same(one: Path, other: Path) -> bool:
    first, second = weights(one), weights(other)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def history(run: Path) -> list[list[str]]:
    """The rows without the column of the time."""
    with (run / "history.csv").open(newline="") as file:
        return [row[:-1] for row in csv.reader(file)]


def config(run: Path) -> dict[str, Any]:
    return tomllib.loads((run / "config.toml").read_text())


def test_a_run_is_a_folder_with_a_model_that_predicts(photos: Path, learnkit: Run, tmp_path: Path) -> None:
    code, out, err = learnkit("train", photos, *QUICK)
    assert (code, err) == (0, "")
    run = tmp_path / "runs/photos"
    assert {file.name for file in run.iterdir()} == FILES
    lines = out.splitlines()
    assert lines[0] == f"learnkit {package.__version__}: Classification, 2 classes: blue, red"
    assert lines[1] == "train 8, valid 4 images of 32 x 32, 3 channels, on cpu"
    assert [line for line in lines if not line.startswith("epoch")] == [
        line for line in (run / "log.txt").read_text().splitlines() if not line.startswith("epoch")
    ]
    learn = load_learner(run / "model.lk")
    assert learn.dls.classes == ["blue", "red"]
    assert learn.predict(photos / "valid/red/0.png").label in ("blue", "red")
    assert "blue" in (run / "report.html").read_text()


@pytest.mark.slow
def test_conformal_fits_sets_at_the_end(photos: Path, learnkit: Run, tmp_path: Path) -> None:
    code, _, err = learnkit("train", photos, *QUICK, "--no-report", "--conformal", "0.4", "--out", "a")
    assert (code, err) == (0, "")
    assert load_learner(tmp_path / "a/model.lk").predict_set(photos / "valid/red/0.png").is_familiar is not None
    code, out, _ = learnkit("predict", "a", photos / "valid", "--sets", "--format", "json")
    assert (code, len(out.splitlines())) == (0, 4)
    assert learnkit("validate", "a")[0] == 0  # its config has an option that only the training needs
    code, out, err = learnkit("train", photos, *QUICK, "--no-report", "--conformal", "0.1", "--out", "b")
    assert code == 0
    assert "the model is written without sets" in out + err
    assert "expected at least 9 for alpha=0.1" in out + err
    assert learnkit("predict", "b", photos, "--sets")[0] == 2


@pytest.mark.parametrize(
    ("words", "says"),
    [(["--conformal", "1"], "conformal: got 1"), (["--conformal", "0.1", "--valid", "none"], "no validation images")],
)
def test_conformal_without_what_it_needs(
    photos: Path, learnkit: Run, tmp_path: Path, words: list[str], says: str
) -> None:
    code, _, err = learnkit("train", photos, *QUICK, "--monitor", "train_loss", *words, "--out", "c")
    assert (code, says in err, (tmp_path / "c").exists()) == (2, True, False), err


@pytest.mark.slow
def test_the_next_run_gets_the_next_number(photos: Path, learnkit: Run, tmp_path: Path) -> None:
    (tmp_path / "runs/photos").mkdir(parents=True)
    assert learnkit("train", photos, "--no-report", *QUICK)[0] == 0
    assert {file.name for file in (tmp_path / "runs/photos-2").iterdir()} == FILES - {"report.html"}


def test_its_config_repeats_it_to_the_same_bits(photos: Path, learnkit: Run, tmp_path: Path) -> None:
    words = [*QUICK[:-2], "--no-report", "--mixup", "0.4"]  # without a rate: it is searched once
    assert learnkit("train", photos, "--out", "a", *words)[0] == 0
    code, out, _ = learnkit("train", "--config", "a/config.toml", "--out", "b")
    assert code == 0
    assert "valley" not in out
    assert same(tmp_path / "a", tmp_path / "b")
    assert history(tmp_path / "a") == history(tmp_path / "b")
    assert config(tmp_path / "a") == config(tmp_path / "b")
    found = config(tmp_path / "a")
    assert (found["data"], found["training"]["mixup"], found["images"]["size"]) == (str(photos), 0.4, 32)
    assert isinstance(found["model"]["seed"], int)
    assert found["training"]["lr"] > 0
    assert not {name for options in found.values() if isinstance(options, dict) for name in options} & set(NOT_KEPT)


def test_the_name_of_a_dataset_of_the_hub_is_kept_as_it_is(photos: Path, learnkit: Run) -> None:
    for data, kept in (("user/dataset", "user/dataset"), (photos, str(photos))):
        assert tomllib.loads(learnkit("train", data, "--hf", "--print-config")[1])["data"] == kept
    assert tomllib.loads(learnkit("train", "user/photos", "--print-config")[1])["data"] != "user/photos"


def test_print_config_prints_what_a_run_would_keep(photos: Path, learnkit: Run, tmp_path: Path) -> None:
    code, out, _ = learnkit("train", photos, "--valid", "none", "--classes", "red,blue", "--print-config", *QUICK)
    assert code == 0
    assert not (tmp_path / "runs").exists()
    (tmp_path / "a.toml").write_text(out)
    assert learnkit("train", "--config", "a.toml", "--print-config")[1] == out
    found = tomllib.loads(out)
    assert (found["images"]["valid"], found["images"]["classes"]) == ("none", ["red", "blue"])
    assert "csv" not in found["images"]
    assert "label_col" not in found["images"]


@pytest.mark.parametrize(
    ("lines", "kept"),
    [
        (["sky", "road"], ["sky", "road"]), (["0=sky", "7=a=b"], {"0": "sky", "7": "a=b"}),
        (["sky", "road, wet"], None), (["0=sky", "7=road, wet"], None),
    ],
)  # fmt: skip
def test_a_config_means_the_same_in_any_folder(
    photos: Path, learnkit: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: list[str], kept: Any
) -> None:
    (tmp_path / "codes.txt").write_text("\n".join(lines))
    (tmp_path / "body.pth").touch()
    words = ["--masks", "{stem}", "--codes", "codes.txt", "--weights", "body.pth", "--print-config", "--seed", 1]
    code, out, _ = learnkit("train", photos, *words)
    assert code == 0
    found = tomllib.loads(out)
    assert found["model"]["weights"] == str(tmp_path / "body.pth")
    codes = found["images"]["codes"]
    assert CODES.read(codes) == CODES.read("codes.txt")
    if kept is not None:  # the names themselves; with a comma in one, the file
        assert codes == ",".join(kept if isinstance(kept, list) else [f"{name}={kept[name]}" for name in kept])
    (tmp_path / "other").mkdir()
    (tmp_path / "a.toml").write_text(out)
    monkeypatch.chdir(tmp_path / "other")
    assert learnkit("train", "--config", tmp_path / "a.toml", "--print-config")[1] == out
    assert (
        tomllib.loads(learnkit("train", photos, "--weights", "IMAGENET1K_V2", "--print-config")[1])["model"]["weights"]
        == "IMAGENET1K_V2"
    )


@pytest.mark.slow
def test_a_second_run_into_the_folder_is_refused(photos: Path, learnkit: Run, tmp_path: Path) -> None:
    assert learnkit("train", photos, "--out", "a", "--no-report", *QUICK)[0] == 0
    before = (tmp_path / "a/model.lk").read_bytes()
    code, _, err = learnkit("train", photos, "--out", "a", "--no-report", *QUICK)
    assert code == 2
    assert err.startswith("learnkit: a holds a run already (")
    assert err.endswith("Go on with it by --resume, replace it by --overwrite, or choose another --out.\n")
    assert (tmp_path / "a/model.lk").read_bytes() == before
    assert learnkit("train", photos, "--out", "a", "--no-report", "--overwrite", "--seed", "5", *QUICK)[0] == 0
    assert config(tmp_path / "a")["model"]["seed"] == 5


@pytest.mark.slow
def test_a_run_that_is_done_can_be_gone_on_with(photos: Path, learnkit: Run, tmp_path: Path) -> None:
    assert learnkit("train", photos, "--out", "a", "--no-report", *QUICK)[0] == 0
    before, rows = weights(tmp_path / "a"), history(tmp_path / "a")
    (tmp_path / "a/model.lk").unlink()
    assert learnkit("train", "--resume", "--out", "a")[0] == 0
    after = weights(tmp_path / "a")
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert history(tmp_path / "a") == rows


@pytest.mark.parametrize(
    ("words", "start"),
    [
        ([], "DATA is missing"),
        (["--resume"], "--resume needs --out"),
        (["--resume", "--out", "nowhere"], "no run in nowhere. Runs in "),
        (["nowhere"], "no folder nowhere; the nearest existing one"),
        (["photos", "--arhc", "resnet18"], "no option --arhc; nearest: --arch"),
        (["photos", "--arch", "resnet81", "--no-pretrained"], "--arch: got 'resnet81', expected a known architecture"),
        (["photos", "--epochs", "0x"], "--epochs: got '0x', expected a whole number"),
        (["photos", "--bs", "0"], "--bs: got 0, expected an integer, 1 or more"),
        (["photos", "--size", "0"], "--size: got 0, expected pixels"),
        (["photos", "--metrics", "acuracy", "--no-pretrained"], "--metrics: "),
        (["photos", "--monitor", "acc", "--no-pretrained", "--lr", "1e-3"], "--monitor: got 'acc'"),
        (["photos", "--csv", "none.csv"], "no file "),
        (["photos", "--config", "none.toml"], "--config: none.toml cannot be read"),
        (["photos", "--weights", "none.pth"], "no file none.pth"),
        (["photos", "--device", "moon"], "--device: "),
        (["photos", "--max-time", "soon", "--no-pretrained", "--lr", "1e-3"], "--max-time: got 'soon'"),
    ],
)
def test_what_is_wrong_is_one_sentence_and_exit_code_2(
    photos: Path, learnkit: Run, tmp_path: Path, words: list[str], start: str
) -> None:
    code, _, err = learnkit("train", *words)
    *warned, line = err.splitlines()
    assert line.startswith(f"learnkit: {start}")
    assert all(one.startswith("learnkit: warning: ") for one in warned)
    assert code == 2
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_an_empty_folder_and_a_broken_image_are_named(learnkit: Run, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    code, _, err = learnkit("train", "empty")
    assert (code, "empty" in err) == (2, True)
    (photos / "train/blue/0.png").write_text("<html>")
    code, _, err = learnkit("train", photos, *QUICK)
    assert (code, "train/blue/0.png" in err, err.count("\n")) == (1, True, 1)
    code, out, err = learnkit("train", photos, "--on-error", "skip", "--out", "skipping", "--no-report", *QUICK)
    assert code == 0
    assert "1 image left out that cannot be read" in out


@pytest.mark.parametrize(("split", "stays"), [("train", False), ("valid", True)])
def test_images_that_cannot_be_read_are_no_mistake_in_the_options(
    photos: Path, learnkit: Run, tmp_path: Path, split: str, stays: bool
) -> None:
    for file in (photos / split).rglob("*.png"):
        file.write_bytes(file.read_bytes()[:200])
    code, _, err = learnkit("train", photos, "--out", "a", *QUICK)
    assert (code, "cannot be read as an image" in err, err.count("\n")) == (1, True, 1)
    assert (tmp_path / "a").exists() == stays  # what was trained until then


@pytest.mark.slow
def test_options_that_a_run_cannot_go_on_with_change_nothing(photos: Path, learnkit: Run, tmp_path: Path) -> None:
    assert learnkit("train", photos, "--out", "a", "--no-report", *QUICK)[0] == 0
    before = {file: file.read_bytes() for file in (tmp_path / "a").rglob("*") if file.is_file()}
    before.pop(tmp_path / "a/log.txt")
    code, _, err = learnkit("train", "--resume", "--out", "a", "--lr", "1e-2")
    assert (code, err.count("\n")) == (2, 1), err
    assert {file: file.read_bytes() for file in before} == before


def test_pretrained_weights_that_cannot_be_fetched_say_what_to_type(
    photos: Path, learnkit: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def offline(*args: Any, **options: Any) -> Any:
        raise OSError("no route to host")

    monkeypatch.setattr("urllib.request.urlopen", offline)
    monkeypatch.setattr("torch.hub.urlopen", offline)
    code, _, err = learnkit("train", photos)
    assert code == 1
    assert "pass --weights path.pth for a local file, or --no-pretrained for random weights" in err
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_weights_of_a_file(photos: Path, learnkit: Run, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = shufflenet_v2_x0_5()
    torch.save(network.state_dict(), tmp_path / "body.pth")
    words = [word for word in QUICK if word != "--no-pretrained"]
    frozen = ("--weights", "body.pth", "--policy", "one_cycle", "--no-train-bn", "--no-report", "--out", "a")
    assert learnkit("train", photos, *frozen, *words)[0] == 0
    trained = weights(tmp_path / "a")
    assert torch.equal(trained["0.0.0.weight"], network.state_dict()["conv1.0.weight"])  # frozen, so unchanged


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind",
    ["folders", "several labels", "masks", "regression", "names"],
)
def test_each_kind_of_data_trains_resumes_after_a_kill_and_reports(
    kind: str, photos: Path, flat: Path, scenes: Path, tmp_path: Path
) -> None:
    table = ("--csv", "labels.csv", "--folder", "images", "--suffix", ".png", "--valid-col", "is_valid")
    words = {
        "folders": (photos,),
        "several labels": (flat, *table, "--label-col", "tags", "--label-delim", " "),
        "regression": (flat, *table, "--label-col", "number", "--task", "regression"),
        "names": (flat, "--pattern", r"/(\w+)_\d\.png$", "--valid-pct", "0.25"),
        "masks": (scenes, "--masks", "masks/{stem}_mask.png", "--codes", "left,right", "--ignore-index", "9",
                  "--arch", "resnet18"),
    }[kind]  # fmt: skip
    options = map(str, (*QUICK, *words, "--checkpoint-every", 1, "--seed", 1))
    command = [sys.executable, "-m", "learnkit", "train", *options]
    command[command.index("--epochs") + 1] = "6"
    subprocess.run([*command, "--out", "whole"], check=True, timeout=600)
    with subprocess.Popen([*command, "--out", "killed"], start_new_session=True) as process:
        wait_for(tmp_path / "killed/history.csv", lines=4)
        os.killpg(process.pid, signal.SIGKILL)
    assert not (tmp_path / "killed/model.lk").exists()
    again = [sys.executable, "-m", "learnkit", "train", "--resume", "--out", "killed"]
    subprocess.run(again, check=True, timeout=600)
    assert same(tmp_path / "whole", tmp_path / "killed")
    assert history(tmp_path / "whole") == history(tmp_path / "killed")
    assert (tmp_path / "killed/report.html").stat().st_size > 10_000


def wait_for(file: Path, lines: int, seconds: float = 300) -> None:
    """Until a file has so many lines."""
    end = time.monotonic() + seconds
    while not (file.exists() and file.read_text().count("\n") >= lines):
        assert time.monotonic() < end, f"{file} did not grow"
        time.sleep(0.02)


@pytest.mark.slow
def test_signals_leave_a_run_that_goes_on(photos: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "learnkit", "train", str(photos), *QUICK, "--seed", "1", "--no-report"]
    command[command.index("--epochs") + 1] = "6"
    subprocess.run([*command, "--out", "whole"], check=True, timeout=600)
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)):
        out = f"stopped-{number}"
        with subprocess.Popen([*command, "--out", out], stderr=subprocess.PIPE, text=True) as process:
            wait_for(tmp_path / out / "history.csv", lines=3)
            process.send_signal(number)
            _, err = process.communicate(timeout=300)
        assert process.returncode == code
        assert "Traceback" not in err
        assert f"go on with: learnkit train --resume --out {out}" in (tmp_path / out / "log.txt").read_text()
        subprocess.run([sys.executable, "-m", "learnkit", "train", "--resume", "--out", out], check=True, timeout=600)
        assert same(tmp_path / "whole", tmp_path / out)


@pytest.mark.slow
def test_two_processes_write_one_run(photos: Path, tmp_path: Path) -> None:
    command = ["-m", "learnkit", "train", str(photos), *QUICK, "--seed", "1", "--lr", "1e-3"]
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run([*launch, *command, "--out", "two"], capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("2 classes: blue, red") == 1
    assert {file.name for file in (tmp_path / "two").iterdir()} == FILES
    losses = [float(row[2]) for row in history(tmp_path / "two")[1:]]
    assert np.isfinite(losses).all()


def test_every_option_of_a_run_has_help() -> None:
    assert all(option.help for option in RUN)


def test_a_file_where_the_run_should_be(photos: Path, learnkit: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code, _, err = learnkit("train", photos, "--out", "file/run", *QUICK)
    assert (code, err.count("\n")) == (2, 1)
    assert "file is a file" in err


def test_options_that_the_fit_refuses_leave_no_run(photos: Path, learnkit: Run, tmp_path: Path) -> None:
    code, _, err = learnkit("train", photos, "--lr", "1e-3,1e-3,1e-3,1e-3,1e-3", *QUICK[:-2])
    assert code == 2
    assert err.startswith("learnkit: --lr: got [0.001, ")
    assert not (tmp_path / "runs/photos").exists()


def test_the_example_configuration_trains(photos: Path, learnkit: Run, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    typed = ("--arch", "shufflenet_v2_x0_5", "--size", "32", "--bs", "4", "--num-workers", "0", "--epochs", "2")
    code, out, err = learnkit("train", photos, "--config", EXAMPLE, *typed, "--out", "a")
    assert code == 0, err
    assert "constant for 2 epochs at rate 0.01" in out
    with (tmp_path / "a/history.csv").open() as file:
        assert next(file).strip() == "epoch,train_loss,valid_loss,accuracy,f1,time"
    assert list((tmp_path / "a/tensorboard").rglob("events*"))
    assert "FocalLoss" in (tmp_path / "a/report.html").read_text()
    kept = config(tmp_path / "a")
    example = tomllib.loads(EXAMPLE.read_text())
    for section in ("images", "model", "training"):
        unchanged = {name: value for name, value in example[section].items() if f"--{name}" not in typed}
        assert {name: kept[section][name] for name in unchanged} == unchanged


def snapshot(run: Path) -> dict[str, bytes]:
    return {str(file.relative_to(run)): file.read_bytes() for file in run.rglob("*") if file.is_file()}


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ["--lr", "1e-3,1e-3,1e-3,1e-3,1e-3"],
        ["--policy", "constant", "--scheduler", "StepLR"],
        ["--bs", "2"],
        ["--arch", "resnet18"],
    ],
)
def test_what_a_refused_option_leaves_of_a_run(photos: Path, learnkit: Run, tmp_path: Path, words: list[str]) -> None:
    assert learnkit("train", photos, "--out", "a", "--no-report", *QUICK)[0] == 0
    before = snapshot(tmp_path / "a")
    code, _, _ = learnkit("train", "--resume", "--out", "a", *words)
    after = snapshot(tmp_path / "a")
    assert code == 2
    assert {name: text for name, text in after.items() if name != "log.txt"} == {
        name: text for name, text in before.items() if name != "log.txt"
    }
    if words[0] in ("--lr", "--policy"):
        again = [word for word in QUICK if word not in ("--lr", "1e-3")]
        code, _, _ = learnkit("train", photos, "--out", "a", "--overwrite", *again, "--lr", "1e-3", *words)
        assert code == 2
        assert snapshot(tmp_path / "a") == after
    assert learnkit("train", "--resume", "--out", "a")[0] == 0


@pytest.mark.parametrize(
    ("words", "start"),
    [
        (["--out", ""], "--out is empty, as of a variable that is not set"),
        (["--lr", "nan"], "--lr: got 'nan', expected a rate"),
        (["--lr=-1"], "--lr: got '-1', expected a rate"),
        (["--early-stopping", "0"], "--early-stopping: got 0"),
        (["--scheduler-args", "step_size=1"], "--scheduler-args and --scheduler-every need --scheduler"),
        (["--scheduler-every", "batch"], "--scheduler-args and --scheduler-every need --scheduler"),
    ],
)
def test_values_are_refused_before_anything_is_read(photos: Path, learnkit: Run, words: list[str], start: str) -> None:
    code, _, err = learnkit("train", photos, *words)
    assert (code, err.count("\n")) == (2, 1)
    assert err.startswith(f"learnkit: {start}")


def test_none_takes_back_what_a_configuration_says(photos: Path, learnkit: Run, tmp_path: Path) -> None:
    given = ("--lr", "0.1", "--class-weights", "1,2", "--size", "32", "--lin-ftrs", "7", "--valid-col", "x")
    words = ("--csv", "a.csv", "--normalize", "data")
    (tmp_path / "a.toml").write_text(learnkit("train", photos, *given, *words, "--print-config")[1])
    back = [word for name in given[::2] for word in (name, "none")]
    code, out, err = learnkit("train", "--config", "a.toml", *back, "--normalize", "none", "--print-config")
    assert code == 0, err
    found = tomllib.loads(out)
    assert (found["images"]["size"], found["images"]["normalize"]) == ("none", "none")
    assert not {"lr", "class_weights", "lin_ftrs", "valid_col"} & {name for part in ("images", "model", "training")
                                                                   for name in found[part]}  # fmt: skip
    (tmp_path / "b.toml").write_text(out)
    assert learnkit("train", "--config", "b.toml", "--print-config")[1] == out
