"""Peak memory per epoch, as columns of the record."""

import math
import sys

from learnkit.device_memory import peak_memory, reset_peak_memory
from learnkit.training.callback import Callback
from learnkit.training.state import TrainState

__all__ = ["PeakMemory", "process_peak"]

MB = 2**20


def process_peak() -> int | None:
    """Peak RAM of this process in bytes; None if the system does not report it (Windows)."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts in bytes, others in KiB


class PeakMemory(Callback):
    """Adds peak memory to the record, in MB of 2**20 bytes.

    Columns:
        cpu_peak: peak RAM of the process since it started, so it never falls; without loader workers.
        gpu_peak: peak memory of tensors on the accelerator in this epoch, validation included. The column is missing
            on the CPU, or on an accelerator that does not track it.

    The peak statistics of the accelerator are reset at the start of each epoch.
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
