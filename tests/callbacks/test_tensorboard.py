"""TensorBoard: what a fit writes, read back by TensorBoard's own reader."""

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import cross_entropy as loss_func

from learnkit import DataBunch, Learner, LearnkitWarning
from learnkit.callbacks.tensorboard import TensorBoard
from learnkit.errors import UsageError, WriteError
from tests.doubles import acting, linear_learner, raising, refused

accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")


def learner(blobs: tuple[Tensor, ...], model: nn.Module | None = None) -> Learner:
    torch.manual_seed(0)
    net = model or nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2))
    return Learner(DataBunch.from_tensors(*blobs, bs=16), net, metrics="accuracy", seed=0)


def read(folder: Path) -> Any:
    events = accumulator.EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0, "histograms": 0})
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
    assert sorted(rates) == sorted(losses)
    assert all(value == pytest.approx(learn.recorder.lrs[step - 1]) for step, value in rates.items())
    for column in ("train_loss", "valid_loss", "accuracy", "time"):
        written = events.Scalars(f"epoch/{column}")
        assert [event.step for event in written] == [0, 1, 2]
        assert [event.value for event in written] == pytest.approx(learn.history[column].tolist(), rel=1e-6)
    assert "epoch/epoch" not in events.Tags()["scalars"]
    assert events.Graph().node


def test_writing_does_not_change_the_model(blobs: tuple[Tensor, ...]) -> None:
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


def test_the_rate_of_each_layer_group_is_written(blobs: tuple[Tensor, ...]) -> None:
    learn = learner(blobs)
    learn.split([learn.model[:2], learn.model[2:]])
    learn.fit(1, [1e-4, 1e-2], callbacks=TensorBoard("logs", "run", graph=False))
    events = read(Path("logs/run"))
    groups = [tag for tag in events.Tags()["scalars"] if tag.startswith("batch/lr_")]
    rates = {group: events.Scalars(group)[0].value for group in sorted(groups)}
    assert list(rates) == ["batch/lr_0", "batch/lr_1"]
    assert list(rates.values()) == pytest.approx([1e-4, 1e-2])


@pytest.mark.parametrize("n_channels", [1, 2, 3, 4])
def test_images_are_the_first_inputs_of_each_epoch_stretched_to_the_whole_range(n_channels: int) -> None:
    x = torch.randn(16, n_channels, 8, 6) * torch.arange(1.0, 17).reshape(-1, 1, 1, 1)  # each with its own range
    y = torch.arange(16) % 2
    model = nn.Sequential(nn.Flatten(), nn.Linear(48 * n_channels, 2))
    learn = Learner(DataBunch.from_loaders([(x[:8], y[:8]), (x[8:], y[8:])], None), model, loss_func=loss_func, seed=0)
    learn.fit(2, callbacks=TensorBoard("logs", "run", images=3, graph=False))
    events = read(Path("logs/run"))
    shown = x[:3].numpy()
    low, high = (extreme((1, 2, 3), keepdims=True) for extreme in (shown.min, shown.max))
    shown = ((shown - low) / (high - low) * 255)[:, : 3 if n_channels >= 3 else 1]
    expected = np.broadcast_to(np.concatenate(list(shown), axis=2), (3, 8, 18))  # side by side
    written = events.Images("images")
    assert [event.step for event in written] == [0, 1]
    for event in written:
        pixels = np.asarray(Image.open(io.BytesIO(event.encoded_image_string)).convert("RGB"))
        np.testing.assert_allclose(pixels.transpose(2, 0, 1), expected, atol=1)


def test_an_image_of_one_color_and_inputs_that_are_not_images(blobs: tuple[Tensor, ...]) -> None:
    x, y = torch.full((4, 1, 2, 2), 7.0), torch.tensor([0, 1, 0, 1])
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    learn = Learner(DataBunch.from_loaders([(x, y)], None), model, loss_func=loss_func, seed=0)
    learn.fit(1, callbacks=TensorBoard("logs", "flat", images=1, graph=False))
    (event,) = read(Path("logs/flat")).Images("images")
    assert np.asarray(Image.open(io.BytesIO(event.encoded_image_string))).max() == 0
    learner(blobs).fit(1, callbacks=TensorBoard("logs", "vectors", images=1, graph=False))
    assert read(Path("logs/vectors")).Tags()["images"] == []


def test_histograms_are_those_of_the_parameters_after_each_epoch(blobs: tuple[Tensor, ...]) -> None:
    learn, weights = linear_learner(blobs), list[Tensor]()
    watch = acting(after_epoch=lambda state: weights.append(state.model.weight.detach().clone()))
    learn.fit(2, 1e-1, callbacks=[TensorBoard("logs", "run", histograms=True), watch])
    events = read(Path("logs/run"))
    assert events.Tags()["histograms"] == ["weight", "bias"]
    written = events.Histograms("weight")
    assert [event.step for event in written] == [0, 1]
    for event, weight in zip(written, weights, strict=True):
        found = event.histogram_value
        assert (found.num, found.min, found.max) == (4, weight.min().item(), weight.max().item())
        assert found.sum == pytest.approx(weight.sum().item())


