"""From an interpretation, and the learner behind it, to what a report shows."""

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from learnkit.data.segmentation import Segmentation
from learnkit.data.tasks import Classification, MultiLabel, Regression
from learnkit.errors import LearnkitError, UsageError, WrongTypeError
from learnkit.interpretation.report.content import (
    Bin,
    Item,
    Matrix,
    Number,
    Reliability,
    ReportContent,
    Table,
)
from learnkit.interpretation.report.problems import counted, problems_of
from learnkit.interpretation.report.run import charts_of, history_of, run_of, settings_of
from learnkit.interpretation.report.selection import MAX_ITEMS, room, shown_cells
from learnkit.interpretation.report.texts import class_text, share_text
from learnkit.text import ellipsized

__all__ = ["content_of"]

MAX_TOP_LOSSES = 24
MAX_TILES = 7  # main numbers; tables hold the others
MAX_LISTED = 4  # numbers or labels of an item
MAX_NAME = 40  # characters of a class in a sentence
MAX_PROBABILITIES = 3  # written under an image


def content_of(interp: Any, *, learn: Any = None) -> ReportContent:
    """What there is to show about a model.

    Args:
        interp: an interpretation of classification, several labels, regression or segmentation.
        learn: the learner behind it, for run settings, curves and what is odd about the data; left out without one.

    Raises:
        WrongTypeError: `interp` is not an interpretation, or `learn` not a learner.
    """
    gather = KINDS.get(getattr(interp, "kind", object))
    if gather is None:
        got = type(interp).__name__
        raise WrongTypeError("interp", got=got, expected="an interpretation", fix="Pass learn.interpret().")
    if learn is not None and not hasattr(learn, "recorder"):
        got = type(learn).__name__
        raise WrongTypeError("learn", got=got, expected="a Learner", fix="Pass the learner, or leave it out.")
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
    problems = problems_of(interp, learn, Items(interp))
    return ReportContent(**parts, **run, problems=problems, image=image)


def _classification(interp: Any, image: Any) -> dict[str, Any]:
    table = Table.of_frame("class", interp.classification_report(), len(interp.classes))
    reliability = _reliability(interp)
    _, worst = interp.top_losses(min(MAX_TOP_LOSSES, len(interp.losses))) if len(interp.losses) else ((), [])
    n, right = len(interp.targets), int((interp.preds == interp.targets).sum())
    numbers = [
        Number(_percent(right, n), "accuracy", f"{right:,} of {n:,} right"),
        Number(f"{n - right:,}", "errors", f"in {counted(n, 'item')}"),
        Number(_number(_mean(interp.losses)), "mean loss", f"median {_number(_median(interp.losses))}"),
    ]
    if reliability is not None:
        numbers.append(Number(_number(reliability.ece), "calibration error", "0 is perfect"))
    item = Items(interp)
    return {
        "title": "Classification report",
        "subtitle": f"{_items_of(interp)}, {counted(len(interp.classes), 'class')}",
        "numbers": (*numbers, *_weakest(table)),
        "matrix": _matrix(interp, item),
        "table": table,
        "top_losses": tuple(item(int(i), _heat(interp, int(i), image)) for i in worst),
        "reliability": reliability,
    }


def _multilabel(interp: Any, image: Any) -> dict[str, Any]:
    table = Table.of_frame("class", interp.classification_report(), len(interp.classes))
    return {
        "title": "Multi-label report",
        "subtitle": f"{_items_of(interp)}, {counted(len(interp.classes), 'label')}",
        "numbers": (*_main_numbers(interp), *_weakest(table)),
        "table": table,
        "top_losses": _listed(interp, image),
    }


def _regression(interp: Any, image: Any) -> dict[str, Any]:
    return {
        "title": "Regression report",
        "subtitle": _items_of(interp),
        "numbers": _main_numbers(interp),
        "table": Table.of_frame("number", interp.regression_report(), len(interp.names)),
        "top_losses": _listed(interp, image),
    }


def _segmentation(interp: Any, image: Any) -> dict[str, Any]:
    return {
        "title": "Segmentation report",
        "subtitle": f"{_items_of(interp)}, {counted(len(interp.classes), 'class')}",
        "numbers": _main_numbers(interp),
        "table": Table.of_frame("class", interp.iou(), len(interp.classes)),
        "top_losses": _listed(interp, image),
    }


Gather = Callable[[Any, Any], dict[str, Any]]
KINDS: dict[type, Gather] = {
    Classification: _classification,
    MultiLabel: _multilabel,
    Regression: _regression,
    Segmentation: _segmentation,
}


def _items_of(interp: Any) -> str:
    """How many items, and of which part of the data where that is known."""
    items = counted(len(interp.losses), "item")
    return f"{items} of the {interp.source.part}" if interp.source.part else items


