"""Measure a model on images, and write an HTML page about it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from learnkit.cli.loaded import add_measured, measured
from learnkit.cli.options import Option
from learnkit.cli.output import check_new, print_line
from learnkit.distributed.world import world
from learnkit.errors import UsageError
from learnkit.text import counted

if TYPE_CHECKING:
    from learnkit.cli.typed_parser import TypedParser

__all__ = ["add_arguments", "run"]

OUT = Option("out", str | None, None, "the page to write, a name that ends in .html")
DUPLICATES = Option(
    "duplicates", bool, False, "also show near-duplicates and outliers, by one more pass over the images of all splits"
)
FORCE = Option("force", bool, False, "overwrite --out")


def add_arguments(parser: "TypedParser") -> None:
    """Define the arguments of `learnkit report`."""
    add_measured(parser, "page", [OUT, DUPLICATES, FORCE])


def run(args: Any) -> int:
    """Write the page, and print its path; returns 0.

    Raises:
        LearnkitError: a file, data or options that cannot work, or a page that could not be written.
    """
    values: dict[str, Any] = vars(args)
    if values["out"] is None or Path(values["out"]).suffix.lower() != ".html":
        raise UsageError("--out", got=values["out"], expected="a name that ends in .html")
    out = check_new(Path(values["out"]), force=values["force"])
    world.begin()
    learn, part, n = measured(values, "report")
    page = learn.report(out, part, duplicates=values["duplicates"])
    if world.is_first:
        print_line(f"report: {page}, on {counted(n, 'image')} ({values['on']})")
    return 0
