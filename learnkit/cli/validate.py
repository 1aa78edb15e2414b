"""Measure a model on images: the loss and the metrics."""

import json
import math
from typing import TYPE_CHECKING, Any, Literal

from learnkit.cli.found import named_numbers, results
from learnkit.cli.loaded import add_measured, measured
from learnkit.cli.options import Option, value_of
from learnkit.cli.output import print_line
from learnkit.cli.values import LIST
from learnkit.distributed.world import world
from learnkit.text import counted

if TYPE_CHECKING:
    from learnkit.cli.typed_parser import TypedParser

__all__ = ["add_arguments", "run"]

METRICS = Option("metrics", LIST, "default", "names of metrics, such as accuracy,f1; default for those of the training")
FORMAT = Option("format", Literal["text", "json"], "text", "json is one object: on, images, loss and each metric")


def add_arguments(parser: "TypedParser") -> None:
    """Define the arguments of `learnkit validate`."""
    add_measured(parser, "results", [METRICS, FORMAT])


def run(args: Any) -> int:
    """Print the loss and the metrics by name; returns 0.

    Raises:
        LearnkitError: a file, data or options that cannot work.
    """
    values: dict[str, Any] = vars(args)
    world.begin()
    learn, part, n = measured(values, "validate")
    metrics = value_of(METRICS, values["metrics"])
    if metrics != ["default"]:
        learn.metrics = metrics
    found = results(learn, part)
    if not world.is_first:
        return 0
    if values["format"] == "json":
        numbers = {name: value if math.isfinite(value) else None for name, value in found.items()}
        print_line(json.dumps({"on": values["on"], "images": n, **numbers}))
    else:
        print_line(f"{values['on']}: {counted(n, 'image')}")
        print_line(named_numbers(found))
    return 0
