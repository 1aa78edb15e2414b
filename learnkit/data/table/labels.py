"""What the labels of a table mean: the task they are for, its classes, and the labels as that task takes them."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from learnkit.checks import nearest
from learnkit.data.tasks import Classification, MultiLabel, Regression, Task
from learnkit.errors import DataError, UsageError, warn
from learnkit.text import printable

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["label_samples", "warn_missing_classes"]

TASKS = ("classification", "multilabel", "regression")
Labels = dict[str, list[Any]]  # those of each split


def label_samples(
    samples: "pd.DataFrame", task: Task | str | None, classes: Sequence[str] | None, names: Sequence[str] = ()
) -> tuple["pd.DataFrame", Task]:
    """The table with its targets as the task takes them (str, list of str, float or tuple of floats), and the task.

    Without `task`, labels that are lists or sets are a MultiLabel task, all others but floats a Classification.

    Args:
        samples: columns input, target (missing in an unlabeled test set only) and split.
        task: a task, or "classification", "multilabel" or "regression".
        classes: the order of the classes; None for sorted.
        names: names of the regression targets.

    Raises:
        DataError: missing labels, fewer than two classes, or a class that only the validation set has.
        UsageError: floats without a task, or an unknown one.
    """
    is_labeled = samples["target"].map(_is_label)
    _check_missing(samples, is_labeled)
    labeled = samples[is_labeled]
    raw = labeled["target"]
    kind = _kind(raw, task)
    samples = samples.assign(target=samples["target"].astype(object))
    if kind == "regression":
        rows = [_numbers(label, row) for row, label in raw.items()]
        width = {len(row) for row in rows}
        if len(width) > 1:
            raise DataError("labels", got=f"rows of {sorted(width)} numbers", expected="as many in every row")
        samples.loc[is_labeled, "target"] = _objects([row[0] if len(row) == 1 else row for row in rows])
        n = width.pop()
        task = task if isinstance(task, Regression) else Regression(_names(names, n))
        if task.n_out != n:
            raise DataError("labels", got=f"{n} numbers per item", expected=f"{task.n_out}: {', '.join(task.names)}")
        return samples, task
    given = tuple(task.classes) if not isinstance(task, str) and task is not None else classes
    if kind == "multilabel":
        samples.loc[is_labeled, "target"] = _objects([_texts(label, row) for row, label in raw.items()])
        known = _multilabel_classes(_per_split(samples[is_labeled]), given)
        return samples, task if isinstance(task, MultiLabel) else MultiLabel(known)
    samples.loc[is_labeled, "target"] = _objects([str(label) for label in raw])
    own = raw[labeled["split"] != "test"]  # those of a test folder are names of folders
    order = sorted(set(own)) if all(isinstance(label, int | np.integer) for label in own) else None
    known = _classes(_per_split(samples[is_labeled]), given, order)
    return samples, task if isinstance(task, Classification) else Classification(known)


def _is_label(value: Any) -> bool:
    """True for a label, such as an empty list; False for None, NaN and blank strings."""
    import pandas as pd

    if isinstance(value, str):
        return bool(value.strip(" "))
    return isinstance(value, list | tuple | set | np.ndarray) or not pd.isna(value)


def _check_missing(samples: "pd.DataFrame", is_labeled: "pd.Series[bool]") -> None:
    is_test = samples["split"] == "test"
    missing = ~is_labeled & (~is_test | bool(is_labeled[is_test].any()))
    if missing.any():
        rows = samples.index[missing].tolist()
        raise DataError(
            f"{len(rows)} rows have no label, first rows {rows[:5]} ({samples['input'][rows[0]]})",
            fix="Fill or drop them; a label spelled NA or None needs pd.read_csv(..., keep_default_na=False) and "
            "from_df.",
        )


def _kind(raw: "pd.Series[Any]", task: Task | str | None) -> str:
    """ "classification", "multilabel" or "regression"."""
    if isinstance(task, str):
        if task not in TASKS:
            raise UsageError("task", got=task, expected=f"a task, or one of {', '.join(TASKS)}",
                             fix=f"Nearest: {nearest(task, TASKS, 1)}.")  # fmt: skip
        return task
    for kind, name in ((Classification, TASKS[0]), (MultiLabel, TASKS[1]), (Regression, TASKS[2])):
        if isinstance(task, kind):
            return name
    if task is not None:
        raise UsageError("task", got=task, expected="Classification, MultiLabel or Regression for labels like these")
    if any(isinstance(label, float | np.floating) or _is_numbers(label) for label in raw):
        raise UsageError(
            f"labels like {raw.tolist()[0]!r} are numbers, which could be values or classes",
            fix="Pass task='regression', or task='classification' if each number is a class.",
        )
    return TASKS[1] if any(isinstance(label, list | tuple | set | np.ndarray) for label in raw) else TASKS[0]


def _is_numbers(label: Any) -> bool:
    return isinstance(label, list | tuple | np.ndarray) and any(isinstance(x, float | np.floating) for x in label)


def _numbers(label: Any, row: Any) -> tuple[float, ...]:
    try:
        numbers = tuple(float(value) for value in np.atleast_1d(label))
    except (TypeError, ValueError) as error:
        raise DataError(f"row {row}: label", got=label, expected="a number, or several") from error
    if not np.isfinite(numbers).all():
        raise DataError(f"row {row}: label", got=label, expected="finite numbers", fix="Fill or drop the row.")
    return numbers


def _names(names: Sequence[str], n: int) -> tuple[str, ...]:
    if len(names) == n:
        return tuple(names)
    return ("value",) if n == 1 else tuple(f"value {i}" for i in range(n))


def _texts(label: Any, row: Any) -> list[str]:
    if isinstance(label, str):
        raise DataError(
            f"row {row}: label", got=label, expected="a list of labels",
            fix="Pass label_delim= to split labels, or [label].",
        )  # fmt: skip
    names = sorted(label, key=str) if isinstance(label, set) else np.atleast_1d(label).tolist()
    if not all(map(_is_label, names)):
        raise DataError(f"row {row}: label", got=label, expected="no missing label among several")
    return list(map(str, names))


def _objects(values: list[Any]) -> Any:
    """A one-dimensional array of these objects, even if they look like rows of a matrix."""
    array = np.empty(len(values), dtype=object)
    for i, value in enumerate(values):
        array[i] = value
    return array


def _per_split(samples: "pd.DataFrame") -> Labels:
    return {str(split): part["target"].tolist() for split, part in samples.groupby("split")}


def _classes(labels: Labels, given: Sequence[str] | None, order: Sequence[Any] | None) -> tuple[str, ...]:
    """The classes of the training set in order, or those given."""
    train, valid = Counter(labels.get("train", ())), Counter(labels.get("valid", ()))
    if given is None:
        known = tuple(name for name in map(str, order) if name in train) if order else tuple(sorted(train))
    else:
        known = _given(given, train)
    unknown_classes = [
        f"{name!r} ({count} {'file' if count == 1 else 'files'})" for name, count in valid.items() if name not in known
    ]
    if unknown_classes:
        raise DataError(
            f"{', '.join(sorted(unknown_classes))} of the validation set is not in train",
            fix="Move or rename them, or split so that every class is trained on (another seed, StratifiedSplit).",
        )
    unknown = sorted(set(labels.get("test", ())) - set(known))
    if unknown:
        raise DataError(f"class {unknown[0]!r} of the test set is not in train", expected=", ".join(known[:10]))
    warn_missing_classes(known, train, valid)
    return known


def _multilabel_classes(labels: Labels, given: Sequence[str] | None) -> tuple[str, ...]:
    """The labels of training and validation in order, or those passed; rare ones may be only in validation."""
    train, valid = (Counter(name for row in labels.get(split, ()) for name in row) for split in ("train", "valid"))
    known = tuple(sorted(train | valid)) if given is None else _given(given, train | valid)
    if not known:
        raise DataError("no labels: every row is empty", fix="Check label_col and label_delim.")
    warn_missing_classes(known, train, valid)
    return known


def _given(given: Sequence[str], found: "Counter[str]") -> tuple[str, ...]:
    known = tuple(str(name) for name in given)
    if len(set(known)) < len(known):
        raise UsageError("classes", got=list(given), expected="each class once")
    if unknown := sorted(found.keys() - set(known)):
        raise UsageError("classes", got=list(given), expected=f"all labels of the training set, also {unknown[0]!r}")
    return known


def warn_missing_classes(known: Sequence[str], train: "Counter[str]", valid: "Counter[str]") -> None:
    """Warn about classes without training items, and about those without validation items."""
    if untrained := [name for name in known if name not in train]:
        text = f"no training item of class {_some(untrained)}: it cannot be learned"
        warn(text)
    if valid and (missing := [name for name in known if name in train and name not in valid]):
        text = f"no validation item of class {_some(missing)}: it is not measured"
        warn(text)


def _some(names: list[str]) -> str:
    return f"{', '.join(map(printable, names[:10]))}{' …' if len(names) > 10 else ''}"
