"""Checks of arguments: valid values are returned, invalid ones are refused by name."""

import functools
import inspect
import math
from typing import Any, TypedDict, Unpack

import numpy as np
import pytest

from learnkit.checks import (
    check_choice,
    check_int,
    check_keywords,
    check_kind,
    check_number,
    check_partial,
    check_takes,
    checks_keywords,
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


def test_keywords_that_are_not_there_are_refused_with_the_nearest() -> None:
    check_keywords("fit", ["wd", "resume"], ["resume", "wd"])
    with refused("fit: keyword", WrongTypeError, got="resune", fix="Nearest: resume, wd."):
        check_keywords("fit", ["wd", "resune"], ["resume", "wd"])


class Options(TypedDict, total=False):
    callbacks: Any
    start_epoch: int


class Trains:
    @checks_keywords
    def __init__(self, data: int, *, loss_func: Any = None) -> None:
        self.data = data

    @checks_keywords
    def fit_slowly(self, epochs: int, max_lr: float = 1.0, **options: Unpack[Options]) -> tuple[Any, ...]:
        """Slowly."""
        return self.data, epochs, max_lr, options


@pytest.mark.parametrize(
    ("keyword", "fix"),
    [
        ("start_epoc", "Nearest: start_epoch"), ("epoch", "Nearest: epochs"), ("cbs", "Here it is callbacks=."),
        ("callback_fns", "Here it is callbacks=."), ("lr_max", "Here it is max_lr=."), ("loss", "Nearest: "),
    ],
)  # fmt: skip
def test_misspelt_keywords_are_refused_in_the_name_that_was_called(keyword: str, fix: str) -> None:
    with pytest.raises(WrongTypeError, match=f"fit_slowly: keyword: got '{keyword}'.*{fix}"):
        Trains(1).fit_slowly(1, **{keyword: 1})
    with pytest.raises(WrongTypeError, match=r"Trains: keyword: got 'criterion'.*Here it is loss_func="):
        Trains(1, criterion=1)  # type: ignore[call-arg]


def test_right_keywords_arrive_and_the_signature_is_that_of_the_function() -> None:
    assert Trains(data=3).fit_slowly(2, max_lr=0.5, callbacks=[]) == (3, 2, 0.5, {"callbacks": []})
    assert list(inspect.signature(Trains.fit_slowly).parameters) == ["self", "epochs", "max_lr", "options"]
    assert Trains.fit_slowly.__doc__ == "Slowly."


def power(base: float, exponent: float = 2) -> float:
    return base**exponent


@pytest.mark.parametrize(
    "wrong",
    [functools.partial(power, exponnent=3), functools.partial(power, 1, 2, 3), functools.partial(power, 1, base=2)],
)
def test_partials_with_arguments_that_the_function_lacks_are_refused(wrong: Any) -> None:
    with pytest.raises(WrongTypeError, match=r"f: partial of power with .* It takes base, exponent"):
        check_partial("f", wrong)


@pytest.mark.parametrize("fine", [functools.partial(power, exponent=3), functools.partial(max, 1, default=3), power, 3])
def test_other_partials_and_other_things_are_not(fine: Any) -> None:
    check_partial("f", fine)


TAKES_TWO = [power, lambda a, b, *more, c=0, **rest: 0, functools.partial(lambda c, a, b: c, 1), max]


@pytest.mark.parametrize("fine", TAKES_TWO)
def test_functions_of_these_arguments_are_taken(fine: Any) -> None:
    check_takes("f", "fine", fine, ["a", "b"])


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda a: 0, "too many positional arguments"),
        (lambda a, b, c: 0, "missing a required argument: 'c'"),
        (lambda *, a, b: 0, "too many positional arguments"),
        (functools.partial(power, exponent=2), "multiple values for argument 'exponent'"),
    ],
)
def test_functions_of_other_arguments_are_refused(wrong: Any, words: str) -> None:
    with pytest.raises(WrongTypeError, match=rf"f: got 'g\(.*', expected a function to call with \(a, b\): {words}"):
        check_takes("f", "g", wrong, ["a", "b"])
