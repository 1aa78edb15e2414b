"""The recorder and the progress display."""

import os
import pty
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from learnkit import DataBunch, Learner
from learnkit.callbacks import Progress
from learnkit.callbacks.progress import format_row
from learnkit.errors import UsageError
from learnkit.seeds import Stream, derive


def learner(blobs: tuple[Tensor, ...], **options: Any) -> Learner:
    torch.manual_seed(0)
    return Learner(DataBunch.from_tensors(*blobs, bs=16), nn.Linear(2, 2), seed=0, **options)


def test_losses_are_those_of_the_loop_by_hand(blobs: tuple[Tensor, ...]) -> None:
    learn = learner(blobs, opt_func="sgd", wd=0.0)
    model = nn.Linear(2, 2)
    model.load_state_dict(learn.model.state_dict())
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    expected = []
    for epoch in range(2):
        learn.dls.train_dl.seed_epoch(0, epoch)
        for number, (x, y) in enumerate(learn.dls.train_dl):
            torch.manual_seed(derive(0, Stream.STEP, epoch) + number)
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            expected.append(loss.item())
    learn.fit(2, 0.1)
    assert learn.recorder.losses == expected
    assert learn.recorder.epoch_ends == [4, 8]


def test_the_training_loss_of_a_row_is_the_smoothed_one(blobs: tuple[Tensor, ...]) -> None:
    learn = learner(blobs)
    learn.fit(2, 0.1)
    learn.fit(1, 0.1)

    def smoothed(losses: list[float]) -> float:
        weights = [0.98 ** (len(losses) - 1 - i) for i in range(len(losses))]
        return sum(w * loss for w, loss in zip(weights, losses, strict=True)) / sum(weights)

    losses = learn.recorder.losses
    expected = [smoothed(losses[:4]), smoothed(losses[:8]), smoothed(losses[8:])]
    assert learn.history["train_loss"].tolist() == pytest.approx(expected, rel=1e-6)
    assert learn.recorder.smooth_losses[7] == pytest.approx(expected[1])


def test_an_optimizer_without_momentum_has_none(blobs: tuple[Tensor, ...]) -> None:
    learn = learner(blobs, opt_func=torch.optim.Adagrad)
    learn.fit(1)
    assert all(mom != mom for mom in learn.recorder.moms)
    assert len(learn.recorder.plot_lr().axes) == 1


def test_the_curves_are_those_of_the_record(blobs: tuple[Tensor, ...]) -> None:
    learn = learner(blobs, metrics="accuracy")
    learn.fit_one_cycle(2)
    losses = learn.recorder.plot_losses().axes[0].lines
    assert list(losses[0].get_ydata()) == learn.recorder.losses
    assert list(losses[2].get_xdata()) == [4, 8]
    assert list(losses[2].get_ydata()) == learn.history["valid_loss"].tolist()
    rates = learn.recorder.plot_lr().axes
    assert list(rates[0].lines[0].get_ydata()) == learn.recorder.lrs
    assert list(rates[1].lines[0].get_ydata()) == learn.recorder.moms
    metric = learn.recorder.plot_metrics().axes[0]
    assert (metric.get_ylabel(), list(metric.lines[0].get_ydata())) == ("accuracy", learn.history["accuracy"].tolist())


def test_the_finders_curve_is_drawn_with_its_suggestions(blobs: tuple[Tensor, ...]) -> None:
    learn = learner(blobs)
    found = learn.lr_find()
    axes = learn.recorder.plot().axes[0]
    curve = learn.recorder.lr_curve
    assert curve is not None
    assert list(axes.lines[0].get_xdata()) == list(curve.lrs[10:-5])
    assert [line.get_xdata()[0] for line in axes.lines[1:]] == list(found)
    assert len(learn.recorder.plot(suggestion=False).axes[0].lines) == 1


