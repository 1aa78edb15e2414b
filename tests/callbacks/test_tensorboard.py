"""TensorBoard: what a fit writes, read back by TensorBoard's own reader."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from learnkit import Callback, DataBunch, Learner, LearnkitWarning
from learnkit.callbacks.tensorboard import TensorBoard
from learnkit.errors import UsageError

accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")


def learner(blobs: tuple[Tensor, ...], model: nn.Module | None = None) -> Learner:
    torch.manual_seed(0)
    net = model or nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2))
    return Learner(DataBunch.from_tensors(*blobs, bs=16), net, metrics="accuracy", seed=0)


def read(folder: Path) -> Any:
    events = accumulator.EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    return events


def test_losses_rates_and_rows_are_those_of_the_fit(blobs: tuple[Tensor, ...]) -> None:
    learn = learner(blobs)
    board = TensorBoard("logs", "run", every_batches=2)
    learn.fit_one_cycle(3, 1e-2, callbacks=board)
    assert board.folder == Path("logs/run")
    events = read(board.folder)
    losses = {event.step: event.value for event in events.Scalars("batch/loss")}
    assert sorted(losses) == [1, 2, 4, 6, 8, 10, 12]
    assert all(value == pytest.approx(learn.recorder.losses[step - 1]) for step, value in losses.items())
    rates = {event.step: event.value for event in events.Scalars("batch/lr_0")}
    assert all(value == pytest.approx(learn.recorder.lrs[step - 1]) for step, value in rates.items())
    for column in ("train_loss", "valid_loss", "accuracy"):
        written = [event.value for event in events.Scalars(f"epoch/{column}")]
        assert written == pytest.approx(learn.history[column].tolist(), rel=1e-6)
    assert events.Graph().node


def test_writing_leaves_no_trace_in_the_model(blobs: tuple[Tensor, ...]) -> None:
    with_board, without = learner(blobs), learner(blobs)
    with_board.fit(2, 1e-2, callbacks=TensorBoard(histograms=True))
    without.fit(2, 1e-2)
    pairs = zip(with_board.model.state_dict().values(), without.model.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_runs_without_a_name_are_numbered(blobs: tuple[Tensor, ...], tmp_path: Path) -> None:
    learn, board = learner(blobs), TensorBoard(tmp_path / "logs", graph=False)
    learn.fit(1, callbacks=board)
    learn.fit(1, callbacks=board)
    assert sorted(path.name for path in (tmp_path / "logs").iterdir()) == ["fit-000", "fit-001"]


def test_histograms_and_pictures(blobs: tuple[Tensor, ...]) -> None:
    pictures = torch.rand(16, 3, 8, 8)
    labels = torch.arange(16) % 2
    dls = DataBunch.from_tensors(pictures, labels, pictures, labels, bs=8)
    learn = Learner(dls, nn.Sequential(nn.Conv2d(3, 2, 8), nn.Flatten()), seed=0)
    board = TensorBoard(images=4, histograms=True)
    learn.fit(2, callbacks=board)
    assert board.folder is not None
    events = read(board.folder)
    assert len(events.Images("images")) == 2
    assert {"0.weight", "0.bias"} <= set(events.Tags()["histograms"])


def test_a_model_that_cannot_be_traced_is_told_of(blobs: tuple[Tensor, ...]) -> None:
    class Odd(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            if torch.jit.is_tracing():
                raise RuntimeError("not like this")
            return super().forward(x)

    with pytest.warns(LearnkitWarning, match=r"its graph is not written \(not like this\)"):
        learner(blobs, Odd(2, 2)).fit(1, callbacks=TensorBoard())


def test_the_files_are_closed_after_an_error(blobs: tuple[Tensor, ...]) -> None:
    class Boom(Callback):
        def after_step(self, state: Any) -> None:
            raise ZeroDivisionError

    board = TensorBoard(graph=False)
    with pytest.raises(ZeroDivisionError):
        learner(blobs).fit(1, callbacks=[board, Boom()])
    assert board._writer is None


@pytest.mark.parametrize("name", ["../../x", "a/b", "", "x" * 101, "a\0b", ".."])
def test_a_name_that_leads_elsewhere_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="file name"):
        TensorBoard(name=name)


def test_without_the_package_the_command_is_told(blobs: tuple[Tensor, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UsageError, match=r'pip install "learnkit\[tensorboard\]"'):
        learner(blobs).fit(1, callbacks=TensorBoard())


class CrashAfter(Callback):
    """Ends a fit as its second epoch is over."""

    order = 99

    def after_epoch(self, state: Any) -> None:
        if state.epoch == 1:
            raise ZeroDivisionError


def test_a_resumed_fit_shows_each_point_once(blobs: tuple[Tensor, ...]) -> None:
    learn, again = learner(blobs), learner(blobs)
    for each in (learn, again):
        each.fit(2, 1e-2)  # the epochs of the next fit begin at 2, its batches at 1
    with pytest.raises(ZeroDivisionError):
        learn.fit(
            4, 1e-2, callbacks=[TensorBoard("logs", every_batches=1, graph=False), CrashAfter()], checkpoint_every=3
        )
    board = TensorBoard("logs", every_batches=1, graph=False)
    again.fit(4, 1e-2, callbacks=board, resume="auto")
    assert board.folder == Path("logs/fit-000")
    events = read(board.folder)
    assert [event.step for event in events.Scalars("epoch/train_loss")] == [2, 3, 4, 5]
    assert [event.step for event in events.Scalars("batch/loss")] == list(range(1, 17))
