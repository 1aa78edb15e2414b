"""What a table of samples remembers of its labels, in its `attrs`: the task and the order of its classes.

pandas keeps `attrs` when a table is filtered, sorted or copied, and loses them in a CSV file.
"""

from typing import TYPE_CHECKING, Any

from learnkit.data.points import Points
from learnkit.data.segmentation import Segmentation
from learnkit.data.tasks import Classification, MultiLabel, Regression, Task
from learnkit.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["forget", "remember", "resolve_task"]

KEY = "learnkit"
KINDS: dict[str, type[Any]] = {"classification": Classification, "multilabel": MultiLabel,
                                "regression": Regression, "points": Points}  # fmt: skip


def remember(samples: "pd.DataFrame", task: Task) -> "pd.DataFrame":
    """The table with its task in `attrs`, as plain JSON."""
    facts: dict[str, Any] = {"task": next((name for name, kind in KINDS.items() if isinstance(task, kind)), "masks")}
    if isinstance(task, Regression):
        facts["names"] = list(task.names)
    elif isinstance(task, Points):
        facts |= {"names": list(task.point_names), "swaps": None if task.swaps is None else list(map(list, task.swaps))}
    elif not isinstance(task, Segmentation):
        facts["classes"] = list(task.classes)
    if isinstance(task, MultiLabel):
        facts["threshold"] = list(task.threshold) if isinstance(task.threshold, tuple) else task.threshold
    samples = samples.copy(deep=False)
    samples.attrs = {**samples.attrs, KEY: facts}
    return samples


def forget(samples: "pd.DataFrame") -> "pd.DataFrame":
    """The table without what it remembers: its targets are others now."""
    samples = samples.copy(deep=False)
    samples.attrs = {name: value for name, value in samples.attrs.items() if name != KEY}
    return samples


def resolve_task(samples: "pd.DataFrame", task: Task | str | None, classes: Any) -> Task | str | None:
    """The task to use: the one given, or else the one that the table remembers, without its classes if `classes` are.

    Raises:
        UsageError: a table of masks without a task.
    """
    facts: Any = samples.attrs.get(KEY, {})
    kind = facts.get("task") if isinstance(facts, dict) else None
    if task is None and kind == "masks":
        raise UsageError("task", got=None, expected="a Segmentation: the targets of this table are masks",
                         fix="Pass task=dls.task of the bunch it is from.")  # fmt: skip
    if kind not in KINDS or (task is not None and task != kind):
        return task
    if classes is not None:
        return str(kind)
    remembered: Task = KINDS[kind](**{
        name: tuple(value) if isinstance(value, list) else value for name, value in facts.items() if name != "task"
    })  # fmt: skip
    return remembered
