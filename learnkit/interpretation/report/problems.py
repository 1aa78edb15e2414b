"""What is odd about the data: labels, files, and how the classes are spread."""

import math
from collections.abc import Callable
from typing import Any

from learnkit.data.image_data import ImageData
from learnkit.data.tasks import Classification
from learnkit.interpretation.label_issues import rank_label_issues
from learnkit.interpretation.report.content import Column, Item, Problems, Suspect, Table

__all__ = ["problems_of"]

MOST_SUSPECTS = 20
MOST_SKIPPED = 50
MOST_NAMED = 8  # classes in a sentence
NOTHING = "Nothing odd was found: no suspicious label, no file left out, no class without items."
IMBALANCED = 3.0  # largest / smallest class from which it is said


def problems_of(interp: Any, learn: Any, item: Callable[[int], Item]) -> Problems | None:
    """Suspicious labels of the interpretation; files left out and classes of the learner's data.

    None where nothing could be looked at.
    """
    suspects = _suspects(interp, item) if interp.kind is Classification else None
    dls = learn.dls if learn is not None and isinstance(learn.dls, ImageData) else None
    if suspects is None and dls is None:
        return None
    if dls is None:
        return Problems(() if suspects else ("No label looks suspicious.",), suspects or ())
    summary = dls.summary()
    notes = [*_imbalance(summary.imbalance), *_missing(summary.counts, dls.classes)]
    skipped = tuple(
        (_tail(str(row["input"])), str(row["error"])) for row in summary.skipped[:MOST_SKIPPED].to_dict("records")
    )
    if len(summary.skipped):
        notes.append(f"Left out because they could not be read: {_items(len(summary.skipped))}.")
    if not notes and not suspects:
        notes.append(NOTHING)
    return Problems(tuple(notes), suspects or (), skipped, len(summary.skipped), _counts(summary.counts))


def _suspects(interp: Any, item: Callable[[int], Item]) -> tuple[Suspect, ...] | None:
    if len(interp.classes) < 2:  # there is no other class to suggest
        return None
    scores, suggestions = rank_label_issues(interp.probs, interp.targets)
    order = scores.argsort(descending=True, stable=True)[:MOST_SUSPECTS].tolist()
    return tuple(
        Suspect(
            item(i),
            str(interp.classes[int(interp.targets[i])]),
            str(interp.classes[int(suggestions[i])]),
            float(scores[i]),
        )
        for i in order
        if scores[i] > 0
    )


def _imbalance(imbalance: float | None) -> list[str]:
    if imbalance is None or not math.isfinite(imbalance) or imbalance < IMBALANCED:
        return []
    return [f"The most frequent class has {imbalance:.1f} times as many training items as the rarest."]


def _missing(counts: Any, classes: list[str]) -> list[str]:
    """Classes without an item in a split that has labels."""
    notes = []
    for split in counts.columns if classes else ():
        named = counts[split].reindex(classes).dropna()
        empty = [str(name) for name in named.index[named == 0]]
        if not empty or len(empty) == len(named):
            continue
        more = f" and {len(empty) - MOST_NAMED} more" if len(empty) > MOST_NAMED else ""
        are = "class has" if len(empty) == 1 else "classes have"
        listed = ", ".join(f"“{name[:40]}”" for name in empty[:MOST_NAMED])
        notes.append(f"{len(empty)} {are} no item in {split}: {listed}{more}.")
    return notes


def _counts(counts: Any) -> Table | None:
    if not len(counts) or isinstance(counts.index[0], tuple):
        return None
    rows = tuple(
        (str(name), tuple(float(n) for n in row)) for name, row in zip(counts.index, counts.to_numpy(), strict=True)
    )
    return Table("class", tuple(Column(str(split), 0) for split in counts.columns), rows)


def _items(n: int) -> str:
    return f"{n:,} item{'s' if n != 1 else ''}"


def _tail(path: str) -> str:
    return "/".join(path.replace("\\", "/").split("/")[-2:])
