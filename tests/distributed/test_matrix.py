"""Two and three processes give what one gives: every case of `matrix.py`, in float64."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.distributed import matrix
from tests.distributed.launching import HERE, run

QUICK = ("uneven", "leaving_out")
TOLERANCE = 1e-9


def found_by(size: int, out: Path, *names: str) -> dict[str, Any]:
    """The results of these cases, all if none is named, in this many processes."""
    run(size, HERE / "matrix.py", out, *names, LEARNKIT_DEVICE="cpu", LEARNKIT_TIMEOUT="300")
    found: dict[str, Any] = torch.load(out, weights_only=False)  # written by the test itself
    return found


def differences(one: dict[str, Any], several: dict[str, Any]) -> list[str]:
    """What the processes do not agree on; also what is a number in one and nan in the other."""
    assert one.keys() == several.keys()
    return [
        f"{name}: {part}: {expected} in one, {several[name][part]} in several"
        for name, parts in one.items()
        for part, expected in parts.items()
        if not agrees(expected, several[name][part])
    ]


def agrees(expected: Any, got: Any) -> bool:
    if isinstance(expected, Tensor):
        if expected.shape != got.shape or expected.dtype != got.dtype:
            return False
        # What the images of files go through is float32, also in one process.
        tolerance = TOLERANCE if expected.dtype == torch.float64 else 1e-6
        return torch.allclose(expected.double(), got.double(), rtol=0, atol=tolerance, equal_nan=True)
    if isinstance(expected, float):
        return abs(expected - got) <= TOLERANCE
    return bool(expected == got)


def test_differences_are_seen() -> None:
    one = {"a": {"x": torch.tensor([1.0, torch.nan], dtype=torch.float64), "n": 0.5, "text": "a"}}
    assert differences(one, one) == []
    changes: dict[str, Any] = {"x": one["a"]["x"] + 1e-8, "n": 0.6, "text": "b"}
    for part, value in changes.items():
        assert len(differences(one, {"a": {**one["a"], part: value}})) == 1
    assert not agrees(torch.zeros(2), torch.zeros(3))
    assert not agrees(torch.zeros(2), torch.tensor([0.0, torch.nan]))


def test_two_processes_fit_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrix, "FOLDER", tmp_path)
    monkeypatch.setenv("LEARNKIT_DEVICE", "cpu")
    one = {name: matrix.CASES[name]() for name in QUICK}
    assert differences(one, found_by(2, tmp_path / "two.pt", *QUICK)) == []


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 3])
def test_every_case_is_that_of_one_process(size: int, tmp_path: Path) -> None:
    assert differences(found_by(1, tmp_path / "one.pt"), found_by(size, tmp_path / "several.pt")) == []


@pytest.mark.slow
@pytest.mark.parametrize(("first", "then"), [(1, 2), (2, 1), (2, 3), (3, 2)])
def test_a_fit_goes_on_in_another_number_of_processes(first: int, then: int, tmp_path: Path) -> None:
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    whole.mkdir()
    halves.mkdir()
    found_by(first, halves / "first.pt", "interrupted")
    assert differences(found_by(1, whole / "one.pt", "resume"), found_by(then, halves / "then.pt", "resume")) == []
