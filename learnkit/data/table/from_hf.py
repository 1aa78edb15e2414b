"""A table of samples from Hugging Face datasets: references to their images, and their labels by name."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from learnkit.data.classes import Classes, sorted_names
from learnkit.data.table.from_datasets import named_class
from learnkit.data.table.hf_images import hf_sources, inner_feature, is_image_feature
from learnkit.data.table.hf_splits import HfSplit
from learnkit.data.table.label_columns import column_list, labels_in
from learnkit.data.table.labels import task_kind
from learnkit.data.table.remembered import remember
from learnkit.data.tasks import MultiLabel, Task
from learnkit.errors import DataError, UsageError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["HfTable", "hf_samples"]

OWN = ("input", "target", "split")  # columns of a table of samples


class HfTable(NamedTuple):
    """What a Hugging Face dataset says about its images.

    Attributes:
        samples: one row per item: input, target, split, and the columns of text, numbers and classes.
        classes: the names of the classes, in order; those passed, or None to go by the task or the labels.
        names: the label columns, if there are several.
    """

    samples: "pd.DataFrame"
    classes: Sequence[str] | None
    names: tuple[str, ...]


def hf_samples(
    splits: Mapping[str, HfSplit],
    image: str,
    label: str | Sequence[str],
    task: Task | str | None,
    classes: Sequence[str] | None,
) -> HfTable:
    """A table with one row per item; no image is read.

    Args:
        splits: "train", "valid" and "test", as far as there are such.
        image: the column of the images.
        label: the column of the labels, or several, as for `from_df`; the test set may lack them.
        task: what the labels mean, or None.
        classes: names of the labels that are whole numbers and have none in the dataset; None for those of the task.

    Raises:
        DataError: no such column, or one of another kind.
        UsageError: a column that is not named by text.
    """
    import pandas as pd

    labels = column_list(label)
    for what, column in [("image", image), *(("label", one) for one in labels)]:
        if not isinstance(column, str):
            raise UsageError(what, got=column, expected="the name of a column")
    kind = task_kind(task)
    known = classes or getattr(task, "classes", None) or None
    inputs: list[Any] = []
    sources: dict[int, Sequence[Any]] = {}
    frames, splits_of_rows = [], []
    n_labeled = 0
    for split, part in splits.items():
        is_labeled = split != "test" or set(labels) <= set(part.dataset.features)
        _check_columns(part, [image, *(map(str, labels) if is_labeled else ())])
        frame = _others(part.dataset, {image, *labels})
        for column in map(str, labels) if is_labeled else ():
            cells = _labels(part, split, column, kind, Classes(known) if known else None)
            frame[column] = pd.Series(cells, index=frame.index, dtype=object)
        n_labeled += len(frame) if is_labeled else 0
        if id(part.dataset) not in sources:  # of the same dataset twice: an item in two splits is seen
            sources[id(part.dataset)] = hf_sources(part.dataset, image, part.name)
        inputs += sources[id(part.dataset)]
        splits_of_rows += [split] * len(frame)
        frames.append(frame)
    table = pd.concat(frames, ignore_index=True)
    targets, columns = labels_in(table.iloc[:n_labeled], label, None, kind)
    targets = [*targets, *[None] * (len(table) - n_labeled)]
    samples = table.rename(columns={name: f"{name}_" for name in OWN if name in table and name not in labels})
    added = zip(OWN, (inputs, targets, splits_of_rows), strict=True)
    samples = samples.assign(**{name: pd.Series(values, dtype=object) for name, values in added})
    if columns is not None:
        samples = remember(samples, MultiLabel(sorted_names(dict.fromkeys(columns))))
    named = _class_names(splits["train"].dataset.features[labels[0]]) if len(labels) == 1 else None
    names = tuple(map(str, labels)) if len(labels) > 1 else ()
    has_own = kind == "regression" or hasattr(task, "n_out")
    return HfTable(samples, named if classes is None and not has_own else classes, names)


def _check_columns(part: HfSplit, columns: Sequence[str]) -> None:
    features = part.dataset.features
    if missing := [column for column in columns if column not in features]:
        there = ", ".join(f"{name} ({_kind_of(feature)})" for name, feature in features.items())
        raise DataError(
            f"{part.name}: no column {missing[0]!r}; columns are {there}", fix="Pass image= and label=, by name."
        )


def _kind_of(feature: Any) -> str:
    """What a column holds, in a word."""
    kind = type(feature).__name__
    return str(feature.dtype) if kind == "Value" else kind


def _class_names(feature: Any) -> Sequence[str] | None:
    """The names of the classes of a column, or of its lists; None for any other column."""
    names: Sequence[str] | None = getattr(inner_feature(feature) or feature, "names", None)
    return names


def _labels(part: HfSplit, split: str, column: str, kind: str | None, classes: Classes | None) -> list[Any]:
    """The label of every row: classes by name, None for one of number -1, which means unlabeled.

    Raises:
        DataError: images without a Segmentation, or something that is not a label.
    """
    feature = part.dataset.features[column]
    if is_image_feature(feature):
        if kind == "masks":
            return list(hf_sources(part.dataset, column, f"{part.name}.{column}"))
        fix = "Pass task=Segmentation(codes) if they are masks, or label=, another column."
        raise DataError(f"{part.name}: the column {column!r} holds images", expected="labels", fix=fix)
    inner = feature
    while inner_feature(inner) is not None:
        inner = inner_feature(inner)
    if type(inner).__name__ not in ("Value", "ClassLabel") or "binary" in inner.dtype:
        expected = "a class, several of them, or numbers, in each row"
        raise DataError(f"{part.name}: the column {column!r} holds {feature}", expected=expected, fix="Pass label=.")
    cells = part.dataset.select_columns([column]).with_format(None)[:][column]
    names = _class_names(feature)
    if names is None:
        named_by = None if kind == "regression" else classes
        return [named_class(cell, named_by, split, i) for i, cell in enumerate(cells)]

    def named(number: int | None) -> Any:
        if number is None or number == -1:
            return None
        return number if kind == "regression" else names[number]

    return [list(map(named, cell)) if isinstance(cell, list) else named(cell) for cell in cells]


def _others(dataset: Any, used: set[Any]) -> "pd.DataFrame":
    """The columns of text, numbers and classes that are neither image nor label."""
    import pandas as pd

    kept = [
        name
        for name, feature in dataset.features.items()
        if name not in used and type(feature).__name__ in ("Value", "ClassLabel") and "binary" not in feature.dtype
    ]
    frame = (
        dataset.select_columns(kept).with_format(None).to_pandas() if kept else pd.DataFrame(index=range(len(dataset)))
    )
    for name in kept:
        if (names := _class_names(dataset.features[name])) is not None:
            frame[name] = [None if pd.isna(number) or number == -1 else names[int(number)] for number in frame[name]]
    return frame
