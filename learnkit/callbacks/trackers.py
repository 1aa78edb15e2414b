"""Experiment trackers: log the row of each epoch to Weights & Biases, MLflow or Trackio."""

from abc import ABC, abstractmethod
from typing import Any

from learnkit.checks import missing_extra
from learnkit.optim.groups import head_rate
from learnkit.training.callback import Callback, Order
from learnkit.training.state import TrainState

__all__ = ["MLflow", "Trackio", "WandB"]


class _Tracker(Callback, ABC):
    """Opens a run for a fit, unless one is active, and goes on in it in later fits and in a resumed one."""

    order = Order.REPORT
    is_for_one = True

    def __init__(self) -> None:
        self.run: Any = None
        self._id: str | None = None  # of the run that was opened here
        self._owns_run = False
        self._settings: dict[str, Any] = {}

    def before_fit(self, state: TrainState) -> None:
        self._import()
        self._owns_run, self._settings = self._active() is None, _settings(state)
        if not state.resumed or not self._owns_run:  # a resumed fit continues its own run
            self._begin()

    def _begin(self) -> None:
        if self._owns_run:
            self._id = self._start()
        self.run = self._active()
        self._add({name: value for name, value in self._settings.items() if name not in self._known()})

    def after_epoch(self, state: TrainState) -> None:
        if self.run is None:
            self._begin()
        self._log(state.row)

    def state_dict(self) -> dict[str, Any]:
        return {} if self._id is None else {"id": self._id}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        self._id = saved["id"]
        if self._owns_run:
            self._begin()

    def after_fit(self, state: TrainState) -> None:
        if self._owns_run and self.run is not None:
            self._finish()
        self.run, self._owns_run = None, False

    @abstractmethod
    def _import(self) -> None:
        """Import the package."""

    @abstractmethod
    def _active(self) -> Any:
        """The run that is active; None if none is."""

    @abstractmethod
    def _start(self) -> str:
        """Start the run named by `_id`, or a new one; returns what names it."""

    @abstractmethod
    def _known(self) -> Any:
        """The settings that the run has."""

    @abstractmethod
    def _add(self, settings: dict[str, Any]) -> None:
        """Add settings to those of the run."""

    @abstractmethod
    def _log(self, row: dict[str, float]) -> None:
        """Log the row of an epoch."""

    @abstractmethod
    def _finish(self) -> None:
        """End the run that was opened here."""


class WandB(_Tracker):
    """Log the row of each epoch to Weights & Biases; an active run is used and stays open.

    The settings of the fit are added to the run's config; what is there already is kept. Later fits with the same
    object, such as the second stage of `fine_tune`, go on in the same run.

    Args:
        project: the project, as `wandb.init` takes it.
        **options: other arguments of `wandb.init`, such as name=, mode="offline" or dir=.
    """

    def __init__(self, project: str | None = None, **options: Any) -> None:
        super().__init__()
        self.options: dict[str, Any] = {"project": project, **options}
        self._wandb: Any = None

    def _import(self) -> None:
        try:
            import wandb
        except ImportError as error:
            raise missing_extra("wandb", "track") from error
        self._wandb = wandb

    def _active(self) -> Any:
        return self._wandb.run

    def _start(self) -> str:
        again = {} if self._id is None else {"id": self._id, "resume": "allow"}
        return str(self._wandb.init(**{**again, **self.options}).id)

    def _known(self) -> Any:
        return self.run.config.keys()

    def _add(self, settings: dict[str, Any]) -> None:
        self.run.config.update(settings)

    def _log(self, row: dict[str, float]) -> None:
        self.run.log(dict(row))

    def _finish(self) -> None:
        self.run.finish()


class MLflow(_Tracker):
    """Log the row of each epoch to MLflow; an active run is used and stays open.

    The settings of the fit are logged as parameters of the run; those that are there already are kept. Later fits with
    the same object, such as the second stage of `fine_tune`, go on in the same run.

    Args:
        experiment: its name; None for MLflow's default one.
        tracking_uri: where runs are stored, such as "sqlite:///mlflow.db"; None for MLflow's own setting.
        **options: arguments of `mlflow.start_run`, such as run_name=.
    """

    def __init__(self, experiment: str | None = None, tracking_uri: str | None = None, **options: Any) -> None:
        super().__init__()
        self.experiment: str | None = experiment
        self.tracking_uri: str | None = tracking_uri
        self.options: dict[str, Any] = options
        self._mlflow: Any = None

    def _import(self) -> None:
        try:
            import mlflow
        except ImportError as error:
            raise missing_extra("mlflow", "track") from error
        self._mlflow = mlflow
        if self.tracking_uri is not None:
            mlflow.set_tracking_uri(self.tracking_uri)
        if self.experiment is not None and mlflow.active_run() is None:
            mlflow.set_experiment(self.experiment)

    def _active(self) -> Any:
        return self._mlflow.active_run()

    def _start(self) -> str:
        self._mlflow.start_run(**(self.options if self._id is None else {"run_id": self._id}))
        return str(self._active().info.run_id)

    def _known(self) -> Any:
        return self._mlflow.get_run(self.run.info.run_id).data.params

    def _add(self, settings: dict[str, Any]) -> None:
        self._mlflow.log_params(settings)

    def _log(self, row: dict[str, float]) -> None:
        numbers = {name: value for name, value in row.items() if name != "epoch"}
        self._mlflow.log_metrics(numbers, step=int(row["epoch"]))

    def _finish(self) -> None:
        self._mlflow.end_run()


class Trackio(_Tracker):
    """Log the row of each epoch to Trackio, on this machine or elsewhere; an active run is used and stays open.

    `trackio show` draws the runs. They are in the folder that the environment variable TRACKIO_DIR names. The settings
    of the fit are added to the run's config; what is there already is kept. Later fits with the same object, such as
    the second stage of `fine_tune`, go on in the run of the same name; what a resumed fit trains again is logged again.
    The seconds of an epoch are the column `seconds`, as Trackio keeps `time` for itself.

    Args:
        project: the project, as `trackio.init` takes it.
        **options: other arguments of `trackio.init`, such as name=, group= or space_id=.
    """

    def __init__(self, project: str = "learnkit", **options: Any) -> None:
        super().__init__()
        self.options: dict[str, Any] = {"project": project, **options}
        self._trackio: Any = None

    def _import(self) -> None:
        try:
            import trackio
        except ImportError as error:
            raise missing_extra("trackio", "trackio") from error
        self._trackio = trackio

    def _active(self) -> Any:
        return self._trackio.context_vars.current_run.get()

    def _start(self) -> str:
        again = {} if self._id is None else {"name": self._id, "resume": "allow"}
        return str(self._trackio.init(**{**self.options, **again}).name)

    def _known(self) -> Any:
        return self.run.config

    def _add(self, settings: dict[str, Any]) -> None:
        self.run.config.update(settings)

    def _log(self, row: dict[str, float]) -> None:
        numbers = {("seconds" if name == "time" else name): value for name, value in row.items() if name != "epoch"}
        self.run.log(numbers, step=int(row["epoch"]))

    def _finish(self) -> None:
        self._trackio.finish()


def _settings(state: TrainState) -> dict[str, Any]:
    return {
        "epochs": state.n_epochs,
        "lr": head_rate(state.rates) if state.rates else None,
        "optimizer": type(state.optimizer).__name__,
        "loss": getattr(state.loss_func, "__name__", type(state.loss_func).__name__),
        "seed": state.seed,
        "precision": state.compute.precision,
        "batch_size": getattr(state.train_dl, "batch_size", None),
    }
