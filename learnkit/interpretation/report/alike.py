"""Near-duplicates and outliers among all items of a learner's data, those of other parts included."""

from collections.abc import Hashable, Mapping
from typing import Any

from learnkit.data.tasks import Classification, MultiLabel, Regression
from learnkit.errors import LearnkitError, warn
from learnkit.interpretation.learners import Trained
from learnkit.interpretation.report.content import ImageOf
from learnkit.interpretation.report.formatting import class_text, file_text, value_text
from learnkit.interpretation.report.look_alikes import Alike, Outlier, Pair, Place

__all__ = ["AlikeItems", "alike_of"]

MAX_PAIRS = 24  # of each kind
MAX_OUTLIERS = 24
PARTS = {"train": "training", "valid": "validation", "test": "test"}
FAILED = "They could not be looked for: the features of the items could not be computed."


class AlikeItems:
    """Items of any part, numbered after those of the report, so that both have their images by number."""

    def __init__(self, learn: Trained, first: int) -> None:
        self.learn: Trained = learn
        self.first: int = first
        self.places: list[tuple[str, int]] = []

    def place(self, row: Mapping[Hashable, Any], prefix: str = "") -> Place:
        """The item of a row of `near_duplicates` or `outliers`."""
        item, name, target, split = (row[prefix + column] for column in ("item", "input", "target", "split"))
        self.places.append((split, item))
        number = self.first + len(self.places) - 1
        return Place(number, file_text(str(name)), _label(target, self.learn.dls.task), PARTS.get(split, split))

    def image(self, number: int) -> Any:
        """The image of a number that `place` has given."""
        return self.learn.dls.image(*self.places[number - self.first])

    def beside(self, image: ImageOf) -> ImageOf:
        """The images of the report by number, and these after them."""
        return lambda number: image(number) if number < self.first else self.image(number)


def alike_of(items: AlikeItems) -> Alike:
    """What looks almost alike, and what is unlike all others, by the features of the network: a pass over all items.

    A network whose features cannot be computed has a warning, and a sentence on the page.
    """
    try:
        pairs, outliers = items.learn.near_duplicates(), items.learn.outliers()
    except LearnkitError as error:
        warn(f"report: near-duplicates and outliers could not be looked for. {error}")
        return Alike(note=FAILED)
    is_across = pairs["split"] != pairs["other_split"]
    across, within = pairs[is_across], pairs[~is_across]
    labeled = isinstance(items.learn.dls.task, Classification | MultiLabel)
    return Alike(
        across=_pairs(items, across, labeled=labeled),
        n_across=len(across),
        within=_pairs(items, within, labeled=labeled),
        n_within=len(within),
        outliers=tuple(
            Outlier(items.place(row), float(row["score"])) for row in outliers[:MAX_OUTLIERS].to_dict("records")
        ),
        n_outliers=len(outliers),
    )


def _pairs(items: AlikeItems, rows: Any, *, labeled: bool) -> tuple[Pair, ...]:
    return tuple(
        Pair(
            items.place(row, "other_"),
            items.place(row),
            float(row["distance"]),
            labeled and None not in (row["target"], row["other_target"]) and row["target"] != row["other_target"],
        )
        for row in rows[:MAX_PAIRS].to_dict("records")
    )


def _label(target: Any, task: object) -> str:
    """A label in words; "" without one, and for masks and points."""
    if target is None or not isinstance(task, Classification | MultiLabel | Regression):
        return ""
    return class_text(str(target)) if isinstance(task, Classification) else value_text(target)
