"""The processes of one run, started by torchrun or any other launcher that sets the same environment variables."""

import atexit
import math
import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from learnkit.distributed.watchdog import ends_after
from learnkit.errors import LearnkitWarning, UsageError

__all__ = ["World", "span", "world"]

TIMEOUT = 600.0  # seconds; LEARNKIT_TIMEOUT overrides it
SET_BY_LAUNCHERS = ("RANK", "MASTER_ADDR", "MASTER_PORT")
GRACE = 30.0  # seconds beyond the timeout, after which a process that hangs where it joins is ended


class World:
    """This process among those of the run. Until `begin`, and in a run of one process, it is alone.

    Attributes:
        local_rank: its number on this machine, which is that of its accelerator.
        local_size: how many run on this machine.
        group: exchanges tensors on the CPU, through gloo; None alone.
        store: values by name that all processes see, also when one has failed; None alone or where another library
            has started the processes.
    """

    def __init__(self) -> None:
        self._size, self._rank = 1, 0
        self._thread = threading.local()
        self.local_rank: int = 0
        self.local_size: int = 1
        self.group: Any = None
        self.store: Any = None
        self.timeout: float = TIMEOUT
        self._began_in: int | None = None

    @property
    def size(self) -> int:
        """The number of processes; 1 inside of `alone`."""
        return 1 if self._size == 1 or getattr(self._thread, "is_alone", False) else self._size

    @property
    def rank(self) -> int:
        """The number of this process among them."""
        return 0 if self._size == 1 or getattr(self._thread, "is_alone", False) else self._rank

    @property
    def backends(self) -> dict[str, str]:
        """What sends the tensors of each type of device, of several processes: `{"cpu": "gloo", "cuda": "nccl"}`."""
        return dict(part.split(":") for part in dist.get_backend_config().split(","))

    @contextmanager
    def alone(self) -> Iterator[None]:
        """In this thread, do inside what one process does: for what others do not do at the same time."""
        before = getattr(self._thread, "is_alone", False)
        self._thread.is_alone = True
        try:
            yield
        finally:
            self._thread.is_alone = before

    @property
    def is_first(self) -> bool:
        """Whether this process writes the files."""
        return self._rank == 0

    def begin(self) -> None:
        """Join the other processes, once. Every process must come here.

        Environment: WORLD_SIZE, RANK, LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR and MASTER_PORT, as torchrun sets them;
        LEARNKIT_TIMEOUT, the seconds to wait for a process that does not answer (600). A process group that exists
        already is used.

        Raises:
            UsageError: WORLD_SIZE names several processes, and nothing says which one this is.
        """
        if self._began_in == os.getpid():
            return
        if self._began_in is not None:  # a forked child, such as a worker of a loader
            self.__init__()  # type: ignore[misc]
            self._began_in = os.getpid()
            return
        if torch.utils.data.get_worker_info() is not None:
            return
        is_there = dist.is_available() and dist.is_initialized()
        size = dist.get_world_size() if is_there else _int("WORLD_SIZE", 1)
        self._began_in = os.getpid()
        if size < 2:
            return
        try:
            self.timeout = _timeout()
            rank = dist.get_rank() if is_there else _rank(size)
            local_rank = _int("LOCAL_RANK", 0)
            local_size = _int("LOCAL_WORLD_SIZE", 1)
            if torch.accelerator.is_available():  # before anything is made on a device
                torch.accelerator.set_device_index(local_rank % torch.accelerator.device_count())
            if not is_there:
                self.store = self._join(local_size)
            with ends_after(self.timeout + GRACE):
                self.group = dist.new_group(backend="gloo", timeout=timedelta(seconds=self.timeout))
        except BaseException:
            self._began_in = None
            raise
        self._rank, self._size, self.local_rank, self.local_size = rank, size, local_rank, local_size
        if not self.is_first:  # each process would say the same
            warnings.filterwarnings("ignore", category=LearnkitWarning)

    def _join(self, local_size: int) -> Any:
        """Start the process group; returns its store.

        torchrun keeps its store when it starts the processes again, and with it the addresses of the ended ones: a
        process that is faster than another would look for one that is gone. So each attempt has keys of its own.
        """
        timeout = timedelta(seconds=self.timeout)
        store, rank, size = next(dist.rendezvous("env://", timeout=timeout))  # type: ignore[attr-defined]
        store.set_timeout(timeout)
        store = dist.PrefixStore(f"attempt {_int('TORCHELASTIC_RESTART_COUNT', 0)}", store)  # type: ignore[attr-defined]
        backend = "cpu:gloo"
        if torch.cuda.is_available():  # NCCL wants a device for each process
            backend += ",cuda:nccl" if local_size <= torch.cuda.device_count() else ",cuda:gloo"
        with ends_after(self.timeout + GRACE):
            dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=timeout)
        atexit.register(_leave)
        return dist.PrefixStore("learnkit", store)  # type: ignore[attr-defined]

    def sums(self, *values: float) -> list[float]:
        """Each number added up over all processes, in double precision."""
        if self.size == 1:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(total, group=self.group)
        return total.tolist()

    def agreed(self, value: int) -> int:
        """The first process's value of an integer of at most 63 bits."""
        if self.size == 1:
            return value
        held = torch.tensor(value, dtype=torch.int64)
        dist.broadcast(held, group_src=0, group=self.group)
        return int(held)

    def highest(self, value: int) -> int:
        """The largest of the processes' values."""
        if self.size == 1:
            return value
        held = torch.tensor(value, dtype=torch.int64)
        dist.all_reduce(held, dist.ReduceOp.MAX, group=self.group)
        return int(held)

    def wait(self) -> None:
        """Return once every process has come here."""
        if self.size > 1:
            dist.barrier(group=self.group)

    def spread(self, *tensors: Tensor) -> None:
        """Give all processes the first one's content of these tensors, in place."""
        if self.size == 1:
            return
        with torch.no_grad():
            for tensor in tensors:
                if not tensor.numel():
                    continue
                held = tensor.detach().cpu().contiguous()
                dist.broadcast(held, group_src=0, group=self.group)
                if not self.is_first:
                    tensor.copy_(held)

    def check_reaches(self, device: torch.device) -> None:
        """Refuse to train on a device whose tensors the processes cannot send each other.

        Raises:
            UsageError: such a device: one of Apple or Intel.
        """
        if self.size > 1 and device.type not in self.backends:
            raise UsageError(
                f"{self.size} processes cannot train on {device.type}", expected="the CPU, or GPUs of NVIDIA or AMD",
                fix="Set the environment variable LEARNKIT_DEVICE=cpu, or start one process.",
            )  # fmt: skip

    def check_same(self, what: dict[str, int]) -> None:
        """Refuse to go on with processes that differ.

        Args:
            what: numbers of this process by what they count, in the same order everywhere.

        Raises:
            UsageError: in every process, naming what differs, with the numbers of all.
        """
        if self.size == 1:
            return
        own = torch.tensor(list(what.values()), dtype=torch.int64)
        rows = [torch.empty_like(own) for _ in range(self.size)]
        dist.all_gather(rows, own, group=self.group)
        for place, name in enumerate(what):
            values = [int(row[place]) for row in rows]
            if len(set(values)) > 1:
                raise UsageError(
                    f"the processes differ in {name}", got=values, expected="the same in each of them",
                    fix="Run the same script with the same arguments and data in every process.",
                )  # fmt: skip


