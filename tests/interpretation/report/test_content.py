"""Tables of frames, sums of a matrix: what the page is given."""

import math

import pandas as pd
import pytest

from learnkit.interpretation.report.content import Bin, Column, Matrix, Reliability, Table


def frame(n: int) -> pd.DataFrame:
    """n rows of recall rising from 0.0 to 1.0 and support, and their mean."""
    rows = [[i / (n - 1), 7.0] for i in range(n)] + [[0.5, 7.0 * n]]
    return pd.DataFrame(rows, [*(f"c{i}" for i in range(n)), "mean"], ["recall", "support"])


def test_a_table_of_a_frame_has_shares_counts_and_totals() -> None:
    table = Table.of_frame("class", frame(3), 3)
    assert table.columns == (Column("recall", 3, True), Column("support", 0, False))
    assert table.rows == (("c0", (0.0, 7.0)), ("c1", (0.5, 7.0)), ("c2", (1.0, 7.0)))
    assert (table.totals, table.note) == ((("mean", (0.5, 21.0)),), "")


@pytest.mark.parametrize("n", [1000, 1001])
def test_of_too_many_rows_those_with_the_lowest_share_are_kept(n: int) -> None:
    rows = frame(n)
    rows.iloc[0, 0] = math.nan  # unknown is not lowest
    table = Table.of_frame("class", rows, n)
    assert len(table.rows) == 1000
    assert ("c0" in dict(table.rows)) == (n == 1000)
    assert table.note == ("" if n == 1000 else "The 1,000 of 1,001 rows with the lowest recall.")


def test_a_table_knows_whether_a_number_is_not_defined() -> None:
    assert not Table("a", (), (("x", (1.0,)),)).has_nan
    assert Table("a", (), (("x", (math.nan,)),)).has_nan
    assert Table("a", (), (), (("x", (math.nan,)),)).has_nan


def test_sums_of_a_matrix_are_those_of_its_rows() -> None:
    assert Matrix(("a", "b", "c"), {(0, 0): 3, (0, 2): 1, (2, 0): 5}, {}).sums == (4, 0, 5)


def test_bins_without_predictions_are_not_in_the_table() -> None:
    bins = (Bin(0.0, 0.5, math.nan, math.nan, 0), Bin(0.5, 1.0, 0.75, 0.5, 4))
    assert Reliability(0.25, bins).table.rows == (("0.50 to 1.00", (0.75, 0.5, 4.0)),)
