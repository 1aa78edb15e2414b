"""What is odd about the data: labels, files, and how the classes are spread."""

import math
from collections.abc import Callable
from typing import Any

from learnkit.data.tasks import Classification
from learnkit.interpretation.items import TRAINING
from learnkit.interpretation.label_issues import rank_label_issues
from learnkit.interpretation.report.content import Column, Item, Problems, Suspect, Table

__all__ = ["counted", "problems_of"]

MOST_SUSPECTS = 20
MOST_SKIPPED = 50
MOST_NAMED = 8  # classes in a sentence
LEARNT = "Labels were looked at on items that the model was trained on: it has learnt them, so few suspects are found."
IMBALANCED = 3.0  # largest / smallest class from which it is said


def problems_of(interp: Any, learn: Any, item: Callable[[int], Item]) -> Problems | None:
    """Suspicious labels of the interpretation; files left out and classes of the learner's data.

    None where nothing could be looked at.
    """
    suspects = _suspects(interp, item) if interp.kind is Classification else None
    dls = learn.dls if learn is not None and learn.dls.preprocess is not None else None
    if suspects is None and dls is None:
        return None
    learnt = [LEARNT] if suspects is not None and interp.part == TRAINING else []
    if dls is None:
        return Problems((*([] if suspects else ["No label looks suspicious."]), *learnt), suspects or ())
    summary = dls.summary()
    n_classes = len(dls.classes) if len(summary.counts) > len(dls.classes) else 0  # masks are not counted by class
    notes = [*_imbalance(summary.imbalance), *_missing(summary.counts.iloc[:n_classes])]
    skipped = tuple(
        (_tail(str(row["input"])), _without_folder(str(row["error"]), str(row["input"])))
        for row in summary.skipped[:MOST_SKIPPED].to_dict("records")
    )
    if len(summary.skipped):
        notes.append(f"Left out because they could not be read: {counted(len(summary.skipped), 'item')}.")
    if not notes and not suspects:
        looked_for = ["no suspicious label"] if suspects is not None else []
        looked_for += ["no file left out", *(["no class without items"] if n_classes else [])]
        notes.append(f"Nothing odd was found: {', '.join(looked_for)}.")
    counts = _counts(summary.counts, n_classes)
    return Problems((*notes, *learnt), suspects or (), skipped, len(summary.skipped), counts)


def _suspects(interp: Any, item: Callable[[int], Item]) -> tuple[Suspect, ...] | None:
    if len(interp.classes) < 2:  # there is no other class to suggest
        return None
    scores, suggestions = rank_label_issues(interp.probs, interp.targets)
    order = scores.argsort(descending=True, stable=True).tolist()
    suspicious = [i for i in order if scores[i] > 0 and suggestions[i] != interp.targets[i]]
    return tuple(
        Suspect(
            item(i),
            str(interp.classes[int(interp.targets[i])]),
            str(interp.classes[int(suggestions[i])]),
            float(scores[i]),
        )
        for i in suspicious[:MOST_SUSPECTS]
    )


def _imbalance(imbalance: float | None) -> list[str]:
    if imbalance is None or not math.isfinite(imbalance) or imbalance < IMBALANCED:
        return []
    times = f"{imbalance:.1f}" if imbalance < 10 else f"{imbalance:,.0f}"
    return [f"The most frequent class has {times} times as many training items as the rarest."]


def _missing(counts: Any) -> list[str]:
    """Classes without an item in a split that has labels."""
    notes = []
    for split in counts.columns:
        empty = [str(name) for name in counts.index[counts[split] == 0]]
        if not empty or len(empty) == len(counts):
            continue
        more = f" and {len(empty) - MOST_NAMED} more" if len(empty) > MOST_NAMED else ""
        are = "class has" if len(empty) == 1 else "classes have"
        listed = ", ".join(f"“{name[:40]}”" for name in empty[:MOST_NAMED])
        notes.append(f"{len(empty)} {are} no item in {split}: {listed}{more}.")
    return notes


def _counts(counts: Any, n_classes: int) -> Table | None:
    if not n_classes:
        return None
    rows = tuple(
        (str(name), tuple(float(n) for n in row)) for name, row in zip(counts.index, counts.to_numpy(), strict=True)
    )
    columns = tuple(Column(str(split), 0) for split in counts.columns)
    return Table("class", columns, rows[:n_classes], rows[n_classes:])


def counted(n: int, what: str) -> str:
    """A number of things: 1 item, 2 classes."""
    return f"{n:,} {what}{'' if n == 1 else 'es' if what.endswith('s') else 's'}"


def _tail(path: str) -> str:
    return "/".join(path.replace("\\", "/").split("/")[-2:])


def _without_folder(text: str, path: str) -> str:
    """What is wrong with a file, without where it lies on somebody's disk."""
    return text.replace(path, path.replace("\\", "/").rpartition("/")[2])
