"""Columns of an external table: by name, by position, and the groups in one."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from learnkit.data.table.columns import column_of, group_numbers, place_of
from learnkit.errors import DataError
from tests.doubles import refused

TABLE = pd.DataFrame({"name": ["a", "b", "c"], "kind": ["x", "y", "x"], 7: [1, 2, 3]})


@pytest.mark.parametrize(
    ("column", "values"),
    [("kind", list("xyx")), (1, list("xyx")), (-3, list("abc")), (np.int64(0), list("abc")), (7, [1, 2, 3])],
)
def test_a_column_is_known_by_its_name_or_its_position(column: Any, values: list[Any]) -> None:
    assert column_of(TABLE, column).tolist() == values


@pytest.mark.parametrize("column", ["kinds", 3, -4, True, 1.5])
def test_unknown_columns_are_refused_with_the_existing_ones(column: Any) -> None:
    with refused(f"no column {column!r}; columns are name, kind, 7", DataError):
        column_of(TABLE, column)


@pytest.mark.parametrize(
    ("names", "column", "place"),
    [
        (["2019", "2020"], 2020, 1), (["0", "1"], 1, 1), (["a", "-1"], -1, 1), (["7", "a"], np.int64(7), 0),
        (["b", "0"], "0", 1), ([1, 0], 1, 0), (["a"], 2019, None),
    ],
)  # fmt: skip
def test_a_number_is_a_place_or_else_a_name(names: list[Any], column: Any, place: int | None) -> None:
    assert place_of(names, column) == place


@pytest.mark.parametrize(("names", "column"), [(["", "0", "1"], 1), (["1", "0"], 0), (["2", "a", "b"], 2)])
def test_a_number_that_is_a_place_and_another_name_is_refused(names: list[str], column: int) -> None:
    with pytest.raises(DataError, match=f"column {column} is called '.*', and another one is called '{column}'"):
        place_of(names, column)
    with pytest.raises(DataError, match="and another one is called"):
        column_of(pd.DataFrame([names], columns=names), column)


def test_a_name_of_several_columns_is_refused_and_their_positions_are_not() -> None:
    twice = pd.concat([TABLE, pd.DataFrame({"kind": [4, 5, 6]})], axis=1)
    with refused("several columns are called 'kind'", DataError):
        column_of(twice, "kind")
    assert column_of(twice, 3).tolist() == [4, 5, 6]


def test_groups_are_numbered_as_they_appear() -> None:
    assert group_numbers(TABLE, "kind").tolist() == [0, 1, 0]
    with refused("column 'camera': no group in rows [1, 2]", DataError):
        group_numbers(TABLE.assign(camera=["x", None, float("nan")]), "camera")


@pytest.mark.parametrize("separator", [";", "\t", "|", ","])
def test_a_table_that_was_read_as_one_column_says_what_separates_it(separator: str) -> None:
    table = pd.DataFrame({f"name{separator}label": [f"a.png{separator}x"]})
    with pytest.raises(DataError) as caught:
        column_of(table, 1)
    assert caught.value.fix == f"The file is separated by {separator!r}: read it with delimiter={separator!r}."
    with pytest.raises(DataError) as caught:
        column_of(table.assign(more=1), 7)
    assert not caught.value.fix


@pytest.mark.parametrize("column", ["name", 0, "x", ("x", "name")])
def test_names_of_several_levels_are_refused_with_what_joins_them(column: Any) -> None:
    table = pd.DataFrame([[1, 2]], columns=pd.MultiIndex.from_tuples([("x", "name"), ("x", "label")]))
    with pytest.raises(DataError, match=r"names of 2 levels, such as \('x', 'name'\).*'_'\.join") as caught:
        column_of(table, column)
    assert caught.value.expected == "one name for each column"
    table.columns = pd.Index(["_".join(map(str, name)) for name in table.columns])
    assert column_of(table, "x_name").tolist() == [1]
