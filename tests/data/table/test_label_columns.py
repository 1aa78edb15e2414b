"""Labels in the columns of a table: yes and no in any form, numbers, text, and cells that hold several."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from learnkit.data.table.label_columns import column_list, labels_in, targets_in
from learnkit.errors import DataError, UsageError
from tests.doubles import refused

YES_NO: list[tuple[Any, Any, Any]] = [
    (1, 0, "int64"),
    (1, 0, "Int64"),
    (1, 0, object),
    (1.0, 0.0, "float32"),
    (True, False, bool),
    (True, False, "boolean"),
    ("1", "0", object),
    ("1.0", "0.0", object),
    ("True", "False", object),
    (" yes", "NO", object),
    ("yes", "no", "category"),
]


def flags(yes: Any, no: Any, dtype: Any = object) -> pd.DataFrame:
    columns = {"sea": [yes, no, no], "sun": [yes, yes, no]}
    return pd.DataFrame(
        {"name": list("abc"), **{name: pd.Series(cells, dtype=dtype) for name, cells in columns.items()}}
    )


@pytest.mark.parametrize(("yes", "no", "dtype"), YES_NO)
@pytest.mark.parametrize("columns", [["sea", "sun"], [1, 2], (-2, "sun"), np.array(["sea", "sun"]), np.array([1, 2])])
def test_columns_of_yes_and_no_are_a_class_each(yes: Any, no: Any, dtype: Any, columns: Any) -> None:
    table = flags(yes, no, dtype)
    for kind in (None, "multilabel", "classification"):
        assert targets_in(table, columns, None, kind) == [["sea", "sun"], ["sun"], []]


def test_other_words_for_yes_and_no_are_named() -> None:
    table = flags("x", "-")
    found = targets_in(table, ["sea", "sun"], None, None, true_values=["X"], false_values=["-"])
    assert found == [["sea", "sun"], ["sun"], []]
    empty = flags(1, None)
    assert targets_in(empty, ["sea", "sun"], None, None, false_values=["0", ""]) == found


@pytest.mark.parametrize(("yes", "no", "dtype"), YES_NO)
@pytest.mark.parametrize("missing", [None, float("nan"), pd.NA, ""])
def test_an_empty_cell_is_neither_and_is_refused_with_its_rows(yes: Any, no: Any, dtype: Any, missing: Any) -> None:
    table = flags(yes, no, dtype).astype(object)
    table.loc[[0, 2], "sun"] = missing
    with pytest.raises(DataError, match=r"column 'sun': rows \[0, 2\] are empty"):
        targets_in(table, ["sea", "sun"], None, None)


@pytest.mark.parametrize("cell", [-1, 0.3, "-1", "0.7", 2, "2"])
def test_uncertain_and_soft_labels_are_refused_as_labels(cell: Any) -> None:
    table = flags(1, 0)
    table.loc[1, "sun"] = cell
    unknown = (None,) if -1 <= float(cell) <= 1 else ()  # a 2 may be a number to predict: that is asked about later
    for kind in ("multilabel", "classification", *unknown):
        with pytest.raises(DataError, match=r"column 'sun': row 1: .*Labels are 0 or 1\. Pass task='regression'"):
            targets_in(table, ["sea", "sun"], None, kind)


@pytest.mark.parametrize("cells", [["0.3", "0.7", ".5"], [0.3, 0.7, 0.5], [3, 4, 5]])
def test_shares_alone_are_no_labels(cells: Any) -> None:
    table = pd.DataFrame({"sea": cells, "sun": cells})
    with pytest.raises(DataError, match="column 'sea': row 0"):
        targets_in(table, ["sea", "sun"], None, "multilabel")


@pytest.mark.parametrize("cell", ["maybe", "sun"])
def test_words_beside_yes_and_no_are_refused(cell: str) -> None:
    table = flags("yes", "no")
    table.loc[1, "sun"] = cell
    with pytest.raises(DataError, match=rf"column 'sun': row 1: got '{cell}'.*true_values="):
        targets_in(table, ["sea", "sun"], None, None)


def test_columns_of_numbers_are_numbers() -> None:
    table = pd.DataFrame({"x": [0.5, 1], "y": ["3", "4"], "left": [0, 1], "right": [1, 1]})
    assert targets_in(table, ["x", "y"], None, None) == [(0.5, 3.0), (1.0, 4.0)]
    assert targets_in(table, ["left", "right"], None, "regression") == [(0, 1), (1, 1)]


def test_columns_of_text_are_labels_unless_empty() -> None:
    table = pd.DataFrame({"first": ["sun", "sea"], "second": [None, "boat"]})
    assert targets_in(table, [0, 1], None, None) == [["sun"], ["sea", "boat"]]


@pytest.mark.parametrize("column", ["kind", 1, -1, np.int64(1), ["kind"], ("kind",), [1], np.array(["kind"])])
def test_a_list_of_one_column_is_that_column(column: Any) -> None:
    table = pd.DataFrame({"name": list("ab"), "kind": ["cat", "dog"]})
    assert targets_in(table, column, None, None) == ["cat", "dog"]


def test_one_column_of_yes_and_no_is_a_class_if_that_is_said() -> None:
    assert targets_in(flags(1, 0), ["sun"], None, "multilabel") == [["sun"], ["sun"], []]
    assert targets_in(flags(1, 0), "sun", None, "multilabel") == [1, 1, 0]


def test_several_labels_in_a_cell() -> None:
    table = pd.DataFrame({"tags": ["sun sea", "", None, " sea  sun sea ", 3, 3.0]})
    assert targets_in(table, "tags", " ", None) == [
        ["sun", "sea"], [], [], ["sea", "sun", "sea"], ["3"], ["3"],
    ]  # fmt: skip
    with refused("label_delim", got=" ", expected="None with several label columns"):
        targets_in(table.assign(more="x"), ["tags", "more"], " ", None)


@pytest.mark.parametrize("delimiter", ["", 3, b" "])
def test_a_delimiter_is_some_text(delimiter: Any) -> None:
    with refused("label_delim", got=delimiter):
        targets_in(pd.DataFrame({"tags": ["a b"]}), "tags", delimiter, None)


def test_no_number_in_a_cell_is_lost() -> None:
    table = pd.DataFrame({"box": ["12 12 40", "1  2 3", None, 7.0], "points": ["1;1", "2;", "3", "4;5;6"]})
    assert targets_in(table, "box", " ", "regression") == [["12", "12", "40"], ["1", "2", "3"], None, 7.0]
    assert targets_in(table, "points", ";", "regression") == [["1", "1"], ["2", ""], ["3"], ["4", "5", "6"]]


@pytest.mark.parametrize("label_col", [None, [], 2.5])
def test_columns_that_cannot_be_meant_are_refused(label_col: Any) -> None:
    with pytest.raises(UsageError, match="label_col"):
        column_list(label_col)


@pytest.mark.parametrize(("yes", "no"), [("T", "F"), ("y", "N"), ("True", "FALSE"), ("yes", "0"), (1.0, "no")])
def test_usual_words_mean_yes_and_no(yes: Any, no: Any) -> None:
    table = pd.DataFrame({"sea": [yes, no], "sun": [no, no], "fog": [no, no]}, dtype=object)
    assert labels_in(table, ["sea", "sun", "fog"], None, None) == ([["sea"], []], ["sea", "sun", "fog"])


def test_two_words_in_every_column_are_asked_about() -> None:
    table = pd.DataFrame({"sea": ["present", "absent"], "sun": ["absent", "absent"]})
    with pytest.raises(UsageError, match=r"pass true_values=\['present'\], false_values=\['absent'\]"):
        targets_in(table, ["sea", "sun"], None, None)
    words = {"true_values": ["Present"], "false_values": "absent"}
    assert targets_in(table, ["sea", "sun"], None, None, **words) == [["sea"], []]
    three = table.assign(sun=["cloud", None])
    assert targets_in(three, ["sea", "sun"], None, None) == [["present", "cloud"], ["absent"]]
    pair = pd.DataFrame({"one": ["cat", "dog"], "two": ["dog", None]})
    assert targets_in(pair, ["one", "two"], None, None) == [["cat", "dog"], ["dog"]]


def test_values_for_yes_and_no_may_be_numbers_and_are_never_both() -> None:
    table = pd.DataFrame({"sea": [2, 1], "sun": ["1", "1.0"]}, dtype=object)
    assert targets_in(table, ["sea", "sun"], None, None, true_values=[2], false_values=[1]) == [["sea"], []]
    with pytest.raises(UsageError, match=r"false_values: .*other values than true_values, which have 'no' too"):
        targets_in(table, ["sea", "sun"], None, None, true_values=["no"])
    with pytest.raises(UsageError, match=r"true_values: .*expected a list of text"):
        targets_in(table, ["sea", "sun"], None, None, true_values=[None])
    with pytest.raises(UsageError, match="label_col"):
        targets_in(table, {"sea", "sun"}, None, "regression")
