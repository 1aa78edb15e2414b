"""Processes that read data: one that died is named, none is left over, and the next epoch starts new ones."""

import signal
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch.utils.data import DataLoader

from learnkit.errors import LearnkitError, WorkerError

__all__ = ["ignore_sigint", "supervised", "worker_error"]

WAIT = 1.0  # seconds in which a process whose connection broke is seen to have ended


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


def ignore_sigint(number: int) -> None:
    """Called in each worker: Ctrl-C, which a terminal sends to all of them, is for the main process to act on."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def supervised(loader: "DataLoader[Any]") -> Iterator[Any]:
    """The batches of a torch loader.

    Raises:
        WorkerError: a worker died. After this and any other error the others are ended, and the next iteration starts
            new ones.
    """
    if _ended(loader):  # between two epochs
        _end(loader)
    try:
        yield from loader
    except GeneratorExit:
        raise  # an epoch left early; the workers wait for the next one
    except LearnkitError as error:
        _end(loader)
        raise _as_raised(error) from None
    except BaseException as error:
        named = worker_error(error, loader)
        _end(loader)
        if named is not None:
            raise named from error
        raise


def _as_raised(error: LearnkitError) -> LearnkitError:
    """An error of a worker as it was raised there: torch hands it on with the traceback for its message."""
    _, mark, told = error.message.rpartition(f"\\nlearnkit.errors.{type(error).__name__}: ")
    return type(error)(told.removesuffix("\\n")) if mark else error


def worker_error(error: BaseException, *loaders: Any) -> WorkerError | None:
    """What to raise instead of `error` where a worker of one of the loaders died; None where none did.

    torch tells of a dead worker in two ways: a broken connection where its batch is awaited, or a RuntimeError wherever
    the main thread happens to be.
    """
    if isinstance(error, LearnkitError) or not isinstance(error, RuntimeError | OSError | EOFError):
        return None
    is_told = not isinstance(error, RuntimeError) or "DataLoader worker" in str(error)
    inner = [getattr(loader, "_loader", loader) for loader in loaders]
    lost = _lost(inner, WAIT if is_told else 0)
    if not lost:
        return None
    for loader in inner:
        _end(loader)
    return WorkerError(
        "; ".join(map(str, lost)),
        fix="Often memory or shared memory ran out: try fewer num_workers or a smaller bs. num_workers=0 shows an "
        "error of the data itself.",
    )


def _ended(loader: "DataLoader[Any]") -> list[_Lost]:
    """The workers that are no more, in their order."""
    workers = getattr(getattr(loader, "_iterator", None), "_workers", ())
    return [
        _Lost(number, worker.pid, worker.exitcode)
        for number, worker in enumerate(workers)
        if worker.exitcode is not None
    ]


def _lost(loaders: list[Any], wait: float) -> list[_Lost]:
    """The workers that died, or will be seen to have within `wait` seconds."""
    until = time.monotonic() + wait
    while True:
        try:
            lost = [worker for loader in loaders for worker in _ended(loader) if worker.exitcode]
            if lost or time.monotonic() >= until:
                return lost
            time.sleep(0.01)
        except RuntimeError:  # torch, telling of it once more
            continue


def _end(loader: Any) -> None:
    """End every worker, also one that waits for a lock that a dead one holds: torch's own way would wait with it."""
    iterator: Any = getattr(loader, "_iterator", None)
    if not hasattr(iterator, "_workers"):
        return
    loader._iterator = None
    if iterator._shutdown:
        return
    torch._C._remove_worker_pids(id(iterator))  # torch is not to tell of these
    iterator._worker_pids_set, iterator._shutdown = False, True
    if hasattr(iterator, "_pin_memory_thread"):
        iterator._pin_memory_thread_done_event.set()
    for worker in iterator._workers:
        worker.kill()
    for worker in iterator._workers:
        worker.join(WAIT)
    for queue in (*iterator._index_queues, iterator._worker_result_queue):
        queue.cancel_join_thread()
        queue.close()
