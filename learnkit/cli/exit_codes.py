"""Exit codes of the commands: what they mean, and which one an error has."""

from collections.abc import Iterator
from contextlib import contextmanager

from learnkit.errors import (
    DownloadError,
    ImageError,
    LearnkitError,
    NonFiniteLossError,
    OutOfMemoryError,
    ProcessError,
    WorkerError,
    WriteError,
)

__all__ = ["MEANING", "OK", "PROBLEMS", "USAGE", "Unfinished", "at_work", "code_of"]

OK, PROBLEMS, USAGE = 0, 1, 2
MEANING = (
    "0 success; 1 images cannot be read, or the work failed;\n"
    "2 invalid options or input, nothing was done; 130 Ctrl-C, 143 SIGTERM, 129 SIGHUP"
)
# Of images, and of the work, whenever they happen; of other errors it counts when.
OF_WORK = (
    ImageError, DownloadError, NonFiniteLossError, OutOfMemoryError, ProcessError, WorkerError, WriteError,
)  # fmt: skip
OF_INPUT = (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError)


class Unfinished(Exception):
    """Work that had begun has failed.

    Attributes:
        error: why.
    """

    def __init__(self, error: LearnkitError | OSError) -> None:
        super().__init__(str(error))
        self.error = error


@contextmanager
def at_work() -> Iterator[None]:
    """Inside, something is written, printed or trained: what fails there is no refusal of options, whatever its kind.

    Raises:
        Unfinished: instead of an error of learnkit or of the system.
    """
    try:
        yield
    except BrokenPipeError:  # the reader of the output has stopped
        raise
    except (LearnkitError, OSError) as error:
        raise Unfinished(error) from error


def code_of(error: LearnkitError | OSError) -> int:
    """The exit code of an error outside `at_work`: 2 if nothing was done because of the options or the input."""
    if isinstance(error, LearnkitError):
        return PROBLEMS if isinstance(error, OF_WORK) else USAGE
    return USAGE if isinstance(error, OF_INPUT) else PROBLEMS
