"""Weights of a sampler stay with their rows."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from learnkit.data.table.weights import WEIGHTS, sampler_of, with_weights
from learnkit.errors import DataError
from tests.doubles import refused


def table() -> pd.DataFrame:
    return pd.DataFrame({"split": ["train", "valid", "train", "test"], "age": [3, 4, 5, 6]})


@pytest.mark.parametrize("make", [list, np.array, torch.tensor, pd.Series, tuple])
def test_numbers_become_a_column(make: Any) -> None:
    for_training = with_weights(table(), make([1.0, 2.0]))
    assert for_training[WEIGHTS].tolist()[::2] == [1, 2]
    assert for_training[WEIGHTS].isna().tolist() == [False, True, False, True]
    assert with_weights(table(), make([1.0, 2.0, 3.0, 4.0]))[WEIGHTS].tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("sampler", [None, "balanced", "age"])
def test_what_is_no_list_adds_no_column(sampler: Any) -> None:
    assert with_weights(table(), sampler).columns.tolist() == ["split", "age"]


def test_other_samplers_are_refused() -> None:
    with refused("sampler", got="ages", expected="None, 'balanced', a column, or one weight per item"):
        with_weights(table(), "ages")
    with refused("sampler", got="weights of shape (3,)", expected="(2,), one per training item"):
        with_weights(table(), [1, 2, 3])
    with refused("sampler", got=[1, "x"]):
        with_weights(table(), [1, "x"])
    filtered = with_weights(table(), [1, 2]).iloc[:1]
    with refused("sampler", expected="(1,), one per training item or 'sampler_weight', the column of the table"):
        with_weights(filtered, [1, 2])


def test_the_training_rows_take_theirs() -> None:
    samples = with_weights(table(), [1.0, 2.0])
    assert sampler_of(samples[samples["split"] == "train"], [1.0, 2.0]).tolist() == [1, 2]
    assert sampler_of(samples.iloc[[2]], WEIGHTS).tolist() == [2]
    assert sampler_of(samples, "age").tolist() == [3, 4, 5, 6]
    assert sampler_of(samples, "balanced") == "balanced"
    assert sampler_of(samples, None) is None


@pytest.mark.parametrize("missing", [None, float("nan"), pd.NA, "heavy"])
def test_a_training_row_without_a_weight_is_refused(missing: Any) -> None:
    samples = table().astype({"age": object})
    samples.loc[1, "age"] = missing
    with pytest.raises(DataError, match=r"1 training row has no number in column 'age', first rows \[1\]"):
        sampler_of(samples, "age")
