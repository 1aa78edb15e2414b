"""Summary of a data set: counts, imbalance, sizes, and the rows left out."""

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from learnkit.data.image.preprocess import Preprocess
from learnkit.data.image.sources import image_size
from learnkit.data.segmentation import Segmentation
from learnkit.data.tasks import MultiLabel, Regression, Task
from learnkit.errors import DataError, ImageError
from learnkit.text import printable

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["DataSummary", "summarize"]

MAX_MEASURED = 1000  # files whose size is read, evenly spaced
MAX_LINES = 40  # of the table of counts that are printed


@dataclass(frozen=True)
class DataSummary:
    """A summary to print, or to look at in a notebook; its parts are DataFrames.

    Attributes:
        counts: items of each class (rows) in each split (columns); for several labels per item, those that have it; for
            a regression, count, mean, minimum and maximum of each number.
        sizes: minimum, median and maximum height and width of the files, in pixels.
        imbalance: training items of the most frequent class per item of the rarest; None without classes.
        skipped: the rows left out, and why.
        shape: shape of the model's inputs, (channels, height, width).
    """

    counts: "pd.DataFrame"
    sizes: "pd.DataFrame"
    imbalance: float | None
    skipped: "pd.DataFrame"
    shape: tuple[int, int, int]

    def __str__(self) -> str:
        counts = self.counts.rename(index=lambda name: printable(str(name))).to_string(max_rows=MAX_LINES)
        imbalance = "" if self.imbalance is None else f"\nlargest / smallest class in training: {self.imbalance:.1f}"
        skipped = f"\nleft out: {len(self.skipped)} items, see .skipped" if len(self.skipped) else ""
        return f"{counts}{imbalance}\n\nfiles, pixels (the model sees {self.shape})\n{self.sizes.to_string()}{skipped}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        tables = [self.counts, self.sizes, *([self.skipped] if len(self.skipped) else [])]
        lines = "\n".join(table.to_html(escape=True, max_rows=MAX_LINES) for table in tables).split("\n")
        return "\n".join(map(printable, lines))


def summarize(
    samples: "pd.DataFrame", task: Task | None, skipped: "pd.DataFrame", preprocess: Preprocess
) -> DataSummary:
    """Summary of a table of samples whose targets are as the task takes them."""
    if samples.empty:
        raise DataError("this bunch has no items to count")
    counts = _counts(samples, task)
    imbalance = None
    if "train" in counts and task is not None and task.classes and not isinstance(task, Segmentation):
        per_class = counts["train"].drop(["(all)", "(no label)"], errors="ignore")
        imbalance = float(per_class.max() / per_class.min()) if per_class.min() > 0 else float("inf")
    shape = (preprocess.channels, *preprocess.resize.size)
    return DataSummary(counts, _sizes(samples), imbalance, skipped, shape)


def _counts(samples: "pd.DataFrame", task: Task | None) -> "pd.DataFrame":
    import pandas as pd

    splits = [name for name in ("train", "valid", "test") if name in set(samples["split"])]
    parts: dict[str, Any] = {name: samples[samples["split"] == name]["target"].dropna() for name in splits}
    totals = {name: int((samples["split"] == name).sum()) for name in splits}
    if isinstance(task, Regression):
        rows = {}
        for split, labels in parts.items():
            numbers = pd.DataFrame([task.encode(label).tolist() for label in labels], columns=list(task.names))
            for name in task.names:
                rows[split, name] = numbers[name].agg(["count", "mean", "min", "max"])
        return pd.DataFrame(rows).T
    if task is None or isinstance(task, Segmentation):
        return pd.DataFrame({name: {"(all)": n} for name, n in totals.items()})
    several = isinstance(task, MultiLabel)
    flat = {name: labels.explode().dropna() if several else labels for name, labels in parts.items()}
    columns = {}
    for name, labels in flat.items():
        found = Counter(labels)
        unlabeled = [sum(not row for row in parts[name])] if several else []
        columns[name] = [*(found[label] for label in task.classes), *unlabeled, totals[name]]
    index = [*task.classes, *(["(no label)"] if several else []), "(all)"]
    return pd.DataFrame(columns, index=pd.Index(index, dtype=object))  # names need not be valid UTF-8


def _sizes(samples: "pd.DataFrame") -> "pd.DataFrame":
    import pandas as pd

    sizes = []
    for file in samples["input"].iloc[:: max(1, len(samples) // MAX_MEASURED)]:
        try:
            sizes.append(image_size(file))
        except ImageError:  # only a custom reader can read it
            continue
    table = pd.DataFrame(sizes, columns=["height", "width"])
    return table.agg(["min", "median", "max"]) if len(table) else table