@pytest.mark.parametrize("plot", ["plot", "plot_losses", "plot_lr", "plot_metrics"])
def test_with_nothing_recorded_a_plot_says_what_to_run(plot: str, blobs: tuple[Tensor, ...]) -> None:
    with pytest.raises(UsageError, match=r"(Run learn\.lr_find|Fit first|metrics=)"):
        getattr(learner(blobs).recorder, plot)()


# Progress


def test_times_and_numbers_as_text() -> None:
    row = {"epoch": 3, "train_loss": 1 / 3, "time": 59.6}
    assert format_row(row) == [("epoch", "3"), ("train_loss", "0.333333"), ("time", "01:00")]


@pytest.mark.parametrize(("value", "n_lines"), [("off", 0), ("plain", 2)])
def test_the_variable_decides(
    value: str, n_lines: int, blobs: tuple[Tensor, ...], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setenv("LEARNKIT_PROGRESS", value)
    learner(blobs).fit(2)
    assert len(capsys.readouterr().out.splitlines()) == n_lines


def test_the_argument_beats_the_variable(
    blobs: tuple[Tensor, ...], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setenv("LEARNKIT_PROGRESS", "off")
    learner(blobs).fit(2, callbacks=Progress("plain"))
    assert len(capsys.readouterr().out.splitlines()) == 2
    with pytest.raises(UsageError, match="display: got 'loud'"):
        Progress("loud")  # type: ignore[arg-type]


SCRIPT = """
import torch, time
from torch import nn
from learnkit import Callback, DataBunch, Learner
class Slow(Callback):
    def after_step(self, state): time.sleep(0.06)
x, y = torch.randn(64, 2), torch.arange(64) % 2
learn = Learner(DataBunch.from_tensors(x, y, x, y, bs=8), nn.Linear(2, 2), metrics="accuracy")
learn.fit(2, callbacks=Slow())
"""


def test_a_terminal_gets_a_bar_and_a_table() -> None:
    main, terminal = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], stdout=terminal, stderr=subprocess.PIPE, text=True, timeout=120, check=False
    )
    os.close(terminal)
    shown = b""
    while True:
        try:
            part = os.read(main, 65536)
        except OSError:
            break
        if not part:
            break
        shown += part
    os.close(main)
    text = shown.decode()
    assert done.returncode == 0, done.stderr
    assert "█" in text
    assert "loss 0." in text or "loss 1." in text
    table = [
        line.split() for line in text.replace("\r", "\n").splitlines() if line.strip()[:1].isdigit() or "epoch " in line
    ]
    assert ["epoch", "train_loss", "valid_loss", "accuracy", "time"] in table
    assert [row[0] for row in table if len(row) == 5 and row[0].isdigit()] == ["0", "1"]


def test_a_pipe_gets_one_plain_line_an_epoch() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=120, check=False)
    lines = done.stdout.split("\n")
    assert [line.split()[:2] for line in lines[:-1]] == [["epoch", "0"], ["epoch", "1"]]
    assert lines[-1] == ""
    assert "\r" not in done.stdout
    assert "\x1b" not in done.stdout
    assert done.stderr == ""


NOTEBOOK = """
import nbclient, nbformat
cells = [nbformat.v4.new_code_cell(source) for source in (SCRIPT, "learn.recorder.plot_losses()")]
notebook = nbformat.v4.new_notebook(cells=cells)
nbclient.NotebookClient(notebook, timeout=100).execute()
for output in (output for cell in notebook.cells for output in cell.outputs):
    for kind, content in output.get("data", {}).items():
        print(kind, len(content), "<table" in content and "<td>1</td>" in content)
"""


def test_a_notebook_gets_one_table_and_one_picture() -> None:
    script = f"SCRIPT = {SCRIPT!r}\n{NOTEBOOK}"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    shown = [line.split() for line in done.stdout.splitlines()]
    assert sum(kind == "text/html" and is_table == "True" for kind, _, is_table in shown) == 1
    assert [int(size) > 5000 for kind, size, _ in shown if kind == "image/png"] == [True]
