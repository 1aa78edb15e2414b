"""Tables; one that is sorted by radio buttons, whose rows carry their place in every order."""

import math

from learnkit.interpretation.report.charts import number_text
from learnkit.interpretation.report.content import Column, Facts, Table
from learnkit.interpretation.report.elements import Markup, named, tag

__all__ = ["MOST_COLUMNS", "cell_text", "facts_card", "plain_table", "ranks", "sortable_table"]

MOST_COLUMNS = 9  # that the style can sort by, the names included
ARROWS = (("a", "▲", "lowest first"), ("d", "▼", "highest first"))


def sortable_table(table: Table, name: str) -> Markup:
    """A table whose head holds a pair of arrows a column: radio buttons, which the style turns into an order.

    Args:
        table: what it holds.
        name: of the radio buttons, different for each table of a page.
    """
    columns = table.columns[: MOST_COLUMNS - 1]
    orders = [(list(range(len(table.rows))), list(range(len(table.rows)))[::-1])]
    orders += [ranks([values[place] for _, values in table.rows]) for place in range(len(columns))]
    heads = [_head(name, place, text) for place, text in enumerate([table.head, *(column.name for column in columns)])]
    rows = []
    for number, (label, values) in enumerate(table.rows):
        places = "".join(f"--a{k}:{up[number]};--d{k}:{down[number]};" for k, (up, down) in enumerate(orders))
        rows.append(_row(label, values, columns, places))
    parts = [
        tag("thead", tag("tr", heads, role="row"), role="rowgroup"),
        tag("tbody", rows, role="rowgroup", class_="rows"),
    ]
    if table.totals:
        totals = [_row(label, values, columns, None) for label, values in table.totals]
        parts.append(tag("tfoot", totals, role="rowgroup"))
    made = tag("table", parts, role="table", class_="sortable", style=f"--n:{len(columns)}")
    note = tag("p", table.note, class_="how") if table.note else None
    return tag(
        "div", note, tag("div", made, class_="scroll", role="region", aria_label=f"Table by {table.head}", tabindex=0)
    )


def plain_table(table: Table) -> Markup:
    """A table in its own order."""
    heads = [
        tag("th", table.head, scope="col"),
        *(tag("th", named(column.name), scope="col") for column in table.columns),
    ]
    rows = [
        tag("tr", tag("th", named(label), scope="row"),
            [tag("td", cell_text(value, column)) for value, column in zip(values, table.columns, strict=True)])
        for label, values in (*table.rows, *table.totals)
    ]  # fmt: skip
    made = tag("table", tag("thead", tag("tr", heads)), tag("tbody", rows), class_="numbers")
    return tag("div", made, class_="scroll", role="region", aria_label=f"Table by {table.head}", tabindex=0)


def facts_card(facts: Facts) -> Markup:
    """Names and texts under a title."""
    rows = [tag("div", tag("dt", name), tag("dd", named(text, 400))) for name, text in facts.rows]
    return tag("div", tag("h3", facts.title), tag("dl", rows), class_="card facts")


def cell_text(value: float, column: Column) -> str:
    """A number as its column writes it, an en dash for nan; one that this would make 0 or very long as it is best read.

    >>> [cell_text(value, Column("loss", 3)) for value in (0.25, 0.00042, 1_250_000_000.0)]
    ['0.250', '0.00042', '1.25e+09']
    """
    is_usual = column.is_share or not column.digits or not value or 0.1**column.digits <= abs(value) < 1e6
    return f"{value:,.{column.digits}f}" if is_usual and math.isfinite(value) else number_text(value)


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


def _head(name: str, place: int, text: str) -> Markup:
    arrows = []
    for key, arrow, way in ARROWS:
        told = way if place else {"a": "in order", "d": "in reverse order"}[key]
        radio = tag(
            "input", type="radio", name=name, class_=f"by-{key}{place}", aria_label=f"Sort by {text}, {told}",
            checked=place == 0 and key == "a",
        )  # fmt: skip
        arrows.append(tag("label", radio, tag("span", arrow, aria_hidden="true"), title=told))
    return tag("th", tag("span", named(text, 24)), tag("span", arrows, class_="arrows"), role="columnheader")


def _row(label: str, values: tuple[float, ...], columns: tuple[Column, ...], places: str | None) -> Markup:
    cells = [tag("th", named(label), role="rowheader")]
    for value, column in zip(values, columns, strict=False):
        share = f"--v:{min(1.0, max(0.0, value)):.3f}" if column.is_share and math.isfinite(value) else None
        cells.append(tag("td", cell_text(value, column), role="cell", style=share, class_="share" if share else None))
    return tag("tr", cells, role="row", style=places)
