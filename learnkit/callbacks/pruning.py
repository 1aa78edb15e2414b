"""Pruning: report validations to an Optuna trial, and end the fit of one that is not worth finishing."""

from typing import TYPE_CHECKING, Any

from learnkit.callbacks.monitor import Mode, Monitor, MonitoringCallback
from learnkit.checks import check_kind, missing_extra
from learnkit.distributed.world import world
from learnkit.errors import UsageError
from learnkit.training.callback import Order
from learnkit.training.state import TrainState

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

__all__ = ["OptunaPruning"]


class OptunaPruning(MonitoringCallback):
    """Report the monitored result to an Optuna trial after each validation; a trial that is pruned ends the fit.

    `fit` then raises `optuna.TrialPruned`, as `study.optimize` expects, once the epoch is recorded and shown; the
    learner is left as by any error in a callback, and can be used. The steps of the trial are the validations of all
    fits with this callback, from 0: the epochs, unless `validate_every` says otherwise. A resumed fit goes on counting,
    and reports no step that the trial has.

    In several processes the first reports, and all are pruned together; the others may pass None as their trial.

    Args:
        trial: what `study.optimize` passes to the objective.
        monitor: "train_loss", "valid_loss" or a column of a metric.
        mode: "min" if lower is better, "max" if higher is; None for the direction of the metric, or of a name that
            says it (loss, error, mae, ...).

    Raises:
        UsageError: something else than a trial, or one of a study with several objectives; in a fit: an unknown
            monitor, or one whose better direction is not that of the study.
        TrialPruned: in a fit: of Optuna.
    """

    order = Order.REPORT + 5  # when the others have shown the epoch

    def __init__(self, trial: "BaseTrial | None", monitor: str = "valid_loss", *, mode: Mode = None) -> None:
        try:
            import optuna
        except ImportError as error:
            raise missing_extra("optuna", "tune") from error
        self._pruned = optuna.TrialPruned
        self.monitor: Monitor = Monitor(monitor, mode=mode)
        check_kind("trial", trial, optuna.trial.BaseTrial | None, "a trial, as study.optimize passes it")
        self.trial: Any = trial
        self._study: Any = getattr(trial, "study", None)  # a FixedTrial has none
        if self._study is not None and len(self._study.directions) > 1:
            n = len(self._study.directions)
            raise UsageError(
                f"trial: its study has {n} objectives, and Optuna prunes by one", fix="Leave OptunaPruning out."
            )
        self._n_reported = 0
        self._known: set[int] = set()

    def before_fit(self, state: TrainState) -> None:
        self.monitor.start(state)
        if self.trial is None and world.is_first:
            raise UsageError("trial", got=None, expected="a trial in the first process")
        if self._study is not None:
            self._check_direction()
            self._known = set(self._study.get_trials(deepcopy=False)[self.trial.number].intermediate_values)

    def _check_direction(self) -> None:
        own = "maximize" if self.monitor.beats(1, 0) else "minimize"
        if self._study.direction.name.lower() != own:
            raise UsageError(
                f"monitor {self.monitor.name!r}: the pruner would keep the worst trials",
                got=f"a study that {self._study.direction.name.lower()}s", expected=f"one that {own}s",
                fix=f"optuna.create_study(direction={own!r}), or monitor what the study is about.",
            )  # fmt: skip

    def _look(self, state: TrainState, value: float) -> None:
        is_pruned = False
        if self.trial is not None and world.is_first:
            if self._n_reported not in self._known:
                self.trial.report(value, self._n_reported)
            is_pruned = self.trial.should_prune()
        self._n_reported += 1
        if world.agreed(int(is_pruned)):
            raise self._pruned(f"pruned at step {self._n_reported - 1}: {self.monitor.name} is {value:.4g}")

    def state_dict(self) -> dict[str, Any]:
        return {"n_reported": self._n_reported}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        self._n_reported = saved["n_reported"]
