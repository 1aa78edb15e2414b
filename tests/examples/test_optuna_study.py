"""The study runs, prunes, and goes on when it is started again."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "optuna_study.py"


@pytest.mark.slow
def test_the_study_ends_and_is_kept(tmp_path: Path) -> None:
    optuna = pytest.importorskip("optuna")
    out = tmp_path / "study"
    for n_trials in (6, 12):
        command = [sys.executable, str(EXAMPLE), "--out", str(out), "--tiny"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)
        assert done.returncode == 0, done.stderr
        assert f"{n_trials} trials, " in done.stdout
    study = optuna.load_study(study_name="digits", storage=f"sqlite:///{out / 'study.db'}")
    assert {trial.state.name for trial in study.trials} == {"COMPLETE", "PRUNED"}
    assert all(len(trial.intermediate_values) == 3 for trial in study.trials if trial.state.name == "COMPLETE")
    assert any(len(trial.intermediate_values) < 3 for trial in study.trials if trial.state.name == "PRUNED")
    assert study.best_value > 0.6
