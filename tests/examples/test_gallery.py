"""The examples of the gallery: those that the site runs run in a process, the others have tests of their own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
HEADED = [file for file in sorted(EXAMPLES.glob("*.py")) if file.read_text("utf-8").partition("\n")[2][:3] == "==="]
PLOTS = [file for file in HEADED if file.name.startswith("plot_")]
LESSONS = (
    "idx_files", "losses_for_masks", "own_command_line", "resnet_from_scratch", "surgery_and_saving",
    "timm_and_freezing", "torch_schedulers", "training_functions",
)  # fmt: skip
JOBS = ("distributed_training", "embeddings", "k_fold_ensemble", "serving")
OWN_CODE = ("key_points", "own_callback", "segmentation", "siamese", "two_optimizers")
TESTED_WITH = {
    "ray_train": "test_scale.py",
    **dict.fromkeys(LESSONS, "test_lessons.py"),
    **dict.fromkeys(JOBS, "test_jobs.py"),
    **dict.fromkeys(OWN_CODE, "test_own_code.py"),
}


@pytest.mark.slow
@pytest.mark.parametrize("file", PLOTS, ids=lambda file: file.stem)
def test_an_example_that_the_site_runs(file: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "MPLBACKEND": "Agg"}
    done = subprocess.run([sys.executable, file], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("file", [file for file in HEADED if file not in PLOTS], ids=lambda file: file.stem)
def test_every_other_example_has_its_tests(file: Path) -> None:
    assert (Path(__file__).parent / TESTED_WITH.get(file.stem, f"test_{file.stem}.py")).exists()


def test_titles_are_underlined_as_long_as_they_are() -> None:
    assert len(HEADED) >= 5
    for file in HEADED:
        title, line = file.read_text("utf-8").splitlines()[:2]
        assert line == "=" * len(title.removeprefix('"""')), file.name
