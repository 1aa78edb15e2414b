"""Trackers: a fit's rows in the real packages, offline; skipped where these are not installed."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from learnkit import DataBunch, Learner
from learnkit.callbacks.trackers import MLflow, WandB
from learnkit.errors import UsageError


def learner(blobs: tuple[Tensor, ...]) -> Learner:
    torch.manual_seed(0)
    return Learner(DataBunch.from_tensors(*blobs, bs=16), nn.Linear(2, 2), metrics="accuracy", seed=0)


@pytest.mark.filterwarnings("ignore")
def test_mlflow_keeps_every_row(blobs: tuple[Tensor, ...], tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow")
    learn = learner(blobs)
    learn.fit(2, 1e-2, callbacks=MLflow("tests", f"sqlite:///{tmp_path / 'runs.db'}", run_name="one"))
    (run,) = mlflow.search_runs(experiment_names=["tests"], output_format="list")
    history = mlflow.MlflowClient().get_metric_history(run.info.run_id, "accuracy")
    assert [point.value for point in history] == learn.history["accuracy"].tolist()
    assert run.data.params["optimizer"] == "AdamW"
    assert run.info.status == "FINISHED"
    assert mlflow.active_run() is None


@pytest.mark.filterwarnings("ignore")
def test_wandb_keeps_every_row(blobs: tuple[Tensor, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_SILENT", "true")
    learn, seen = learner(blobs), []

    class Watched(WandB):
        def after_epoch(self, state: Any) -> None:
            super().after_epoch(state)
            seen.append(dict(self.run.summary))

    learn.fit(2, 1e-2, callbacks=Watched("tests", mode="offline", dir=str(tmp_path)))
    assert [row["valid_loss"] for row in seen] == pytest.approx(learn.history["valid_loss"].tolist())
    assert wandb.run is None
    assert list((tmp_path / "wandb").glob("offline-run-*"))


@pytest.mark.parametrize(("module", "make"), [("mlflow", MLflow), ("wandb", WandB)])
def test_without_the_package_the_command_is_told(
    module: str, make: Any, blobs: tuple[Tensor, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UsageError, match=r'pip install "learnkit\[track\]"'):
        learner(blobs).fit(1, callbacks=make())
