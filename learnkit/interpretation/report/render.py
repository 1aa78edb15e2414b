"""The page: one file of HTML that loads nothing and runs nothing."""

import math
from functools import cache
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from learnkit.atomic_files import named_file, write_atomically
from learnkit.distributed.world import world
from learnkit.interpretation.report import formatting
from learnkit.interpretation.report.charts import coverage_chart, legend_of, line_chart, reliability_chart
from learnkit.interpretation.report.content import Column, ReportContent, Table
from learnkit.interpretation.report.selection import MAX_CLASSES, confused_cells, limit_items, shown_cells
from learnkit.interpretation.report.thumbnails import LEVELS, Thumbnails
from learnkit.text import ellipsized
from learnkit.types import PathLike

__all__ = ["MAX_PAGE", "page_of", "ranks", "write_report"]

MAX_PAGE = 4_800_000  # bytes: below the 5 MB that mail and reviews take
MAX_COLUMNS = 9  # that report.css can sort by, the names included
MAX_TITLE = 300  # characters of a name in a tooltip


def write_report(path: PathLike, content: ReportContent) -> Path:
    """Write a page that any browser of 2024 or later shows, offline and without scripts.

    Images get smaller, and then fewer, until the page is below 4.8 MB. The same content is written as the same bytes.

    Args:
        path: path of the file; a folder above it is made.
        content: what to show, from `content_of`.

    Raises:
        UsageError: a path without a name.
    """
    file = named_file("path", path)
    thumbnails = Thumbnails(content.image)
    for level in LEVELS:
        thumbnails.level = level
        page = page_of(content, thumbnails).encode("utf-8", "replace")
        if len(page) <= MAX_PAGE:
            break
    if world.is_first:
        write_atomically(file, lambda opened: opened.write(page))
    return file


def page_of(content: ReportContent, thumbnails: Thumbnails) -> str:
    """The whole page, with images of the size and number of `thumbnails.level`."""
    matrix = content.matrix and limit_items(content.matrix, thumbnails.level.count)
    confused = confused_cells(matrix.counts) if matrix else []
    cells = shown_cells(len(matrix.classes), matrix.counts) if matrix else []
    page = _template().render(
        content=content, thumbnails=thumbnails, matrix=matrix, cells=cells, confused=confused, max_classes=MAX_CLASSES
    )
    return page.lstrip()


def sort_places(table: Table) -> list[str]:
    """The style of each row: its place in every order, which report.css turns into the order that is chosen."""
    count = len(table.rows)
    orders = [(list(range(count)), list(range(count))[::-1])]
    orders += [ranks([values[k] for _, values in table.rows]) for k in range(len(_shown_columns(table)))]
    return ["".join(f"--a{k}:{up[i]};--d{k}:{down[i]};" for k, (up, down) in enumerate(orders)) for i in range(count)]


def ranks(values: list[float]) -> tuple[list[int], list[int]]:
    """The place of each value from the lowest and from the highest; ties keep their order, nan comes last in both.

    >>> ranks([2.0, float("nan"), 1.0])
    ([1, 2, 0], [0, 2, 1])
    """

    def places(sign: float) -> list[int]:
        order = sorted(
            range(len(values)), key=lambda i: (math.isnan(values[i]), 0 if math.isnan(values[i]) else sign * values[i])
        )
        place = [0] * len(values)
        for rank, i in enumerate(order):
            place[i] = rank
        return place

    return places(1), places(-1)


@cache
def _template() -> Template:
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        finalize=formatting.printed,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        loader=PackageLoader(__package__, "."),
    )
    environment.filters |= {name: getattr(formatting, name) for name in formatting.__all__}
    environment.filters |= {"shorten": _shortened, "clamp": _clamped, "is_nan": math.isnan, "sqrt": math.sqrt}
    environment.globals |= {
        "css": Markup(files(__package__).joinpath("report.css").read_text(encoding="utf-8")),
        "coverage_chart": coverage_chart,
        "legend_of": legend_of,
        "line_chart": line_chart,
        "reliability_chart": reliability_chart,
        "shown_columns": _shown_columns,
        "sort_places": sort_places,
        "share_text": formatting.share_text,
        "max_title": MAX_TITLE,
    }
    return environment.get_template("report.html.j2")


def _shortened(text: str, max_length: int) -> str:
    """The start and the end of a long name: the end of a file name distinguishes it most."""
    return ellipsized(text, max_length, max_length // 2)


def _clamped(share: float) -> float:
    return min(1.0, max(0.0, share))


def _shown_columns(table: Table) -> tuple[Column, ...]:
    return table.columns[: MAX_COLUMNS - 1]
