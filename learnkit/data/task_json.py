"""Tasks as JSON, in the manifest of an export and in the index of a stream, and back."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from learnkit.data.image.mask_values import Pixel
from learnkit.data.points import Points
from learnkit.data.segmentation import Segmentation, lost_reader
from learnkit.data.tasks import Classification, MultiLabel, Regression, Task
from learnkit.errors import DataError, MissingModelError, UsageError
from learnkit.json_fields import Fields, JsonObject, brief, corrupt

__all__ = ["task_from_json", "task_to_json"]

MAX_CLASSES = 1_000_000
MAX_VALUES = 65_536  # of the pixels of masks
_MASK_PARTS = ("more_values", "more_ignored", "binary", "threshold", "border", "own_reader")


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
        content["decode"] = "argmax" if task.n_out > 1 else "threshold:0.5"
    if isinstance(task, MultiLabel):
        each = task.threshold if isinstance(task.threshold, Sequence) else (task.threshold,)
        content["decode"] = f"threshold:{','.join(repr(float(one)) for one in each)}"
    if isinstance(task, Regression):
        content["task_args"] = {"names": list(task.names)}
    if isinstance(task, Points):
        swaps = None if task.swaps is None else [list(pair) for pair in task.swaps]
        content["task_args"] = {"names": list(task.point_names), "swaps": swaps}
    if isinstance(task, Segmentation):
        content["task_args"] = _masks_to_json(task)
    return content


def _masks_to_json(task: Segmentation) -> JsonObject:
    """The pixel values of a mask; parts that an earlier learnkit does not know, and refuses, only where needed."""
    numbers = [(value, task.classes.index(name)) for value, name in task.codes.items()]
    first = {number: value for value, number in reversed(numbers)}
    ignored = [_as_json(value) for value in task.ignored_values]
    further: JsonObject = {
        "more_values": [[_as_json(value), number] for value, number in numbers if first[number] != value],
        "more_ignored": ignored[1:],
        "binary": task.binary,
        "threshold": task.threshold,
        "border": task.border,
        "own_reader": task.mask_reader is not None,
    }
    known: JsonObject = {"values": [_as_json(first[number]) for number in range(len(task.classes))]}
    known["ignore_index"] = ignored[0] if ignored else None
    return known | {name: value for name, value in further.items() if value}


def _as_json(value: Pixel) -> int | list[int]:
    return value if isinstance(value, int) else list(value)


def task_from_json(manifest: JsonObject, path: Path | str, where: str = "the manifest") -> Task | None:
    """Back from `task_to_json`; `where` is what the object is called in errors.

    Raises:
        MissingModelError: an unknown task.
        CorruptFileError: values out of bounds.
    """
    fields = Fields(manifest, where, path)
    name = fields.string("task")
    if name not in _TASKS:
        raise MissingModelError(
            f"{path} is for the task {name!r}, which this learnkit does not know", fix="Update learnkit."
        )
    try:
        return _TASKS[name](fields, fields.strings("classes", MAX_CLASSES))
    except (DataError, UsageError) as error:
        raise corrupt(path, f"{where} {name}: {error}") from error


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
        raise corrupt(fields.path, f"{fields.where} decode", got=brief(decode), expected=expected)
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
    args = fields.part("task_args", ("values", "ignore_index", *_MASK_PARTS))
    fields.choice("decode", ("argmax", "threshold:0.5"))
    values = args.value("values", lambda v: isinstance(v, list) and len(v) == len(classes), "one pixel value per class")
    pixels = [_pixel(value) for value in values]
    if len(set(pixels)) < len(classes):
        raise corrupt(fields.path, "task_args values", expected="a different one per class")
    codes = dict(zip(pixels, classes, strict=True))
    for value, number in _pairs(args, "more_values", len(classes)):
        codes[value] = classes[number]
    ignored = [args.content.get("ignore_index"), *_list(args, "more_ignored")]
    return Segmentation(
        codes,
        None if ignored == [None] else [_pixel(value) for value in ignored],
        binary=_flag(args, "binary"),
        threshold=args.content.get("threshold"),
        border=args.content.get("border"),
        mask_reader=lost_reader if _flag(args, "own_reader") else None,
    )


def _list(args: Fields, name: str) -> list[Any]:
    found = args.value(name, lambda value: isinstance(value, list) and len(value) <= MAX_VALUES, "a list", default=[])
    return list(found)


def _flag(args: Fields, name: str) -> bool:
    return bool(args.value(name, lambda value: isinstance(value, bool), "true or false", default=False))


def _pairs(args: Fields, name: str, n_classes: int) -> list[tuple[Any, int]]:
    """Pixel values with the number of their class."""
    pairs = _list(args, name)
    for pair in pairs:
        is_pair = isinstance(pair, list) and len(pair) == 2 and type(pair[1]) is int and 0 <= pair[1] < n_classes
        if not is_pair:
            raise corrupt(args.path, f"task_args {name}", got=brief(pair), expected="a pixel value and a class index")
    return [(_pixel(value), number) for value, number in pairs]


def _pixel(value: Any) -> Any:
    is_color = isinstance(value, list) and len(value) == 3 and all(type(part) is int for part in value)
    return tuple(value) if is_color else value if type(value) is int or value is None else -1  # refused by the task


def _none(fields: Fields, classes: tuple[str, ...]) -> Task | None:
    return None


_TASKS: dict[str, Callable[[Fields, tuple[str, ...]], Task | None]] = {
    "classification": _classification, "multilabel": _multilabel, "regression": _regression,
    "segmentation": _segmentation, "points": _points, "none": _none,
}  # fmt: skip
