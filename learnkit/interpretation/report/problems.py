"""Problems of the data: labels, files, and the distribution of the classes."""

import math
from typing import TYPE_CHECKING, cast

from learnkit.data.image_bunch import as_image_bunch
from learnkit.data.tasks import Classification
from learnkit.interpretation.label_issues import count_label_issues, rank_label_issues
from learnkit.interpretation.learners import Trained
from learnkit.interpretation.naming import TRAINING
from learnkit.interpretation.report.content import Column, Problems, Suspect, Table
from learnkit.interpretation.report.predictions import ClassifiedItems
from learnkit.interpretation.report.protocols import Reported, ReportedClasses
from learnkit.text import counted

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["problems_of"]

MAX_SUSPECTS = 20
MAX_SKIPPED = 50
MAX_NAMED = 8  # classes in a sentence
LEARNED = "These are items that the model was trained on: it has learned their labels, so few suspects are found."
NOT_COMPARED = (
    "Near-duplicates and outliers were not looked for, as that takes a pass over all images: "
    "learn.report(path, duplicates=True), or learnkit report --duplicates."
)
IMBALANCED = 3.0  # largest / smallest class from which it is reported


def problems_of(interp: Reported, learn: Trained | None, *, duplicates: bool = True) -> Problems | None:
    """Suspicious labels of the interpretation; files left out and classes of the learner's data.

    A note says how to get near-duplicates and outliers of images, if they have not been looked for.

    None if nothing could be checked.
    """
    suspects = _suspects(cast(ReportedClasses, interp)) if interp.kind is Classification else None
    dls = as_image_bunch(learn.dls) if learn is not None else None
    if suspects is None and dls is None:
        return None
    learned = [LEARNED] if suspects is not None and interp.source.part == TRAINING else []
    if suspects:
        learned.insert(0, _estimate(cast(ReportedClasses, interp)))
    if dls is not None and not duplicates:
        learned.append(NOT_COMPARED)
    if dls is None or dls.is_stream:  # which has no table of its files
        notes = [*(["No label looks suspicious."] if suspects == () else []), *learned]
        return Problems(tuple(notes), suspects or ()) if notes or suspects else None
    summary = dls.summary()
    n_classes = len(dls.classes) if len(summary.counts) > len(dls.classes) else 0  # masks are not counted by class
    notes = [*_imbalance(summary.imbalance), *_missing(summary.counts.iloc[:n_classes])]
    skipped = tuple(
        (_tail(str(row["input"])), _without_folder(str(row["error"]), str(row["input"])))
        for row in summary.skipped[:MAX_SKIPPED].to_dict("records")
    )
    if len(summary.skipped):
        notes.append(f"Left out because they could not be read: {counted(len(summary.skipped), 'item')}.")
    if not notes and not suspects:
        looked_for = ["no suspicious label"] if suspects is not None else []
        looked_for += ["no file left out", *(["no class without items"] if n_classes else [])]
        notes.append(f"No problems were found: {', '.join(looked_for)}.")
    counts = _counts(summary.counts, n_classes)
    return Problems((*notes, *learned), suspects or (), skipped, len(summary.skipped), counts)


def _suspects(interp: ReportedClasses) -> tuple[Suspect, ...] | None:
    if len(interp.classes) < 2:  # there is no other class to suggest
        return None
    item = ClassifiedItems(interp)
    scores, suggestions = rank_label_issues(interp.probs, interp.targets)
    order = scores.argsort(descending=True, stable=True).tolist()
    suspicious = [i for i in order if scores[i] > 0 and suggestions[i] != interp.targets[i]]
    return tuple(
        Suspect(
            item(i),
            item.classes[int(interp.targets[i])],
            item.classes[int(suggestions[i])],
            float(scores[i]),
        )
        for i in suspicious[:MAX_SUSPECTS]
    )


def _estimate(interp: ReportedClasses) -> str:
    n = count_label_issues(interp.probs, interp.targets)
    return f"About {n:,} of {counted(len(interp.targets), 'label')} are probably wrong, by confident learning."


def _imbalance(imbalance: float | None) -> list[str]:
    if imbalance is None or not math.isfinite(imbalance) or imbalance < IMBALANCED:
        return []
    times = f"{imbalance:.1f}" if imbalance < 10 else f"{imbalance:,.0f}"
    return [f"The most frequent class has {times} times as many training items as the rarest."]


def _missing(counts: "pd.DataFrame") -> list[str]:
    """Classes without an item in a split that has labels."""
    notes = []
    for split in counts.columns:
        empty = [str(name) for name in counts.index[counts[split] == 0]]
        if not empty or len(empty) == len(counts):
            continue
        more = f" and {len(empty) - MAX_NAMED} more" if len(empty) > MAX_NAMED else ""
        listed = ", ".join(f"“{name[:40]}”" for name in empty[:MAX_NAMED])
        notes.append(f"{counted(len(empty), 'class has', 'classes have')} no item in {split}: {listed}{more}.")
    return notes


def _counts(counts: "pd.DataFrame", n_classes: int) -> Table | None:
    if not n_classes:
        return None
    rows = tuple(
        (str(name), tuple(float(n) for n in row)) for name, row in zip(counts.index, counts.to_numpy(), strict=True)
    )
    columns = tuple(Column(str(split), 0) for split in counts.columns)
    return Table("class", columns, rows[:n_classes], rows[n_classes:])


def _tail(path: str) -> str:
    return "/".join(path.replace("\\", "/").split("/")[-2:])


def _without_folder(text: str, path: str) -> str:
    """What is wrong with a file, without the folder it is in."""
    return text.replace(path, path.replace("\\", "/").rpartition("/")[2])
