"""The page: one file of HTML that needs nothing else, runs nothing and asks nobody."""

import math
from collections.abc import Iterator
from pathlib import Path

from learnkit.atomic_files import named_file, write_atomically
from learnkit.interpretation.report.charts import line_chart, number_text, reliability_chart
from learnkit.interpretation.report.content import Bin, Column, Number, Reliability, ReportContent, Table
from learnkit.interpretation.report.elements import Markup, named, tag
from learnkit.interpretation.report.gallery import problem_parts, top_losses_gallery
from learnkit.interpretation.report.matrix import confused_pairs, matrix_table
from learnkit.interpretation.report.selection import MOST_CLASSES, fewer
from learnkit.interpretation.report.style import STYLE
from learnkit.interpretation.report.tables import facts_card, plain_table, sortable_table
from learnkit.interpretation.report.thumbnails import LEVELS, Thumbnails
from learnkit.types import PathLike

__all__ = ["LARGEST_PAGE", "page_of", "write_report"]

LARGEST_PAGE = 4_800_000  # bytes: below the 5 MB that mail and reviews take

# Nothing may be fetched and nothing may run: pictures and styles are in the file itself.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"

BIG = 8  # characters of a main number that are written large

Section = tuple[str, str, Markup]  # anchor, title, what it shows


def write_report(path: PathLike, content: ReportContent) -> Path:
    """Write a page that any browser of 2024 or later shows, offline and without scripts.

    Pictures get smaller, and then fewer, until the page is below 4.8 MB. The same content gives the same bytes.

    Args:
        path: of the file; a folder above it is made.
        content: what to say, from `content_of`.

    Raises:
        UsageError: a path without a name.
    """
    file = named_file("path", path)
    pictures = Thumbnails(content.picture)
    for level in LEVELS:
        pictures.level = level
        page = page_of(content, pictures).encode("utf-8", "replace")
        if len(page) <= LARGEST_PAGE:
            break
    write_atomically(file, lambda opened: opened.write(page))
    return file


def page_of(content: ReportContent, pictures: Thumbnails) -> str:
    """The whole page, with pictures of the size and number that `pictures.level` says."""
    sections = list(_sections(content, pictures))
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("link", rel="icon", href="data:,"),
        tag("title", content.title),
        Markup(f"<style>{STYLE}</style>"),
    )
    links = [tag("li", tag("a", title, href=f"#{anchor}")) for anchor, title, _ in sections]
    contents = tag("nav", tag("p", "Contents", id="contents"), tag("ol", links), aria_labelledby="contents")
    numbers = tag("dl", [_number(number) for number in content.numbers], class_="tiles") if content.numbers else None
    subtitle = tag("p", content.subtitle, class_="subtitle") if content.subtitle else None
    top = tag("header", tag("h1", named(content.title)), subtitle, numbers, class_="top")
    shown = [
        tag("section", tag("h2", title, id=f"{anchor}-title"), inside, id=anchor, aria_labelledby=f"{anchor}-title")
        for anchor, title, inside in sections
    ]
    foot = tag("footer", tag("p", "Made by learnkit. This page is one file: it loads nothing and runs no scripts."))
    skip = tag("a", "Skip to the content", href="#content", class_="skip")
    body = tag("body", skip, tag("div", contents, tag("main", top, shown, foot, id="content"), class_="page"))
    return f"<!DOCTYPE html>\n{tag('html', head, body, lang='en')}\n"


def _sections(content: ReportContent, pictures: Thumbnails) -> Iterator[Section]:
    """Most asked for first; what there is nothing to say about is left out."""
    if content.matrix is not None and content.matrix.counts:
        is_small = len(content.matrix.classes) <= MOST_CLASSES
        yield "matrix", "Confusion matrix" if is_small else "Confused classes", _matrix(content, pictures)
    if content.top_losses:
        yield "losses", "Top losses", _top_losses(content, pictures)
    if content.table is not None:
        how = "Click an arrow to sort by a column, or move through the arrows with the arrow keys. "
        rows = (*content.table.rows, *content.table.totals)
        if any(math.isnan(value) for _, values in rows for value in values):
            how += "A dash is a number that is not defined, such as the precision of a class that is never predicted."
        of = {"class": "By class"}.get(content.table.head, "By number")
        yield "table", of, Markup(_how(how) + sortable_table(content.table, "sort-main"))
    if content.reliability is not None:
        yield "calibration", "Calibration", _calibration(content.reliability)
    if content.charts:
        yield "curves", "Curves", _curves(content)
    if content.problems is not None:
        yield "data", "Data problems", problem_parts(content.problems, pictures)
    if content.settings:
        yield "settings", "Run settings", tag("div", [facts_card(facts) for facts in content.settings], class_="cards")


