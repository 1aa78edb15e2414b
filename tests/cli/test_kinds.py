"""What is typed for an option is read by its kind, and never as YAML."""

from typing import Any, Literal

import pytest

from learnkit.cli.kinds import Reader, shown
from learnkit.cli.options import Option
from learnkit.cli.values import LIST

# What YAML reads as something else: comments, null, anchors, booleans, numbers to the base 60, lists, dates.
OF_YAML = ["#", "a #b", "~", "null", "Null", "&x", "*x", "!x", "yes", "1:30", "0x10", "[a]", "{stem}", "- a", "|",
           "2026-01-01", "1_000", "'a'", "", " "]  # fmt: skip


def read(kind: Any, text: str, default: Any = "x") -> Any:
    return Reader(Option("it", kind, default, ""))(text)


@pytest.mark.parametrize("text", OF_YAML)
@pytest.mark.parametrize("kind", [str, str | None, int | str | None])
def test_text_stays_as_it_was_typed(kind: Any, text: str) -> None:
    assert read(kind, text) == text


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (int, "010", 10), (int | None, "-3", -3), (int, "+3", 3), (int | str, "7", 7), (int | str | None, "30s", "30s"),
        (float, "1e-4", 1e-4), (float | None, ".5", 0.5), (float, "-2", -2.0), (float, "1.", 1.0),
        (Literal["crop", "pad"], "pad", "pad"), (LIST, "null,a", "null,a"),
    ],
)  # fmt: skip
def test_values_of_each_kind(kind: Any, text: str, value: Any) -> None:
    found = read(kind, text)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("kind", "text"),
    [(int, text) for text in ("1:30", "0x10", "1_0", "1.5", "1e3", "true", "~", "#", "", " 3")]
    + [(float | None, text) for text in ("1:30", "0x10", "1_0", "true", "~", "#", "1,5", "")]
    + [(Literal["crop", "pad"], text) for text in ("cro", "null", "")],
)
def test_other_text_is_refused(kind: Any, text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        read(kind, text)


def test_none_is_a_word_where_none_is_a_value() -> None:
    assert read(str | None, "none") is None
    assert read(LIST, "none", default=None) is None
    assert read(str, "none") == "none"
    assert read(LIST, "none") == "none"


def test_defaults_that_are_no_text_stay() -> None:
    assert Reader(Option("it", LIST, ("a",), ""))(("a",)) == ("a",)


def test_a_kind_is_shown_in_words() -> None:
    assert repr(Reader(Option("it", float | None, None, ""))) == "a number or none"
    assert shown(LIST) == "A,B,..."
    assert shown(Literal["a", "b"] | None) == "a or b or none"
