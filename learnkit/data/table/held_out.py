"""The test set: a folder of images, labeled by its folders or not, and rows that have no label."""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from learnkit.data.classes import normal_form
from learnkit.data.table.columns import with_column
from learnkit.data.table.files import existing_folder, image_names, no_images, text_below
from learnkit.data.table.label_values import as_python, class_names, is_label, number_rows, several_names
from learnkit.data.table.samples import absolute, rows_text
from learnkit.data.tasks import Classification, MultiLabel, Task
from learnkit.errors import DataError, warn
from learnkit.text import printable
from learnkit.types import PathLike

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["held_out_samples", "label_held_out", "report_unlabeled"]

MAX_SHOWN = 10


def held_out_samples(folder: PathLike, suffixes: Sequence[str] | None = None) -> "pd.DataFrame":
    """The images of a test folder, not yet labeled.

    Raises:
        MissingFileError: no such folder.
        DataError: no images.
    """
    import pandas as pd

    root = existing_folder(folder)
    files = text_below(Path(absolute(str(root))), image_names(root, suffixes=suffixes))
    if not files:
        raise no_images(root, suffixes)
    return pd.DataFrame({"input": files, "target": None, "split": "test"}, dtype=object)


def label_held_out(
    samples: "pd.DataFrame",
    folder: Path,
    task: Task,
    change: Callable[[str], str] | None = None,
    label: Callable[[str], Any] | None = None,
) -> "pd.DataFrame":
    """The table with the labels of the images of a test folder, if any of them has one that the task takes.

    An image without such a label has none; a warning counts them.

    Args:
        samples: the whole table; rows below `folder` have no target.
        folder: the test folder.
        task: what the labels mean.
        change: how labels are normalized.
        label: the function that labels files by their path. Without it, or if none of its labels is one of the task,
            the label is the first folder of each.
    """
    start = os.path.join(Path(absolute(str(folder))), "")
    targets, inputs = samples["target"].tolist(), samples["input"].tolist()
    places = [
        place
        for place, split in enumerate(samples["split"].tolist())
        if split == "test" and not is_label(targets[place]) and str(inputs[place]).startswith(start)
    ]
    files = [str(inputs[place]).replace(os.sep, "/") for place in places]
    if label is not None:
        found = _fitting([_result(label, file) for file in files], task, change, "labels")
        if not all(target is None for target in found):
            return _with(samples, targets, places, found)
    if not isinstance(task, Classification | MultiLabel):
        return samples
    several = isinstance(task, MultiLabel)
    tops = [file[len(start) :].partition("/") for file in files]
    names = [None if not slash else [top] if several else top for top, slash, _ in tops]
    return _with(samples, targets, places, _fitting(names, task, change, "folders"))


def _with(samples: "pd.DataFrame", targets: list[Any], places: list[int], found: list[Any]) -> "pd.DataFrame":
    for place, target in zip(places, found, strict=True):
        targets[place] = target
    return with_column(samples, "target", targets) if places else samples


def _result(label: Callable[[str], Any], file: str) -> Any:
    try:
        return as_python(label(file))
    except Exception:  # of the user's function, which names of a test set need not fit
        return None


def _fitting(raw: list[Any], task: Task, change: Callable[[str], str] | None, kind: str) -> list[Any]:
    """The labels as the task takes them, None for those that it does not; a warning names these."""
    found = [_target(one, task, change) for one in raw]
    other = Counter(
        "(none)" if one is None else str(one[0]) if isinstance(one, list) and len(one) == 1 else str(one)
        for one, target in zip(raw, found, strict=True)
        if target is None
    )
    forms = {normal_form(name) for name in task.classes}
    if other and (any(target is not None for target in found) or any(normal_form(name) in forms for name in other)):
        names = ", ".join(f"{printable(name)!r} ({count})" for name, count in list(other.items())[:MAX_SHOWN])
        warn(f"{kind} of the test set that are not a class, their images stay without a label: {names}")
    return found


def _target(raw: Any, task: Task, change: Callable[[str], str] | None) -> Any:
    """The label as the task takes it; None if it does not."""
    if not is_label(raw):
        return None
    try:
        if isinstance(task, Classification):
            name = class_names([raw], [0], change)[0]
            return name if name in task.classes else None
        if isinstance(task, MultiLabel):
            names = several_names([raw], [0], change)[0]
            return names if set(names) <= set(task.classes) else None
        numbers = number_rows([raw], [0])[0]
    except DataError:
        return None
    return None if len(numbers) != task.n_out else numbers[0] if len(numbers) == 1 else numbers


def report_unlabeled(samples: "pd.DataFrame") -> None:
    """Warn about a test set of which some rows have a label and some have none."""
    test = samples[(samples["split"] == "test").to_numpy()]
    missing = test.index[test["target"].isna().to_numpy()]
    if 0 < len(missing) < len(test):
        warn(
            f"{len(missing)} of {len(test)} test items have no label, first {rows_text(samples, missing)}: the test "
            "set is only predicted, not measured; dls.drop(rows) leaves them out"
        )
