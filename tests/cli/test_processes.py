"""Every command as a process: on real folders, on what is not there, and into folders that cannot be written."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from learnkit.cli.main import COMMANDS

QUICK = ["--no-pretrained", "--arch", "shufflenet_v2_x0_5", "--size", "32", "--num-workers", "0", "--bs", "4"]


def learnkit(*words: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "learnkit", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.slow
def test_every_command_works_as_a_process(photos: Path, tmp_path: Path) -> None:
    torch.save({"weight": torch.ones(2)}, tmp_path / "w.pth")
    done = {
        "train": learnkit("train", photos, *QUICK, "--epochs", 1, "--lr", "1e-3", "--out", "run"),
        "lr-find": learnkit("lr-find", photos, *QUICK, "--num-it", 5, "--out", "rates"),
        "validate": learnkit("validate", "run"),
        "predict": learnkit("predict", "run", photos / "valid"),
        "export": learnkit("export", "run", "--to", "lk", "--out", "copy.lk"),
        "report": learnkit("report", "run", "--out", "page.html"),
        "verify": learnkit("verify", photos),
        "convert": learnkit("convert", "w.pth", "w.safetensors"),
        "env": learnkit("env"),
    }
    pytest.importorskip("litdata")
    done["pack"] = learnkit("pack", photos, "packed")
    assert set(done) == set(COMMANDS)
    assert {name: (one.returncode, one.stderr) for name, one in done.items() if one.returncode or one.stderr} == {}
    made = ("run/model.lk", "rates/lr_find.png", "copy.lk", "page.html", "w.safetensors", "packed")
    assert [name for name in made if not (tmp_path / name).exists()] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ["train", "nowhere"], ["lr-find", "nowhere"], ["validate", "nowhere.lk", "photos"],
        ["predict", "no.lk", "x.png"],
        ["export", "no.lk", "--to", "onnx", "--out", "a.onnx"], ["report", "no.lk", "photos", "--out", "a.html"],
        ["verify", "nowhere"], ["convert", "no.pth", "a.safetensors"], ["pack", "nowhere", "packed"], ["env", "--x"],
    ],
)  # fmt: skip
def test_what_is_not_there_is_one_sentence_and_exit_code_2(words: list[str], photos: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    done = learnkit(*words)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert done.stderr.startswith("learnkit: ")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_one_sentence(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "shut").mkdir(mode=0o555)
    done = learnkit("train", photos, *QUICK, "--epochs", 1, "--lr", "1e-3", "--out", "shut/run")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "shut" in done.stderr
