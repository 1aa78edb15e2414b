"""What labels mean: the task they are for, their classes, and labels that are refused."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from learnkit import LearnkitWarning
from learnkit.data.segmentation import Segmentation
from learnkit.data.table.labels import label_samples
from learnkit.data.tasks import Classification, MultiLabel, Regression, Task
from learnkit.errors import DataError, UsageError
from tests.doubles import refused


def table(train: list[Any], valid: list[Any], test: list[Any] | None = None, dtype: Any = object) -> pd.DataFrame:
    targets = [*train, *valid, *(test or ())]
    splits = ["train"] * len(train) + ["valid"] * len(valid) + ["test"] * len(test or ())
    samples = pd.DataFrame({"input": [f"{i}.jpg" for i in range(len(targets))], "split": splits})
    samples["target"] = pd.Series(targets, dtype=dtype)
    return samples


def labeled(
    samples: pd.DataFrame, task: Any = None, classes: Any = None, names: tuple[str, ...] = ()
) -> tuple[list[Any], Task]:
    labels, found = label_samples(samples, task, classes, names)
    return labels["target"].tolist(), found


def test_classes_are_the_sorted_labels_of_the_training_set() -> None:
    samples = table(["b", "a", "c"], ["a", "b", "c"])
    assert labeled(samples) == (["b", "a", "c", "a", "b", "c"], Classification(("a", "b", "c")))
    assert labeled(samples, classes=["c", "a", "b"])[1].classes == ("c", "a", "b")
    assert labeled(samples, task=Classification(("b", "c", "a")))[1].classes == ("b", "c", "a")
    assert samples["target"].tolist() == ["b", "a", "c", "a", "b", "c"]


@pytest.mark.parametrize("dtype", [object, "int64", "Int64", "int8"])
def test_integers_are_classes_in_their_order(dtype: Any) -> None:
    labels, task = labeled(table([10, 9, 2, 10], [2, 9, 10], dtype=dtype))
    assert task == Classification(("2", "9", "10"))
    assert labels == ["10", "9", "2", "10", "2", "9", "10"]


def test_names_of_test_folders_do_not_change_the_order_of_numbers() -> None:
    labels, task = labeled(table([10, 9, 2], [2, 9, 10], ["10", "2"]))
    assert task.classes == ("2", "9", "10")
    assert labels[-2:] == ["10", "2"]


def test_true_and_false_are_classes() -> None:
    assert labeled(table([True, False], [False, True], dtype=bool))[1] == Classification(("False", "True"))


@pytest.mark.parametrize(
    ("classes", "text"), [(["a"], "also 'b'"), (["a", "b", "a"], "each class once"), ([], "also 'a'")]
)
@pytest.mark.parametrize("labels", [["a", "b"], [["a"], ["b"]]])
def test_classes_that_do_not_fit_are_refused(labels: list[Any], classes: list[str], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        labeled(table(labels, labels), classes=classes)


def test_one_class_is_refused() -> None:
    with pytest.raises(DataError, match="only class 'ant': expected two or more") as caught:
        labeled(table(["ant", "ant"], ["ant"]))
    assert isinstance(caught.value, ValueError)


def test_a_class_only_in_validation_is_refused() -> None:
    with pytest.raises(DataError, match=r"'dog' \(1 file\), 'emu' \(2 files\) of the validation set is not in train"):
        labeled(table(["a", "b"], ["a", "b", "emu", "dog", "emu"]))


def test_a_class_only_in_the_test_set_is_refused() -> None:
    with pytest.raises(DataError, match="class 'dog' of the test set is not in train: expected a, b"):
        labeled(table(["a", "b"], ["a", "b"], ["a", "dog"]))


def test_a_class_missing_in_validation_is_reported() -> None:
    with pytest.warns(LearnkitWarning, match="^no validation item of class b, d: it is not measured"):
        assert labeled(table(list("abcd"), ["a", "c"]))[1].classes == ("a", "b", "c", "d")
    with pytest.warns(LearnkitWarning, match="no validation item of class b"):
        assert labeled(table([["a"], ["b"]], [["a"], []]))[1] == MultiLabel(("a", "b"))


def test_a_class_that_is_named_but_not_trained_is_reported() -> None:
    with pytest.warns(LearnkitWarning, match="^no training item of class dog: it cannot be learned"):
        labeled(table(["a", "b"], ["a", "b", "dog"]), classes=["a", "b", "dog"])
    with pytest.warns(LearnkitWarning, match="^no training item of class c: it cannot be learned"):
        assert labeled(table([["a"], ["b"]], [["a", "b", "c"]]))[1].classes == ("a", "b", "c")


@pytest.mark.parametrize("missing", [None, float("nan"), pd.NA, pd.NaT])
@pytest.mark.parametrize("task", [None, "classification", "multilabel", "regression"])
def test_missing_labels_are_refused_with_their_rows(task: str | None, missing: Any) -> None:
    with pytest.raises(DataError, match=r"2 rows have no label, first rows \[1, 4\] \(1\.jpg\)"):
        labeled(table(["a", missing, "b"], ["a", missing]), task)


def test_a_missing_label_among_several_is_refused() -> None:
    with pytest.raises(DataError, match=r"row 1: label: got .* expected no missing label among several"):
        labeled(table([["a"], ["a", None]], [["a"]]))


def test_a_test_set_is_labeled_or_not() -> None:
    labels, task = labeled(table(["a", "b"], ["a", "b"], [None, None]))
    assert task == Classification(("a", "b"))
    assert labels == ["a", "b", "a", "b", None, None]
    assert labeled(table([1.5, 2], [3], [None]), "regression")[0] == [1.5, 2.0, 3.0, None]
    assert labeled(table(["a", "b"], ["a", "b"], ["a", None]))[0] == ["a", "b", "a", "b", "a", None]


@pytest.mark.parametrize(
    "rows", [[["sun", "sea"], [], ["sun"]], [("sun", "sea"), (), ("sun",)], [{"sun", "sea"}, set(), {"sun"}],
             [np.array(["sun", "sea"]), np.array([]), np.array(["sun"])]]
)  # fmt: skip
def test_lists_are_several_labels(rows: list[Any]) -> None:
    labels, task = labeled(table(rows, rows))
    assert task == MultiLabel(("sea", "sun"))
    assert [sorted(row) for row in labels[:3]] == [["sea", "sun"], [], ["sun"]]
    assert all(isinstance(row, list) and all(type(name) is str for name in row) for row in labels)


def test_a_task_for_several_labels_keeps_its_threshold_and_order() -> None:
    task = MultiLabel(("sun", "sea"), threshold=0.3)
    assert labeled(table([["sea"], ["sun"]], [["sun", "sea"]]), task)[1] is task
    assert labeled(table([["sea"], ["sun"]], [["sun", "sea"]]), "multilabel", ["sun", "sea"])[1].classes == (
        "sun",
        "sea",
    )


def test_several_labels_must_be_lists_that_are_not_all_empty() -> None:
    with refused("row 0: label", DataError, got="sun sea", expected="a list of labels"):
        labeled(table(["sun sea", "sun"], ["sun"]), "multilabel")
    with pytest.raises(DataError, match="no labels: every row is empty"):
        labeled(table([[], []], [[]]))


@pytest.mark.parametrize("dtype", [object, "float32", "Float64"])
def test_floats_need_a_task(dtype: Any) -> None:
    samples = table([1.0, 2.5], [1.0], dtype=dtype)
    with pytest.raises(UsageError, match=r"are numbers, which could be values or classes.*task='regression'"):
        labeled(samples)
    assert labeled(samples, "regression") == ([1.0, 2.5, 1.0], Regression())
    with pytest.raises(DataError, match=r"row 1: label of type float: got 2\.5, expected text, a whole number"):
        labeled(samples, "classification")
    assert labeled(table([1.0, 2.0], [1.0, 2.0], dtype=dtype), "classification") == (
        ["1", "2", "1", "2"],
        Classification(("1", "2")),
    )


def test_tuples_of_floats_need_a_task_and_names() -> None:
    samples = table([(1.0, 2.0), (3.0, 4.0)], [(5.0, 6.0)])
    with pytest.raises(UsageError, match="which could be values or classes"):
        labeled(samples)
    assert labeled(samples, "regression")[1] == Regression(("value 0", "value 1"))
    assert labeled(samples, "regression", names=("x", "y")) == (
        [(1.0, 2.0), (3.0, 4.0), (5.0, 6.0)],
        Regression(("x", "y")),
    )
    assert labeled(samples, Regression(("u", "v")))[1] == Regression(("u", "v"))


@pytest.mark.parametrize(
    ("labels", "task", "text"),
    [
        ([1.0, float("inf")], "regression", "row 1: label: got inf, expected finite numbers"),
        ([(1.0, 2.0), (1.0, float("nan"))], "regression", r"row 1: label: got \(1.0, nan\), expected finite numbers"),
        ([1.0, "tall"], "regression", "row 1: label: got 'tall', expected a number, or several"),
        ([(1.0, 2.0), (1.0,)], "regression", r"rows of \[1, 2\] numbers', expected as many in every row"),
        ([1.0, 2.0], Regression(("x", "y")), "got '1 number per item', expected 2: x, y"),
    ],
)
def test_numbers_that_cannot_work_are_refused(labels: list[Any], task: Any, text: str) -> None:
    with pytest.raises(DataError, match=text):
        labeled(table(labels, labels[:1]), task)


def test_tasks_that_cannot_work_are_refused() -> None:
    with refused("task", got="regresion", fix="Nearest: regression."):
        labeled(table(["a", "b"], ["a"]), "regresion")
    with pytest.raises(UsageError, match="expected Classification, MultiLabel or Regression"):
        labeled(table(["a", "b"], ["a"]), Segmentation(["a", "b"]))