def test_a_model_that_cannot_be_traced_is_a_warning(blobs: tuple[Tensor, ...]) -> None:
    class Odd(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            if torch.jit.is_tracing():
                raise RuntimeError("not like this")
            return super().forward(x)

    with pytest.warns(LearnkitWarning, match=r"its graph is not written \(not like this\)"):
        learner(blobs, Odd(2, 2)).fit(1, callbacks=TensorBoard())


def test_the_files_are_closed_after_an_error(blobs: tuple[Tensor, ...]) -> None:
    board = TensorBoard(graph=False)
    with pytest.raises(ZeroDivisionError):
        learner(blobs).fit(1, callbacks=[board, acting(after_step=raising(ZeroDivisionError()))])
    assert board._writer is None


@pytest.mark.parametrize("name", ["../../x", "a/b", "", "x" * 101, "a\0b", ".."])
def test_a_name_that_leads_elsewhere_is_refused(name: str) -> None:
    with refused("file name", got=name):
        TensorBoard(name=name)


@pytest.mark.parametrize(
    ("name", "value"), [("every_batches", 0), ("every_batches", 1.5), ("images", -1), ("images", True)]
)
def test_invalid_numbers_are_refused(name: str, value: Any) -> None:
    with refused(name, got=value):
        TensorBoard(**{name: value})


def test_without_the_package_the_error_says_how_to_install_it(
    blobs: tuple[Tensor, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UsageError, match=r'pip install "learnkit\[tensorboard\]"'):
        learner(blobs).fit(1, callbacks=TensorBoard())


def test_a_resumed_fit_shows_each_point_once(blobs: tuple[Tensor, ...]) -> None:
    learn, again = learner(blobs), learner(blobs)
    for each in (learn, again):
        each.fit(2, 1e-2)  # the epochs of the next fit begin at 2, its batches at 1
    crash = acting(after_epoch=raising(ZeroDivisionError(), epoch=1, batch=3), order=99)
    with pytest.raises(ZeroDivisionError):
        learn.fit(4, 1e-2, callbacks=[TensorBoard("logs", every_batches=1, graph=False), crash], checkpoint_every=3)
    board = TensorBoard("logs", every_batches=1, graph=False)
    again.fit(4, 1e-2, callbacks=board, resume="auto")
    assert board.folder == Path("logs/fit-000")
    events = read(board.folder)
    assert [event.step for event in events.Scalars("epoch/train_loss")] == [2, 3, 4, 5]
    assert [event.step for event in events.Scalars("batch/loss")] == list(range(1, 17))


def test_files_are_read_in_the_order_they_were_opened(blobs: tuple[Tensor, ...]) -> None:
    """Their names end in a count that is not a date: "10" comes before "9"."""
    learn, board = learner(blobs), TensorBoard("logs", "run", every_batches=1, graph=False)
    learn.fit(1, callbacks=board)
    (first,) = Path("logs/run").iterdir()
    learn.fit(1, callbacks=board)
    _, second = sorted(Path("logs/run").iterdir())
    assert first.name.split(".")[3] < second.name.split(".")[3]
    assert [event.step for event in read(Path("logs/run")).Scalars("batch/loss")] == list(range(1, 9))


def test_a_folder_that_cannot_be_written_is_named(blobs: tuple[Tensor, ...]) -> None:
    Path("file").touch()
    with pytest.raises(WriteError, match=r"TensorBoard: file/logs/run cannot be written \(Not a directory\)"):
        learner(blobs).fit(1, callbacks=TensorBoard("file/logs", "run"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["run", None])
def test_both_stages_of_a_call_are_one_run(name: str | None, blobs: tuple[Tensor, ...]) -> None:
    learn = learner(blobs)
    learn.split([learn.model[:2], learn.model[2:]])
    board = TensorBoard("logs", name, every_batches=1)
    learn.fine_tune(1, freeze_epochs=1, callbacks=board)
    assert [path.name for path in Path("logs").iterdir()] == [name or "fit-000"]
    events = read(Path("logs") / (name or "fit-000"))
    assert [event.step for event in events.Scalars("batch/loss")] == list(range(1, 9))
    assert [event.step for event in events.Scalars("epoch/valid_loss")] == [0, 1]


@pytest.mark.slow
def test_the_second_stage_of_a_killed_call_goes_on_in_the_run(blobs: tuple[Tensor, ...]) -> None:
    learn, again = learner(blobs), learner(blobs)
    for each in (learn, again):
        each.split([each.model[:2], each.model[2:]])
    crash = acting(before_batch=lambda state: state.continues_call and state.batch == 2 and 1 / 0, order=99)
    with pytest.raises(ZeroDivisionError):
        learn.fine_tune(
            1, freeze_epochs=1, callbacks=[TensorBoard("logs", every_batches=1, graph=False), crash],
            checkpoint_every=1,
        )  # fmt: skip
    board = TensorBoard("logs", every_batches=1, graph=False)
    again.fine_tune(1, freeze_epochs=1, callbacks=board, checkpoint_every=1, resume="auto")
    assert board.folder == Path("logs/fit-000")
    assert [event.step for event in read(board.folder).Scalars("batch/loss")] == list(range(1, 9))
