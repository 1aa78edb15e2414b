"""Tasks as the parts of a manifest that define the meaning of outputs, and back."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from learnkit.data.points import Points
from learnkit.data.segmentation import Segmentation
from learnkit.data.tasks import Classification, MultiLabel, Regression, Task
from learnkit.errors import DataError, MissingModelError, UsageError
from learnkit.persistence.lk.json_fields import Fields, JsonObject, brief, corrupt

__all__ = ["task_from_json", "task_to_json"]

MAX_CLASSES = 1_000_000


def task_to_json(task: Task | None) -> JsonObject:
    """The parts `task`, `classes`, `decode` and, for further arguments, `task_args`.

    Raises:
        UsageError: a custom task.
    """
    kinds: dict[type, str] = {
        Classification: "classification", MultiLabel: "multilabel", Regression: "regression",
        Segmentation: "segmentation", Points: "points", type(None): "none",
    }  # fmt: skip
    if type(task) not in kinds:
        raise UsageError(
            "task of the data", got=type(task).__name__,
            expected="Classification, MultiLabel, Regression, Points or Segmentation",
            fix="Set learn.dls.task to the nearest of them before.",
        )  # fmt: skip
    content: JsonObject = {"task": kinds[type(task)], "classes": list(task.classes) if task else [], "decode": "none"}
    if isinstance(task, Classification | Segmentation):
        content["decode"] = "argmax"
    if isinstance(task, MultiLabel):
        each = task.threshold if isinstance(task.threshold, Sequence) else (task.threshold,)
        content["decode"] = f"threshold:{','.join(repr(float(one)) for one in each)}"
    if isinstance(task, Regression):
        content["task_args"] = {"names": list(task.names)}
    if isinstance(task, Points):
        swaps = None if task.swaps is None else [list(pair) for pair in task.swaps]
        content["task_args"] = {"names": list(task.point_names), "swaps": swaps}
    if isinstance(task, Segmentation):
        values = [value if isinstance(value, int) else list(value) for value in task.values]
        ignored = task.ignore_index
        content["task_args"] = {
            "values": values,
            "ignore_index": ignored if ignored is None or isinstance(ignored, int) else list(ignored),
        }
    return content


def task_from_json(manifest: JsonObject, path: Path | str) -> Task | None:
    """Back from `task_to_json`.

    Raises:
        MissingModelError: an unknown task.
        CorruptFileError: values out of bounds.
    """
    fields = Fields(manifest, "the manifest", path)
    name = fields.string("task")
    if name not in _TASKS:
        raise MissingModelError(
            f"{path} is for the task {name!r}, which this learnkit does not know", fix="Update learnkit."
        )
    try:
        return _TASKS[name](fields, fields.strings("classes", MAX_CLASSES))
    except (DataError, UsageError) as error:
        raise corrupt(path, f"the manifest {name}: {error}") from error


def _classification(fields: Fields, classes: tuple[str, ...]) -> Task:
    fields.choice("decode", ("argmax",))
    return Classification(classes)


def _multilabel(fields: Fields, classes: tuple[str, ...]) -> Task:
    decode = fields.string("decode", 40 * len(classes) + 100)
    kind, _, numbers = decode.partition(":")
    try:
        each = tuple(map(float, numbers.split(",")))
    except ValueError:
        each = ()
    if kind != "threshold" or len(each) not in (1, len(classes)):
        expected = "threshold: and one number, or one per class"
        raise corrupt(fields.path, "the manifest decode", got=brief(decode), expected=expected)
    thresholds: Any = each[0] if len(each) == 1 else each
    return MultiLabel(classes, thresholds)


def _regression(fields: Fields, classes: tuple[str, ...]) -> Task:
    fields.choice("decode", ("none",))
    return Regression(fields.part("task_args", ("names",)).strings("names", MAX_CLASSES))


def _points(fields: Fields, classes: tuple[str, ...]) -> Task:
    fields.choice("decode", ("none",))
    args = fields.part("task_args", ("names", "swaps"))
    pairs = args.value(
        "swaps", lambda v: v is None or (isinstance(v, list) and all(map(_is_pair, v))), "pairs of names"
    )
    return Points(args.strings("names", MAX_CLASSES), pairs)


def _is_pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(isinstance(name, str) for name in value)


def _segmentation(fields: Fields, classes: tuple[str, ...]) -> Task:
    fields.choice("decode", ("argmax",))
    args = fields.part("task_args", ("values", "ignore_index"))
    values = args.value("values", lambda v: isinstance(v, list) and len(v) == len(classes), "one pixel value per class")
    pixels = [_pixel(value) for value in values]
    if len(set(pixels)) < len(classes):
        raise corrupt(fields.path, "task_args values", expected="a different one per class")
    return Segmentation(dict(zip(pixels, classes, strict=True)), _pixel(args.content.get("ignore_index")))


def _pixel(value: Any) -> Any:
    is_color = isinstance(value, list) and len(value) == 3 and all(type(part) is int for part in value)
    return tuple(value) if is_color else value if type(value) is int or value is None else -1  # refused by the task


def _none(fields: Fields, classes: tuple[str, ...]) -> Task | None:
    return None


_TASKS: dict[str, Callable[[Fields, tuple[str, ...]], Task | None]] = {
    "classification": _classification, "multilabel": _multilabel, "regression": _regression,
    "segmentation": _segmentation, "points": _points, "none": _none,
}  # fmt: skip
