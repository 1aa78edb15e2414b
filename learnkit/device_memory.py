"""Memory of a device: its peak, what is free, out-of-memory errors, and emptying the allocator's cache."""

import re
from pathlib import Path
from typing import Any

import torch

from learnkit.errors import ProcessError

__all__ = ["UNKNOWN", "empty_cache", "free_memory", "is_out_of_memory", "peak_memory", "reset_peak_memory"]

UNKNOWN = 1 << 62  # bytes

# Of the group of processes that a container is: its limit, what it uses, and which part of that is files.
GROUPS = [
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/memory.stat"),
    (
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes",
        "/sys/fs/cgroup/memory/memory.stat",
    ),
]

MESSAGES = [
    re.compile(r"\b(CUDA|HIP|XPU|MPS|MTIA|NPU)( driver| backend)?( error:)? out of memory"),
    re.compile(r"\bCU[A-Z]+_(\w+_)?ALLOC(ATION)?_FAILED\b"),  # of cuBLAS, cuDNN, cuSOLVER, cuSPARSE, cuFFT
    re.compile(r"\b(UR|ZE|PI)_(RESULT_)?ERROR_OUT_OF_(DEVICE|HOST)_MEMORY\b"),  # Intel's drivers
    re.compile(r"DefaultCPUAllocator: (can't allocate memory|not enough memory)"),
]


def peak_memory(device: torch.device) -> int | None:
    """Peak bytes allocated for tensors since `reset_peak_memory`; None if the backend does not track them."""
    module = _tracking_module(device)
    return None if module is None else int(module.max_memory_allocated(device))


def reset_peak_memory(device: torch.device) -> None:
    """Start a new measurement of the peak."""
    module = _tracking_module(device)
    if module is not None:
        module.reset_peak_memory_stats(device)


def _tracking_module(device: torch.device) -> Any:
    module = _module(device)
    return module if hasattr(module, "max_memory_allocated") else None


def _module(device: torch.device) -> Any:
    """torch's functions for a kind of accelerator, such as `torch.cuda`; None if it is none."""
    return None if device.type in ("cpu", "meta") else torch.get_device_module(device)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that a device, or the machine, ran out of memory.

    torch has a class for what its allocators raise; drivers and libraries such as cuBLAS and cuDNN report by message.
    What another process ran out of, this one may have.
    """
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    if isinstance(error, ProcessError):
        return False
    return isinstance(error, RuntimeError) and any(found.search(str(error)) for found in MESSAGES)


def empty_cache(device: torch.device) -> None:
    """Return the unused memory that torch's allocator caches to the device."""
    module = _module(device)
    if hasattr(module, "empty_cache"):
        module.empty_cache()


def free_memory(device: torch.device | None = None) -> int:
    """Bytes that can be allocated on a device, None for the CPU: without swapping, as Linux reports.

    That is within the limit of a container. Where it is not known, on other systems and backends, it is as good as
    unlimited.
    """
    if device is not None and device.type != "cpu":
        module = _module(device)
        return int(module.mem_get_info(device)[0]) if hasattr(module, "mem_get_info") else UNKNOWN
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return UNKNOWN
    free = next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), UNKNOWN)
    return min(free, *(_free_of_group(*map(Path, files)) for files in GROUPS))


def _free_of_group(limit: Path, used: Path, parts: Path) -> int:
    """Bytes that a group of processes may still take: what it uses for files, the kernel takes back."""
    try:
        most, now = int(limit.read_text(encoding="ascii")), int(used.read_text(encoding="ascii"))
        numbers = dict(line.split(maxsplit=1) for line in parts.read_text(encoding="ascii").splitlines())
    except (OSError, ValueError):  # no group, or no limit
        return UNKNOWN
    files = int(numbers.get("total_inactive_file", numbers.get("inactive_file", 0)))
    return max(most - now + files, 0)
