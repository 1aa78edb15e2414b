"""Saving: which weights are written, and which the model ends with."""

from pathlib import Path

import pytest
import torch
from torch import nn

from learnkit import Learner, LearnkitWarning
from learnkit.callbacks import CSVLogger, EarlyStopping, GradientAccumulation
from learnkit.callbacks.save_model import SaveModel
from learnkit.device import Compute
from learnkit.errors import NonFiniteLossError, UsageError, WrongTypeError
from learnkit.training.state import TrainState
from tests.callbacks.scripted import Scripted, epoch_of, run
from tests.doubles import Blobs, acting, linear_learner, raising, refused


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


class Tempered(nn.Module):
    """A loss with a parameter of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, preds: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(preds * self.scale, targets)


@pytest.mark.parametrize("with_opt", [True, False])
def test_the_parameters_of_the_loss_are_those_of_the_best_weights(with_opt: bool, blobs: Blobs) -> None:
    learn = linear_learner(blobs, loss_func=Tempered(), metrics="accuracy")
    scales: list[float] = []
    note = acting(after_epoch=lambda state: scales.append(state.loss_func.scale.item()), order=99)
    learn.fit(3, 0.1, callbacks=[SaveModel("accuracy", mode="max", with_opt=with_opt), note])
    best = int(learn.history["accuracy"].argmax())
    assert best < 2
    assert len(set(scales)) == 3
    assert learn.loss_func.scale.item() == scales[best]  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["/tmp/best", "../best", "a/{epoch}"])
def test_a_name_that_leads_elsewhere_is_refused(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        SaveModel(name=name)
    assert "absolute" not in str(caught.value)


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
    assert first.state_dict()["files"] == []
    run(Scripted([3, 1]), first, folder=tmp_path)
    saved = first.state_dict()
    assert saved == {"best": 1, "files": [(1, "bestmodel.pth")], "written": [], "last_step": 0}
    resume = acting(before_fit=lambda state: again.load_state_dict(saved), order=99)
    state = run(Scripted([2, 2, 2]), again, resume, folder=tmp_path)  # not better than 1
    assert epoch_of(state.model.weight) == [1]


def test_invalid_arguments_are_refused() -> None:
    for every in ("batch", 0, -1, 1.5, "5", "2 epochs", None):
        expected = "'improvement', 'epoch', a number of steps (500), or a time such as '10min'"
        with refused("every", got=every, expected=expected):
            SaveModel(every=every)  # type: ignore[arg-type]
    for name in ("../best", "", "a/b"):
        with refused("file name", got=name):
            SaveModel(name=name)
    for name in ("{", "{}", "{epoch", "../{epoch}", "{epoch}/{step}", "{epoch:q}", "{epoch.real}", "{valid_loss:,.2f}"):
        with refused("name", got=name):
            SaveModel(name=name)
    with refused("top_k"):
        SaveModel(top_k=0)
    with refused("top_k", got=2):
        SaveModel(every="epoch", top_k=2)
    with refused("last", WrongTypeError):
        SaveModel(last="yes")  # type: ignore[arg-type]


def files(folder: Path) -> dict[str, list[float]]:
    """The epoch whose weights each file holds."""
    return {path.name: saved_epoch(path) for path in sorted(folder.iterdir())}


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("best", "best.pth"),
        ("best.pt", "best.pt"),
        ("best.pth", "best.pth"),
        ("best.v2", "best.v2.pth"),
        ("{epoch}", "1.pth"),
        ("{epoch:03d}-{scripted:.3f}.pt", "001-1.000.pt"),
        ("at-{step}", "at-2.pth"),
    ],
)
def test_the_best_weights_are_in_the_file_of_that_name(name: str, file: str, tmp_path: Path) -> None:
    state = run(Scripted([3, 1, 2]), SaveModel("scripted", name=name), folder=tmp_path)
    assert files(tmp_path) == {file: [1]}
    assert epoch_of(state.model.weight) == [1]


def test_a_file_of_this_name_can_be_loaded_by_it(blobs: Blobs) -> None:
    learn = linear_learner(blobs)
    learn.fit(2, callbacks=SaveModel(name="best.pt"))
    best = learn.model.weight.clone()  # type: ignore[operator]
    learn.fit(1, 1.0)
    learn.load("best.pt")
    assert torch.equal(learn.model.weight, best)  # type: ignore[arg-type]


def test_a_pattern_of_unknown_columns_is_refused_before_anything_runs() -> None:
    metric = Scripted([1])
    with refused("name", expected="a pattern of epoch, scripted, step, train_loss, valid_loss"):
        run(metric, SaveModel("scripted", name="{epoch}-{acc:.2f}"))
    assert metric.n == -1


@pytest.mark.parametrize(
    ("values", "higher", "top_k", "kept"),
    [
        ([3, 1, 2, 5, 0], False, 1, [4]),
        ([3, 1, 2, 5, 0], False, 2, [1, 4]),
        ([3, 1, 2, 5, 0], False, 3, [1, 2, 4]),
        ([3, 1, 2, 5, 0], True, 2, [0, 3]),
        ([1, 1, 1], False, 2, [0, 1]),  # of equal ones the first
        ([float("nan"), 2, float("nan"), 1], False, 3, [1, 3]),
        ([3, 1], False, 9, [0, 1]),
    ],
)
def test_the_files_of_the_best_results_are_kept(
    values: list[float], higher: bool, top_k: int, kept: list[int], tmp_path: Path
) -> None:
    state = run(Scripted(values, higher), SaveModel("scripted", name="{epoch}", top_k=top_k), folder=tmp_path)
    assert files(tmp_path) == {f"{epoch}.pth": [epoch] for epoch in kept}
    finite = [value for value in values if value == value]
    best = values.index(max(finite) if higher else min(finite))
    assert epoch_of(state.model.weight) == [best]


def test_several_files_of_one_name_are_numbered_by_epoch(tmp_path: Path) -> None:
    run(Scripted([3, 2, 1]), SaveModel("scripted", name="best.pt", top_k=2), folder=tmp_path)
    assert files(tmp_path) == {"best_1.pt": [1], "best_2.pt": [2]}


def test_top_k_of_equal_names_lose_nothing(tmp_path: Path) -> None:
    state = run(Scripted([1.04, 1.01, 1.02]), SaveModel("scripted", name="{scripted:.1f}", top_k=2), folder=tmp_path)
    assert files(tmp_path) == {"1.0_1.pth": [1], "1.0_2.pth": [2]}
    assert epoch_of(state.model.weight) == [1]
    run(Scripted([1.04, 1.01]), SaveModel("scripted", "epoch", "{scripted:.1f}"), folder=tmp_path / "each")
    assert files(tmp_path / "each") == {"1.0.pth": [0], "1.0_1.pth": [1]}


def test_the_last_weights_are_saved_too(tmp_path: Path) -> None:
    run(Scripted([1, 2, 3]), SaveModel("scripted", last=True), folder=tmp_path)
    assert files(tmp_path) == {"bestmodel.pth": [0], "bestmodel_last.pth": [2]}
    run(Scripted([1, 2]), SaveModel("scripted", name="{epoch}.pt", last=True), folder=tmp_path / "other")
    assert files(tmp_path / "other") == {"0.pt": [0], "last.pth": [1]}


def test_weights_are_saved_every_few_steps(blobs: Blobs) -> None:
    learn = linear_learner(blobs)  # 4 steps per epoch
    weights: dict[int, torch.Tensor] = {}
    spy = acting(after_batch=lambda state: weights.update({state.step: state.model.weight.detach().clone()}))
    learn.fit(2, callbacks=[spy, SaveModel(every=3, name="at.pt")])
    folder = learn.path / learn.model_dir
    assert sorted(path.name for path in folder.iterdir()) == ["at_step3.pt", "at_step6.pt"]
    assert torch.equal(torch.load(folder / "at_step6.pt", weights_only=True)["weight"], weights[6])
    assert torch.equal(learn.model.weight, weights[8])  # type: ignore[arg-type]  # the last weights stay


def test_weights_are_saved_at_intervals_of_time(blobs: Blobs) -> None:
    learn = linear_learner(blobs)
    learn.fit(1, callbacks=SaveModel(every="0.000001s", name="{step}"))
    assert sorted(path.name for path in (learn.path / learn.model_dir).iterdir()) == [f"{n}.pth" for n in (1, 2, 3, 4)]
    learn.fit(1, callbacks=SaveModel(every="1h", name="never"))
    assert not (learn.path / learn.model_dir / "never_step1.pth").exists()


def test_weights_are_not_saved_before_the_first_step(blobs: Blobs) -> None:
    learn = linear_learner(blobs)  # two batches of 16 a step
    learn.fit(1, callbacks=[GradientAccumulation(32), SaveModel(every="0.000001s", name="{step}")])
    assert sorted(path.name for path in (learn.path / learn.model_dir).iterdir()) == ["1.pth", "2.pth"]


def test_steps_are_counted_from_the_last_file_after_an_interruption_too(blobs: Blobs) -> None:
    def script(learn: Learner, crash_in: int) -> Path:
        crash = acting(after_batch=raising(ZeroDivisionError(), epoch=crash_in), order=99)
        learn.fit(2, callbacks=[SaveModel(every=3, name="{step}"), crash], checkpoint_every=1, resume="auto")
        return learn.path / learn.model_dir

    with pytest.raises(ZeroDivisionError):
        script(linear_learner(blobs), crash_in=1)  # after step 5, before its checkpoint
    folder = script(linear_learner(blobs), crash_in=9)
    assert sorted(path.name for path in folder.glob("*.pth")) == ["3.pth", "6.pth"]


def test_every_epoch_needs_no_validation_set(tmp_path: Path) -> None:
    no_valid = acting(label="NoValid", before_fit=lambda state: setattr(state, "valid_dl", None), order=1)
    run(Scripted([1, 2]), no_valid, SaveModel(every="epoch"), folder=tmp_path)
    assert list(files(tmp_path)) == ["bestmodel_0.pth", "bestmodel_1.pth"]
    with refused("monitor", got="valid_loss", expected="one of train_loss"):
        run(Scripted([1, 2]), no_valid, SaveModel(), folder=tmp_path)
    with refused("monitor", got="acuracy"):
        run(Scripted([1, 2]), SaveModel("acuracy", every="epoch"), folder=tmp_path)


def test_numbers_of_epochs_go_on_from_fit_to_fit(blobs: Blobs) -> None:
    learn = linear_learner(blobs)
    for _ in range(2):
        learn.fit(2, callbacks=SaveModel(every="epoch", name="at"))
    names = sorted(path.name for path in (learn.path / learn.model_dir).iterdir())
    assert names == [f"at_{number:.0f}.pth" for number in learn.history["epoch"]] == [f"at_{n}.pth" for n in range(4)]


def test_the_best_is_kept_over_fits_if_asked(tmp_path: Path) -> None:
    save = SaveModel("scripted", keep_best=True)
    run(Scripted([2, 1]), save, folder=tmp_path)
    state = run(Scripted([5, 4, 3]), save, folder=tmp_path)
    assert epoch_of(state.model.weight) == [1]  # of the first fit
    state = run(Scripted([5, 4, 0]), save, folder=tmp_path)
    assert epoch_of(state.model.weight) == [2]


@pytest.mark.parametrize(("first", "second", "kept"), [([1.0], [3, 2], 0), ([3.0], [2, 1], 1), ([3.0], [1, 2], 0)])
def test_both_stages_of_fine_tune_have_one_best(
    first: list[float], second: list[float], kept: int, blobs: Blobs
) -> None:
    model = nn.Sequential(nn.Linear(2, 4), nn.Linear(4, 2))
    metric = Scripted([*first, *second])
    learn = linear_learner(blobs, model, groups=list(model), metrics=metric)
    weights: list[torch.Tensor] = []
    spy = acting(after_epoch=lambda state: weights.append(state.model[1].weight.detach().clone()))
    learn.fine_tune(2, freeze_epochs=1, callbacks=[spy, SaveModel("scripted"), CSVLogger()])
    values = [*first, *second]
    assert torch.equal(model[1].weight, weights[values.index(min(values))])
    table = (learn.path / learn.model_dir / "history.csv").read_text().splitlines()
    assert len(table) == 1 + len(values)  # the second stage goes on in the file of the first
    learn.fit(2, callbacks=SaveModel("scripted"))  # another call starts anew


def test_weights_that_a_nan_has_spoiled_are_not_saved_before_it_is_read(
    blobs: Blobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Compute, "sync_is_free", property(lambda self: False))

    def overflow(state: TrainState) -> None:
        if state.batch == 1:
            state.model.weight.grad.fill_(float("inf"))  # type: ignore[operator, union-attr]

    learn = linear_learner(blobs, path=tmp_path)
    callbacks = [acting(after_backward=overflow), SaveModel(every=1, name="{step}")]
    with pytest.raises(NonFiniteLossError), pytest.warns(LearnkitWarning, match="the weights are nan or infinite"):
        learn.fit(1, 0.1, callbacks=callbacks)
    assert [file.name for file in (tmp_path / "models").iterdir()] == ["1.pth"]
