"""What the labels of a table mean: the task they are for, its classes, and the labels as that task takes them."""

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import compress
from typing import TYPE_CHECKING, Any

from learnkit.checks import nearest
from learnkit.data.classes import Classes, check_same_classes, look_alikes, normal_form, sorted_names
from learnkit.data.points import Points
from learnkit.data.segmentation import Segmentation
from learnkit.data.table.columns import with_column
from learnkit.data.table.label_values import (
    SEVERAL,
    all_text,
    as_python,
    class_names,
    could_be_values,
    is_label,
    is_several,
    multi_hot_names,
    normalized,
    number_rows,
    several_names,
)
from learnkit.data.tasks import Classification, MultiLabel, Regression, Task
from learnkit.errors import DataError, UsageError, warn
from learnkit.text import counted, printable

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Normalize", "label_samples", "name_change", "task_kind", "warn_missing_classes"]

TASKS = ("classification", "multilabel", "regression")
Normalize = bool | Callable[[str], str]
Labels = dict[str, list[Any]]  # those of each split


def label_samples(
    samples: "pd.DataFrame",
    task: Task | str | None,
    classes: Sequence[str] | None,
    names: Sequence[str] = (),
    change: Callable[[str], str] | None = None,
) -> tuple["pd.DataFrame", Task]:
    """The table with its targets as the task takes them (str, list of str, float or tuple of floats), and the task.

    Without `task`, labels that are lists or sets are a MultiLabel task, all others but floats a Classification. Rows of
    0 and 1 are a MultiLabel task of the classes given.

    Args:
        samples: columns input, target (missing in a test set only) and split.
        task: a task, or "classification", "multilabel" or "regression".
        classes: the order of the classes; None for sorted, numbers by value.
        names: names of the regression targets.
        change: what to do with each label: see `name_change`.

    Raises:
        DataError: missing labels or labels of another type, with their rows; fewer than two classes, or a class that
            only the validation set has.
        UsageError: floats without a task, rows of 0 and 1 without classes, several labels for a classification, or an
            unknown task.
    """
    targets, splits = _present(samples["target"].tolist()), samples["split"].tolist()
    _check_missing(samples, targets, splits)
    places = [place for place, target in enumerate(targets) if target is not None]
    raw, rows = [targets[place] for place in places], samples.index[places].tolist()
    given = _given_classes(task, classes, change)
    kind = _kind(raw, task, given)
    found: Sequence[Any]
    if kind == "regression":
        if classes is not None:
            raise UsageError("classes", got=list(classes), expected="None: a regression has no classes")
        numbers = number_rows(raw, rows)
        task = _regression(numbers, task, names)
        found = [row[0] if len(row) == 1 else row for row in numbers]
    elif kind == "multilabel":
        found = multi_hot_names(raw, given) or several_names(raw, rows, change)
        known = _multilabel_classes(_per_split(found, places, splits), given)
        task = task if isinstance(task, MultiLabel) else MultiLabel(known)
    else:
        found = class_names(raw, rows, change)
        known = _classes(_per_split(found, places, splits), given)
        task = task if isinstance(task, Classification) else Classification(known)
    for place, target in zip(places, found, strict=True):
        targets[place] = target
    return with_column(samples, "target", targets), task


def _present(targets: Sequence[Any]) -> list[Any]:
    """The labels as Python has them, None for those that are missing."""
    if all_text(targets) and all(map(is_label, set(targets))):
        return list(targets)
    full = {text for text in {one for one in targets if type(one) is str} if is_label(text)}
    return [
        (one if one in full else None) if type(one) is str else as_python(one) if is_label(one) else None
        for one in targets
    ]


def name_change(normalize: Normalize) -> Callable[[str], str] | None:
    """What `normalize_labels=` does to a label: a function of its text, True for `normal_form`, or nothing."""
    return normal_form if normalize is True else normalize or None


