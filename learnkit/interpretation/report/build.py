"""From an interpretation and its learner to the content of a report."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from learnkit.data.points import Points
from learnkit.data.segmentation import Segmentation
from learnkit.data.tasks import Classification, MultiLabel, Regression
from learnkit.errors import LearnkitError, UsageError, WrongTypeError
from learnkit.interpretation.learners import Trained
from learnkit.interpretation.report.alike import AlikeItems, alike_of
from learnkit.interpretation.report.certainty import certainty_of
from learnkit.interpretation.report.content import Bin, ImageOf, Matrix, Number, Reliability, ReportContent, Table
from learnkit.interpretation.report.formatting import class_text, percent_text, short_text, value_text
from learnkit.interpretation.report.predictions import MAX_TOP_LOSSES, ClassifiedItems, heat_of, listed_items
from learnkit.interpretation.report.problems import problems_of
from learnkit.interpretation.report.protocols import (
    Reported,
    ReportedClasses,
    ReportedLabels,
    ReportedMasks,
    ReportedNumbers,
)
from learnkit.interpretation.report.run import charts_of, history_of, run_of, settings_of
from learnkit.interpretation.report.selection import MAX_ITEMS, items_per_cell, shown_cells
from learnkit.text import counted, ellipsized

__all__ = ["content_of"]

MAX_TILES = 7  # main numbers; tables hold the others
MAX_NAME = 40  # characters of a class in a sentence


def content_of(interp: Reported, *, learn: Trained | None = None, duplicates: bool = False) -> ReportContent:
    """The content of a report about a model.

    Args:
        interp: an interpretation of classification, several labels, regression, key points or segmentation.
        learn: its learner, for run settings, curves, certainty and problems of the data; left out without one.
        duplicates: also near-duplicates and outliers, by a pass over all items of the learner's data.

    Raises:
        UsageError: duplicates without a learner.
        WrongTypeError: `interp` is not an interpretation, or `learn` not a learner.
    """
    gather = KINDS.get(getattr(interp, "kind", object))
    if gather is None:
        got = type(interp).__name__
        raise WrongTypeError("interp", got=got, expected="an interpretation", fix="Pass learn.interpret().")
    if learn is not None and not hasattr(learn, "recorder"):
        got = type(learn).__name__
        raise WrongTypeError("learn", got=got, expected="a Learner", fix="Pass the learner, or leave it out.")
    if duplicates and learn is None:
        raise UsageError("duplicates: the learner of these items is needed", fix="Pass learn=learn.")
    image = _image_of(interp)
    parts = gather(interp, image)
    run: dict[str, Any] = {}
    if learn is not None:
        run = {
            "run": run_of(learn),
            "settings": settings_of(learn),
            "charts": charts_of(learn),
            "history": history_of(learn),
        }
        if duplicates:
            items = AlikeItems(learn, len(interp.losses))
            run["alike"] = alike_of(items)
            image = None if image is None else items.beside(image)
    problems = problems_of(interp, learn, duplicates=duplicates)
    return ReportContent(**parts, **run, certainty=certainty_of(interp, learn), problems=problems, image=image)


def _classification(interp: ReportedClasses, image: ImageOf | None) -> dict[str, Any]:
    table = Table.of_frame("class", interp.classification_report(), len(interp.classes))
    reliability = _reliability(interp)
    _, worst = interp.top_losses(min(MAX_TOP_LOSSES, len(interp.losses)))
    n, right = len(interp.targets), int((interp.preds == interp.targets).sum())
    numbers = [
        Number(percent_text(right, n), "accuracy", f"{right:,} of {n:,} right"),
        Number(f"{n - right:,}", "errors", f"in {counted(n, 'item')}"),
        Number(
            short_text(float(interp.losses.double().mean())),
            "mean loss",
            f"median {short_text(float(interp.losses.double().median()))}",
        ),
    ]
    if reliability is not None:
        numbers.append(Number(short_text(reliability.ece), "calibration error", "0 is perfect"))
    item = ClassifiedItems(interp)
    return {
        "title": "Classification report",
        "subtitle": f"{_items_of(interp)}, {counted(len(interp.classes), 'class')}",
        "numbers": (*numbers, *_weakest(table)),
        "matrix": _matrix(interp, item),
        "table": table,
        "top_losses": tuple(item(int(i), heat_of(interp, int(i), image)) for i in worst),
        "reliability": reliability,
    }


def _multilabel(interp: ReportedLabels, image: ImageOf | None) -> dict[str, Any]:
    table = Table.of_frame("class", interp.classification_report(), len(interp.classes))
    return {
        "title": "Multi-label report",
        "subtitle": f"{_items_of(interp)}, {counted(len(interp.classes), 'label')}",
        "numbers": (*_main_numbers(interp), *_weakest(table)),
        "table": table,
        "top_losses": listed_items(interp, image),
    }


def _regression(interp: ReportedNumbers, image: ImageOf | None) -> dict[str, Any]:
    return {
        "title": "Regression report",
        "subtitle": _items_of(interp),
        "numbers": _main_numbers(interp),
        "table": Table.of_frame("number", interp.regression_report(), len(interp.names)),
        "top_losses": listed_items(interp, image),
    }


def _points(interp: ReportedNumbers, image: ImageOf | None) -> dict[str, Any]:
    return {**_regression(interp, image), "title": "Key point report"}


def _segmentation(interp: ReportedMasks, image: ImageOf | None) -> dict[str, Any]:
    return {
        "title": "Segmentation report",
        "subtitle": f"{_items_of(interp)}, {counted(len(interp.classes), 'class')}",
        "numbers": _main_numbers(interp),
        "table": Table.of_frame("class", interp.iou(), len(interp.classes)),
        "top_losses": listed_items(interp, image),
    }


Gather = Callable[[Any, ImageOf | None], dict[str, Any]]  # each for its kind of interpretation
KINDS: dict[type, Gather] = {
    Classification: _classification,
    MultiLabel: _multilabel,
    Regression: _regression,
    Points: _points,
    Segmentation: _segmentation,
}


def _items_of(interp: Reported) -> str:
    """How many items, and of which part of the data if known."""
    items = counted(len(interp.losses), "item")
    return f"{items} of the {interp.source.part}" if interp.source.part else items


def _matrix(interp: ReportedClasses, item: ClassifiedItems) -> Matrix:
    n = len(interp.classes)
    numbers, places = torch.unique(interp.targets * n + item.preds, return_inverse=True)
    cells = [divmod(int(number), n) for number in numbers]
    counts = dict(zip(cells, torch.bincount(places, minlength=len(cells)).tolist(), strict=True))
    members: dict[tuple[int, int], list[int]] = {cell: [] for cell in shown_cells(n, counts)}
    where = places.tolist()
    for i in interp.top_losses()[1].tolist():
        if cells[where[i]] in members:
            members[cells[where[i]]].append(i)
    losses = interp.losses.tolist()
    places_for = items_per_cell({cell: [losses[i] for i in found] for cell, found in members.items()}, MAX_ITEMS)
    items = {cell: tuple(item(i) for i in found[: places_for[cell]]) for cell, found in members.items()}
    return Matrix(tuple(map(str, interp.classes)), counts, items)


def _image_of(interp: Reported) -> ImageOf | None:
    """The images; None if the first one cannot be read because the items have none."""
    image = interp.source.image
    if image is None:
        return None
    try:
        image(0)
    except UsageError:  # the data holds no images
        return None
    except (LearnkitError, OSError):  # the others may well be readable
        return image
    return image


def _weakest(table: Table) -> Sequence[Number]:
    place = next((k for k, column in enumerate(table.columns) if column.name == "f1-score"), None)
    if place is None:
        return ()
    known = [(values[place], name) for name, values in table.rows if not math.isnan(values[place])]
    if len(known) < 2:
        return ()
    value, name = min(known, key=lambda row: row[0])
    name = ellipsized(class_text(name), MAX_NAME, MAX_NAME // 2) if name.strip() else "(empty)"
    more = sum(other == value for other, _ in known) - 1
    return (Number(short_text(value), "F1 of the weakest class", f"{name} and {more} more" if more else name),)


def _main_numbers(interp: Reported) -> tuple[Number, ...]:
    numbers = [Number(value_text(value), name) for name, value in interp.main_numbers().items() if name != "task"]
    return tuple(numbers[:MAX_TILES])


def _reliability(interp: ReportedClasses) -> Reliability | None:
    try:
        calibration = interp.calibration()
    except UsageError:  # one class, no items, or probabilities that are nan
        return None
    bins = tuple(
        Bin(float(row["lower"]), float(row["upper"]), float(row["confidence"]), float(row["accuracy"]), int(row["n"]))
        for row in calibration.bins.to_dict("records")
    )
    return Reliability(float(calibration.ece), bins)
