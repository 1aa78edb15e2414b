"""The exit code of every kind of failure, before and after the work has begun."""

import errno
import inspect
from pathlib import Path

import pytest

from learnkit import errors
from learnkit.cli.exit_codes import OF_WORK, Unfinished, at_work, code_of
from learnkit.errors import DataError, ImageError, LearnkitError, UsageError

DOCS = Path(__file__).parents[2] / "docs/command-line.md"
OF_WORK_NAMES = {
    "ImageError", "DownloadError", "NonFiniteLossError", "OutOfMemoryError", "ProcessError", "WorkerError",
    "WriteError",
}  # fmt: skip
KINDS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, LearnkitError)]


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_is_of_the_input_unless_images_or_the_work_failed(kind: type[LearnkitError]) -> None:
    assert code_of(kind("x")) == (1 if kind.__name__ in OF_WORK_NAMES else 2)
    assert {one.__name__ for one in OF_WORK} == OF_WORK_NAMES


@pytest.mark.parametrize(
    ("number", "code"),
    [(errno.EACCES, 2), (errno.ENOENT, 2), (errno.EISDIR, 2), (errno.ENOTDIR, 2), (errno.ENOSPC, 1), (errno.EIO, 1)],
)
def test_an_error_of_the_system_is_of_what_was_named_or_of_the_work(number: int, code: int) -> None:
    assert code_of(OSError(number, "x", "file")) == code


@pytest.mark.parametrize("error", [UsageError("x"), DataError("x"), ImageError("x"), PermissionError(13, "x")])
def test_once_at_work_every_failure_is_unfinished_work(error: LearnkitError | OSError) -> None:
    with pytest.raises(Unfinished) as caught, at_work():
        raise error
    assert caught.value.error is error


@pytest.mark.parametrize("error", [BrokenPipeError(), KeyboardInterrupt(), SystemExit(143), ZeroDivisionError()])
def test_an_interrupt_and_a_fault_of_learnkit_stay_what_they_are(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, at_work():
        raise error
    assert caught.value is error


def test_the_codes_are_in_the_guide() -> None:
    page = DOCS.read_text(encoding="utf-8")
    for code in (0, 1, 2, 130, 143, 129):
        assert f"| {code} |" in page
