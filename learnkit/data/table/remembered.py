"""What a table of samples remembers, in its `attrs`: the task, the order of its classes, and no validation set.

pandas keeps `attrs` when a table is filtered, sorted or copied, and loses them in a CSV file.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from learnkit.data.points import Points
from learnkit.data.segmentation import Segmentation
from learnkit.data.table.label_values import normalized
from learnkit.data.table.split_results import split_of
from learnkit.data.task_json import task_from_json, task_to_json
from learnkit.data.tasks import Classification, MultiLabel, Regression, Task
from learnkit.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["forget", "is_without_validation", "remember", "resolve_task"]

KEY = "learnkit"
KINDS: dict[str, type[Any]] = {"classification": Classification, "multilabel": MultiLabel,
                                "regression": Regression, "points": Points}  # fmt: skip


def remember(samples: "pd.DataFrame", task: Task, *, has_valid: bool = True) -> "pd.DataFrame":
    """The table with its task in `attrs`, as plain JSON, and that it has no validation set, if so."""
    facts: dict[str, Any] = {"task": next((name for name, kind in KINDS.items() if isinstance(task, kind)), "masks")}
    if isinstance(task, Regression):
        facts["names"] = list(task.names)
    elif isinstance(task, Points):
        facts |= {"names": list(task.point_names), "swaps": None if task.swaps is None else list(map(list, task.swaps))}
    elif isinstance(task, Segmentation):
        if task.mask_reader is None:  # a function is not JSON
            facts["masks"] = task_to_json(task)
    else:
        facts["classes"] = list(task.classes)
    if isinstance(task, MultiLabel):
        facts["threshold"] = list(task.threshold) if isinstance(task.threshold, tuple) else task.threshold
    if not has_valid:
        facts["valid"] = False
    samples = samples.copy(deep=False)
    samples.attrs = {**samples.attrs, KEY: facts}
    return samples


def forget(samples: "pd.DataFrame") -> "pd.DataFrame":
    """The table without what it remembers: its targets are others now."""
    samples = samples.copy(deep=False)
    samples.attrs = {name: value for name, value in samples.attrs.items() if name != KEY}
    return samples


def is_without_validation(samples: "pd.DataFrame") -> bool:
    """Whether the table is from a bunch without a validation set, and no row has been made one since."""
    rows = samples["split"].tolist() if "split" in samples else ["valid"]
    return _facts(samples).get("valid") is False and not any(split_of(row) == "valid" for row in rows)


def _facts(samples: "pd.DataFrame") -> dict[str, Any]:
    facts = getattr(samples, "attrs", {}).get(KEY)  # what is no table is refused later
    return facts if isinstance(facts, dict) else {}


def resolve_task(
    samples: "pd.DataFrame", task: Task | str | None, classes: Any, change: Callable[[str], str] | None = None
) -> Task | str | None:
    """The task to use: the one given, or else the one that the table remembers, without its classes if `classes` are.

    Args:
        samples: the table.
        task: the one given, or None.
        classes: those given, or None.
        change: how labels are normalized, and the classes that the table remembers with them.

    Raises:
        UsageError: a table without a task whose masks were read by a function.
    """
    facts = _facts(samples)
    kind = facts.get("task")
    if task is None and kind == "masks":
        if "masks" in facts:
            return task_from_json(facts["masks"], "the table", "its task")
        raise UsageError("task", got=None, expected="a Segmentation: the masks of this table were read by a function",
                         fix="Pass task=dls.task of the bunch it is from.")  # fmt: skip
    if kind not in KINDS or (task is not None and task != kind):
        return task
    if classes is not None:
        return str(kind)
    known = {name: facts[name] for name in ("classes", "names", "swaps", "threshold") if name in facts}
    if change is not None and "classes" in known:
        known["classes"] = list(dict.fromkeys(normalized(name, change) for name in known["classes"]))
        known.pop("threshold", None)
    remembered: Task = KINDS[kind](**{name: _hashable(value) for name, value in known.items()})
    return remembered


def _hashable(value: Any) -> Any:
    """Lists, and lists in them, as the tuples of a task."""
    return tuple(map(_hashable, value)) if isinstance(value, list) else value
