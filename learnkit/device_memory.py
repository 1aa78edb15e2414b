"""The memory of a device: how much was used, whether it ran out, and giving back what is only kept for later."""

from typing import Any

import torch

__all__ = ["empty_cache", "is_out_of_memory", "peak_memory", "reset_peak_memory"]


def peak_memory(device: torch.device) -> int | None:
    """The most bytes of an accelerator that tensors held at once since `reset_peak_memory`; None where none counts."""
    module = _counting_module(device)
    return None if module is None else int(module.max_memory_allocated(device))


def reset_peak_memory(device: torch.device) -> None:
    """Count the peak anew from here on."""
    module = _counting_module(device)
    if module is not None:
        module.reset_peak_memory_stats(device)


def _counting_module(device: torch.device) -> Any:
    module = None if device.type == "cpu" else torch.get_device_module(device)
    return module if hasattr(module, "max_memory_allocated") else None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a device, or the machine, has no memory left."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)  # torch's CPU allocator


def empty_cache(device: torch.device) -> None:
    """Let go of what torch's allocator keeps of the device for later."""
    module: Any = None if device.type == "cpu" else torch.get_device_module(device)
    if hasattr(module, "empty_cache"):
        module.empty_cache()
