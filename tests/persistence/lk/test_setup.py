"""The part `learner` of a manifest."""

import json
from typing import Any

import pytest
from torch import nn

from learnkit.errors import CorruptFileError, MissingModelError
from learnkit.persistence.lk.setup import setup_from_json, setup_to_json
from learnkit.persistence.setup import TrainingSetup

MODEL = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
SETUPS = [
    TrainingSetup((0, 0, 0, 0), (True,) * 4),
    TrainingSetup((0, 0, 1, 1), (False, True, True, True), ("accuracy", "f1"), "sgd", 0.5, True, False, ("metrics x",)),
    TrainingSetup((0, 1, 0, 1), (False, True, False, True), wd=0.01),
    TrainingSetup((0, 0, 0, 0), (True,) * 4, wd=0.0),
]


@pytest.mark.parametrize("setup", SETUPS)
def test_a_setup_comes_back(setup: TrainingSetup) -> None:
    manifest = json.loads(json.dumps(setup_to_json(setup)))
    assert setup_from_json(manifest, "m.lk", MODEL) == setup


def test_runs_of_parameters_are_counted() -> None:
    assert setup_to_json(SETUPS[1])["learner"]["groups"] == [[1, 0, False], [1, 0, True], [2, 1, True]]


def test_a_file_without_one_says_nothing() -> None:
    assert setup_to_json(None) == {}
    assert setup_from_json({}, "m.lk", MODEL) is None


WRONG: list[tuple[str, Any]] = [
    ("groups", None), ("groups", [[4, 0]]), ("groups", [[4, 0, 1]]), ("groups", [[4, -1, True]]),
    ("groups", [[3, 0, True]]), ("groups", [[1 << 60, 0, True]]), ("groups", [[0, 0, True], [4, 0, True]]),
    ("groups", [[True, 0, True], [3, 0, True]]), ("groups", [[4.0, 0, True]]), ("groups", []), ("groups", {}),
    ("metrics", "accuracy"), ("metrics", [3]), ("metrics", ["a", "a"]), ("optimizer", None), ("optimizer", "x" * 1000),
    ("wd", -1), ("wd", "0"), ("wd", True), ("wd_bn_bias", 1), ("train_bn", None), ("lost", [None]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_values_out_of_bounds_are_refused(name: str, value: Any) -> None:
    manifest = setup_to_json(SETUPS[1])
    manifest["learner"][name] = value
    with pytest.raises(CorruptFileError, match="Export again"):
        setup_from_json(manifest, "m.lk", MODEL)


def test_unknown_fields_are_refused() -> None:
    manifest = setup_to_json(SETUPS[1])
    manifest["learner"]["more"] = 1
    with pytest.raises(MissingModelError, match="more"):
        setup_from_json(manifest, "m.lk", MODEL)
    with pytest.raises(CorruptFileError, match="an object"):
        setup_from_json({"learner": 3}, "m.lk", MODEL)