def span(n: int, rank: int, size: int) -> tuple[int, int]:
    """Where the share of a process in n items starts and stops: in order, and even to within one item.

    >>> [span(5, rank, 3) for rank in range(3)]
    [(0, 2), (2, 4), (4, 5)]
    """
    each, more = divmod(n, size)
    start = rank * each + min(rank, more)
    return start, start + each + (rank < more)


def _int(name: str, default: int) -> int:
    text = os.environ.get(name, "")
    if not text:
        return default
    try:
        return int(text)
    except ValueError:
        raise UsageError(f"the environment variable {name}", got=text, expected="a whole number") from None


def _timeout() -> float:
    text = os.environ.get("LEARNKIT_TIMEOUT") or str(TIMEOUT)
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise UsageError("the environment variable LEARNKIT_TIMEOUT", got=text, expected="seconds, above 0") from None
    return seconds


def _rank(size: int) -> int:
    missing = [name for name in SET_BY_LAUNCHERS if not os.environ.get(name)]
    if missing:
        raise UsageError(
            f"WORLD_SIZE={size} asks for {size} processes, but {', '.join(missing)} is not set", expected="a launcher",
            fix=f"Start with torchrun --nproc-per-node {size} script.py, or unset WORLD_SIZE to train in one process.",
        )  # fmt: skip
    rank = _int("RANK", 0)
    if not 0 <= rank < size:
        raise UsageError("the environment variable RANK", got=rank, expected=f"0 to {size - 1}")
    return rank


def _leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


world: World = World()
