"""Early stopping and saving: what counts as better, and what is done about it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from learnkit import LearnkitWarning
from learnkit.callbacks import Callback, EarlyStopping, Recorder, SaveModel
from learnkit.errors import UsageError
from learnkit.training.callback import CallbackList
from learnkit.training.loop import fit
from learnkit.training.state import TrainState


class Scripted:
    """A metric that gives these values, epoch by epoch."""

    def __init__(self, values: list[float], higher_is_better: bool | None = False, name: str = "scripted") -> None:
        self.values, self.higher_is_better, self.name = list(values), higher_is_better, name
        self.n = -1

    def reset(self) -> None:
        self.n += 1

    def update(self, preds: Any, targets: Any) -> None: ...

    def compute(self) -> float:
        return self.values[self.n]


class Writes(Callback):
    """Makes the weights tell the epoch they are of."""

    def before_epoch(self, state: TrainState) -> None:
        with torch.no_grad():
            state.model.weight.fill_(state.epoch)  # type: ignore[operator]


def run(metric: Scripted, *callbacks: Callback, folder: Path | None = None, n_epochs: int | None = None) -> TrainState:
    model = nn.Linear(2, 2)
    optimizer = torch.optim.SGD([{"params": list(model.parameters()), "layer_group": 0}], 1e-30)
    data = [(torch.ones(2, 2), torch.tensor([0, 1]))]
    state = TrainState(
        model=model,
        optimizer=optimizer,
        loss_func=nn.CrossEntropyLoss(),
        train_dl=data,
        valid_dl=data,
        metrics=[metric],
        n_epochs=n_epochs or len(metric.values),
        folder=folder or Path(),
    )
    fit(state, CallbackList([Recorder(), Writes(), *callbacks]))
    return state


@pytest.mark.parametrize(
    ("values", "patience", "min_delta", "n_run"),
    [
        ([3, 2, 2.1, 0, 0], 1, 0.0, 3),
        ([3, 2, 2.1, 2.2, 0], 2, 0.0, 4),
        ([3, 2.7, 2, 1, 0], 1, 0.5, 2),
        ([3, 2, 2.1, 1.9, 1.8], 2, 0.0, 5),
        ([3, 3, 0, 0, 0], 1, 0.0, 2),
        ([3, float("nan"), 0, 0, 0], 1, 0.0, 2),
        ([5, 4, 3, 2, 1], 1, 0.0, 5),
    ],
)
def test_a_fit_stops_after_patience_epochs_without_improvement(
    values: list[float], patience: int, min_delta: float, n_run: int
) -> None:
    state = run(Scripted(values), EarlyStopping("scripted", min_delta, patience))
    assert state.epoch + 1 == n_run
    assert ("scripted has not improved" in state.stop_reason) == (n_run < len(values))


@pytest.mark.parametrize(
    ("name", "higher_is_better", "n_run"),
    [("scripted", True, 2), ("scripted", False, 5), ("my_loss", None, 5), ("my_error", None, 5), ("score", None, 2)],
)
def test_which_way_is_better_comes_from_the_metric(name: str, higher_is_better: bool | None, n_run: int) -> None:
    state = run(Scripted([5, 4, 3, 2, 1], higher_is_better, name), EarlyStopping(name))
    assert state.epoch + 1 == n_run


def test_waiting_starts_anew_in_every_fit() -> None:
    stop = EarlyStopping("scripted", patience=2)
    assert run(Scripted([1, 2, 2, 2]), stop).epoch + 1 == 3
    assert run(Scripted([9, 8, 7, 6]), stop).epoch + 1 == 4


@pytest.mark.parametrize("callback", [EarlyStopping("acuracy"), SaveModel("acuracy")])
def test_an_unknown_name_is_refused_before_anything_runs(callback: Callback) -> None:
    metric = Scripted([1], name="accuracy")
    with pytest.raises(UsageError, match=r"monitor: got 'acuracy', expected one of accuracy, .*train_loss.*valid_loss"):
        run(metric, callback)
    assert metric.n == -1


def test_arguments_that_cannot_work_are_refused() -> None:
    with pytest.raises(UsageError, match="patience: got 0"):
        EarlyStopping(patience=0)
    with pytest.raises(UsageError, match="min_delta: got -1"):
        EarlyStopping(min_delta=-1)
    with pytest.raises(UsageError, match="every: got 'batch'"):
        SaveModel(every="batch")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="file name: got"):
        SaveModel(name="../best")


def test_the_fit_ends_with_the_best_weights(tmp_path: Path) -> None:
    state = run(Scripted([3, 1, 2]), SaveModel("scripted"), folder=tmp_path / "models")
    assert state.model.weight.round().unique().tolist() == [1.0]  # type: ignore[operator]
    saved = torch.load(tmp_path / "models" / "bestmodel.pth", weights_only=True)
    assert saved["weight"].round().unique().tolist() == [1.0]
    assert [p.name for p in (tmp_path / "models").iterdir()] == ["bestmodel.pth"]


def test_the_best_weights_are_back_after_a_stop_and_after_ctrl_c(tmp_path: Path) -> None:
    class CtrlC(Callback):
        def before_validate(self, state: TrainState) -> None:
            if state.epoch == 2:
                self.model = state.model
                raise KeyboardInterrupt

    stopped = run(Scripted([1, 2, 3]), SaveModel("scripted"), EarlyStopping("scripted"), folder=tmp_path)
    assert stopped.model.weight.round().unique().tolist() == [0.0]  # type: ignore[operator]
    interrupt = CtrlC()
    with pytest.raises(KeyboardInterrupt):
        run(Scripted([3, 1, 2]), SaveModel("scripted"), interrupt, folder=tmp_path)
    assert interrupt.model.weight.round().unique().tolist() == [1.0]  # type: ignore[operator]


def test_a_file_of_an_earlier_run_is_never_taken_for_this_ones(tmp_path: Path) -> None:
    run(Scripted([1, 1]), SaveModel("scripted"), folder=tmp_path)
    with pytest.warns(LearnkitWarning, match="scripted never improved"):
        state = run(Scripted([float("nan")] * 3), SaveModel("scripted"), folder=tmp_path)
    assert state.model.weight.round().unique().tolist() == [2.0]  # type: ignore[operator]


def test_every_epoch_has_a_file_of_its_own_and_the_last_weights_stay(tmp_path: Path) -> None:
    state = run(Scripted([1, 2, 3]), SaveModel("scripted", every="epoch", name="at"), folder=tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["at_0.pth", "at_1.pth", "at_2.pth"]
    assert torch.load(tmp_path / "at_1.pth", weights_only=True)["weight"].round().unique().tolist() == [1.0]
    assert state.model.weight.round().unique().tolist() == [2.0]  # type: ignore[operator]


def test_the_optimizer_is_saved_on_request(tmp_path: Path) -> None:
    run(Scripted([1]), SaveModel("scripted", with_opt=True), folder=tmp_path)
    assert set(torch.load(tmp_path / "bestmodel.pth", weights_only=True)) == {"model", "opt"}
