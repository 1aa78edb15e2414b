"""Trackers: rows of a fit in the real packages, offline, skipped if not installed, and with fakes."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from learnkit.callbacks.trackers import MLflow, Trackio, WandB
from learnkit.errors import UsageError
from tests.doubles import acting, linear_learner, raising

SETTINGS = {
    "epochs": 2, "lr": 1e-2, "optimizer": "AdamW", "loss": "CrossEntropyLoss", "seed": 0, "precision": "fp32",
    "batch_size": 16,
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")
def test_mlflow_stores_every_row(blobs: tuple[Tensor, ...], tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow")
    for package in ("sqlalchemy", "alembic"):  # a local store of mlflow needs them
        pytest.importorskip(package)
    learn = linear_learner(blobs, metrics="accuracy")
    learn.fit(2, 1e-2, callbacks=MLflow("tests", f"sqlite:///{tmp_path / 'runs.db'}", run_name="one"))
    (run,) = mlflow.search_runs(experiment_names=["tests"], output_format="list")
    history = mlflow.MlflowClient().get_metric_history(run.info.run_id, "accuracy")
    assert [(point.step, point.value) for point in history] == list(enumerate(learn.history["accuracy"]))
    assert set(run.data.metrics) == {"train_loss", "valid_loss", "accuracy", "time"}
    assert run.data.params == {name: str(value) for name, value in SETTINGS.items()}
    assert run.info.status == "FINISHED"
    assert mlflow.active_run() is None


@pytest.mark.filterwarnings("ignore")
def test_wandb_stores_every_row(blobs: tuple[Tensor, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_SILENT", "true")
    learn, seen = linear_learner(blobs, metrics="accuracy"), []

    class Watched(WandB):
        def after_epoch(self, state: Any) -> None:
            super().after_epoch(state)
            seen.append(dict(self.run.summary))

    learn.fit(2, 1e-2, callbacks=Watched("tests", mode="offline", dir=str(tmp_path)))
    assert [row["valid_loss"] for row in seen] == pytest.approx(learn.history["valid_loss"].tolist())
    assert wandb.run is None
    assert list((tmp_path / "wandb").glob("offline-run-*"))


# A fit that fails in its second epoch, one that goes on with it in another process, and what is then in the files.
TRACKIO_SCRIPT = """
import json, sys, torch
from torch import nn
from learnkit import Callback, DataBunch, Learner
from learnkit.callbacks import Trackio

class Fails(Callback):
    def before_epoch(self, state):
        assert state.epoch == 0

x = torch.randn(32, 2, generator=torch.Generator().manual_seed(0))
y = (x[:, 0] > 0).long()
learn = Learner(DataBunch.from_tensors(x, y, x, y, bs=16), nn.Linear(2, 2), metrics="accuracy", seed=0)
tracker = Trackio("tests", auto_log_cpu=False)
if sys.argv[1] == "first":
    try:
        learn.fit(2, 1e-2, callbacks=[tracker, Fails()], checkpoint_every=1)
    except AssertionError:
        sys.exit()
