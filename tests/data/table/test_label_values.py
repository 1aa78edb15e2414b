"""What a label may be, whatever library its numbers are of, and what is refused with its row."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from learnkit.data.table.label_values import (
    as_python,
    class_names,
    could_be_values,
    is_label,
    multi_hot_names,
    normalized,
    number_in,
    number_rows,
    several_names,
)
from learnkit.errors import DataError, UsageError
from tests.doubles import refused

MATRIX = [[1, 0, 0], [0, 1, 1], [0, 0, 0]]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.int64(3), 3),
        (np.float32(2.0), 2.0),
        (np.bool_(True), True),
        (np.str_("a"), "a"),
        (np.array(5), 5),
        (np.array(["a", "b"]), ["a", "b"]),
        (torch.tensor(4), 4),
        ([np.int8(1), torch.tensor(0)], [1, 0]),
        ((np.float64(0.5), 1), (0.5, 1)),
        ("text", "text"),
        (None, None),
    ],
)
def test_a_label_is_taken_out_of_numpy_and_torch(value: Any, expected: Any) -> None:
    found = as_python(value)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize("missing", [None, float("nan"), pd.NA, pd.NaT, "", "  "])
def test_missing_values_are_no_labels(missing: Any) -> None:
    assert not is_label(missing)


@pytest.mark.parametrize("label", ["a", 0, False, [], [None], (), set(), np.array([]), torch.ones(2), 0.0])
def test_everything_else_is_one(label: Any) -> None:
    assert is_label(label)


@pytest.mark.parametrize(
    ("text", "number"),
    [("1", 1.0), (" -2.50 ", -2.5), ("1e-3", 0.001), (".5", 0.5), ("1_000", None), ("nan", None), ("inf", None),
     ("1,5", None), ("", None), ("12 12", None), ("0x10", None)],
)  # fmt: skip
def test_text_is_a_number_only_if_it_is_written_as_one(text: str, number: float | None) -> None:
    assert number_in(text) == number


def test_classes_are_named_as_their_labels() -> None:
    labels = ["cat", 3, 3.0, True, b"dog", 1, np.str_("emu")]
    assert class_names(labels, range(7)) == ["cat", "3", "3", "True", "dog", "1", "emu"]
    assert class_names(["Cat ", "cat"], range(2), lambda text: text.strip().lower()) == ["cat", "cat"]
    with refused("normalize_labels: for 'cat'", got=None, expected="text that is not blank"):
        class_names(["cat"], [0], lambda text: None)  # type: ignore[arg-type, return-value]


@pytest.mark.parametrize("label", [0.5, {"a": 1}, torch.ones(2), object(), ["a"], b"\xff", 1j])
def test_labels_of_other_types_are_refused_with_their_row(label: Any) -> None:
    with pytest.raises(DataError, match=r"^row 7: label"):
        class_names(["cat", label], [3, 7])
    with pytest.raises(DataError, match=r"^row 7: label"):
        several_names([["cat"], ["cat", label]], [3, 7])


@pytest.mark.parametrize("text", ["['a', 'b']", "[]", "('a',)", "['a' 'b']", "{'a'}", "[1, 0]", "(1.0, 2.0)"])
def test_a_list_that_was_written_as_text_is_refused_with_the_remedy(text: str) -> None:
    for read in (lambda: class_names([text], [2]), lambda: several_names([[text]], [2])):
        with pytest.raises(DataError, match=r"row 2: label: .*the text of a list\. .*label_delim=';'"):
            read()


def test_the_first_of_equal_rows_is_named() -> None:
    with pytest.raises(DataError, match=r"row 7: label: .*the text of a list"):
        class_names(["cat", "[1, 0]", "dog", "[1, 0]", "(2, 1)"], [3, 7, 8, 9, 4])


@pytest.mark.parametrize("text", ["[unknown]", "(other)", "{x", "[a, b]"])
def test_brackets_alone_make_no_list(text: str) -> None:
    assert class_names([text], [0]) == [text]


@pytest.mark.parametrize(
    ("label", "names"),
    [(["b", "a"], ["b", "a"]), (("a",), ["a"]), ({"b", "a"}, ["a", "b"]), ([], []), ([2, 10], ["2", "10"])],
)
def test_several_labels_are_named_each(label: Any, names: list[str]) -> None:
    assert several_names([label], [0]) == [names]


@pytest.mark.parametrize("label", ["a b", 3, None, 0.5])
def test_one_label_is_no_list(label: Any) -> None:
    with refused("row 4: label", DataError, got=label, expected="a list of labels"):
        several_names([label], [4])


@pytest.mark.parametrize("rows", [[[1, 0, -1], [0, 1, 1]], [[1.0, -1.0], [0.0, 1.0]]])
def test_minus_one_is_no_label_but_uncertain(rows: Any) -> None:
    with pytest.raises(DataError, match=r"no -1\. Labels are 0 or 1\. Pass task='regression'"):
        several_names(rows, [0, 1])


def test_numbers_of_classes_are_labels() -> None:
    assert several_names([[3, 1], [2, 2]], [0, 1]) == [["3", "1"], ["2"]]


@pytest.mark.parametrize("kind", [int, float, bool])
def test_rows_of_0_and_1_are_classes_by_their_places(kind: type) -> None:
    rows = np.array(MATRIX).astype(kind).tolist()
    assert multi_hot_names(rows, ["a", "b", "c"]) == [["a"], ["b", "c"], []]
    assert multi_hot_names(list(map(tuple, rows)), ["a", "b", "c"]) == [["a"], ["b", "c"], []]
    for classes in (None, ["a", "b"], list("abcd")):
        with pytest.raises(UsageError, match=r"rows of 3 numbers, 0 or 1: .*3 names, one for each place"):
            multi_hot_names(rows, classes)


@pytest.mark.parametrize(
    "rows", [[], [[1, 0], [1]], [[2, 0], [1, 0]], [["1", "a"]], ["ab"], [1, 0], [[], []], [[0.5, 1]]]
)
def test_other_rows_are_not_places(rows: Any) -> None:
    assert multi_hot_names(rows, None) is None


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([1.0, 2.0], True),
        ([1, 2], False),
        (["1.5", "2"], True),
        (["1", "002"], False),
        (["1.0", "a"], False),
        ([[0.5], [1]], True),
        ([["0.5"]], False),
        ([True], False),
    ],
)
def test_numbers_with_a_fraction_could_be_values(labels: Any, expected: bool) -> None:
    assert could_be_values(labels) is expected


@pytest.mark.parametrize(
    ("label", "numbers"),
    [(1, (1.0,)), (0.5, (0.5,)), ("2.5", (2.5,)), ([1, "2"], (1.0, 2.0)), ((3, 4.5), (3.0, 4.5)), (True, (1.0,)),
     (torch.tensor([1.0, 2.0]), (1.0, 2.0)), (["12", "12", "40"], (12.0, 12.0, 40.0))],
)  # fmt: skip
def test_numbers_are_read_all_of_them(label: Any, numbers: tuple[float, ...]) -> None:
    assert number_rows([label], [0]) == [numbers]


@pytest.mark.parametrize(
    "label", ["tall", "1_000", "1,5", [1, None], {"a": 1}, "12 12", float("inf"), [1.0, float("nan")]]
)
def test_what_is_no_number_is_refused_with_its_row(label: Any) -> None:
    with refused("row 5: label", DataError, got=label):
        number_rows([label], [5])


def test_each_label_of_an_item_counts_once() -> None:
    assert several_names([["a", "b", "a"], ["Cat", "cat"]], [0, 1]) == [["a", "b"], ["Cat", "cat"]]
    assert several_names([["Cat", "cat"]], [0], str.lower) == [["cat"]]


def test_texts_of_0_and_1_are_a_row_of_them_unless_they_are_classes() -> None:
    rows = [["0", "1"], ["1", "1"]]
    assert multi_hot_names(rows, ("sun", "sea")) == [["sea"], ["sun", "sea"]]
    with pytest.raises(UsageError, match="rows of 2 numbers, 0 or 1"):
        multi_hot_names(rows, None)
    assert multi_hot_names(rows, ("0", "1", "2")) is None
    assert multi_hot_names([["0"], ["1"]], None) is None
    assert multi_hot_names([["0", "1"], ["1"]], None) is None


def test_a_function_that_normalizes_labels_returns_text() -> None:
    assert normalized("Cat", str.lower) == "cat"
    for wrong in (lambda name: None, lambda name: " ", lambda name: 3):
        with pytest.raises(UsageError, match=r"normalize_labels: for 'Cat': got .*text that is not blank"):
            normalized("Cat", wrong)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"normalize_labels: it failed for 'Cat' with KeyError \('Cat'\)"):
        normalized("Cat", {"cat": "cat"}.__getitem__)
