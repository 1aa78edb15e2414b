"""What torch's DataLoader keeps private: its worker processes. No other module uses these names.

torch's own way to end workers waits for a lock that a dead one may hold, and then hangs.
"""

from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from typing import Any

import torch

__all__ = ["end_workers", "forget_workers", "state_without_workers", "workers_of"]


def workers_of(loader: Any) -> Sequence[BaseProcess]:
    """The processes that read for a DataLoader now, in their order; none before its first iteration."""
    return getattr(getattr(loader, "_iterator", None), "_workers", ())


def state_without_workers(state: dict[str, Any]) -> dict[str, Any]:
    """The attributes of a DataLoader without its workers, which cannot be sent to another process."""
    return {**state, "_iterator": None}


def forget_workers(loader: Any) -> None:
    """Let the next iteration of a DataLoader start new workers."""
    loader._iterator = None


def end_workers(loader: Any, timeout: float) -> None:
    """Kill every worker of a DataLoader, also one that waits for a lock that a dead one holds.

    Args:
        loader: the next iteration starts new ones.
        timeout: seconds to wait for each to end.
    """
    iterator: Any = getattr(loader, "_iterator", None)
    if not workers_of(loader):
        return
    forget_workers(loader)
    if iterator._shutdown:
        return
    torch._C._remove_worker_pids(id(iterator))  # their end is not an error to torch
    iterator._worker_pids_set, iterator._shutdown = False, True
    if hasattr(iterator, "_pin_memory_thread"):
        iterator._pin_memory_thread_done_event.set()
    for worker in iterator._workers:
        worker.kill()
    for worker in iterator._workers:
        worker.join(timeout)
    for queue in (*iterator._index_queues, iterator._worker_result_queue):
        queue.cancel_join_thread()
        queue.close()
