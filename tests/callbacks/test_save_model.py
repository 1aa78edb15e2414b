"""Saving: which weights are written, and which the model ends with."""

from pathlib import Path

import pytest
import torch

from learnkit import LearnkitWarning
from learnkit.callbacks import EarlyStopping
from learnkit.callbacks.save_model import SaveModel
from learnkit.training.state import TrainState
from tests.callbacks.scripted import Scripted, epoch_of, run
from tests.doubles import acting, raising, refused


def saved_epoch(file: Path) -> list[float]:
    return epoch_of(torch.load(file, weights_only=True)["weight"])


def test_the_fit_ends_with_the_best_weights(tmp_path: Path) -> None:
    state = run(Scripted([3, 1, 2]), SaveModel("scripted"), folder=tmp_path / "models")
    assert epoch_of(state.model.weight) == [1]
    assert saved_epoch(tmp_path / "models" / "bestmodel.pth") == [1]
    assert [p.name for p in (tmp_path / "models").iterdir()] == ["bestmodel.pth"]


def test_the_best_weights_are_loaded_after_a_stop_and_after_ctrl_c(tmp_path: Path) -> None:
    stopped = run(Scripted([1, 2, 3]), SaveModel("scripted"), EarlyStopping("scripted"), folder=tmp_path)
    assert epoch_of(stopped.model.weight) == [0]
    states: list[TrainState] = []
    ctrl_c = acting(before_fit=states.append, before_validate=raising(KeyboardInterrupt(), epoch=2))
    with pytest.raises(KeyboardInterrupt):
        run(Scripted([3, 1, 2]), SaveModel("scripted"), ctrl_c, folder=tmp_path)
    assert epoch_of(states[0].model.weight) == [1]


def test_a_file_of_an_earlier_run_is_not_loaded(tmp_path: Path) -> None:
    run(Scripted([1, 1]), SaveModel("scripted"), folder=tmp_path)
    with pytest.warns(LearnkitWarning, match="scripted never improved: nothing was saved as 'bestmodel'"):
        state = run(Scripted([float("nan")] * 3), SaveModel("scripted"), folder=tmp_path)
    assert epoch_of(state.model.weight) == [2]


def test_the_same_callback_saves_again_in_the_next_fit(tmp_path: Path) -> None:
    save = SaveModel("scripted")
    run(Scripted([1, 2]), save, folder=tmp_path / "one")
    with pytest.warns(LearnkitWarning, match="never improved"):  # not the file of the first fit
        state = run(Scripted([float("nan")] * 3), save, folder=tmp_path / "two")
    assert epoch_of(state.model.weight) == [2]


def test_every_epoch_has_a_file_and_the_last_weights_stay(tmp_path: Path) -> None:
    state = run(Scripted([1, 2, 3]), SaveModel("scripted", every="epoch", name="at"), folder=tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["at_0.pth", "at_1.pth", "at_2.pth"]
    assert saved_epoch(tmp_path / "at_1.pth") == [1]
    assert epoch_of(state.model.weight) == [2]


def test_the_optimizer_is_saved_on_request(tmp_path: Path) -> None:
    run(Scripted([1]), SaveModel("scripted", with_opt=True), folder=tmp_path)
    assert set(torch.load(tmp_path / "bestmodel.pth", weights_only=True)) == {"model", "opt"}


def test_a_file_that_cannot_be_written_is_a_warning_and_training_continues(tmp_path: Path) -> None:
    (tmp_path / "bestmodel.pth").mkdir()  # a folder in its place
    with pytest.warns(LearnkitWarning, match=r"SaveModel\('bestmodel'\): .* nothing has been saved yet") as warned:
        state = run(Scripted([2, 1, 3]), SaveModel("scripted"), folder=tmp_path)
    assert len(warned) == 2  # once per improvement, and none that it never improved
    assert (state.epoch, epoch_of(state.model.weight)) == (2, [2])


def test_after_a_failed_write_the_last_saved_weights_are_loaded(tmp_path: Path) -> None:
    def block(state: TrainState) -> None:
        if state.epoch == 1:
            (tmp_path / "bestmodel.pth").rename(tmp_path / "saved")
            (tmp_path / "bestmodel.pth").mkdir()
        if state.epoch == 2:
            (tmp_path / "bestmodel.pth").rmdir()
            (tmp_path / "saved").rename(tmp_path / "bestmodel.pth")

    with pytest.warns(LearnkitWarning, match="the last saved file is unchanged"):
        state = run(Scripted([3, 2, 4]), SaveModel("scripted"), acting(before_epoch=block), folder=tmp_path)
    assert epoch_of(state.model.weight) == [0]


def test_a_resumed_fit_knows_the_best_value_and_whether_there_is_a_file(tmp_path: Path) -> None:
    first, again = SaveModel("scripted"), SaveModel("scripted")
    assert first.state_dict()["has_written"] is False
    run(Scripted([3, 1]), first, folder=tmp_path)
    saved = first.state_dict()
    assert saved == {"best": 1, "has_written": True}
    resume = acting(before_fit=lambda state: again.load_state_dict(saved), order=99)
    state = run(Scripted([2, 2, 2]), again, resume, folder=tmp_path)  # not better than 1
    assert epoch_of(state.model.weight) == [1]


def test_invalid_arguments_are_refused() -> None:
    with refused("every", got="batch", expected="'improvement' or 'epoch'"):
        SaveModel(every="batch")  # type: ignore[arg-type]
    with refused("file name", got="../best"):
        SaveModel(name="../best")
