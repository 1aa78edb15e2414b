"""The items of a report: predictions, probabilities, heat maps and errors."""

import math
from collections.abc import Callable, Hashable, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
from torch import Tensor

from learnkit.data.tasks import Classification, MultiLabel
from learnkit.errors import LearnkitError
from learnkit.interpretation.report.content import ImageOf, Item
from learnkit.interpretation.report.formatting import class_text, file_text, value_text
from learnkit.interpretation.report.protocols import Reported, ReportedClasses

__all__ = ["MAX_TOP_LOSSES", "ClassifiedItems", "heat_of", "item_of", "listed_items"]

MAX_TOP_LOSSES = 24
MAX_PROBABILITIES = 3  # written under an image


class ClassifiedItems:
    """The items of a classification, by number."""

    def __init__(self, interp: ReportedClasses) -> None:
        self.interp = interp
        self.classes: list[str] = [class_text(str(name)) for name in interp.classes]

    @cached_property
    def preds(self) -> Tensor:
        """(N,), found once."""
        return self.interp.preds

    def __call__(self, i: int, heat: "np.ndarray[Any, Any] | None" = None) -> Item:
        interp, target, prediction = self.interp, int(self.interp.targets[i]), int(self.preds[i])
        row = interp.probs[i]
        top = row.argsort(descending=True, stable=True)[:MAX_PROBABILITIES].tolist()
        shown = top if target in top else [*top[: MAX_PROBABILITIES - 1], target]
        return Item(
            number=i,
            name=file_text(str(i) if interp.source.name is None else str(interp.source.name(i))),
            prediction=self.classes[prediction],
            target=self.classes[target],
            loss=float(interp.losses[i]),
            probabilities=tuple((self.classes[k], float(row[k])) for k in shown if math.isfinite(row[k])),
            is_right=prediction == target,
            heat=heat,
        )


def listed_items(interp: Reported, image: ImageOf | None) -> tuple[Item, ...]:
    """The items with the largest losses, as the interpretation's own table writes them."""
    k = min(MAX_TOP_LOSSES, len(interp.losses))
    error_image = getattr(interp, "error_image", None) if image is not None else None
    items = []
    for row in interp.top_losses_table(k).to_dict("records"):
        i = int(row["item"])
        items.append(
            replace(
                item_of(interp, row),
                heat=heat_of(interp, i, image) if interp.kind is MultiLabel else None,
                overlay=error_image(i) if error_image else None,
                overlay_shows="where it is wrong" if error_image else "",
            )
        )
    return tuple(items)


def item_of(interp: Reported, row: Mapping[Hashable, Any]) -> Item:
    """The item of a row of one of the interpretation's own tables: item, path, prediction, target."""
    names: Callable[[Any], str] = {Classification: _class_name, MultiLabel: _class_names}.get(interp.kind, value_text)
    return Item(
        number=int(row["item"]),
        name=file_text(str(row["path"])),
        prediction=names(row["prediction"]),
        target=names(row["target"]),
        loss=float(interp.losses[int(row["item"])]),
        is_right=row["prediction"] == row["target"] if names is not value_text else None,
    )


def heat_of(interp: Any, i: int, image: ImageOf | None) -> "np.ndarray[Any, Any] | None":
    if image is None or interp.source.model is None or interp.source.input is None:
        return None
    try:
        return np.asarray(interp.grad_cam(i), dtype=np.float32)
    except LearnkitError:  # a model without feature maps, or a file gone since
        return None


def _class_name(name: Any) -> str:
    return class_text(str(name))


def _class_names(names: tuple[str, ...]) -> str:
    return value_text([class_text(name) for name in names])
