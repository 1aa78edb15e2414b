"""Supervision of worker processes: a dead one is reported, and none outlives an error."""

import copy
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from torch.utils.data import DataLoader

from learnkit.data.loading.torch_internals import end_workers, workers_of
from learnkit.data.loading.whole_batches import Failure
from learnkit.errors import LearnkitError, WorkerError

__all__ = ["READER", "ignore_terminal", "read_alone", "supervised", "worker_error"]

READER = "reader"  # the attribute of a loader that the iteration which reads it has set
WAIT = 1.0  # seconds to wait for the end of a process whose connection broke


class _Lost(NamedTuple):
    number: int
    pid: int | None
    exitcode: int

    def __str__(self) -> str:
        if self.exitcode > 0:
            return f"worker {self.number} (pid {self.pid}) ended with exit code {self.exitcode}"
        try:
            name = f" ({signal.Signals(-self.exitcode).name})"
        except ValueError:
            name = ""
        return f"worker {self.number} (pid {self.pid}) died by signal {-self.exitcode}{name}"


def ignore_terminal(number: int) -> None:
    """Called in each worker: Ctrl-C and the end of a terminal, which all get, are handled by the main process."""
    for name in ("SIGINT", "SIGHUP"):
        if hasattr(signal, name):  # not on Windows
            signal.signal(getattr(signal, name), signal.SIG_IGN)


@contextmanager
def read_alone(loader: "DataLoader[Any]") -> Iterator["DataLoader[Any]"]:
    """The loader, or a copy with workers of its own while another iteration reads it.

    torch's persistent workers abandon an iteration as soon as another one starts, and the first one waits forever.
    """
    reader = object()
    is_free = not loader.persistent_workers or vars(loader).setdefault(READER, reader) is reader
    try:
        yield loader if is_free else copy.copy(loader)
    finally:
        if vars(loader).get(READER) is reader:
            del vars(loader)[READER]


def supervised(loader: "DataLoader[Any]") -> Iterator[Any]:
    """The batches of a torch loader, also while another iteration of it has not ended.

    Raises:
        WorkerError: a worker died. After this and any other error the others are ended, and the next iteration starts
            new ones.
    """
    with read_alone(loader) as own:
        if _ended(own):  # between two epochs
            end_workers(own, WAIT)
        try:
            for batch in own:
                if isinstance(batch, Failure):
                    raise batch.error
                yield batch
        except GeneratorExit:
            raise  # an epoch left early; the workers wait for the next one
        except BaseException as error:
            named = worker_error(error, own)
            end_workers(own, WAIT)
            if named is not None:
                raise named from error
            raise


def worker_error(error: BaseException, *loaders: Any) -> WorkerError | None:
    """What to raise instead of `error` if a worker of one of the loaders died; None if none did.

    torch reports a dead worker in two ways: by a broken connection where its batch is awaited, or by a RuntimeError
    wherever the main thread happens to be.
    """
    if isinstance(error, LearnkitError) or not isinstance(error, RuntimeError | OSError | EOFError):
        return None
    is_reported = not isinstance(error, RuntimeError) or "DataLoader worker" in str(error)
    inner = [getattr(loader, "_loader", loader) for loader in loaders]
    lost = _lost(inner, WAIT if is_reported else 0)
    if not lost:
        return None
    for loader in inner:
        end_workers(loader, WAIT)
    return WorkerError(
        "; ".join(map(str, lost)),
        fix="Often memory or shared memory ran out: try fewer num_workers or a smaller bs. num_workers=0 shows an "
        "error of the data itself.",
    )


def _ended(loader: "DataLoader[Any]") -> list[_Lost]:
    """The workers that have ended, in their order."""
    return [
        _Lost(number, worker.pid, worker.exitcode)
        for number, worker in enumerate(workers_of(loader))
        if worker.exitcode is not None
    ]


def _lost(loaders: list[Any], wait: float) -> list[_Lost]:
    """The workers that died, or are seen to have died within `wait` seconds."""
    until = time.monotonic() + wait
    while True:
        try:
            lost = [worker for loader in loaders for worker in _ended(loader) if worker.exitcode]
            if lost or time.monotonic() >= until:
                return lost
            time.sleep(0.01)
        except RuntimeError:  # torch, reporting it once more
            continue
