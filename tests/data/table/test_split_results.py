"""What a split returns: read by place, in any form, and refused where it does not name a split for every row."""

import numpy as np
import pandas as pd
import pytest
import torch

from learnkit.data.table.split_results import split_names
from learnkit.data.table.splits import NoValidation
from learnkit.errors import DataError, UsageError


def table(targets: str) -> pd.DataFrame:
    return pd.DataFrame({"input": [f"{i}.jpg" for i in range(len(targets))], "target": list(targets)}, dtype=object)


def test_no_validation_is_said_and_never_an_accident() -> None:
    samples = table("ab")
    assert split_names(samples, NoValidation()) == ["train", "train"]
    with pytest.raises(DataError, match=r"^split: no row is left to validate on: .*pass valid_pct=0 instead"):
        split_names(samples, lambda samples: [False, False])


def test_results_are_those_of_the_rows_in_their_order() -> None:
    samples = table("abab")
    for same in (torch.tensor, np.array, pd.Series, tuple, iter):
        assert split_names(samples, lambda _, same=same: same([True, False, False, True]))[::3] == ["valid", "valid"]
    with pytest.raises(UsageError, match="in another order than the rows"):
        split_names(samples, lambda table: (table["target"] == "a").sort_values())

    def sorts(table: pd.DataFrame) -> list[bool]:
        table["target"] = table["target"].str.upper()
        table.index = table.index[::-1]
        return (table["target"] == "A").tolist()

    with pytest.raises(UsageError, match="in another order than the rows"):
        split_names(samples, sorts)
    assert samples["target"].tolist() == list("abab")  # the function had a copy
    assert split_names(samples, lambda table: pd.Series([True, False] * 2, index=list("wxyz")))[0] == "valid"


def test_a_function_that_fails_or_returns_something_else_is_named() -> None:
    with pytest.raises(UsageError, match=r"split: the function failed with KeyError \('patient'\)"):
        split_names(table("ab"), lambda samples: samples["patient"])
    with pytest.raises(DataError, match=r"split: got '2 results'.*np.isin\(np.arange\(len\(table\)\), numbers\)"):
        split_names(table("abab"), lambda samples: [0, 3])
    assert split_names(table("abab"), lambda table: np.isin(np.arange(len(table)), [0, 3])) == [
        "valid", "train", "train", "valid",
    ]  # fmt: skip
    with pytest.raises(DataError, match="expected one result per row, 2 in all"):
        split_names(table("ab"), lambda samples: samples)
