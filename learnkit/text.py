"""Small pieces of HTML for notebooks, in which everything that comes from outside is escaped."""

from collections.abc import Mapping, Sequence
from html import escape

__all__ = ["facts", "shortened"]

LONGEST = 40  # characters of a name in a list
LEFT = ' style="text-align:left"'  # notebooks put text to the right
WRAPPED = ' style="text-align:left;overflow-wrap:anywhere"'  # and let it leave the page


def facts(title: str, rows: Mapping[str, object]) -> str:
    """A table of two columns under a title.

    >>> print(facts("Cats", {"<b>": 1}).replace(LEFT, "").replace(WRAPPED, ""))
    <table><caption>Cats</caption><tr><th scope="row">&lt;b&gt;</th><td>1</td></tr></table>
    """
    lines = (
        f'<tr><th scope="row"{LEFT}>{_text(name)}</th><td{WRAPPED}>{_text(value)}</td></tr>'
        for name, value in rows.items()
    )
    return f"<table><caption>{_text(title)}</caption>{''.join(lines)}</table>"


def shortened(names: Sequence[str], most: int = 10) -> str:
    """The first names, long ones cut, and that there are more.

    >>> shortened(["a", "b", "c"], most=2)
    'a, b, ...'
    """
    shown = [name if len(name) <= LONGEST else f"{name[: LONGEST - 3]}..." for name in names[:most]]
    more = ["..."] if len(names) > most else []
    return ", ".join([name if name.strip() else "(empty)" for name in shown] + more)


def _text(value: object) -> str:
    """Escaped, on one line, and with nothing in it that would turn its neighbours around."""
    return escape("".join(c if c.isprintable() else repr(c)[1:-1] for c in str(value)))
