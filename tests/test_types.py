"""DatasetType: the part of the data by its name, its number, or itself."""

from typing import Any

import numpy as np
import pytest

from learnkit import DatasetType
from tests.doubles import refused


@pytest.mark.parametrize(
    ("value", "part"),
    [
        ("train", DatasetType.Train),
        ("valid", DatasetType.Valid),
        ("test", DatasetType.Test),
        ("single", DatasetType.Single),
        ("fix", DatasetType.Fix),
        ("Valid", DatasetType.Valid),  # the name as the enum spells it
        (DatasetType.Test, DatasetType.Test),
        (1, DatasetType.Train),
        (5, DatasetType.Fix),
        (np.int64(2), DatasetType.Valid),
    ],
)
def test_a_part_is_known_by_its_name_its_number_and_itself(value: Any, part: DatasetType) -> None:
    found = DatasetType.of(value)
    assert found is part


@pytest.mark.parametrize("value", [0, 6, -1, True, 2.0, None, "", [1], ("train",), object])
def test_an_unknown_part_is_refused(value: Any) -> None:
    with refused("ds_type", got=value, expected="'train', 'valid' or 'test'", fix=""):
        DatasetType.of(value)


@pytest.mark.parametrize(("value", "near"), [("vaild", "valid"), ("val", "valid"), ("training", "train")])
def test_a_misspelled_part_is_refused_with_the_nearest_name(value: str, near: str) -> None:
    with refused("ds_type", got=value, fix=f"Did you mean {near!r}?"):
        DatasetType.of(value)


def test_the_error_names_the_argument() -> None:
    with refused("dl", got="x"):
        DatasetType.of("x", "dl")
