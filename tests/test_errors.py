"""Errors state what was got, what was expected and what to do, and keep that across processes."""

import inspect
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from learnkit import errors
from learnkit.errors import ImageError, LearnkitError, LearnkitWarning, MissingFileError, UsageError
from learnkit.losses import balanced_weights

KINDS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, LearnkitError)]


def test_the_parts_of_a_message() -> None:
    assert (
        str(UsageError("bs", got=0, expected="1 or more", fix="Pass 64.")) == "bs: got 0, expected 1 or more. Pass 64."
    )
    assert str(UsageError("bs", got=None)) == "bs: got None"
    assert str(UsageError("no data.", fix="Add some.")) == "no data. Add some."
    huge = UsageError("item", got=b"x" * 10**6, fix="Leave it out.")
    assert (len(huge.message) < 600, huge.message.endswith("x'. Leave it out."), "x…x" in huge.message) == (
        True,
        True,
        True,
    )


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


def test_a_prefix_changes_only_the_message_and_what() -> None:
    error = ImageError("file", got=None, expected="an image", fix="Remove it.").prefixed("row 3")
    assert type(error) is ImageError
    assert (error.what, error.got, error.expected, error.fix) == ("row 3: file", None, "an image", "Remove it.")
    assert str(error) == "row 3: file: got None, expected an image. Remove it."
    assert str(UsageError("no data").prefixed("a\nb")) == "a\\nb: no data"


def test_the_parts_of_an_error_are_kept_across_processes() -> None:
    error = pickle.loads(pickle.dumps(UsageError("bs", got=0, expected="1 or more", fix="Pass 64.")))
    assert (error.what, error.got, error.expected, error.fix) == ("bs", 0, "1 or more", "Pass 64.")
    of_object = pickle.loads(pickle.dumps(UsageError("bs", got=len)))  # any value, its text is sent
    assert of_object.got == repr(len)


@pytest.mark.parametrize("kind", KINDS)
def test_messages_are_one_line_that_can_be_shown(kind: type[LearnkitError]) -> None:
    assert str(kind("a\nb\x1b[2J")) == "a\\nb\\x1b[2J"


def test_a_warning_points_at_the_line_of_the_user() -> None:
    with pytest.warns(LearnkitWarning, match="classes") as caught:
        balanced_weights([0, 0], 2)
    assert [warning.filename for warning in caught] == [__file__]


def test_a_traceback_ends_with_the_line_of_the_user(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text("from learnkit import DatasetType\n\n\nDatasetType.of('vaild')  # here\n")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-2].endswith("Did you mean 'valid'?")
    assert done.stderr.splitlines()[-1] == f"at {script}, line 4: DatasetType.of('vaild')  # here"


def test_a_long_value_is_shortened_in_the_message_alone() -> None:
    rows = [{"input": f"{i}.png", "target": "cat"} for i in range(1000)]
    error = UsageError("samples", got=rows, expected="a DataFrame")
    assert error.got == rows
    assert len(str(error)) < 600
    assert str(error).startswith("samples: got [{'input': '0.png'")
    assert "'999.png'" not in str(error)
    assert str(error).endswith("'target': 'cat'}], expected a DataFrame")
