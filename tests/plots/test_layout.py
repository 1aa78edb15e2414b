"""The size of figures and the grid of what they show."""

from typing import Any

import numpy as np
import pytest

from learnkit.errors import UsageError
from learnkit.plots.figure import new_figure
from learnkit.plots.layout import Grid, check_figsize, grid_of, grid_shape
from tests.doubles import refused


@pytest.mark.parametrize(
    ("given", "grid"),
    [
        ({}, (9, 3)),
        ({"rows": 2}, (4, 2)),
        ({"nrows": 2, "ncols": 5}, (10, 5)),
        ({"nrows": 2, "ncols": 5, "max_n": 7}, (7, 5)),
        ({"ncols": 4}, (12, 4)),
        ({"nrows": 1}, (3, 3)),
        ({"nrows": 2, "max_n": 7}, (7, 4)),
        ({"ncols": 4, "max_n": 6}, (6, 4)),
        ({"max_n": 1}, (1, 1)),
        ({"max_n": 10}, (10, 4)),
        ({"max_n": np.int64(10), "ncols": np.int32(5)}, (10, 5)),
    ],
)
def test_the_grid_follows_from_what_is_given(given: dict[str, Any], grid: tuple[int, int]) -> None:
    assert grid_of(**given) == Grid(*grid)


@pytest.mark.parametrize("name", ["rows", "nrows", "ncols", "max_n"])
@pytest.mark.parametrize("value", [0, -1, 1.5, "3", True])
def test_numbers_that_are_no_counts_are_refused_by_name(name: str, value: Any) -> None:
    with refused(name, got=value):
        grid_of(**{name: value})


@pytest.mark.parametrize(
    ("n", "given", "shape"),
    [(2, {}, (1, 2)), (7, {}, (3, 3)), (7, {"ncols": 2}, (4, 2)), (7, {"nrows": 2}, (2, 4)), (1, {"ncols": 3}, (1, 3))],
)
def test_panels_have_a_place_each(n: int, given: dict[str, int], shape: tuple[int, int]) -> None:
    assert grid_shape(n, **given) == shape


def test_too_few_places_are_refused() -> None:
    with pytest.raises(UsageError, match="expected places for 5 panels"):
        grid_shape(5, 2, 2)


def test_a_size_is_two_numbers_of_inches() -> None:
    assert check_figsize(None) is None
    assert check_figsize(np.array([8, 6])) == (8, 6)
    assert tuple(new_figure(1, 1, (3.5, 2)).get_size_inches()) == (3.5, 2)
    assert tuple(new_figure(1, 2).get_size_inches()) == (1, 2)


@pytest.mark.parametrize("value", [8, (8,), (8, 6, 4), (8, 0), (8, -1), ("8", "6"), "86", (float("inf"), 1), [None, 1]])
def test_other_sizes_are_refused(value: Any) -> None:
    with refused("figsize", got=value):
        check_figsize(value)