def _check_missing(samples: "pd.DataFrame", targets: Sequence[Any], splits: Sequence[str]) -> None:
    missing = [
        place
        for place, (target, split) in enumerate(zip(targets, splits, strict=True))
        if target is None and split != "test"
    ]
    if missing:
        rows = samples.index[missing].tolist()
        raise DataError(
            f"{counted(len(rows), 'row has', 'rows have')} no label, "
            f"first rows {rows[:5]} ({samples['input'].iloc[missing[0]]})",
            fix="Fill or drop them; a label spelled NA or None needs pd.read_csv(..., keep_default_na=False) and "
            "from_df.",
        )


def _given_classes(
    task: Task | str | None, classes: Sequence[str] | None, change: Callable[[str], str] | None
) -> tuple[str, ...] | None:
    """The classes that the caller named."""
    names = None if classes is None else Classes(classes)
    if names is not None and change is not None:
        names = Classes(list(dict.fromkeys(normalized(name, change) for name in names)))
    if task is None or isinstance(task, str):
        return names
    if names is not None:
        check_same_classes(task.classes, names, "task=", "classes=", "Pass one of the two.")
    return tuple(task.classes)


def _kind(raw: Sequence[Any], task: Task | str | None, given: Sequence[str] | None) -> str:
    """ "classification", "multilabel" or "regression"."""
    kind = task_kind(task)
    if kind == "masks":
        raise UsageError("task", got=task, expected="Classification, MultiLabel or Regression for labels like these")
    if kind is None:
        if multi_hot_names(raw, given) is not None:
            return "multilabel"
        if could_be_values(raw):
            several = "; several labels an item are text, or 0 and 1 with a name for each in classes= or columns."
            each = ", or, if each number is a class, task='classification'"
            each += "." if all(map(_is_whole, raw)) else " with labels that are text: df[column].astype(str)."
            raise UsageError(
                f"labels like {raw[0]!r} are numbers, which could be values or classes",
                fix=f"Pass task='regression'{several if is_several(raw[0]) else each}",
            )
        return "multilabel" if _any_several(raw) else "classification"
    if kind == "classification" and _any_several(raw):
        label = next(filter(is_several, raw))
        fix = "Pass task='multilabel' for several labels an item, or one label an item."
        raise UsageError("task", got=task, expected=f"'multilabel' for labels that are lists, as {label!r}", fix=fix)
    return kind


def _any_several(raw: Sequence[Any]) -> bool:
    return any(issubclass(kind, SEVERAL) for kind in set(map(type, raw)))


def _is_whole(label: Any) -> bool:
    return isinstance(label, str | int) or (isinstance(label, float) and label.is_integer())


def task_kind(task: Task | str | None) -> str | None:
    """ "classification", "multilabel", "regression" or "masks" for a task or its name; None for None.

    Raises:
        UsageError: another task or name.
    """
    if task is None:
        return None
    if isinstance(task, str):
        if task not in TASKS:
            raise UsageError("task", got=task, expected=f"a task, or one of {', '.join(TASKS)}",
                             fix=f"Nearest: {nearest(task, TASKS, 1)}.")  # fmt: skip
        return task
    named = ((Classification, TASKS[0]), (MultiLabel, TASKS[1]), (Regression | Points, TASKS[2]))
    for kind, name in (*named, (Segmentation, "masks")):
        if isinstance(task, kind):
            return name
    raise UsageError("task", got=task, expected="Classification, MultiLabel or Regression for labels like these")


def _regression(numbers: Sequence[tuple[float, ...]], task: Task | str | None, names: Sequence[str]) -> Regression:
    widths = sorted({len(row) for row in numbers})
    if len(widths) != 1:
        raise DataError("labels", got=f"rows of {widths} numbers", expected="as many in every row")
    n = widths[0]
    if isinstance(task, Regression):
        if task.n_out != n:
            raise DataError(
                "labels", got=f"{counted(n, 'number')} per item", expected=f"{task.n_out}: {', '.join(task.names)}"
            )
        return task
    if len(names) == n:
        return Regression(tuple(names))
    return Regression(("value",) if n == 1 else tuple(f"value {i}" for i in range(n)))


