"""Small pieces of HTML for notebooks, in which everything that comes from outside is escaped."""

from collections.abc import Mapping, Sequence
from html import escape

__all__ = ["facts", "shortened"]


def facts(title: str, rows: Mapping[str, object]) -> str:
    """A table of two columns under a title.

    >>> facts("Cats", {"<b>": 1})
    '<table><caption>Cats</caption><tr><th scope="row">&lt;b&gt;</th><td>1</td></tr></table>'
    """
    lines = (
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(str(value))}</td></tr>' for name, value in rows.items()
    )
    return f"<table><caption>{escape(title)}</caption>{''.join(lines)}</table>"


def shortened(names: Sequence[str], most: int = 10) -> str:
    """The first names, and that there are more.

    >>> shortened(["a", "b", "c"], most=2)
    'a, b, ...'
    """
    return ", ".join([*names[:most], *(["..."] if len(names) > most else [])])
