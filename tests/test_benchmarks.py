"""Every script of the benchmarks runs, with tiny sizes, and gives rows of one form: so the table cannot rot."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks import decoders, gpu, harness, recipe
from benchmarks.__main__ import SCRIPTS
from benchmarks.harness import Result, Row

pytestmark = pytest.mark.filterwarnings("ignore")  # of peers, and of sets so small that classes are missing


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where results are written."""
    monkeypatch.setattr(harness, "RESULTS", tmp_path / "results")
    monkeypatch.setenv("LEARNKIT_PROGRESS", "off")
    return tmp_path / "results"


def check(found: Sequence[Result]) -> None:
    assert found
    for one in found:
        assert one.task
        assert one.unit
        assert (one.ratio is None) == (one.base is None) == (not one.against)
    header, rule, *lines = harness.table(found).splitlines()
    assert {line.count(" | ") for line in (header, *lines)} == {rule.count("|") - 2}


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_runs(script: str) -> None:
    check(harness.measured(script, ["--quick"]))


@pytest.mark.slow
def test_the_decoders_run(folder: Path) -> None:
    decoders.main(["--quick"])
    assert (folder / "decoders.json").exists()


@pytest.mark.slow
def test_the_recipe_runs(capsys: pytest.CaptureFixture[str]) -> None:
    recipe.main(["--quick"])
    *_, header, rule, row = capsys.readouterr().out.splitlines()
    assert header.count("|") == rule.count("|") == row.count("|")
    assert row.startswith("| squares | 20, 20 |")


def test_the_weights_of_the_recipe_have_the_names_of_their_network() -> None:
    names = ("_blocks.0._bn2.weight", "_blocks.2._bn2.weight", "_conv_head.weight", "_bn1.bias", "conv_stem.weight")
    assert [recipe.timm_name(name) for name in names] == [
        "blocks.0.0.bn2.weight", "blocks.1.1.bn3.weight", "conv_head.weight", "bn2.bias", "conv_stem.weight",
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("part", list(gpu.PARTS))
def test_the_device_check_runs_on_the_cpu(part: str, capsys: pytest.CaptureFixture[str]) -> None:
    check(gpu.results(["--quick", "--device", "cpu", "--only", part]))
    assert capsys.readouterr().out.startswith("cpu, torch ")


@pytest.mark.slow
def test_the_table_is_printed_and_a_script_that_fails_does_not_end_it() -> None:
    command = [sys.executable, "-m", "benchmarks", "--quick", "--only", "no_such_script,augmentation"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, check=False, cwd=Path(__file__).parents[1]
    )
    assert done.returncode == 1
    assert "no_such_script failed: ModuleNotFoundError" in done.stderr
    assert "| augmenting a batch" in done.stdout


def test_a_ratio_is_the_median_of_the_ratios_of_rounds() -> None:
    rows = [
        Row("hand", [1.0, 2.0, 4.0], [1.0, 1.0, 1.0]),
        Row("ours", [2.0, 3.0, 4.0], [3.0, 2.0, 5.0]),  # 2, 1.5 and 1 of the base's
        Row("again", [1.0, 2.2, 5.0], [1.0, 1.0, 1.0]),
        Row("fastai", [3.0, 8.0, 8.0], [1.0, 1.0, 1.0]),
    ]
    found = harness.result(
        "steps", rows, "hand", "ours", "again", unit="ms", scale=10, goal=1.5, peers={"fastai": "fastai", "no": "no"}
    )
    assert (found.value, found.base, found.ratio, found.control) == (30, 20, (1.5, 3), (1.1, 1))
    assert found.peers == {"fastai": (3, 1)}
    assert found.is_reached
    assert "| ≤ 1.5 reached |" in harness.table([found])


def test_a_goal_without_a_base_is_of_the_figure_itself() -> None:
    assert "| ≤ 5 µs missed |" in harness.table([Result("files", 6.0, "µs", 5.0)])
    assert Result("files", 6.0, "µs").is_reached is None


def test_quick_changes_the_defaults_and_not_what_is_given() -> None:
    args = harness.options("", {"n": 1}, ["--quick", "--rounds", "9"], rounds=3, n=100, photos="")
    assert (args.rounds, args.n, args.photos) == (9, 1, "")
    assert harness.options("", {"n": 1}, [], n=100).n == 100
