"""learnkit export: files for other programs that say what the model does, and are not written over."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from learnkit import load_learner
from learnkit.atomic_files import sha256_of
from tests.cli.trained import Command, Model


def test_a_learnkit_file_is_written_and_read_again(run: Model, command: Command, tmp_path: Path) -> None:
    answer = command("export", run.file, "--to", "lk", "--out", "again.lk")
    assert (answer.code, answer.err) == (0, "")
    assert answer.lines[0].startswith("model: again.lk, ")
    assert answer.lines[0].endswith(sha256_of("again.lk"))
    assert answer.lines[1].startswith("checked: ")
    file = run.data / "valid/red/0.png"
    assert torch.equal(
        load_learner("again.lk").predict(file).probs, load_learner(run.file / "model.lk").predict(file).probs
    )


def test_a_file_is_not_overwritten_unless_that_is_asked_for(run: Model, command: Command, tmp_path: Path) -> None:
    (tmp_path / "a.lk").write_text("mine")
    answer = command("export", run.file, "--to", "lk", "--out", "a.lk")
    assert (answer.code, answer.lines, (tmp_path / "a.lk").read_text()) == (2, [], "mine")
    (tmp_path / "a.onnx.json").write_text("mine")  # the description, which is written too
    assert "a.onnx.json exists already" in command("export", run.file, "--to", "onnx", "--out", "a.onnx").err
    assert not (tmp_path / "a.onnx").exists()
    assert command("export", run.file, "--to", "lk", "--out", "a.lk", "--force").code == 0
    assert load_learner("a.lk").dls.classes == ["blue", "green", "red"]


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--to", "lk"], "--out"),
        (["--out", "a.lk"], "--to"),
        (["--to", "onnx", "--out", "a.lk"], "ends in .onnx"),
        (["--to", "xml", "--out", "a.xml"], "xml"),
        (["--to", "lk", "--out", "a.lk", "--preprocessing"], "preprocessing"),
        (["--to", "onnx", "--out", "a.onnx", "--quantize", "int8"], "--data"),
        (["--to", "onnx", "--out", "a.onnx", "--preprocessing", "some"], "full"),
    ],
)
def test_what_cannot_work_is_one_sentence(
    run: Model, command: Command, tmp_path: Path, args: list[str], says: str
) -> None:
    answer = command("export", run.file, *args)
    assert (answer.code, answer.lines, answer.err.count("\n")) == (2, [], 1)
    assert says in answer.err
    assert list(tmp_path.iterdir()) == []


def test_data_without_folders_of_splits_is_refused_by_advice_that_export_can_follow(
    run: Model, command: Command, tmp_path: Path
) -> None:
    answer = command(
        "export", run.file, "--to", "onnx", "--out", "a.onnx", "--quantize", "int8", "--data", run.data / "train"
    )
    assert (answer.code, answer.lines) == (2, [])
    assert "has no folders train and valid. Pass a folder that has one of each." in answer.err
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_export_is_refused(command: Command, tmp_path: Path) -> None:
    (tmp_path / "model.lk").write_bytes(b"\x80\x04N.")
    answer = command("export", "model.lk", "--to", "lk", "--out", "a.lk")
    assert (answer.code, answer.lines, answer.err.count("\n")) == (2, [], 1)


@pytest.mark.slow
@pytest.mark.parametrize("to", ["onnx", "pt2"])
def test_other_programs_compute_the_same(run: Model, command: Command, to: str) -> None:
    answer = command("export", run.file, "--to", to, "--out", f"model.{to}", "--no-activation", "--preprocessing")
    assert (answer.code, answer.err) == (0, "")
    assert answer.lines[1] == f"description: model.{to}.json"
    facts = json.loads(Path(f"model.{to}.json").read_text())
    assert f"{facts['parity']['max_abs_diff']:.2g}" in answer.lines[2]
    learn = load_learner(run.file / "model.lk")
    pixels = learn.dls.preprocess.item(run.data / "valid/red/0.png").numpy()
    expected, _ = learn.get_preds(learn.dls.test_dl_from([run.data / "valid/red/0.png"]), activ=torch.nn.Identity())
    images = np.moveaxis(pixels, 0, -1)[None]
    if to == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
        found = torch.from_numpy(session.run(["output"], {"input": images})[0])
    else:
        found = torch.export.load("model.pt2").module()(torch.from_numpy(np.repeat(images, 2, 0)))[:1]
    assert torch.allclose(found, expected, atol=1e-3)


@pytest.mark.slow
def test_a_file_of_8_bits_that_resizes_is_calibrated_on_the_data(run: Model, command: Command, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    options = ("--preprocessing", "full", "--quantize", "int8", "--data", run.data)
    answer = command("export", run.file, "--to", "onnx", "--out", "small.onnx", *options)
    assert answer.code == 0, answer.err
    facts = json.loads((tmp_path / "small.onnx.json").read_text("utf-8"))
    assert facts["quantization"]["on"] == facts["parity"]["whole_images"]["of"] == "validation set"
    assert set(facts["quantization"]["metrics"]["accuracy"]) == {"float32", "int8"}
    session = onnxruntime.InferenceSession("small.onnx", providers=["CPUExecutionProvider"])
    pixels = np.random.default_rng(0).integers(0, 256, (2, 37, 21, 3), dtype=np.uint8)
    assert session.run(["output"], {"input": pixels})[0].shape == (2, 3)
