"""Errors say what was got, what was expected and what to do, and keep that across processes."""

import inspect
import pickle

import pytest

from learnkit import errors
from learnkit.checks import check_int, nearest
from learnkit.errors import ImageError, LearnkitError, MissingFileError, UsageError

KINDS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, LearnkitError)]


def test_the_parts_of_a_message() -> None:
    assert (
        str(UsageError("bs", got=0, expected="1 or more", fix="Pass 64.")) == "bs: got 0, expected 1 or more. Pass 64."
    )
    assert str(UsageError("bs", got=None)) == "bs: got None"
    assert str(UsageError("no data.", fix="Add some.")) == "no data. Add some."


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind is not LearnkitError])
def test_every_error_is_also_the_builtin_a_caller_expects(kind: type[LearnkitError]) -> None:
    assert issubclass(kind, ValueError | TypeError | OSError | ArithmeticError | RuntimeError | MemoryError)


@pytest.mark.parametrize("kind", KINDS)
def test_errors_cross_process_borders_with_type_and_text(kind: type[LearnkitError]) -> None:
    error = pickle.loads(pickle.dumps(kind("what", got=1, expected="2", fix="Do.")))
    assert type(error) is kind
    assert str(error) == "what: got 1, expected 2. Do."
    assert isinstance(kind("text alone"), LearnkitError)  # how torch raises a worker's error again


def test_the_tree() -> None:
    assert issubclass(ImageError, errors.DataError)
    assert issubclass(ImageError, OSError)
    assert issubclass(MissingFileError, FileNotFoundError)


def test_nearest_names_begin_alike_or_look_alike() -> None:
    names = ["resnet18", "resnet34", "resnext50_32x4d", "vgg16"]
    assert nearest("resnext", names).startswith("resnext50_32x4d, ")
    assert nearest("rsnet34", names, n=1) == "resnet34"


@pytest.mark.parametrize("got", [0, -1, True, 2.0, "3", None])
def test_a_count_is_a_whole_number_above_zero(got: object) -> None:
    with pytest.raises(UsageError) as caught:
        check_int("bs", got, 1, expected="a number of items, 1 or more")
    assert str(caught.value) == f"bs: got {got!r}, expected a number of items, 1 or more"
    assert check_int("bs", 3, 1) == 3
