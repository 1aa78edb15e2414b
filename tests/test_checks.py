"""Checks of arguments: valid values are returned, invalid ones are refused by name."""

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from learnkit.checks import (
    check_choice,
    check_int,
    check_kind,
    check_number,
    check_seed,
    is_int,
    is_number,
    missing_extra,
    nearest,
)
from learnkit.errors import WrongTypeError
from tests.doubles import refused


@pytest.mark.parametrize("value", [3, 0, -1, np.int64(3), np.uint8(3)])
def test_integers_are_numbers(value: Any) -> None:
    assert is_int(value)
    assert is_number(value)
    assert check_int("k", value) == value
    assert type(check_int("k", value)) is int


@pytest.mark.parametrize("value", [2.0, np.float32(2), math.nan])
def test_floats_are_numbers_but_not_integers(value: Any) -> None:
    assert is_number(value)
    assert not is_int(value)
    with refused("k"):
        check_int("k", value)


@pytest.mark.parametrize("value", [True, np.True_, "3", None, 3j, [3]])
def test_bools_and_text_are_neither(value: Any) -> None:
    assert not is_int(value)
    assert not is_number(value)
    with refused("k", got=value, expected="an integer"):
        check_int("k", value)
    with refused("k", got=value):
        check_number("k", value)


@pytest.mark.parametrize("value", [10**400, -(10**400), Fraction(10**400)])
def test_what_no_float_can_hold_is_not_a_number(value: Any) -> None:
    assert not is_number(value)
    with refused("k", got=value):
        check_number("k", value)


@pytest.mark.parametrize("value", [7, np.int64(7), np.uint8(7), np.uint64(7)])
def test_a_seed_is_pythons_integer(value: Any) -> None:
    assert check_seed(value) == 7
    assert type(check_seed(value)) is int


@pytest.mark.parametrize("value", [2**64, -(2**63) - 1, 7.0, "7", True, None, np.array(7), [7]])
def test_other_seeds_are_refused(value: Any) -> None:
    with refused("seed", got=value, expected="an integer of 64 bits"):
        check_seed(value)


@pytest.mark.parametrize(
    ("low", "high", "wrong", "right", "expected"),
    [
        (1, None, 0, 1, "an integer, 1 or more"),
        (None, 5, 6, 5, "an integer, 5 or less"),
        (-2, 5, -3, -2, "an integer from -2 to 5"),
        (-2, 5, 6, 5, "an integer from -2 to 5"),
        (None, None, 1.0, -(10**20), "an integer"),
    ],
)
def test_integers_have_bounds(low: Any, high: Any, wrong: Any, right: int, expected: str) -> None:
    assert check_int("k", right, low, high) == right
    with refused("k", got=wrong, expected=expected):
        check_int("k", wrong, low, high)
    with refused("k", got=wrong, expected="a count"):
        check_int("k", wrong, low, high, expected="a count")


@pytest.mark.parametrize(
    ("within", "right", "wrong"),
    [
        ("[0, 1)", [0, 0.5], [-1e-9, 1, 1.5]),
        ("(0, 1]", [1, 1e-9], [0, 1.1]),
        ("(0, inf)", [1e300, 2], [0, -1, math.inf]),
        ("[0, inf]", [0], [math.inf, -1]),
        ("(-inf, inf)", [-1e300, 0], [math.inf, -math.inf]),
    ],
)
def test_numbers_have_an_interval(within: str, right: list[float], wrong: list[float]) -> None:
    assert [check_number("x", value, within) for value in right] == right
    for value in wrong:
        with refused("x", got=value, expected=f"a number in {within}"):
            check_number("x", value, within)
        with refused("x", got=value, expected="a share"):
            check_number("x", value, within, expected="a share")
    with refused("x"):
        check_number("x", math.nan, within)


def test_a_number_is_returned_unchanged() -> None:
    value = np.float32(0.5)
    assert check_number("x", value) is value


def test_a_choice_is_one_of_several() -> None:
    assert check_choice("mode", "min", ("min", "max")) == "min"
    for choices, expected in ((("min", "max", None), "'min', 'max' or None"), (("min",), "'min'")):
        with refused("mode", got="up", expected=expected):
            check_choice("mode", "up", choices)


def test_a_kind_is_a_class_or_several() -> None:
    check_kind("model", 3, (int, str), "an int or text")
    with refused("model", WrongTypeError, got=2.0, expected="an int or text"):
        check_kind("model", 2.0, (int, str), "an int or text")


def test_nearest_names_begin_alike_or_look_alike() -> None:
    names = ["resnet18", "resnet34", "resnext50_32x4d", "vgg16"]
    assert nearest("resnext", names).startswith("resnext50_32x4d, ")
    assert nearest("rsnet34", names, n=1) == "resnet34"
    assert nearest("vgg16", names, n=9).split(", ") == ["vgg16", "resnet18", "resnet34", "resnext50_32x4d"]


def test_an_extra_that_is_missing_is_named() -> None:
    error = missing_extra("pyarrow", "parquet")
    assert "pyarrow" in error.what
    assert '"learnkit[parquet]"' in error.fix
