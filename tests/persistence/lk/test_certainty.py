"""Sets come back for the task they were fitted for, and for no other."""

import json
from typing import Any

import pytest

from learnkit.certainty.conformal import ClassSets, Conformal, Intervals, LabelSets
from learnkit.certainty.fitted import FittedCertainty
from learnkit.data.points import Points
from learnkit.data.tasks import Classification, MultiLabel, Regression
from learnkit.errors import CorruptFileError
from learnkit.persistence.lk.certainty import certainty_from_json

OF_TASK: list[tuple[Any, Conformal]] = [
    (Classification(("a", "b")), ClassSets(0.1, "lac", 0.25, 100)),
    (MultiLabel(("a", "b")), LabelSets(0.1, (0.25, 0.0), (10, 3))),
    (Regression(("x", "y")), Intervals(0.2, (0.5, 12.0), (30, 31))),
]


def manifest(sets: Conformal) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(json.dumps({"certainty": FittedCertainty(sets).to_json()}))
    return content


@pytest.mark.parametrize(("task", "own"), OF_TASK)
def test_each_task_has_its_kind_of_sets(task: Any, own: Conformal) -> None:
    found = certainty_from_json(manifest(own), {}, task, "f")
    assert found is not None
    assert found.conformal == own
    for _, sets in OF_TASK:
        if sets is not own:
            with pytest.raises(CorruptFileError, match=f"those of the task, {type(task).__name__}"):
                certainty_from_json(manifest(sets), {}, task, "f")


def test_a_task_that_has_no_sets() -> None:
    for task, named in ((None, "none"), (Points(1), "Points")):
        with pytest.raises(CorruptFileError, match=f"the task, {named}"):
            certainty_from_json(manifest(OF_TASK[0][1]), {}, task, "f")
    assert certainty_from_json({}, {}, None, "f") is None
