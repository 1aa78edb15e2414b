"""The test set: a folder of images, labeled by its folders or not, and rows that have no label."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from learnkit.data.classes import normal_form
from learnkit.data.table.columns import with_column
from learnkit.data.table.files import existing_folder, get_image_files, no_images
from learnkit.data.table.label_values import is_label
from learnkit.data.table.samples import absolute, rows_text
from learnkit.data.tasks import Classification, MultiLabel, Task
from learnkit.errors import warn
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
    files = get_image_files(root, suffixes=suffixes)
    if not files:
        raise no_images(root, suffixes)
    rows = [(absolute(str(file)), None, "test") for file in files]
    return pd.DataFrame(rows, columns=["input", "target", "split"], dtype=object)


def label_held_out(
    samples: "pd.DataFrame", folder: Path, task: Task, change: Callable[[str], str] | None = None
) -> "pd.DataFrame":
    """The table with the labels of the images of a test folder: the first folder of each, if any of them is a class.

    An image in another folder has no label; a warning names these folders.

    Args:
        samples: the whole table; rows below `folder` have no target.
        folder: the test folder.
        task: a Classification or a MultiLabel task; others have no class folders.
        change: how labels are normalized.
    """
    if not isinstance(task, Classification | MultiLabel):
        return samples
    root = Path(absolute(str(folder)))
    targets, other = samples["target"].tolist(), Counter[str]()
    found: dict[int, str] = {}
    for place, (file, split) in enumerate(zip(samples["input"], samples["split"], strict=True)):
        if split == "test" and not is_label(targets[place]) and Path(file).is_relative_to(root):
            top, *rest = Path(file).relative_to(root).parts
            name = change(top) if change else top
            if rest and name in task.classes:
                found[place] = name
            else:
                other[top if rest else "."] += 1
    forms = {normal_form(name) for name in task.classes}
    if other and (found or any(normal_form(name) in forms for name in other)):
        names = ", ".join(f"{printable(name)!r} ({count})" for name, count in list(other.items())[:MAX_SHOWN])
        warn(f"folders of the test set {root} that are no class, their images stay without a label: {names}")
    for place, name in found.items():
        targets[place] = [name] if isinstance(task, MultiLabel) else name
    return with_column(samples, "target", targets) if found else samples


def report_unlabeled(samples: "pd.DataFrame") -> None:
    """Warn about a test set of which some rows have a label and some have none."""
    test = samples[(samples["split"] == "test").to_numpy()]
    missing = test.index[test["target"].isna().to_numpy()]
    if 0 < len(missing) < len(test):
        warn(
            f"{len(missing)} of {len(test)} test items have no label, first {rows_text(samples, missing)}: the test "
            "set is only predicted, not measured; dls.drop(rows) leaves them out"
        )
