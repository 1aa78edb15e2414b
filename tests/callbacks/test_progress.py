"""The progress display: bars and tables in terminals and notebooks, plain lines elsewhere."""

import errno
import io
import os
import pty
import subprocess
import sys
from typing import Any

import pytest
from torch import Tensor

from learnkit.callbacks.progress import Progress, format_row
from learnkit.errors import StopFit
from tests.doubles import acting, linear_learner, raising, refused


def test_rows_as_text() -> None:
    row = {"epoch": 3, "train_loss": 1 / 3, "time": 59.6}
    assert format_row(row) == [("epoch", "3"), ("train_loss", "0.333333"), ("time", "01:00")]


@pytest.mark.parametrize(("value", "n_lines"), [("off", 0), ("plain", 2)])
def test_the_environment_variable_decides(
    value: str, n_lines: int, blobs: tuple[Tensor, ...], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setenv("LEARNKIT_PROGRESS", value)
    linear_learner(blobs).fit(2)
    assert len(capsys.readouterr().out.splitlines()) == n_lines


def test_the_argument_overrides_the_variable(
    blobs: tuple[Tensor, ...], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setenv("LEARNKIT_PROGRESS", "off")
    linear_learner(blobs).fit(2, callbacks=Progress("plain"))
    assert len(capsys.readouterr().out.splitlines()) == 2
    with refused("display", got="loud", expected="'auto', 'bar', 'plain' or 'off'"):
        Progress("loud")  # type: ignore[arg-type]


@pytest.mark.parametrize(("epochs", "stops"), [(3, True), (3, False), (1, False)])
def test_the_bar_of_the_epochs_ends_once_also_after_an_early_stop(
    epochs: int, stops: bool, blobs: tuple[Tensor, ...], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    from fastprogress import fastprogress

    ends: list[float] = []

    class Bar(fastprogress.ConsoleMasterBar):  # type: ignore[misc]
        def on_iter_end(self) -> None:
            ends.append(self.main_bar.last_v)
            super().on_iter_end()

    monkeypatch.setattr(fastprogress, "master_bar", Bar)
    stop = acting(after_epoch=raising(StopFit("enough"), epoch=1 if stops else 99, batch=3))
    linear_learner(blobs).fit(epochs, callbacks=[Progress("bar"), stop])
    out, err = capsys.readouterr()
    assert ends == [2 if stops else epochs]
    assert err == ("stopped: enough\n" if stops else "")
    assert out.count("train_loss") == 1


def test_plain_lines_report_why_a_fit_stopped(blobs: tuple[Tensor, ...], capsys: Any) -> None:
    stop = acting(after_epoch=raising(StopFit("enough"), batch=3))
    for display in ("plain", "off"):
        linear_learner(blobs).fit(3, callbacks=[Progress(display), stop])  # type: ignore[arg-type]
    out, err = capsys.readouterr()
    assert [line.split()[:2] for line in out.splitlines()] == [["epoch", "0"]]
    assert err == "stopped: enough\n"


def test_tqdms_variable_turns_it_off(blobs: tuple[Tensor, ...], monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setenv("TQDM_DISABLE", "1")
    linear_learner(blobs).fit(1)
    assert capsys.readouterr().out == ""
    monkeypatch.setenv("LEARNKIT_PROGRESS", "plain")  # comes first
    linear_learner(blobs).fit(1)
    assert len(capsys.readouterr().out.splitlines()) == 1


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


@pytest.mark.slow
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


def test_a_pipe_gets_one_plain_line_per_epoch() -> None:
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


@pytest.mark.slow
def test_a_notebook_gets_one_table_and_one_figure() -> None:
    script = f"SCRIPT = {SCRIPT!r}\n{NOTEBOOK}"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    shown = [line.split() for line in done.stdout.splitlines()]
    assert sum(kind == "text/html" and is_table == "True" for kind, _, is_table in shown) == 1
    assert [int(size) > 5000 for kind, size, _ in shown if kind == "image/png"] == [True]


def lines_of(progress: Progress, blobs: tuple[Tensor, ...], capsys: Any, epochs: int = 2, **options: Any) -> list[str]:
    losses: list[float] = []
    learn = linear_learner(blobs)
    learn.fit(epochs, 1e-2, callbacks=[progress, acting(after_batch=lambda state: losses.append(state.loss.item()))])
    out: str = capsys.readouterr().out
    for number, loss in enumerate(losses):
        out = out.replace(f"  loss {loss:.6f}", f"  loss of batch {number}")
    return out.splitlines()


@pytest.mark.parametrize(
    ("every", "batches"), [(2, [1, 3, 5, 7]), ("3 steps", [2, 5]), (4, [3, 7]), (100, []), ("1h", []), (None, [])]
)
def test_plain_lines_show_the_loss_every_few_steps(
    every: Any, batches: list[int], blobs: tuple[Tensor, ...], capsys: Any
) -> None:
    lines = lines_of(Progress("plain", every=every), blobs, capsys)
    shown = [line for line in lines if "train_loss" not in line]
    assert shown == [f"epoch {n // 4}  batch {n % 4 + 1}/4  loss of batch {n}" for n in batches]
    assert len(lines) == len(batches) + 2


def test_plain_lines_show_the_loss_at_intervals_of_time(blobs: tuple[Tensor, ...], capsys: Any) -> None:
    assert len(lines_of(Progress("plain", every="0.000001s"), blobs, capsys)) == 8 + 2
    assert lines_of(Progress("off", every=1), blobs, capsys) == []


@pytest.mark.parametrize("every", [0, -1, "often", "2 epochs", 1.5])
def test_another_interval_is_refused(every: Any) -> None:
    with refused("every", got=every):
        Progress(every=every)


def test_epochs_are_numbered_alike_in_all_lines(blobs: tuple[Tensor, ...], capsys: Any) -> None:
    learn = linear_learner(blobs)
    for _ in range(2):
        learn.fit(2, 1e-2, callbacks=Progress("plain", every=4), validate_every=3)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines] == [str(n) for n in range(4) for _ in range(3)]
    assert sum("step" in line and "valid_loss" in line for line in lines) == 4


@pytest.mark.parametrize("limits", [{"max_steps": 6}, {"max_steps": 4}, {"max_steps": 12}, {"limit_batches": 2}])
def test_the_bar_is_as_long_as_the_fit(
    limits: dict[str, int], blobs: tuple[Tensor, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    from fastprogress import fastprogress

    totals: list[int] = []

    class Bar(fastprogress.ConsoleMasterBar):  # type: ignore[misc]
        def __init__(self, epochs: Any) -> None:
            totals.append(len(epochs))
            super().__init__(epochs)

    monkeypatch.setattr(fastprogress, "master_bar", Bar)
    learn = linear_learner(blobs)
    learn.fit(3, callbacks=Progress("bar"), validate_every=1, **limits)
    assert totals == [len(learn.history)]


class Gone(io.StringIO):
    """A terminal that is closed after some writes."""

    def __init__(self, left: int, number: int) -> None:
        super().__init__()
        self.left, self.number = left, number

    def write(self, text: str) -> int:
        self.left -= 1
        if self.left < 0:
            raise OSError(self.number, os.strerror(self.number))
        return super().write(text)

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("display", ["bar", "plain", "auto"])
@pytest.mark.parametrize("left", [0, 1, 4, 9])
def test_a_fit_goes_on_without_the_terminal_that_showed_it(
    display: Any, left: int, blobs: tuple[Tensor, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", Gone(left, errno.EIO))
    learn = linear_learner(blobs)
    learn.fit(9, callbacks=Progress(display, every=1))
    assert len(learn.history) == 9


def test_a_full_disk_behind_the_output_is_an_error(blobs: tuple[Tensor, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", Gone(0, errno.ENOSPC))
    with pytest.raises(OSError, match="No space left"):
        linear_learner(blobs).fit(1, callbacks=Progress("plain"))


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_process_without_a_console_trains(
    stream: str, blobs: tuple[Tensor, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As under pythonw, of a service of Windows, or where output was closed: Python's streams are None there."""
    learn = linear_learner(blobs)
    monkeypatch.setattr(sys, stream, None)
    learn.fit(1, 0.1)
    assert len(learn.history) == 1