def _per_split(found: Sequence[Any], places: Sequence[int], splits: Sequence[str]) -> Labels:
    own = [splits[place] for place in places]
    return {split: list(compress(found, [one == split for one in own])) for split in dict.fromkeys(own)}


def _classes(labels: Labels, given: Sequence[str] | None) -> tuple[str, ...]:
    """The classes of the training set in order, or those given."""
    train, valid = Counter(labels.get("train", ())), Counter(labels.get("valid", ()))
    known = sorted_names(train) if given is None else _covering(given, train)
    new = valid.keys() - set(known)
    unknown_classes = [f"{name!r} ({counted(count, 'file')})" for name, count in valid.items() if name in new]
    if unknown_classes:
        raise DataError(
            f"{', '.join(sorted(unknown_classes))} of the validation set is not in train",
            fix="Move or rename them, or split so that every class is trained on: "
            "split=StratifiedSplit(keep_in_train=True) keeps an item of every class in train.",
        )
    _check_test(set(labels.get("test", ())), known)
    _report(known, given, train, valid)
    return known


def _multilabel_classes(labels: Labels, given: Sequence[str] | None) -> tuple[str, ...]:
    """The labels of training and validation in order, or those passed; rare ones may be only in validation."""
    train, valid = (Counter(name for row in labels.get(split, ()) for name in row) for split in ("train", "valid"))
    known = sorted_names(train | valid) if given is None else _covering(given, train | valid)
    if not known:
        raise DataError("no labels: every row is empty", fix="Check label_col and label_delim.")
    _check_test({name for row in labels.get("test", ()) for name in row}, known)
    _report(known, given, train, valid)
    return known


def _covering(given: Sequence[str], found: "Counter[str]") -> tuple[str, ...]:
    if unknown := sorted(found.keys() - set(given)):
        if all(map(str.isdecimal, found)) and not set(given) & found.keys():
            fix = "Labels that are numbers are named by them: pass [classes[i] for i in labels] to name them so."
            raise UsageError("classes", got=list(given), expected=f"the labels, such as {unknown[0]!r}", fix=fix)
        raise UsageError(
            "classes", got=list(given), expected=f"all labels of the training set, also {unknown[0]!r}",
            fix="Pass classes= with all of them; a table from dls.samples remembers those it had.",
        )  # fmt: skip
    return tuple(given)


def _check_test(found: set[str], known: Sequence[str]) -> None:
    if unknown := sorted(found - set(known)):
        raise DataError(
            f"class {unknown[0]!r} of the test set is not in train", expected=", ".join(known[:10]),
            fix="Rename the label, or leave it empty: an item without one is only predicted.",
        )  # fmt: skip


def _report(known: Sequence[str], given: Sequence[str] | None, train: "Counter[str]", valid: "Counter[str]") -> None:
    """Warn about classes that look alike, and those that cannot be learned or measured."""
    alike = [" / ".join(map(repr, group)) for group in look_alikes(known)] if given is None else []
    if alike:
        warn(f"classes that look alike: {_some(alike)}; normalize_labels=True makes each of them one class")
    warn_missing_classes(known, train, valid, "; classes= without it leaves it out")


def warn_missing_classes(known: Sequence[str], train: "Counter[str]", valid: "Counter[str]", remedy: str = "") -> None:
    """Warn about classes without training items, and about those without validation items."""
    if untrained := [name for name in known if name not in train]:
        text = f"no training item of class {_some(untrained)}: it cannot be learned{remedy}"
        warn(text)
    if valid and (missing := [name for name in known if name in train and name not in valid]):
        text = f"no validation item of class {_some(missing)}: it is not measured"
        warn(text)


def _some(names: list[str]) -> str:
    return f"{', '.join(map(printable, names[:10]))}{' …' if len(names) > 10 else ''}"
