"""The confusion matrix: every cell is a button that opens the pictures behind it."""

from learnkit.interpretation.report.charts import chance_text, number_text
from learnkit.interpretation.report.content import Item, Matrix
from learnkit.interpretation.report.elements import Markup, file_named, named, tag
from learnkit.interpretation.report.selection import shown_cells
from learnkit.interpretation.report.thumbnails import Thumbnails

__all__ = ["confused_pairs", "matrix_table", "share_text"]

LEAST_CHANCE = 0.005  # that is written under a picture
MOST_WORDS = 8  # pairs beside the matrix
MANY = 20  # classes from which cells are small
LONGEST = 18  # characters of a name beside the matrix


def matrix_table(matrix: Matrix, pictures: Thumbnails) -> Markup:
    """Rows are the actual classes, columns the predicted ones; empty cells are no buttons."""
    heads = [tag("th", tag("span", named(name, LONGEST)), scope="col") for name in matrix.classes]
    rows = []
    for row, name in enumerate(matrix.classes):
        cells = [_cell(matrix, row, column) for column in range(len(matrix.classes))]
        total = tag("td", f"{matrix.sums[row]:,}", class_="sum")
        rows.append(tag("tr", tag("th", named(name, LONGEST), scope="row"), cells, total))
    corner = tag("th", tag("span", "actual ↓ predicted →"), scope="col", class_="corner")
    head = tag("thead", tag("tr", corner, heads, tag("th", "items", scope="col", class_="sum")))
    is_wide = max(map(len, matrix.classes)) > 3
    look = f"matrix{' wide' if is_wide else ''}{' many' if len(matrix.classes) > MANY else ''}"
    table = tag("table", head, tag("tbody", rows), class_=look, style=f"--n:{len(matrix.classes)}")
    scroll = tag("div", table, class_="scroll", role="region", aria_label="Confusion matrix", tabindex=0)
    opened = "".join(_opened(matrix, *key, pictures) for key in sorted(matrix.counts))
    return Markup(tag("div", scroll, _confused_most(matrix), class_="beside") + opened)


def confused_pairs(matrix: Matrix, pictures: Thumbnails) -> Markup:
    """The pairs of classes confused most often, each with a button that opens its pictures."""
    chosen = shown_cells(len(matrix.classes), matrix.counts)
    if not chosen:
        return tag("p", "No class was taken for another.", class_="good")
    rows = []
    for row, column in chosen:
        n, of = matrix.counts[row, column], matrix.sums[row]
        label = f"{n:,} of {of:,}: actual {matrix.classes[row]}, predicted {matrix.classes[column]}; show them"
        button = tag("button", f"{n:,}", type="button", popovertarget=_id(row, column), aria_label=label)
        names = (named(matrix.classes[row]), named(matrix.classes[column]))
        rows.append(tag("tr", [tag("td", name) for name in names], tag("td", button), tag("td", share_text(n, of))))
    heads = [tag("th", text, scope="col") for text in ("actual", "predicted", "times", "of the actual class")]
    table = tag("table", tag("thead", tag("tr", heads)), tag("tbody", rows), class_="numbers pairs")
    scroll = tag("div", table, class_="scroll", role="region", aria_label="Classes confused most often", tabindex=0)
    return Markup(scroll + "".join(_opened(matrix, row, column, pictures) for row, column in chosen))


def share_text(part: int, whole: int) -> str:
    """A share in percent: 0.4%, 12%, and 0% or 100% for nothing and all alone.

    >>> [share_text(n, 10_000) for n in (0, 4, 40, 1200, 9990, 9996, 10_000)]
    ['0%', '<0.1%', '0.4%', '12%', '99.9%', '>99.9%', '100%']
    """
    share = part / whole if whole else 0.0
    if 0 < share < 0.0005:
        return "<0.1%"
    if 0.9995 <= share < 1:
        return ">99.9%"
    return f"{share:.1%}" if 0 < share < 0.0995 or 0.99 < share < 1 else f"{share:.0%}"


def _confused_most(matrix: Matrix) -> Markup:
    """The few largest cells beside the diagonal, in words."""
    wrong = sorted(
        (cell for cell in matrix.counts if cell[0] != cell[1]), key=lambda cell: (-matrix.counts[cell], cell)
    )
    if not wrong:
        return tag("p", "No class was taken for another.", class_="good")
    lines = []
    for row, column in wrong[:MOST_WORDS]:
        n, of = matrix.counts[row, column], matrix.sums[row]
        names = (named(matrix.classes[row], 28), " taken for ", named(matrix.classes[column], 28))
        how_often = tag("span", f"{n:,} of {of:,}, {share_text(n, of)}", class_="soft")
        button = tag("button", tag("span", names), how_often, type="button", popovertarget=_id(row, column))
        lines.append(tag("li", button))
    return tag("div", tag("h3", "Confused most often"), tag("ol", lines), class_="most")


def _cell(matrix: Matrix, row: int, column: int) -> Markup:
    n, of = matrix.counts.get((row, column), 0), matrix.sums[row]
    if not n:
        return tag("td", tag("span", "0", class_="unseen"))
    actual, predicted = matrix.classes[row], matrix.classes[column]
    says = f"{n:,} right: {actual}" if row == column else f"{n:,} wrong: {actual} taken for {predicted}"
    shade = (n / of) ** 0.5 if row != column else n / of  # few of many are what one looks for
    button = tag(
        "button", f"{n:,}", type="button", popovertarget=_id(row, column), aria_label=f"{says}; show them",
        class_="right" if row == column else "wrong", style=f"--s:{shade:.2f}",
    )  # fmt: skip
    return tag("td", button)


def _opened(matrix: Matrix, row: int, column: int, pictures: Thumbnails) -> Markup:
    n, items = matrix.counts[row, column], matrix.items.get((row, column), ())
    actual, predicted = named(matrix.classes[row]), named(matrix.classes[column])
    head = ("Right: ", actual) if row == column else (actual, " taken for ", predicted)
    told = f"{n:,} items, the largest loss first" if n > 1 else "1 item"
    if len(items) < n:
        told = f"Showing {len(items):,} of {n:,} items, those with the largest losses"
    shut = tag(
        "button", "Close", type="button", popovertarget=_id(row, column), popovertargetaction="hide", class_="shut"
    )
    title = f"{_id(row, column)}-title"
    top = tag("header", tag("div", tag("h3", *head, id=title), tag("p", told)), shut)
    shown = tag("div", [_figure(item, pictures) for item in items], class_="thumbs")
    return tag(
        "div", top, shown, popover="auto", id=_id(row, column), role="dialog", aria_labelledby=title, class_="opened"
    )


def _figure(item: Item, pictures: Thumbnails) -> Markup:
    image = pictures.small(item.number, f"actual {item.target}, predicted {item.prediction}")
    likely = [(name, chance) for name, chance in item.chances if chance >= LEAST_CHANCE]
    chances = [tag("span", named(name, 24), f": {chance_text(chance)}", class_="likely") for name, chance in likely]
    lines = [tag("span", file_named(item.name, 40)), tag("span", f"loss {number_text(item.loss)}")]
    caption = tag("figcaption", lines, tag("span", chances) if chances else None)
    return tag("figure", image, caption)


def _id(row: int, column: int) -> str:
    return f"cell-{row}-{column}"
