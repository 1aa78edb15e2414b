"""Which device: the one that is named, or an accelerator that works; of several accelerators, the current one."""

import os
import re

import torch

from learnkit.distributed.world import world
from learnkit.errors import UsageError
from learnkit.seeds import CPU

__all__ = ["default_device", "made_current", "resolve_device"]


def default_device() -> torch.device:
    """`LEARNKIT_DEVICE` if it is set, else the accelerator if there is one that works, else the CPU.

    Of several accelerators it is the current one (`torch.accelerator.set_device_index`), with its index.
    """
    world.begin()  # of several processes, each has an accelerator of its own
    named = os.environ.get("LEARNKIT_DEVICE")
    if named:
        return resolve_device(named)
    accelerator = _present()
    if accelerator is None:
        return CPU
    try:
        (torch.ones(2, device=accelerator) + 1).sum().item()
    except RuntimeError:  # an accelerator without a working driver
        return CPU
    return made_current(accelerator)


def resolve_device(device: str | torch.device | None) -> torch.device:
    """The device of this name, with its index if it is an accelerator; None is the default one.

    A name without an index is the accelerator that is current; one with an index becomes it in this thread, as page-
    locked memory is taken in the context of the current one (pytorch#58626).

    Raises:
        UsageError: a name unknown to torch, or a device that is not available.
    """
    world.begin()
    if device is None:
        return default_device()
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise UsageError("device", got=device, expected="a device known to torch, such as 'cpu' or 'cuda:0'") from error
    try:
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, ImportError) as error:
        present = _present()
        what = "the CPU" if present is None else f"the CPU and {torch.accelerator.device_count()} of {present.type}"
        reason = re.split(r"\.\s", str(error) or type(error).__name__)[0]  # torch goes on with pages of backends
        raise UsageError(
            f"device {str(device)!r} cannot be used ({reason})",
            expected=f"an available device; torch finds {what}",
        ) from error
    return made_current(found)


def made_current(device: torch.device) -> torch.device:
    """The device, an accelerator with its index, the CPU without; it becomes the current one of this thread."""
    if device == CPU or device.type == CPU.type:
        return CPU
    accelerator = _present()
    if accelerator is None or accelerator.type != device.type:
        return device
    current = torch.accelerator.current_device_index()
    if device.index not in (None, current):
        torch.accelerator.set_device_index(device.index)
    return torch.device(device.type, current if device.index is None else device.index)


def _present() -> torch.device | None:
    return torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
