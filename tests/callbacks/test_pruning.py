"""Pruning: what a trial of Optuna is told, and how its fit ends."""

import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from learnkit import Learner, LearnkitError
from learnkit.callbacks import OptunaPruning
from learnkit.errors import UsageError, WrongTypeError
from tests.distributed.launching import run
from tests.doubles import acting, linear_learner, raising, refused

optuna = pytest.importorskip("optuna")
optuna.logging.set_verbosity(optuna.logging.WARNING)


class PrunesAt(optuna.pruners.BasePruner):  # type: ignore[misc]
    """Prunes a trial at this step."""

    def __init__(self, step: int = 99) -> None:
        self.step = step

    def prune(self, study: Any, trial: Any) -> bool:
        return bool(trial.last_step is not None and trial.last_step >= self.step)


def asked(step: int = 99, direction: str = "minimize") -> Any:
    """A trial of a new study."""
    return optuna.create_study(direction=direction, pruner=PrunesAt(step)).ask()


def reported(trial: Any) -> dict[int, float]:
    return dict(trial.study.trials[trial.number].intermediate_values)


def test_every_epoch_is_reported(blobs: tuple[Tensor, ...]) -> None:
    learn, trial = linear_learner(blobs), asked()
    learn.fit(3, 1e-2, callbacks=OptunaPruning(trial))
    assert reported(trial) == dict(enumerate(learn.history["valid_loss"]))


def test_a_pruned_trial_ends_the_fit_and_the_learner_can_be_used(blobs: tuple[Tensor, ...]) -> None:
    learn, trial, rows = linear_learner(blobs, metrics="accuracy"), asked(1, "maximize"), list[Any]()
    shown = acting(after_epoch=lambda state: rows.append(dict(state.row)), order=90)
    before = torch.get_rng_state()
    with pytest.raises(optuna.TrialPruned, match="pruned at step 1: accuracy is 0"):
        learn.fit(5, 1e-2, callbacks=[OptunaPruning(trial, "accuracy"), shown])
    assert torch.equal(torch.get_rng_state(), before)
    assert list(reported(trial)) == [0, 1]
    assert rows == learn.recorder.rows
    assert len(rows) == 2
    learn.fit(1, 1e-2)
    assert len(learn.history) == 3


def test_a_study_prunes_what_is_worse_than_the_others(blobs: tuple[Tensor, ...]) -> None:
    def objective(trial: Any) -> float:
        lr = trial.suggest_categorical("lr", [1e-1, 1e-6])
        learn = linear_learner(blobs)
        learn.fit(4, lr, callbacks=OptunaPruning(trial))
        return float(learn.history["valid_loss"].iloc[-1])

    study = optuna.create_study(
        sampler=optuna.samplers.GridSampler({"lr": [1e-1, 1e-6]}, seed=0),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=1, n_warmup_steps=1),
    )
    study.enqueue_trial({"lr": 1e-1})
    study.optimize(objective, n_trials=3)
    states = {trial.params["lr"]: trial.state.name for trial in study.trials}
    assert states == {1e-1: "COMPLETE", 1e-6: "PRUNED"}
    assert study.best_params == {"lr": 1e-1}


def test_the_steps_go_on_in_the_second_fit_of_a_call_and_within_epochs(blobs: tuple[Tensor, ...]) -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    trial = asked()
    linear_learner(blobs, model, groups=[model[0], model[1]]).fine_tune(
        2, callbacks=OptunaPruning(trial), freeze_epochs=1
    )
    assert list(reported(trial)) == [0, 1, 2]
    trial = asked()
    linear_learner(blobs).fit(2, callbacks=OptunaPruning(trial), validate_every=2)  # of 4 steps an epoch
    assert list(reported(trial)) == [0, 1, 2, 3]


