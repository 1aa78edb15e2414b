"""Memory of a device: its peak, out-of-memory errors, and emptying the allocator's cache."""

from pathlib import Path
from typing import Any

import torch

__all__ = ["empty_cache", "free_memory", "is_out_of_memory", "peak_memory", "reset_peak_memory"]

UNKNOWN = 1 << 62  # more than any device has


def peak_memory(device: torch.device) -> int | None:
    """Peak bytes allocated for tensors since `reset_peak_memory`; None if the backend does not track them."""
    module = _tracking_module(device)
    return None if module is None else int(module.max_memory_allocated(device))


def reset_peak_memory(device: torch.device) -> None:
    """Start a new measurement of the peak."""
    module = _tracking_module(device)
    if module is not None:
        module.reset_peak_memory_stats(device)


def free_memory(device: torch.device) -> int:
    """Bytes that can still be allocated: on the CPU without swapping, as Linux reports; 2**62 where it is not known."""
    if device.type != "cpu":
        module: Any = getattr(torch, device.type, None)
        return int(module.mem_get_info(device)[0]) if hasattr(module, "mem_get_info") else UNKNOWN
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return UNKNOWN
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), UNKNOWN)


def _tracking_module(device: torch.device) -> Any:
    module = None if device.type == "cpu" else torch.get_device_module(device)
    return module if hasattr(module, "max_memory_allocated") else None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that a device, or the machine, ran out of memory."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)  # torch's CPU allocator


def empty_cache(device: torch.device) -> None:
    """Return the unused memory that torch's allocator caches to the device."""
    module: Any = None if device.type == "cpu" else torch.get_device_module(device)
    if hasattr(module, "empty_cache"):
        module.empty_cache()