learn.fit(2, 1e-2, callbacks=tracker, resume="auto")
import trackio
(run,) = trackio.Api().runs("tests")
logs = trackio.SQLiteStorage.get_logs("tests", run.name)
print(json.dumps({"config": run.config, "logs": logs, "rows": learn.recorder.rows}))
"""


@pytest.mark.slow
def test_trackio_stores_every_row_of_a_fit_and_of_the_one_that_goes_on_with_it(tmp_path: Path) -> None:
    pytest.importorskip("trackio")
    surroundings = {**os.environ, "TRACKIO_DIR": str(tmp_path / "runs"), "HF_HUB_OFFLINE": "1"}
    for stage in ("first", "second"):
        done = subprocess.run(
            [sys.executable, "-c", TRACKIO_SCRIPT, stage],
            capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path, env=surroundings,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    names = ["train_loss", "valid_loss", "accuracy"]
    logged = {log["step"]: [log[name] for name in names] for log in found["logs"]}  # maybe again after a resume
    assert logged == {row["epoch"]: [row[name] for name in names] for row in found["rows"]}
    assert sorted(logged) == [0, 1]
    assert {name: found["config"][name] for name in SETTINGS} == SETTINGS
    assert list((tmp_path / "runs").glob("tests*"))


@pytest.mark.parametrize(
    ("module", "extra", "make"),
    [("mlflow", "track", MLflow), ("wandb", "track", WandB), ("trackio", "trackio", Trackio)],
)
def test_without_the_package_the_error_says_how_to_install_it(
    module: str, extra: str, make: Any, blobs: tuple[Tensor, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UsageError, match=rf'pip install "learnkit\[{extra}\]"'):
        linear_learner(blobs).fit(1, callbacks=make())


class Package:
    """Replaces the module mlflow: the calls it gets, and the active run."""

    def __init__(self, active: str | None = None) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.active = active
        self.params: dict[str, dict[str, Any]] = {}  # of each run
        self.new_ids = iter(["first", "second"])

    def active_run(self) -> Any:
        return None if self.active is None else SimpleNamespace(info=SimpleNamespace(run_id=self.active))

    def start_run(self, run_id: str | None = None, **options: Any) -> None:
        self.active = run_id or next(self.new_ids)
        self.calls.append(("start_run", self.active, options))

    def end_run(self) -> None:
        self.active = None
        self.calls.append(("end_run",))

    def get_run(self, run_id: str) -> Any:
        return SimpleNamespace(data=SimpleNamespace(params=self.params.setdefault(run_id, {})))

    def log_params(self, params: dict[str, Any]) -> None:
        known = self.params.setdefault(str(self.active), {})
        assert not known.keys() & params.keys(), "mlflow refuses another value"
        known |= params
        self.calls.append(("log_params", params))

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        self.calls.append(("log_metrics", metrics, step))

    def set_tracking_uri(self, uri: str) -> None:
        self.calls.append(("set_tracking_uri", uri))

    def set_experiment(self, name: str) -> None:
        self.calls.append(("set_experiment", name))


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> Package:
    package = Package()
    monkeypatch.setitem(sys.modules, "mlflow", package)  # type: ignore[arg-type]
    return package


def test_mlflow_gets_settings_rows_and_an_end(blobs: tuple[Tensor, ...], package: Package) -> None:
    learn = linear_learner(blobs)
    learn.fit(2, 1e-2, callbacks=MLflow("tests", "file:runs", run_name="one"))
    first, second = ({name: value for name, value in row.items() if name != "epoch"} for row in learn.recorder.rows)
    assert package.calls == [
        ("set_tracking_uri", "file:runs"),
        ("set_experiment", "tests"),
        ("start_run", "first", {"run_name": "one"}),
        ("log_params", SETTINGS),
        ("log_metrics", first, 0),
        ("log_metrics", second, 1),
        ("end_run",),
    ]


def test_an_active_mlflow_run_is_used_and_stays_open(blobs: tuple[Tensor, ...], package: Package) -> None:
    package.active = "mine"
    linear_learner(blobs).fit(1, callbacks=MLflow())
    assert [name for name, *_ in package.calls] == ["log_params", "log_metrics"]
    assert package.active == "mine"


def test_a_mlflow_run_ends_after_an_error(blobs: tuple[Tensor, ...], package: Package) -> None:
    with pytest.raises(ZeroDivisionError):
        linear_learner(blobs).fit(1, callbacks=[MLflow(), acting(after_step=raising(ZeroDivisionError()))])
    assert package.calls[-1] == ("end_run",)


def test_a_resumed_fit_continues_its_mlflow_run(blobs: tuple[Tensor, ...], package: Package) -> None:
    crash = acting(before_epoch=raising(ZeroDivisionError(), epoch=1), order=99)
    with pytest.raises(ZeroDivisionError):
        linear_learner(blobs).fit(2, callbacks=[MLflow(run_name="one"), crash], checkpoint_every=1)
    package.calls.clear()
    linear_learner(blobs).fit(2, callbacks=MLflow(run_name="one"), resume="auto")
    assert package.calls[0] == ("start_run", "first", {})
    assert [call[2] for call in package.calls if call[0] == "log_metrics"][-1] == 1
    assert package.calls[-1] == ("end_run",)


class WandBPackage:
    """Replaces the module wandb: the runs it started, each with its calls."""

    def __init__(self) -> None:
        self.run: Any = None
        self.runs: list[Any] = []

    def init(self, **options: Any) -> Any:
        calls: list[Any] = []
        self.run = SimpleNamespace(
            id=options.get("id", f"run-{len(self.runs)}"),
            options=options, calls=calls, log=calls.append, finish=self.finish,
            config=dict(options.get("config", {})),
        )  # fmt: skip
        self.runs.append(self.run)
        return self.run

    def finish(self) -> None:
        self.run.calls.append("finish")
        self.run = None


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> WandBPackage:
    package = WandBPackage()
    monkeypatch.setitem(sys.modules, "wandb", package)  # type: ignore[arg-type]
    return package


def test_wandb_gets_settings_rows_and_an_end(blobs: tuple[Tensor, ...], wandb: WandBPackage) -> None:
    learn = linear_learner(blobs)
    learn.fit(2, 1e-2, callbacks=WandB("tests", name="one"))
    (run,) = wandb.runs
    assert run.options == {"project": "tests", "name": "one"}
    assert run.config == SETTINGS
    assert run.calls == [*learn.recorder.rows, "finish"]


def test_an_active_wandb_run_is_used_and_stays_open(blobs: tuple[Tensor, ...], wandb: WandBPackage) -> None:
    mine = wandb.init()
    learn = linear_learner(blobs)
    learn.fit(2, 1e-2, callbacks=WandB())
    assert wandb.runs == [mine]
    assert wandb.run is mine
    assert mine.config == SETTINGS
    assert mine.calls == learn.recorder.rows


def test_a_wandb_run_ends_after_an_error(blobs: tuple[Tensor, ...], wandb: WandBPackage) -> None:
    with pytest.raises(ZeroDivisionError):
        linear_learner(blobs).fit(1, callbacks=[WandB(), acting(after_step=raising(ZeroDivisionError()))])
    assert wandb.runs[0].calls[-1] == "finish"


@pytest.mark.parametrize("is_mine", [False, True])
def test_a_resumed_fit_continues_its_wandb_run(is_mine: bool, blobs: tuple[Tensor, ...], wandb: WandBPackage) -> None:
    mine = wandb.init() if is_mine else None
    crash = acting(before_epoch=raising(ZeroDivisionError(), epoch=1), order=99)
    with pytest.raises(ZeroDivisionError):
        linear_learner(blobs).fit(2, 1e-2, callbacks=[WandB(name="one"), crash], checkpoint_every=1)
    learn = linear_learner(blobs)
    learn.fit(2, 1e-2, callbacks=WandB(name="one"), resume="auto")
    if is_mine:
        assert wandb.runs == [mine]
    else:
        _, again = wandb.runs
        assert again.options == {"project": None, "name": "one", "id": "run-0", "resume": "allow"}
    assert [row["epoch"] for row in wandb.runs[-1].calls if isinstance(row, dict) and "epoch" in row][-1] == 1


@pytest.mark.parametrize("is_mine", [False, True])
def test_the_users_config_is_kept(is_mine: bool, blobs: tuple[Tensor, ...], wandb: WandBPackage) -> None:
    own = {"lr": "mine", "seed": None}
    if is_mine:
        wandb.init(config=own)
    linear_learner(blobs).fit(2, 1e-2, callbacks=WandB() if is_mine else WandB(config=own))
    (run,) = wandb.runs
    assert run.config == {**SETTINGS, **own}


def test_the_users_parameters_are_kept(blobs: tuple[Tensor, ...], package: Package) -> None:
    package.active, package.params["mine"] = "mine", {"lr": "mine"}
    linear_learner(blobs).fit(2, 1e-2, callbacks=MLflow())
    assert package.params["mine"] == {**SETTINGS, "lr": "mine"}


@pytest.mark.parametrize("together", [True, False])
def test_later_fits_go_on_in_the_same_wandb_run(together: bool, blobs: tuple[Tensor, ...], wandb: WandBPackage) -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    learn, tracker = linear_learner(blobs, model, groups=[model[0], model[1]]), WandB("tests")
    if together:
        learn.fine_tune(1, callbacks=tracker)
    else:
        for _ in range(2):
            learn.fit(1, callbacks=tracker)
    first, again = wandb.runs
    assert again.options == {"project": "tests", "id": first.id, "resume": "allow"}
    assert [*first.calls, *again.calls] == [learn.recorder.rows[0], "finish", learn.recorder.rows[1], "finish"]


def test_the_second_stage_of_a_call_goes_on_in_the_same_mlflow_run(blobs: tuple[Tensor, ...], package: Package) -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    linear_learner(blobs, model, groups=[model[0], model[1]]).fine_tune(1, callbacks=MLflow(run_name="one"))
    starts = [call for call in package.calls if call[0] == "start_run"]
    assert starts == [("start_run", "first", {"run_name": "one"}), ("start_run", "first", {})]
    assert [call[2] for call in package.calls if call[0] == "log_metrics"] == [0, 1]


def test_the_run_of_a_stage_that_an_earlier_process_completed_is_used(
    blobs: tuple[Tensor, ...], wandb: WandBPackage
) -> None:
    def learner() -> Any:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
        return linear_learner(blobs, model, groups=[model[0], model[1]])

    crash = acting(before_fit=lambda state: state.continues_call and 1 / 0, order=99)
    with pytest.raises(ZeroDivisionError):
        learner().fine_tune(1, callbacks=[WandB(), crash], checkpoint_every=1)
    again = learner()
    again.fine_tune(1, callbacks=WandB(), checkpoint_every=1, resume="auto")
    assert wandb.runs[-1].options == {"project": None, "id": "run-0", "resume": "allow"}
    assert [row["epoch"] for row in wandb.runs[-1].calls[:-1]] == [1]


class TrackioPackage:
    """Replaces the module trackio: the runs it started, each with its calls."""

    def __init__(self) -> None:
        self.active: Any = None
        self.runs: list[Any] = []
        self.context_vars = SimpleNamespace(current_run=SimpleNamespace(get=lambda: self.active))

    def init(self, **options: Any) -> Any:
        calls: list[Any] = []
        self.active = SimpleNamespace(
            name=options.get("name", f"run-{len(self.runs)}"), options=options, calls=calls,
            log=lambda numbers, step: calls.append((step, numbers)),
            config={"_Username": None, **options.get("config", {})},
        )  # fmt: skip
        self.runs.append(self.active)
        return self.active

    def finish(self) -> None:
        self.active.calls.append("finish")
        self.active = None


@pytest.fixture
def trackio(monkeypatch: pytest.MonkeyPatch) -> TrackioPackage:
    package = TrackioPackage()
    monkeypatch.setitem(sys.modules, "trackio", package)  # type: ignore[arg-type]
    return package


def of_trackio(row: dict[str, float]) -> tuple[int, dict[str, float]]:
    return int(row["epoch"]), {
        "train_loss": row["train_loss"], "valid_loss": row["valid_loss"], "seconds": row["time"]
    }  # fmt: skip


def test_trackio_gets_settings_rows_and_an_end(blobs: tuple[Tensor, ...], trackio: TrackioPackage) -> None:
    learn = linear_learner(blobs)
    learn.fit(2, 1e-2, callbacks=Trackio("tests", name="one", config={"lr": "mine"}))
    (run,) = trackio.runs
    assert run.options == {"project": "tests", "name": "one", "config": {"lr": "mine"}}
    assert run.config == {"_Username": None, **SETTINGS, "lr": "mine"}
    assert run.calls == [*map(of_trackio, learn.recorder.rows), "finish"]


def test_an_active_trackio_run_is_used_and_stays_open(blobs: tuple[Tensor, ...], trackio: TrackioPackage) -> None:
    mine = trackio.init()
    learn = linear_learner(blobs)
    learn.fit(2, 1e-2, callbacks=Trackio())
    assert trackio.runs == [mine]
    assert trackio.active is mine
    assert mine.config == {"_Username": None, **SETTINGS}
    assert mine.calls == [*map(of_trackio, learn.recorder.rows)]


def test_later_fits_go_on_in_the_same_trackio_run(blobs: tuple[Tensor, ...], trackio: TrackioPackage) -> None:
    learn, tracker = linear_learner(blobs), Trackio("tests", resume="never")
    boom = acting(before_epoch=raising(ZeroDivisionError()), order=99)
    with pytest.raises(ZeroDivisionError):
        learn.fit(1, callbacks=[tracker, boom])
    learn.fit(1, callbacks=tracker)
    first, again = trackio.runs
    assert first.calls == ["finish"]
    assert again.options == {"project": "tests", "name": first.name, "resume": "allow"}
    assert again.calls == [of_trackio(learn.recorder.rows[0]), "finish"]
