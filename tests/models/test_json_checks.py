"""Checks of JSON values."""

import pytest

from learnkit.errors import CorruptFileError, MissingModelError
from learnkit.models.json_checks import check_json, json_int, json_ints, json_object, only_keys
from tests.doubles import refused


@pytest.mark.parametrize("value", [2, 5])
def test_an_integer_within_its_bounds_is_returned(value: int) -> None:
    assert json_int("n", value, 2, 5) == value


@pytest.mark.parametrize("value", [1, 6, True, 3.0, "3", None, [3]])
def test_any_other_value_is_refused(value: object) -> None:
    got = value if not isinstance(value, list) else [3]
    with refused("n", CorruptFileError, got=got, expected="an integer from 2 to 5"):
        json_int("n", value, 2, 5)


def test_a_list_of_integers_becomes_a_tuple() -> None:
    assert json_ints("sizes", [1, 9], [2], 9) == (1, 9)
    assert json_ints("sizes", [], range(3), 9) == ()
    assert json_ints("sizes", [1, 1], range(3), 9) == (1, 1)


@pytest.mark.parametrize("value", [[0, 1], [1, 10], [1], [1, 2, 3], [1, True], (1, 2), {"a": 1}, "12", None])
def test_any_other_list_is_refused(value: object) -> None:
    with refused("sizes", CorruptFileError, got=value, expected="a list of 2 integers from 1 to 9"):
        json_ints("sizes", value, [2], 9)


def test_lengths_of_a_list_are_named() -> None:
    with refused("sizes", CorruptFileError, got=[1] * 4, expected="a list of 0 to 3 integers from 1 to 9"):
        json_ints("sizes", [1] * 4, range(4), 9)


def test_an_object_is_a_dict() -> None:
    assert json_object("head", {"a": 1}) == {"a": 1}
    for value in ([], None, "{}", 3):
        with refused("head", CorruptFileError, got=value, expected="an object"):
            json_object("head", value)


def test_unknown_keys_are_refused_and_missing_ones_are_not() -> None:
    only_keys("head", {"kind": 1}, {"kind", "n_out"})
    with refused("head", MissingModelError, got="['a', 'b']", expected="no fields but kind, n_out"):
        only_keys("head", {"kind": 1, "b": 2, "a": 3}, {"kind", "n_out"})


@pytest.mark.parametrize("value", ["x" * 10_000, 10**400, list(range(10_000)), {str(n): n for n in range(1000)}])
def test_large_values_are_shortened_in_the_error(value: object) -> None:
    with pytest.raises(CorruptFileError) as caught:
        check_json("name", value, "a string", is_right=False)
    assert isinstance(caught.value.got, str)
    assert len(caught.value.message) < 200
