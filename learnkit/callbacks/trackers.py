"""Experiment trackers: log the row of each epoch to Weights & Biases or MLflow."""

from typing import Any

from learnkit.checks import missing_extra
from learnkit.training.callback import Callback, Order
from learnkit.training.state import TrainState

__all__ = ["MLflow", "WandB"]


class WandB(Callback):
    """Log the row of each epoch to Weights & Biases; an active run is used and stays open.

    The settings of the fit are added to the run's config; what is there already is kept. Later fits with the same
    object, such as the second stage of `fine_tune`, go on in the same run.

    Args:
        project: the project, as `wandb.init` takes it.
        **options: other arguments of `wandb.init`, such as name=, mode="offline" or dir=.
    """

    order = Order.REPORT
    is_for_one = True

    def __init__(self, project: str | None = None, **options: Any) -> None:
        self.options = {"project": project, **options}
        self.run: Any = None
        self._id: str | None = None  # of the run that was opened here
        self._wandb: Any = None
        self._owns_run = False
        self._settings: dict[str, Any] = {}

    def before_fit(self, state: TrainState) -> None:
        try:
            import wandb
        except ImportError as error:
            raise missing_extra("wandb", "track") from error
        self._wandb, self._owns_run, self._settings = wandb, wandb.run is None, _settings(state)
        if not state.resumed or not self._owns_run:  # a resumed fit continues its own run
            self._begin()

    def _begin(self) -> None:
        if self._owns_run:
            again = {} if self._id is None else {"id": self._id, "resume": "allow"}
            self.run = self._wandb.init(**{**again, **self.options})
            self._id = str(self.run.id)
        else:
            self.run = self._wandb.run
        known = self.run.config.keys()
        self.run.config.update({name: value for name, value in self._settings.items() if name not in known})

    def after_epoch(self, state: TrainState) -> None:
        if self.run is None:
            self._begin()
        self.run.log(dict(state.row))

    def state_dict(self) -> dict[str, Any]:
        return {} if self._id is None else {"id": self._id}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        self._id = saved["id"]
        if self._owns_run:
            self._begin()

    def after_fit(self, state: TrainState) -> None:
        if self._owns_run and self.run is not None:
            self.run.finish()
        self.run, self._owns_run = None, False


class MLflow(Callback):
    """Log the row of each epoch to MLflow; an active run is used and stays open.

    The settings of the fit are logged as parameters of the run; those that are there already are kept. Later fits with
    the same object, such as the second stage of `fine_tune`, go on in the same run.

    Args:
        experiment: its name; None for MLflow's default one.
        tracking_uri: where runs are stored, such as "sqlite:///mlflow.db"; None for MLflow's own setting.
        **options: arguments of `mlflow.start_run`, such as run_name=.
    """

    order = Order.REPORT
    is_for_one = True

    def __init__(self, experiment: str | None = None, tracking_uri: str | None = None, **options: Any) -> None:
        self.experiment, self.tracking_uri, self.options = experiment, tracking_uri, options
        self._id: str | None = None  # of the run that was opened here
        self._mlflow: Any = None
        self._owns_run = False
        self._settings: dict[str, Any] = {}

    def before_fit(self, state: TrainState) -> None:
        try:
            import mlflow
        except ImportError as error:
            raise missing_extra("mlflow", "track") from error
        self._mlflow = mlflow
        if self.tracking_uri is not None:
            mlflow.set_tracking_uri(self.tracking_uri)
        self._owns_run = mlflow.active_run() is None
        self._settings = _settings(state)
        if self._owns_run and self.experiment is not None:
            mlflow.set_experiment(self.experiment)
        if not state.resumed or not self._owns_run:  # a resumed fit continues its own run
            self._begin()

    def _begin(self) -> None:
        if self._owns_run:
            self._mlflow.start_run(**(self.options if self._id is None else {"run_id": self._id}))
            self._id = self._mlflow.active_run().info.run_id
        logged = self._mlflow.get_run(self._mlflow.active_run().info.run_id).data.params
        self._mlflow.log_params({name: value for name, value in self._settings.items() if name not in logged})

    def state_dict(self) -> dict[str, Any]:
        return {} if self._id is None else {"id": self._id}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        self._id = saved["id"]
        if self._owns_run:
            self._begin()

    def after_epoch(self, state: TrainState) -> None:
        if self._mlflow.active_run() is None:
            self._begin()
        numbers = {name: value for name, value in state.row.items() if name != "epoch"}
        self._mlflow.log_metrics(numbers, step=int(state.row["epoch"]))

    def after_fit(self, state: TrainState) -> None:
        if self._owns_run and self._mlflow is not None:
            self._mlflow.end_run()
        self._mlflow, self._owns_run = None, False


def _settings(state: TrainState) -> dict[str, Any]:
    return {
        "epochs": state.n_epochs,
        "lr": state.rates[-1] if state.rates else None,
        "optimizer": type(state.optimizer).__name__,
        "loss": getattr(state.loss_func, "__name__", type(state.loss_func).__name__),
        "seed": state.seed,
        "precision": state.compute.precision,
    }