def _matrix(interp: Any, item: "Items") -> Matrix:
    n = len(interp.classes)
    numbers, places = torch.unique(interp.targets * n + item.preds, return_inverse=True)
    cells = [divmod(int(number), n) for number in numbers]
    counts = dict(zip(cells, torch.bincount(places, minlength=len(cells)).tolist(), strict=True))
    order = interp.top_losses()[1].tolist() if len(interp.losses) else []
    members: dict[tuple[int, int], list[int]] = {cell: [] for cell in shown_cells(n, counts)}
    where = places.tolist()
    for i in order:
        if cells[where[i]] in members:
            members[cells[where[i]]].append(i)
    losses = interp.losses.tolist()
    places_for = room({cell: [losses[i] for i in found] for cell, found in members.items()}, MAX_ITEMS)
    items = {cell: tuple(item(i) for i in found[: places_for[cell]]) for cell, found in members.items()}
    return Matrix(tuple(map(str, interp.classes)), counts, items)


class Items:
    """The items of a classification."""

    def __init__(self, interp: Any) -> None:
        self.interp = interp
        self.classes = [class_text(str(name)) for name in interp.classes] if interp.kind is Classification else []

    @cached_property
    def preds(self) -> Tensor:
        """(N,), found once."""
        return self.interp.preds  # type: ignore[no-any-return]

    def __call__(self, i: int, heat: "np.ndarray[Any, Any] | None" = None) -> Item:
        interp, target, prediction = self.interp, int(self.interp.targets[i]), int(self.preds[i])
        row = interp.probs[i]
        top = row.argsort(descending=True, stable=True)[:MAX_PROBABILITIES].tolist()
        shown = top if target in top else [*top[: MAX_PROBABILITIES - 1], target]
        return Item(
            number=i,
            name=_file(str(i) if interp.source.name is None else str(interp.source.name(i))),
            prediction=self.classes[prediction],
            target=self.classes[target],
            loss=float(interp.losses[i]),
            probabilities=tuple((self.classes[k], float(row[k])) for k in shown if math.isfinite(row[k])),
            is_right=prediction == target,
            heat=heat,
        )


def _listed(interp: Any, image: Any) -> tuple[Item, ...]:
    """The items with the largest losses, as the interpretation's own table writes them."""
    k = min(MAX_TOP_LOSSES, len(interp.losses))
    if not k:
        return ()
    draws_errors = interp.kind is Segmentation and image is not None
    is_set = interp.kind is MultiLabel
    names = _class_names if is_set else _text
    items = []
    for row in interp.top_losses_table(k).to_dict("records"):
        i = int(row["item"])
        items.append(
            Item(
                number=i,
                name=_file(str(row["path"])),
                prediction=names(row["prediction"]),
                target=names(row["target"]),
                loss=float(row["loss"]),
                is_right=row["prediction"] == row["target"] if is_set else None,
                heat=_heat(interp, i, image) if is_set else None,
                overlay=interp._drawn(i) if draws_errors else None,
                overlay_shows="where it is wrong" if draws_errors else "",
            )
        )
    return tuple(items)


def _heat(interp: Any, i: int, image: Any) -> "np.ndarray[Any, Any] | None":
    if image is None or interp.source.model is None or interp.source.input is None:
        return None
    try:
        return np.asarray(interp.grad_cam(i), dtype=np.float32)
    except LearnkitError:  # a model without feature maps, or a file gone since
        return None


def _image_of(interp: Any) -> "Callable[[int], np.ndarray[Any, Any]] | None":
    """The images, None where reading the first one shows that there are none."""
    image: Callable[[int], np.ndarray[Any, Any]] | None = interp.source.image
    if image is None or not len(interp.losses):
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
    return (Number(_number(value), "F1 of the weakest class", f"{name} and {more} more" if more else name),)


def _main_numbers(interp: Any) -> tuple[Number, ...]:
    numbers = [Number(_text(value), name) for name, value in interp.main_numbers().items() if name != "task"]
    return tuple(numbers[:MAX_TILES])


def _reliability(interp: Any) -> Reliability | None:
    try:
        calibration = interp.calibration()
    except UsageError:  # one class, no items, or probabilities that are nan
        return None
    bins = tuple(
        Bin(float(row["lower"]), float(row["upper"]), float(row["confidence"]), float(row["accuracy"]), int(row["n"]))
        for row in calibration.bins.to_dict("records")
    )
    return Reliability(float(calibration.ece), bins)


def _mean(losses: Any) -> float:
    return float(losses.double().mean()) if len(losses) else math.nan


def _median(losses: Any) -> float:
    return float(losses.double().median()) if len(losses) else math.nan


def _percent(part: int, whole: int) -> str:
    if not whole:
        return "–"
    text = f"{100 * part / whole:.1f}%"
    return share_text(part, whole) if text in ("0.0%", "100.0%") and 0 < part < whole else text


def _number(value: float) -> str:
    return f"{value:.3g}" if math.isfinite(value) else "–"


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        more = [f"and {len(value) - MAX_LISTED} more"] if len(value) > MAX_LISTED + 1 else []
        return ", ".join([*map(_text, value[:MAX_LISTED] if more else value), *more]) or "(none)"
    if isinstance(value, float):
        return f"{value:.0f}" if 1e4 <= abs(value) < 1e6 else f"{value:.4g}"
    return str(value)


def _class_names(names: tuple[str, ...]) -> str:
    return _text([class_text(name) for name in names])


def _file(name: str) -> str:
    """The last two parts of a path, as the folder often is the class; of an item without one, its number."""
    if name.isdecimal():
        return f"item {name}"
    parts = name.replace("\\", "/").split("/")
    return "/".join(parts[-2:])
