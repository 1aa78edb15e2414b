"""Every command as a process: on real folders, on what is not there, and into folders that cannot be written."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from learnkit.cli.main import COMMANDS, main

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


WRITING = {
    "train": ["train", "photos", *QUICK, "--out", "{}/run"],
    "lr-find": ["lr-find", "photos", *QUICK, "--out", "{}/rates"],
    "predict": ["predict", "no.lk", "photos", "--out", "{}/a.csv"],
    "export": ["export", "no.lk", "--to", "lk", "--out", "{}/a.lk"],
    "report": ["report", "no.lk", "photos", "--out", "{}/a.html"],
    "verify": ["verify", "photos", "--csv", "{}/a.csv"],
    "moving": ["verify", "photos", "--move-to", "{}/bad", "--yes"],
    "convert": ["convert", "w.pth", "{}/a.safetensors"],
    "pack": ["pack", "photos", "{}/packed"],
}


@pytest.mark.parametrize("command", WRITING)
@pytest.mark.parametrize("place", ["shut", "file", "~"])
def test_a_place_that_cannot_be_written_is_refused_before_any_work(
    command: str, place: str, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    (tmp_path / "shut").mkdir()
    (tmp_path / "file").touch()
    torch.save({"weight": torch.ones(2)}, tmp_path / "w.pth")
    if command == "pack":
        pytest.importorskip("litdata")
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "shut" and access(path, mode))
    before = sorted(tmp_path.rglob("*"))
    code = main([word.format(place) for word in WRITING[command]])
    out, err = capsys.readouterr()
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert sorted(tmp_path.rglob("*")) == before
    assert {"shut": "no permission in", "file": "is a file", "~": "the shell has not replaced the ~"}[place] in err


@pytest.mark.parametrize(
    "words",
    [
        ["train", ""], ["train", "photos", "--out", ""], ["train", "photos", "--out="], ["lr-find", ""],
        ["validate", "", "photos"], ["validate", "m.lk", ""], ["predict", "", "a.png"], ["predict", "m.lk", ""],
        ["predict", "m.lk", "photos", "--out", ""], ["export", "", "--to", "lk", "--out", "a.lk"],
        ["report", "m.lk", "photos", "--out", ""], ["verify", ""], ["verify", "photos", "--move-to", "", "--yes"],
        ["verify", "photos", "--move-to=", "--yes"], ["convert", "", "a.safetensors"], ["pack", "photos", ""],
        ["pack", "", "packed"], ["lr-find", "photos", "--out", ""],
    ],
)  # fmt: skip
def test_an_empty_text_is_no_name_of_the_working_directory(words: list[str], photos: Path, capsys: Any) -> None:
    assert main(words) == 2
    assert "is empty, as of a variable that is not set. See learnkit " in capsys.readouterr().err
