"""Peak memory, epoch by epoch, as columns of the record."""

import math
import sys

from learnkit.device_memory import peak_memory, reset_peak_memory
from learnkit.training.callback import Callback
from learnkit.training.state import TrainState

__all__ = ["PeakMemory", "process_peak"]

MB = 2**20


def process_peak() -> int | None:
    """The most bytes of RAM this process has had since it began; None where the system does not tell (Windows)."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts in bytes, others in KiB


class PeakMemory(Callback):
    """Adds the peaks of memory to the record, in MB of 2**20 bytes.

    Columns:
        cpu_peak: the most RAM the process has had since it began, so it never falls; loader workers are not in it.
        gpu_peak: the most memory that tensors held at once on the accelerator in this epoch, validation included. On
            the CPU, and on an accelerator that does not count, there is no such column.

    The accelerator's own count of the peak is begun anew with each epoch.
    """

    def before_fit(self, state: TrainState) -> None:
        state.columns.update(dict.fromkeys(_peaks(state), math.nan))

    def before_epoch(self, state: TrainState) -> None:
        reset_peak_memory(state.compute.device)

    def after_epoch(self, state: TrainState) -> None:
        state.columns.update(_peaks(state))


def _peaks(state: TrainState) -> dict[str, float]:
    peaks = {"cpu_peak": process_peak(), "gpu_peak": peak_memory(state.compute.device)}
    return {name: peak / MB for name, peak in peaks.items() if peak is not None}
