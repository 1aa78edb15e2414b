"""Classes: names in order, compared wherever two lists meet."""

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch

from learnkit.data.classes import Classes, check_same_classes, label_text, look_alikes, normal_form, sorted_names
from learnkit.errors import DataError, LearnkitError, UsageError


@pytest.mark.parametrize(
    ("label", "text"),
    [
        ("cat", "cat"),
        (np.str_("cat"), "cat"),
        (3, "3"),
        (3.0, "3"),
        (-1, "-1"),
        (True, "True"),
        (b"caf\xc3\xa9", "café"),
        (np.int64(3), "3"),
        (np.float32(3), "3"),
        (np.bool_(False), "False"),
        (np.array(7), "7"),
        (torch.tensor(3), "3"),
        (torch.tensor(3.0), "3"),
        (torch.tensor(True), "True"),
    ],
)
def test_a_class_is_named_by_text_a_whole_number_or_a_boolean(label: Any, text: str) -> None:
    assert label_text(label) == text
    assert type(label_text(label)) is str


@pytest.mark.parametrize(
    "label", [0.5, float("nan"), None, b"\xff", [1], ("a",), torch.ones(2), np.ones(1), {"a": 1}, object()]
)
def test_anything_else_is_refused_by_its_type(label: Any) -> None:
    with pytest.raises(DataError, match="label"):
        label_text(label)


def test_classes_are_a_tuple_of_text() -> None:
    assert Classes([0, 1.0, "cat"]) == ("0", "1", "cat")
    assert Classes(np.array(["b", "a"])) == ("b", "a")
    assert repr(Classes("ab"[i] for i in range(2))) == "Classes('a', 'b')"
    assert hash(Classes(["a"])) == hash(("a",))


@pytest.mark.parametrize(
    "names", [{"a", "b"}, frozenset("ab"), {"a": 1}.keys(), {"a": 0}, "ab", 3, None, ["a", "a"], [1, "1"]]
)
def test_a_list_without_an_order_or_with_a_class_twice_is_refused(names: Any) -> None:
    with pytest.raises(LearnkitError, match="classes"):
        Classes(names)


def test_two_lists_are_compared_by_name_and_order() -> None:
    check_same_classes(["a", "b"], Classes(["a", "b"]), "the model", "the data", "Retrain.")
    with pytest.raises(DataError, match="of the data are in another order: b, a; those of the model are a, b"):
        check_same_classes(["a", "b"], ["b", "a"], "the model", "the data", "Retrain.")
    with pytest.raises(DataError, match=r"of the data are others: a, c; those of the model are a, b\. Retrain"):
        check_same_classes(["a", "b"], ["a", "c"], "the model", "the data", "Retrain.")


def test_both_kinds_of_refusal_are_builtin_errors_too() -> None:
    assert issubclass(UsageError, ValueError)
    assert issubclass(DataError, ValueError)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["b", "a"], ("a", "b")),
        (["10", "9", "-1", "2"], ("-1", "2", "9", "10")),
        (["010", "9"], ("9", "010")),
        (["1", "01"], ("01", "1")),
        (["10", "9", "x"], ("10", "9", "x")),
        (["1.5", "10", "9"], ("1.5", "10", "9")),
        (["²", "1"], ("1", "²")),
        (["9" * 5000, "1" * 5001], ("1" * 5001, "9" * 5000)),
        ([], ()),
    ],
)
def test_names_are_sorted_as_text_and_whole_numbers_by_value(names: list[str], expected: tuple[str, ...]) -> None:
    assert sorted_names(names) == sorted_names(reversed(names)) == expected


@pytest.mark.parametrize("other", ["Cafe\u0301", " café", "CAFÉ", "café ", "caf\u00e9\u00a0", "\uff43\uff41\uff46é"])
def test_names_that_differ_by_case_spaces_or_unicode_form_look_alike(other: str) -> None:
    assert look_alikes(["café", "tea", other]) == [("café", other)]
    assert normal_form(other) == normal_form("café") == "café"


@pytest.mark.parametrize("other", ["cafe", "cafés", "ca fé", "café_"])
def test_other_names_do_not_look_alike(other: str) -> None:
    assert look_alikes(["café", other]) == []


def test_classes_are_copied_and_pickled_as_they_are() -> None:
    classes = Classes(["b", "a"])
    for other in (copy.deepcopy(classes), pickle.loads(pickle.dumps(classes))):
        assert other == classes
        assert type(other) is Classes