def test_a_resumed_fit_reports_no_step_twice(blobs: tuple[Tensor, ...]) -> None:
    whole, trial = asked(), asked()
    linear_learner(blobs).fit(3, 1e-2, callbacks=OptunaPruning(whole))
    crash = acting(before_batch=raising(ZeroDivisionError(), epoch=1, batch=2), order=99)
    with pytest.raises(ZeroDivisionError):
        linear_learner(blobs).fit(3, 1e-2, callbacks=[OptunaPruning(trial), crash], checkpoint_every=1)
    linear_learner(blobs).fit(3, 1e-2, callbacks=OptunaPruning(trial), resume="auto")  # a second report warns
    assert reported(trial) == reported(whole)


def test_a_fit_that_goes_on_from_before_what_was_reported_reports_only_the_rest(blobs: tuple[Tensor, ...]) -> None:
    trial = asked()
    crash = acting(after_epoch=raising(ZeroDivisionError(), epoch=0, batch=3), order=99)
    with pytest.raises(ZeroDivisionError):
        linear_learner(blobs).fit(2, 1e-2, callbacks=[OptunaPruning(trial), crash], checkpoint_every=3)
    assert list(reported(trial)) == [0]  # and the checkpoint is older
    linear_learner(blobs).fit(2, 1e-2, callbacks=OptunaPruning(trial), resume="auto")
    assert list(reported(trial)) == [0, 1]


def test_a_misspelt_monitor_and_the_wrong_direction_are_refused_before_training(blobs: tuple[Tensor, ...]) -> None:
    learn = linear_learner(blobs, metrics="accuracy")
    for monitor, direction, what in (
        ("valid_los", "minimize", "monitor"),
        ("accuracy", "minimize", "monitor 'accuracy': the pruner would keep the worst trials"),
        ("valid_loss", "maximize", "monitor 'valid_loss': the pruner would keep the worst trials"),
    ):
        trial = asked(direction=direction)
        with refused(what):
            learn.fit(1, callbacks=OptunaPruning(trial, monitor))
        assert reported(trial) == {}
    assert learn.epoch == 0


def test_several_objectives_and_what_is_no_trial_are_refused(blobs: tuple[Tensor, ...]) -> None:
    study = optuna.create_study(directions=["minimize", "maximize"])
    with refused("trial: its study has 2 objectives, and Optuna prunes by one"):
        OptunaPruning(study.ask())
    with refused("trial", WrongTypeError, got=study, expected="a trial, as study.optimize passes it"):
        OptunaPruning(study)
    with refused("trial", got=None, expected="a trial in the first process"):
        linear_learner(blobs).fit(1, callbacks=OptunaPruning(None))


def test_a_trial_of_fixed_parameters_is_never_pruned(blobs: tuple[Tensor, ...]) -> None:
    learn: Learner = linear_learner(blobs)
    learn.fit(2, callbacks=OptunaPruning(optuna.trial.FixedTrial({})))
    assert len(learn.history) == 2


def test_without_the_package_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UsageError, match=r'pip install "learnkit\[tune\]"') as caught:
        OptunaPruning(None)
    assert isinstance(caught.value, LearnkitError)


TWO_PROCESSES = """
import optuna, torch
from torch import nn
from learnkit import DataBunch, Learner
from learnkit.callbacks import OptunaPruning
from learnkit.distributed import world

class Second(optuna.pruners.BasePruner):
    def prune(self, study, trial):
        return trial.last_step >= 1

x = torch.randn(32, 2, generator=torch.Generator().manual_seed(0))
y = (x[:, 0] > 0).long()
learn = Learner(DataBunch.from_tensors(x, y, x, y, bs=16), nn.Linear(2, 2), seed=0)
trial = None if world.rank else optuna.create_study(pruner=Second()).ask()
try:
    learn.fit(5, 1e-2, callbacks=OptunaPruning(trial))
except optuna.TrialPruned:
    pass
assert len(learn.history) == 2, learn.history
if trial is not None:
    assert list(trial.study.trials[0].intermediate_values) == [0, 1]
learn.fit(1, 1e-2)
assert len(learn.history) == 3
"""


@pytest.mark.slow
def test_in_two_processes_the_first_reports_and_both_end() -> None:
    run(2, "-c", TWO_PROCESSES, timeout=120)
