"""The examples that do what tutorials teach by hand run from start to end, and leave what they announce."""

import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

from tests.doubles import script_module

EXAMPLES = Path(__file__).parents[2] / "examples"

pytestmark = pytest.mark.slow


def run(name: str, out: Path, *arguments: str) -> str:
    """What a tiny run of an example prints."""
    command = [sys.executable, str(EXAMPLES / f"{name}.py"), "--tiny", "--out", str(out), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("own", [False, True])
def test_resnet_from_scratch(tmp_path: Path, own: bool) -> None:
    said = run("resnet_from_scratch", tmp_path, *(["--own"] if own else []))
    n_weights = int(re.search(r"parameters: ([\d,]+)", said)[1].replace(",", ""))  # type: ignore[index]
    # torchvision's ResNet-18 without its last layer, and the two of the head
    assert n_weights == 11_176_512 + 512 * 256 + 256 + 256 * 10 + 10
    assert (tmp_path / "model" / "best.pt").exists()
    assert list((tmp_path / "logs").rglob("events*"))
    assert re.search(r"epoch 1 .*valid_loss .*train_accuracy .*time", said)
    assert len(re.findall(r"^epoch \d+ .*loss", said, re.MULTILINE)) >= 3  # two of epochs, and those of batches


def test_surgery_and_saving(tmp_path: Path) -> None:
    said = run("surgery_and_saving", tmp_path)
    assert (tmp_path / "method1.pth").exists()
    assert (tmp_path / "method2.pth").exists()
    label = re.search(r"^((?:crimson|navy|seagreen|gold|purple) (?:disk|square)): \d+%$", said, re.MULTILINE)
    assert label
    assert f"by hand: {label[1]}\n" in said
    assert "64 inputs give (64, 10)" in said
    assert (tmp_path / "models" / "shapes_0.pth").exists()


def test_idx_files_train_alike_by_hand_and_with_a_learner(tmp_path: Path) -> None:
    said = run("idx_files", tmp_path)
    by_hand, with_learner = re.findall(r"(?:by hand|with a learner).*loss ([\d.]+), accuracy ([\d.]+)%", said)
    assert by_hand == with_learner
    assert (tmp_path / "digits.onnx").exists()


def test_losses_for_masks(tmp_path: Path) -> None:
    said = run("losses_for_masks", tmp_path)
    assert len(re.findall(r"Dice score \d\.\d{3}$", said, re.MULTILINE)) == 4
    assert (tmp_path / "found.png").stat().st_size > 3000


def rates_of_torch(script: object, name: str, n_epochs: int, n_steps: int, losses: list[float]) -> list[float]:
    """The rates of a loop written by hand, which steps the optimizer and then the scheduler."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=script.LR, momentum=0.9)  # type: ignore[attr-defined]
    of_epochs, of_batches = script.by_epoch(n_epochs), script.by_batch(n_epochs * n_steps)  # type: ignore[attr-defined]
    scheduler, rates = (of_epochs | of_batches)[name](optimizer), []
    for epoch in range(n_epochs):
        for batch in range(n_steps):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            if name in of_batches and (epoch, batch) != (n_epochs - 1, n_steps - 1):
                scheduler.step()
        if name in of_epochs:
            scheduler.step(*([losses[epoch]] if name == "ReduceLROnPlateau" else []))
    return rates


def test_torch_schedulers_sets_the_rates_that_torch_does(tmp_path: Path) -> None:
    run("torch_schedulers", tmp_path)
    script = script_module(EXAMPLES / "torch_schedulers.py")
    rates = pd.read_csv(tmp_path / "rates.csv")
    n_steps = len(rates) // script.EPOCHS
    names = [*script.by_epoch(script.EPOCHS), *script.by_batch(len(rates))]
    assert set(names) <= vars(torch.optim.lr_scheduler).keys()
    assert len(names) == 15
    for name in names:
        losses = pd.read_csv(tmp_path / f"{name}.csv")["valid_loss"].tolist()
        expected = rates_of_torch(script, name, script.EPOCHS, n_steps, losses)
        assert rates[name].tolist() == pytest.approx(expected, rel=1e-9), name
    by_epoch = rates.iloc[::n_steps]
    steps = [0.1] * 3 + [0.01] * 3 + [0.001] * 2
    assert by_epoch["a function"].tolist() == pytest.approx(steps)
    assert by_epoch["a callback"].tolist() == pytest.approx(steps)
    assert rates["phases"].idxmax() == pytest.approx(len(rates) / 4, abs=1)
    assert (tmp_path / "schedulers.png").stat().st_size > 20_000


def test_timm_and_freezing(tmp_path: Path) -> None:
    pytest.importorskip("timm", reason="timm is not installed")
    said = run("timm_and_freezing", tmp_path)
    assert "densenetblur121d" in said
    sizes = dict(re.findall(r"^  (\w+): ([\d.]+) million", said, re.MULTILINE))
    assert len(sizes) == 14
    assert sizes["vgg16"] == "138.4"  # as torchvision states
    for shape in (
        "a thousand classes: (1, 1000)",
        "ten classes: (1, 10)",
        "gray images: (1, 10)",
        "last layer: (1, 10)",
    ):
        assert shape in said
    assert "the same answers True" in said
    same, n = re.search(r"; (\d+) of (\d+) tensors are as they were", said).groups()  # type: ignore[union-attr]
    assert same == n
    assert "frozen: [True, True, False]" in said
    assert "['1e-04', '1e-03', '1e-02']" in said
    off = float(re.search(r"outputs differ by up to ([\d.]+) of", said)[1])  # type: ignore[index]
    assert 0 < off < 0.5
    assert float(re.search(r"from autocast's by ([\d.]+)", said)[1]) < 1e-3  # type: ignore[index]
    assert said.endswith("weights are torch.float32\n")


def test_a_command_line_of_your_own_trains_what_learnkit_train_does(tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text("lr = 0.5\nbatch-size = 32\nniter = 1\n")
    said = run("own_command_line", tmp_path, "--config", str(tmp_path / "settings.toml"), "--lr", "0.02")
    assert {"lr: 0.02", "batch_size: 32", "niter: 1", "seed: 118"} <= set(said.splitlines())
    ours, theirs = re.search(r"validation loss ([\d.]+), with learnkit train ([\d.]+)", said).groups()  # type: ignore[union-attr]
    assert ours == theirs
    assert (tmp_path / "models" / "last.pth").exists()


def test_an_unknown_setting_of_the_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "settings.toml").write_text("learning-rate = 0.5\n")
    sys.path.insert(0, str(EXAMPLES))
    try:
        script = script_module(EXAMPLES / "own_command_line.py")
    finally:
        sys.path.remove(str(EXAMPLES))
    with pytest.raises(SystemExit):
        script.get_options(["--config", str(tmp_path / "settings.toml")])
    assert "no such setting: learning_rate" in capsys.readouterr().err


def test_training_functions(tmp_path: Path) -> None:
    said = run("training_functions", tmp_path)
    for line in (
        "lr=slice(None, 0.003, None): ['3e-04', '3e-04', '3e-03']", "accuracy 0.667\nmse 0.333, r2 0.786",
        "SaveModel: True",
        "pred_batch: (64, 10)", "get_preds: (1000, 10), (1000,), (1000,)", "confusion_matrix: (10, 10)",
        "SegmentationInterpretation", "the same results True", "the same label True",
    ):  # fmt: skip
        assert line in said, line
    pictures = {path.stem for path in tmp_path.glob("*.png")}
    assert pictures == {"lr_find", "losses", "rates", "results", "top_losses", "confusion_matrix"}
    assert (tmp_path / "models" / "stage-1.pth").exists()
    assert list((tmp_path / "logs").rglob("events*"))
