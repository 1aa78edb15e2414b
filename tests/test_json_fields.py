"""Fields of an untrusted JSON object: types, bounds, and errors of a bounded length."""

from collections.abc import Callable
from typing import Any

import pytest

from learnkit.errors import CorruptFileError, MissingModelError
from learnkit.json_fields import Fields, brief, corrupt
from tests.doubles import refused

Read = Callable[[Fields], Any]


def fields(**content: Any) -> Fields:
    return Fields(content, "the part", "m.lk")


@pytest.mark.parametrize(
    ("read", "right", "wrong"),
    [
        (lambda f: f.integer("x", 1, 5), [1, 5], [0, 6, 2.0, True, "2", None, [2], 10**400]),
        (lambda f: f.number("x", 0, 5), [0, 5, 2.5], [-0.1, 5.1, float("nan"), float("inf"), True, "2", None, 10**400]),
        (lambda f: f.integers("x", (1, 2), 0, 9), [[0], [9, 3]], [[], [1, 2, 3], [10], [-1], [1.0], [True], 3, "12"]),
        (lambda f: f.numbers("x", 2, -1, 1), [[-1, 1], [0.5, 0]], [[0], [0, 0, 0], [0, 1.1], [0, None], {"a": 1}]),
        (lambda f: f.string("x", 3), ["", "abc"], ["abcd", 3, None, ["a"]]),
        (lambda f: f.strings("x", 2, 3), [[], ["a", "abc"]], [["a", "a"], ["a", "b", "c"], ["abcd"], [3], "ab", None]),
        (lambda f: f.choice("x", ("a", "b")), ["a", "b"], ["c", "", "ab", None, ["a"], 1]),
    ],
    ids=["integer", "number", "integers", "numbers", "string", "strings", "choice"],
)
def test_values_within_bounds_are_read_and_others_refused(read: Read, right: list[Any], wrong: list[Any]) -> None:
    for value in right:
        found = read(fields(x=value))
        assert found == (tuple(value) if isinstance(value, list) else value)
    for value in wrong:
        with refused("m.lk: the part x", CorruptFileError, got=brief(value)):
            read(fields(x=value))
    with pytest.raises(CorruptFileError) as caught:
        read(fields(y=right[0]))
    assert (caught.value.what, caught.value.fix) == ("m.lk: the part has no x", "Export again or copy it again.")
    assert caught.value.expected


def test_a_default_replaces_only_a_missing_field() -> None:
    assert fields().number("x", 1, 5, default=1.5) == 1.5
    assert fields().string("x", default="none") == "none"
    with pytest.raises(CorruptFileError):
        fields(x=None).string("x", default="none")


def test_a_number_is_read_as_a_float() -> None:
    assert type(fields(x=1).number("x", 0, 5)) is float
    assert [type(value) for value in fields(x=[1, 2]).numbers("x", 2, 0, 5)] == [float, float]


def test_a_nested_object_is_named() -> None:
    assert fields(inner={"x": 1}).part("inner", ("x",)).integer("x", 0, 1) == 1
    with refused("m.lk: inner", CorruptFileError, got="list"):
        fields(inner=[]).part("inner")
    with refused("m.lk: inner x", CorruptFileError, got=3):
        fields(inner={"x": 3}).part("inner").integer("x", 0, 1)


def test_further_fields_are_refused_by_name() -> None:
    with pytest.raises(MissingModelError, match=r"m\.lk: inner has fields that this learnkit does not know: b, c\. No"):
        fields(inner={"c": 1, "a": 1, "b": 1}).part("inner", ("a",))


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("x" * 100, "x" * 100), ("x" * 101, "x" * 97 + "..."), (3, 3), (2.5, 2.5), (None, None), (True, True),
        (2**64 - 1, 2**64 - 1), (2**64, "an integer of 65 bits"), ([0] * 9, "list"), ({"a": 1}, "dict"),
    ],
)  # fmt: skip
def test_a_value_of_any_size_is_shown_briefly(value: object, shown: object) -> None:
    assert brief(value) == shown
    assert type(brief(value)) is type(shown)


def test_a_corrupt_file_is_named_with_what_to_do() -> None:
    error = corrupt("m.lk", "the header", got=3, expected="an object")
    assert str(error) == "m.lk: the header: got 3, expected an object. Export again or copy it again."
