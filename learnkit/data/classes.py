"""Classes: the names of a model's outputs in their order, compared wherever two lists of them meet."""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any, Self

from learnkit.errors import DataError, UsageError
from learnkit.text import shortened

__all__ = ["Classes", "check_same_classes", "label_text", "look_alikes", "normal_form", "sorted_names"]

_WHOLE = re.compile(r"-?[0-9]{1,18}")


class Classes(tuple[str, ...]):
    """The names of the classes, in the order of a model's outputs: a tuple of different str.

    Args:
        names: text, numbers or booleans, each as `label_text` writes it.
        what: the argument's name, for errors.

    Raises:
        UsageError: a set or a dict, which have no order of their own; one text; a name twice.

    >>> Classes([0, 1.0, "cat"])
    Classes('0', '1', 'cat')
    """

    __slots__ = ()

    def __new__(cls, names: Iterable[Any], what: str = "classes") -> Self:
        if isinstance(names, str | bytes | Set | Mapping) or not isinstance(names, Iterable):
            raise UsageError(what, got=names, expected="a list of names in the order of the outputs")
        texts = tuple(label_text(name, what) for name in names)
        if len(set(texts)) < len(texts):
            raise UsageError(what, got=list(texts), expected="each class once")
        return super().__new__(cls, texts)

    def __repr__(self) -> str:
        return f"Classes({', '.join(map(repr, self))})"


def label_text(label: Any, what: str = "label") -> str:
    """The name of a class: text as it is, a whole number without its ".0", a boolean as True or False.

    NumPy's and torch's numbers are read as Python's; bytes are decoded.

    Raises:
        DataError: anything else.
    """
    if isinstance(label, str):
        return str(label)
    value = label.item() if hasattr(label, "item") and getattr(label, "ndim", 0) == 0 else label
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError as error:
            raise DataError(what, got=value, expected="text, or bytes of UTF-8") from error
    if isinstance(value, bool | int | str):
        return str(value)
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    raise DataError(f"{what} of type {type(label).__name__}", got=label, expected="text, a whole number or a boolean")


def sorted_names(names: Iterable[str]) -> tuple[str, ...]:
    """The names sorted; by value if all of them are whole numbers.

    >>> sorted_names(["10", "9"]), sorted_names(["10", "9", "cat"])
    (('9', '10'), ('10', '9', 'cat'))
    """
    texts = list(names)
    if all(map(_WHOLE.fullmatch, texts)):
        return tuple(sorted(texts, key=lambda text: (int(text), text)))
    return tuple(sorted(texts))


def normal_form(name: str) -> str:
    """The name in lower case, with single spaces, in one form of Unicode (NFKC).

    >>> normal_form(" Golden  Retriever")
    'golden retriever'
    """
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def look_alikes(names: Iterable[str]) -> list[tuple[str, ...]]:
    """Names that differ only by case, spaces or their form of Unicode, grouped.

    >>> look_alikes(["cat", "Cat", "dog"])
    [('cat', 'Cat')]
    """
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(normal_form(name), []).append(name)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def check_same_classes(ours: Sequence[str], theirs: Sequence[str], our_name: str, their_name: str, fix: str) -> None:
    """Refuse two lists of classes that differ, in names or in order: an output would mean something else.

    Raises:
        DataError: showing both lists.
    """
    if tuple(ours) == tuple(theirs):
        return
    kind = "in another order" if sorted(ours) == sorted(theirs) else "others"
    raise DataError(
        f"the classes of {their_name} are {kind}: {shortened(theirs, 10)}; those of {our_name} are "
        f"{shortened(ours, 10)}",
        fix=fix,
    )
