"""The forms of option values."""

import re
from pathlib import Path
from typing import Any

import pytest

from learnkit.cli.values import (
    AUGMENT,
    BS,
    CLASS_WEIGHTS,
    CODES,
    COLUMNS,
    DEPTH,
    LIST,
    NORMALIZE,
    NUMBERS,
    PAIR,
    PAIRS,
    RATES,
    SEPARATOR,
    SETTINGS,
    SIZE,
    SUFFIXES,
    Form,
    as_text,
)
from learnkit.errors import MissingFileError


@pytest.mark.parametrize(
    ("form", "text", "value"),
    [
        (LIST, "a,b c", ["a", "b c"]), (NUMBERS, "0.5", 0.5), (NUMBERS, "512,0.5", [512, 0.5]), (NUMBERS, "", []),
        (RATES, "1e-3", 1e-3), (RATES, "1e-4:1e-3", slice(1e-4, 1e-3)), (RATES, ":1e-3", slice(None, 1e-3)),
        (RATES, "1e-5,1e-4,1e-3", [1e-5, 1e-4, 1e-3]), (COLUMNS, "2", 2), (COLUMNS, "x,3", ["x", 3]),
        (COLUMNS, '"2"', "2"), (COLUMNS, '"2",2,"a,b"', ["2", 2, "a,b"]), (COLUMNS, "007", "007"), (COLUMNS, "0", 0),
        (COLUMNS, "true", "true"), (COLUMNS, "2026-01-01", "2026-01-01"), (COLUMNS, "null", "null"),
        (SEPARATOR, r"\t", "\t"), (SEPARATOR, "\t", "\t"), (SEPARATOR, r"\n", "\n"), (SEPARATOR, "\\", "\\"),
        (SEPARATOR, r"\s+", r"\s+"), (SEPARATOR, "; ", "; "), (SEPARATOR, r",\t", ",\t"),
        (SIZE, "224", 224), (SIZE, "32x64", (32, 64)), (SIZE, "32,64", (32, 64)), (PAIR, "0,5.5", (0, 5.5)),
        (DEPTH, "12", 12), (DEPTH, "0,4095", (0, 4095)), (NORMALIZE, "data", "data"),
        (NORMALIZE, "0.5,0.4:1,2", ((0.5, 0.4), (1, 2))), (AUGMENT, "false", False), (AUGMENT, "light", "light"),
        (BS, "64", 64), (BS, "auto", "auto"), (CLASS_WEIGHTS, "balanced", "balanced"),
        (CLASS_WEIGHTS, "cat=1,dog=5.5", {"cat": 1, "dog": 5.5}),
        (CLASS_WEIGHTS, "1,2", [1, 2]), (SETTINGS, "step_size=2,gamma=0.5,mode=max",
                                         {"step_size": 2, "gamma": 0.5, "mode": "max"}),
        (SETTINGS, "cycle_momentum=False,three_phase=true,mode=exp_range",
         {"cycle_momentum": False, "three_phase": True, "mode": "exp_range"}),
        (PAIRS, "valid=dev,test=eval", {"valid": "dev", "test": "eval"}),
        (SUFFIXES, "", [""]), (SUFFIXES, ".png,", [".png", ""]),
        (CODES, "sky,road", ["sky", "road"]), (CODES, "0=sky,255=road", {0: "sky", 255: "road"}),
    ],
)  # fmt: skip
def test_a_form_reads_its_text(form: Form, text: str, value: Any) -> None:
    assert form(text) == text
    found = form.read(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("form", "text"),
    [
        (LIST, "a,,b"), (LIST, ""), (NUMBERS, "x"), (RATES, ""), (RATES, "1e-3:"), (RATES, "1:2:3"), (RATES, "fast"),
        (RATES, "nan"), (RATES, "-1"), (RATES, "0.1,0"),
        (SIZE, "1x2x3"), (SIZE, "big"), (PAIR, "1"), (DEPTH, "x"), (NORMALIZE, "imagnet"), (AUGMENT, "lite"),
        (BS, "all"), (CLASS_WEIGHTS, "equal"), (SETTINGS, "step_size"), (SETTINGS, "step_size=2x"), (PAIRS, "a"),
        (PAIRS, "a="), (CODES, "x=sky,road"), (PAIRS, "a=b,a=c"), (CODES, "0=sky,0=road"),
        (COLUMNS, ""), (COLUMNS, "a,,b"), (COLUMNS, '"a'), (COLUMNS, '"a"b'), (COLUMNS, '""'),
        (SEPARATOR, ""), (SEPARATOR, r"\|"), (SEPARATOR, "\\\\"), (SEPARATOR, r"\x09"),
    ],
)  # fmt: skip
def test_other_text_is_refused_with_the_form(form: Form, text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"got {text!r}, expected {form.shown}")):
        form(text)


@pytest.mark.parametrize(
    "value", [2, "2", "name", ["2", 2], ["a,b", "c"], [0, 1], "a,b", "true", "1.5", "2026-01-01", "null", "~"]
)
def test_columns_of_a_configuration_are_names_as_text_and_places_as_numbers(value: Any) -> None:
    assert COLUMNS.read(COLUMNS.write(value)) == value


def test_lists_and_numbers_of_a_configuration_are_read_like_text() -> None:
    assert SIZE(224) == "224"
    assert NUMBERS([0.5, 0.25]) == "0.5,0.25"
    assert as_text([True, None]) == "true,null"
    assert SETTINGS.read(as_text({"step_size": 2, "gamma": 0.5})) == {"step_size": 2, "gamma": 0.5}
    assert SETTINGS.read(as_text({"cycle_momentum": False})) == {"cycle_momentum": False}
    assert SIZE(None) is None


def test_codes_come_from_a_file_of_lines(tmp_path: Path) -> None:
    (tmp_path / "codes.txt").write_text("sky\n\nroad, wet\n", encoding="utf-8")
    assert CODES.read(str(tmp_path / "codes.txt")) == ["sky", "road, wet"]
    (tmp_path / "numbered.txt").write_text("0=sky\n7=a=b\n", encoding="utf-8")
    assert CODES.read(str(tmp_path / "numbered.txt")) == {0: "sky", 7: "a=b"}
    with pytest.raises(MissingFileError, match=r"none\.txt cannot be read"):
        CODES("none.txt")
