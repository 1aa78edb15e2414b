"""What a command found: the task, classes and counts, and the model, before anything is trained."""

from collections.abc import Mapping

from learnkit.data.image_bunch import ImageDataBunch
from learnkit.learner.learner import Learner
from learnkit.learner.preds import Part
from learnkit.metrics.metric import columns
from learnkit.text import counted, printable, shortened
from learnkit.types import DatasetType

__all__ = ["described", "named_numbers", "results", "results_line"]

SETS = ("train", "valid", "test")


def described(dls: ImageDataBunch, learn: Learner) -> str:
    """The data and the model in a few lines."""
    task, (channels, height, width) = dls.task, dls.input_shape
    classes = f", {counted(len(dls.classes), 'class')}: {shortened(dls.classes)}" if dls.classes else ""
    sizes = {name: len(getattr(dls, f"{name}_ds")) for name in SETS if getattr(dls, f"{name}_dl") is not None}
    items = ", ".join(f"{name} {size:,}" for name, size in sizes.items())
    n, trained = (
        sum(p.numel() for p in learn.model.parameters() if p.requires_grad or every) for every in (True, False)
    )
    lines = [
        f"{type(task).__name__}{classes}",
        f"{items} images of {height} x {width}, {channels} channels, on {dls.device}",
        f"{type(learn.model).__name__} of {n:,} weights, {trained:,} of them trained at first",
    ]
    if len(getattr(dls, "skipped", ())):
        lines.append(f"{counted(len(dls.skipped), 'image')} left out that cannot be read")
    return "\n".join(map(printable, lines))


def results(learn: Learner, ds_type: Part = DatasetType.Valid) -> dict[str, float]:
    """Loss and metrics over a part of the data, by their names."""
    names = ["loss", *(name for metric in learn.metrics for name in columns(metric))]
    return dict(zip(names, learn.validate(ds_type), strict=True))


def results_line(learn: Learner) -> str:
    """Loss and metrics over the validation set, with their names, as one line."""
    return named_numbers(results(learn))


def named_numbers(found: Mapping[str, float]) -> str:
    """Numbers with their names, as one line.

    >>> named_numbers({"loss": 0.25, "accuracy": 1})
    'loss 0.250000  accuracy 1.000000'
    """
    return "  ".join(f"{name} {value:.6f}" for name, value in found.items())
