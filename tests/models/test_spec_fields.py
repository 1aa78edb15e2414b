"""Fields of a spec in an untrusted file."""

import pytest

from learnkit.errors import CorruptFileError, MissingModelError
from learnkit.models.spec_fields import dropout, known_name, output_range


def test_names_are_those_of_the_table_and_of_timm() -> None:
    assert known_name({"source": "registry", "name": "resnet18"}) == "resnet18"
    with pytest.raises(MissingModelError, match="a network that this learnkit knows"):
        known_name({"source": "registry", "name": "os.system"})
    with pytest.raises(CorruptFileError, match="arch source"):
        known_name({"source": "hub", "name": "resnet18"})


def test_dropout_is_a_share_or_one_for_each_layer() -> None:
    assert dropout(0.5, 2) == 0.5
    assert dropout([0.25, 0.5], 2) == (0.25, 0.5)
    for wrong in (1.5, [0.5], "0.5", None):
        with pytest.raises(CorruptFileError, match="head dropout"):
            dropout(wrong, 2)


def test_a_range_is_two_numbers_or_none() -> None:
    assert output_range(None) is None
    assert output_range([0, 5]) == (0.0, 5.0)
    for wrong in ([5, 0], [1], "ab", [0, float("inf")]):
        with pytest.raises(CorruptFileError, match="head y_range"):
            output_range(wrong)
