"""Why the processes of a run cannot go on together: one of them failed, or does not answer."""

import re
import time
import traceback
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from learnkit.distributed.world import world
from learnkit.errors import ProcessError

__all__ = ["fail_alike", "told"]

# The messages of gloo and NCCL when a process is gone or late; torch has one class of error for some of them.
_BROKEN = re.compile(
    r"gloo|nccl|ProcessGroup|timed out|time out|timeout|connection (closed|reset|refused)|broken pipe|socket", re.I
)
PATIENCE = 5.0  # seconds for the others to say that they wait too, or why they failed


@contextmanager
def told(where: Callable[[], str] = str) -> Iterator[None]:
    """Work together inside: an error is told to the other processes, and their failure is named here.

    Args:
        where: returns what the processes do, for the message.

    Raises:
        ProcessError: another process failed, with its message, or did not arrive in time, with its number.
    """
    if world.size == 1:
        yield
        return
    _tell("error", "")  # of an earlier call
    try:
        yield
    except Exception as error:
        if isinstance(error, ProcessError):
            raise
        if not _is_broken(error):
            _tell("error", f"{type(error).__name__}: {error}")
            raise
        raise _named(error, where()) from error


def fail_alike(error: BaseException) -> bool:
    """Whether all processes fail with the same error at the same line, so that they can still work together.

    Others than this one are waited for, but not long. Ctrl-C comes at any line.
    """
    if not isinstance(error, Exception) or isinstance(error, ProcessError) or _is_broken(error):
        return False
    lines = [(frame.name, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    mark = torch.tensor(zlib.crc32(f"{type(error).__name__} {lines}".encode()))
    marks = [torch.empty_like(mark) for _ in range(world.size)]
    try:
        dist.all_gather(marks, mark, group=world.group, async_op=True).wait(timedelta(seconds=PATIENCE))
    except RuntimeError:
        return False
    return all(torch.equal(mark, other) for other in marks)


def _is_broken(error: BaseException) -> bool:
    return isinstance(error, RuntimeError) and _BROKEN.search(str(error)) is not None


def _tell(what: str, text: str) -> None:
    if world.store is not None:
        with suppress(RuntimeError):  # the process that keeps the store may be gone
            world.store.set(f"{what}/{world.rank}", text[:2000])


def _named(error: BaseException, where: str) -> ProcessError:
    at = f" ({where})" if where else ""
    this = f"process {world.rank} of {world.size} cannot go on{at}"
    _tell("waits", where or "here")
    until = time.monotonic() + PATIENCE
    missing: list[int] = []
    while world.store is not None and time.monotonic() < until:
        if (failed := _others("error")) is None:
            break
        for rank, text in failed.items():
            return ProcessError(f"{this}: process {rank} failed: {text}", fix="Mend that, and start all of them again.")
        missing = [rank for rank in range(world.size) if rank != world.rank and rank not in (_others("waits") or {})]
        time.sleep(0.2)
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    if not missing:
        return ProcessError(f"{this}: another process ended or does not answer ({reason})")
    numbers = " and ".join(map(str, missing))
    plural = "processes" if len(missing) > 1 else "process"
    return ProcessError(
        f"{this}: {plural} {numbers} did not arrive within {world.timeout:g} s, or ended ({reason})",
        fix="Look at what they do: a batch that takes longer, or code that only some processes run. "
        "LEARNKIT_TIMEOUT is the time to wait.",
    )


def _others(what: str) -> dict[int, str] | None:
    """What other processes have told, by their number; None if nobody can be asked."""
    store: Any = world.store
    found = {}
    try:
        for rank in range(world.size):
            key = f"{what}/{rank}"
            if rank != world.rank and store.check([key]) and (text := store.get(key).decode()):
                found[rank] = text
    except RuntimeError:
        return None
    return found
