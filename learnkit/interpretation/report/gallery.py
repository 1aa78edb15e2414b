"""Top losses with heat maps, and what is odd about the data."""

from learnkit.interpretation.report.charts import chance_text, number_text
from learnkit.interpretation.report.content import Item, Problems, Suspect
from learnkit.interpretation.report.elements import Markup, file_named, named, tag
from learnkit.interpretation.report.tables import plain_table
from learnkit.interpretation.report.thumbnails import Thumbnails, heated

__all__ = ["problem_parts", "top_losses_gallery"]

AT_ONCE = 12  # top losses; the others are folded


def top_losses_gallery(items: tuple[Item, ...], pictures: Thumbnails) -> Markup:
    """A card an item: its picture, where the model looked, what it said and what was right."""
    has_pairs = any(item.heat is not None or item.overlay is not None for item in items)
    cards = [_card(item, pictures) for item in items]
    look = "gallery pairs" if has_pairs else "gallery"
    first = tag("div", cards[:AT_ONCE], class_=look)
    if len(cards) <= AT_ONCE:
        return first
    more = tag("details", tag("summary", f"{len(cards) - AT_ONCE} more"), tag("div", cards[AT_ONCE:], class_=look))
    return Markup(first + more)


def problem_parts(problems: Problems, pictures: Thumbnails) -> Markup:
    """Sentences, then suspicious labels, files left out, and items by class."""
    parts: list[Markup] = []
    if problems.notes:
        parts.append(tag("ul", [tag("li", note) for note in problems.notes], class_="notes"))
    if problems.suspects:
        parts.append(tag("h3", "Labels worth a second look"))
        how = (
            "The model is sure of another class than the label says. Some of these are mistakes of the model, others "
            "of whoever labelled them; the most suspicious come first."
        )
        parts += [
            tag("p", how, class_="how"),
            tag("div", [_suspect(one, pictures) for one in problems.suspects], class_="suspects"),
        ]
    if problems.skipped:
        parts.append(tag("h3", "Files left out"))
        if len(problems.skipped) < problems.n_skipped:
            parts.append(tag("p", f"The first {len(problems.skipped)} of {problems.n_skipped:,}.", class_="how"))
        rows = [
            tag("tr", tag("th", named(file), scope="row"), tag("td", named(why, 200))) for file, why in problems.skipped
        ]
        heads = tag("tr", tag("th", "file", scope="col"), tag("th", "why", scope="col"))
        table = tag("table", tag("thead", heads), tag("tbody", rows), class_="texts")
        parts.append(tag("div", table, class_="scroll", role="region", aria_label="Files left out", tabindex=0))
    if problems.counts is not None:
        label = f"Items by class ({len(problems.counts.rows):,})"
        parts.append(tag("details", tag("summary", label), plain_table(problems.counts)))
    return Markup("".join(parts))


def _card(item: Item, pictures: Thumbnails) -> Markup:
    alt = f"actual {item.target}, predicted {item.prediction}"
    shown = [pictures.large(item.number, alt)]
    if item.heat is not None:
        pixels = pictures.pixels(item.number)
        if pixels is not None:
            shown.append(pictures.beside(heated(pixels, item.heat), f"heat map of where the model looked: {alt}"))
    if item.overlay is not None:
        shown.append(pictures.beside(item.overlay, f"{item.overlay_shows}: {alt}"))
    looks = tag("div", shown, class_="looks") if any(shown) else None
    kind = {True: "right", False: "wrong", None: None}[item.is_right]
    rows = [("said", item.prediction), ("is", item.target)]
    facts = [tag("div", tag("dt", label), tag("dd", named(text, 80))) for label, text in rows]
    bars = [
        tag(
            "div",
            tag("span", named(name, 24)),
            tag("span", chance_text(chance)),
            class_="chance",
            style=f"--v:{chance:.3f}",
        )
        for name, chance in item.chances
        if 0 <= chance <= 1
    ]
    loss = tag(
        "p",
        tag("span", file_named(item.name, 36)),
        tag("span", f"loss {number_text(item.loss)}"),
        class_="under",
    )
    chances = tag("div", bars, class_="chances") if bars else None
    return tag("figure", looks, tag("figcaption", tag("dl", facts, class_=kind), chances, loss), class_="card")


def _suspect(one: Suspect, pictures: Thumbnails) -> Markup:
    image = pictures.small(one.item.number, f"labelled {one.label}, perhaps {one.suggestion}")
    rows = [("label", one.label), ("perhaps", one.suggestion)]
    facts = [tag("div", tag("dt", label), tag("dd", named(text, 32))) for label, text in rows]
    under = tag(
        "p",
        tag("span", file_named(one.item.name, 32)),
        tag("span", f"score {one.score:.2f}"),
        class_="under",
    )
    return tag("figure", image, tag("figcaption", tag("dl", facts), under))
