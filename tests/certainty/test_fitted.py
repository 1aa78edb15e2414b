"""What is fitted comes back from JSON and tensors as it was; what was forged does not."""

import json
from typing import Any

import pytest
import torch

from learnkit.certainty.conformal import ClassSets, Conformal, Intervals, LabelSets
from learnkit.certainty.familiarity import fit_familiarity
from learnkit.certainty.fitted import FittedCertainty, fitted_from_json
from learnkit.errors import CorruptFileError, MissingModelError
from tests.certainty.test_familiarity import on_plane

SETS = [
    ClassSets(0.1, "lac", 0.25, 100),
    ClassSets(0.05, "raps", 1.5, 100, 0.1, 2),
    LabelSets(0.1, (0.25, 0.0), (10, 3)),
    Intervals(0.2, (0.5, 12.0), (30, 31)),
]


def whole(sets: Conformal = SETS[0]) -> FittedCertainty:
    familiarity = fit_familiarity(torch.randn(50, 2), on_plane(50, 0), on_plane(50, 1), "softmax")
    return FittedCertainty(sets, familiarity, "1.2")


@pytest.mark.parametrize("sets", SETS)
def test_sets_there_and_back(sets: Conformal) -> None:
    content = json.loads(json.dumps(FittedCertainty(sets).to_json()))
    assert fitted_from_json(content, {}, 2, "f").conformal == sets


def test_familiarity_there_and_back() -> None:
    before = whole()
    after = fitted_from_json(json.loads(json.dumps(before.to_json())), before.tensors(), 2, "f")
    assert after.layer == "1.2"
    assert after.familiarity is not None
    assert before.familiarity is not None
    raw, features = torch.randn(9, 2), on_plane(9, 2)
    assert torch.equal(after.familiarity.scores(raw, features), before.familiarity.scores(raw, features))
    assert FittedCertainty(SETS[0]).tensors() == {}


@pytest.mark.parametrize(
    ("part", "field", "value"),
    [
        ("sets", "alpha", 0), ("sets", "alpha", 1), ("sets", "kind", "other"), ("sets", "method", "aps"),
        ("sets", "threshold", "x"), ("sets", "n", 0), ("sets", "penalty", -1), ("sets", "n_free", 1.5),
        ("familiarity", "threshold", None), ("familiarity", "n", True), ("familiarity", "energy", []),
        ("familiarity", "distance", {"layer": 3, "mean": 0.0, "std": 1.0}),
        ("familiarity", "distance", {"layer": "1", "mean": 0.0, "std": 0}),
        ("familiarity", "energy", {"kind": "tanh", "mean": 0.0, "std": 1.0}),
    ],
)  # fmt: skip
def test_forged_values_are_refused(part: str, field: str, value: Any) -> None:
    fitted = whole()
    content = fitted.to_json()
    content[part][field] = value
    with pytest.raises(CorruptFileError):
        fitted_from_json(content, fitted.tensors(), 2, "f")


@pytest.mark.parametrize("part", [None, "sets", "familiarity"])
def test_fields_of_a_later_learnkit_are_refused(part: str | None) -> None:
    fitted = whole()
    content = fitted.to_json()
    (content if part is None else content[part])["later"] = 1
    with pytest.raises(MissingModelError, match="later"):
        fitted_from_json(content, fitted.tensors(), 2, "f")


def test_numbers_for_another_model_are_refused() -> None:
    for sets in SETS[2:]:
        with pytest.raises(CorruptFileError):
            fitted_from_json(FittedCertainty(sets).to_json(), {}, 3, "f")


def test_forged_tensors_are_refused() -> None:
    fitted = whole()
    center, directions = fitted.tensors().values()
    names = list(fitted.tensors())
    nan = torch.full_like(center, torch.nan)
    wrong = [(center[:3], directions), (center, directions.half()), (center, directions[:, :0]), (nan, directions),
             (center, torch.rand(10, 65)), (directions, directions)]  # fmt: skip
    for pair in wrong:
        with pytest.raises(CorruptFileError, match="the tensors of certainty"):
            fitted_from_json(fitted.to_json(), dict(zip(names, pair, strict=True)), 2, "f")
    with pytest.raises(CorruptFileError, match="the tensors of certainty"):
        fitted_from_json(fitted.to_json(), {}, 2, "f")


def test_a_familiarity_of_nothing_is_refused() -> None:
    """It would find every item familiar."""
    content = whole().to_json()
    del content["familiarity"]["energy"], content["familiarity"]["distance"]
    with pytest.raises(CorruptFileError, match="neither energy nor distance"):
        fitted_from_json(content, {}, 2, "f")