def _matrix(content: ReportContent, pictures: Thumbnails) -> Markup:
    assert content.matrix is not None
    matrix = fewer(content.matrix, pictures.level.count)
    what = "items" if pictures.picture is None else "pictures"
    if len(matrix.classes) > MOST_CLASSES:
        how = f"With {len(matrix.classes):,} classes, these are the pairs confused most often. "
        return Markup(_how(f"{how}Open a number to see the {what} behind it.") + confused_pairs(matrix, pictures))
    how = (
        "Rows are the actual classes, columns what was predicted: the diagonal is right, everything beside it is not. "
    )
    how += f"Open a number to see the {what} behind it; Escape closes them."
    past = tag("a", "Skip the matrix", href="#past-matrix", class_="skip")
    key = tag(
        "p",
        tag("span", tag("i", class_="key right", aria_hidden="true"), "right, share of the class", class_="entry"),
        tag(
            "span",
            tag("i", class_="key wrong", aria_hidden="true"),
            "wrong, the stronger the larger its share",
            class_="entry",
        ),
        class_="legend",
    )
    return Markup(_how(how) + key + past + matrix_table(matrix, pictures) + tag("span", id="past-matrix", tabindex=-1))


def _top_losses(content: ReportContent, pictures: Thumbnails) -> Markup:
    how = "The items the model was most wrong about, the largest loss first. "
    if any(item.heat is not None for item in content.top_losses):
        how += "Beside each picture is where the model looked for its answer, bright where it counted most (Grad-CAM)."
    if any(item.overlay is not None for item in content.top_losses):
        how += "Beside each picture its wrong pixels are marked. Named are the classes with the most pixels."
    return Markup(_how(how) + top_losses_gallery(content.top_losses, pictures))


def _calibration(reliability: Reliability) -> Markup:
    how = (
        "When the model says it is 80% sure, is it right 80% of the time? Bars should end on the dashed line: below it "
    )
    how += (
        "the model is too sure of itself, above it not sure enough. The expected calibration error, the mean distance, "
    )
    how += f"is {number_text(reliability.ece)}."
    columns = (Column("confidence"), Column("accuracy"), Column("items", 0))
    rows = tuple((_span(part), (part.confidence, part.accuracy, float(part.n))) for part in reliability.bins if part.n)
    numbers = tag("details", tag("summary", "The numbers"), plain_table(Table("confidence from, to", columns, rows)))
    return Markup(_how(how) + tag("div", reliability_chart(reliability), class_="charts") + numbers)


def _curves(content: ReportContent) -> Markup:
    how = "A validation loss that rises while the training loss falls: the model learns its training items by heart. "
    how += "A wild loss is drawn at the upper edge; rest the pointer on a dot for its value."
    charts = tag("div", [line_chart(chart) for chart in content.charts], class_="charts")
    numbers = None
    if content.history is not None:
        numbers = tag("details", tag("summary", "Every epoch in numbers"), plain_table(content.history))
    return Markup(_how(how) + charts + (numbers or ""))


def _number(number: Number) -> Markup:
    note = tag("dd", named(number.note), class_="note") if number.note else None
    return tag(
        "div",
        tag("dt", number.label),
        tag("dd", named(number.value, 300), class_="value" if len(number.value) <= BIG else "value long"),
        note,
    )


def _how(text: str) -> Markup:
    return tag("p", text, class_="how")


def _span(part: Bin) -> str:
    return f"{part.lower:.2f} to {part.upper:.2f}"
