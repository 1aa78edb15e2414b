"""Pieces of HTML that cannot be broken out of: what is not markup already is escaped."""

from collections.abc import Iterable
from html import escape
from typing import TypeAlias

__all__ = ["Child", "Markup", "file_named", "named", "plain", "shortened", "tag"]

VOID = {"img", "input", "link", "meta"}
SVG_VOID = {"circle", "line", "path", "rect"}  # these need a slash
LONGEST = 64  # characters of a name that are written; its title has more
LONGEST_TITLE = 300
CONTROLS = {number: chr(0x2400 + number) for number in range(32)} | {0x7F: "␡"}
CONTROLS |= dict.fromkeys([*range(0x80, 0xA0), *range(0xD800, 0xE000)], "�")
CONTROLS |= dict.fromkeys([0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A)], "�")  # lines, directions


class Markup(str):
    """Finished HTML; everything else is text."""

    __slots__ = ()


Child: TypeAlias = "str | Iterable[str | None] | None"


def plain(text: str) -> str:
    """Text in which control characters are pictures of themselves: no line break, no escape code, nothing backwards.

    >>> plain("a\\n" + chr(27) + "[31mb")
    'a␊␛[31mb'
    """
    return text.translate(CONTROLS)


def tag(kind: str, *children: Child, **attributes: str | int | float | bool | None) -> Markup:
    """An element; `class_` is written class, `aria_label` aria-label; True is a bare attribute, None and False none.

    >>> tag("td", "<b>", class_="x", title='"')
    '<td class="x" title="&quot;">&lt;b&gt;</td>'
    """
    written = []
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        key = key.rstrip("_").replace("_", "-")
        written.append(f" {key}" if value is True else f' {key}="{escape(plain(str(value)), quote=True)}"')
    start = f"<{kind}{''.join(written)}"
    if kind in VOID or kind in SVG_VOID:
        return Markup(f"{start}/>" if kind in SVG_VOID else f"{start}>")
    return Markup(f"{start}>{''.join(map(_inside, children))}</{kind}>")


def named(text: str, longest: int = LONGEST) -> Markup:
    """A name from outside: its direction kept to itself, shortened in the middle, whole in its title."""
    if not text.strip():
        return tag("bdi", "(empty)", class_="name")
    short = shortened(text, longest)
    return tag("bdi", short, class_="name", title=shortened(text, LONGEST_TITLE) if short != text else None)


def file_named(path: str, longest: int) -> Markup:
    """The last part of a path; its title has the folder too."""
    last = path.rpartition("/")[2]
    if not last.strip():
        return named(path, longest)
    return tag("bdi", shortened(last, longest), class_="name file", title=shortened(path, LONGEST_TITLE))


def shortened(text: str, longest: int = LONGEST) -> str:
    """The start and the end of a long text, around an ellipsis; a file name tells most at its end."""
    if len(text) <= longest:
        return text
    end = longest // 2
    return f"{text[: longest - end - 1]}…{text[-end:]}"


def _inside(child: Child) -> str:
    if child is None:
        return ""
    if isinstance(child, Markup):
        return child
    if isinstance(child, str):
        return escape(plain(child), quote=True)
    return "".join(map(_inside, child))
