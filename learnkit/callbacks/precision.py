"""Switches of the loop: mixed precision and gradient clipping."""

from learnkit.device import Compute, Precision
from learnkit.errors import UsageError
from learnkit.optim.groups import is_positive
from learnkit.training.callback import Callback
from learnkit.training.state import TrainState

__all__ = ["GradientClipping", "MixedPrecision"]


class MixedPrecision(Callback):
    """Run the forward passes of a fit in half precision; weights and loss stay float32.

    Micikevicius et al.: Mixed precision training, 2018.

    Args:
        precision: "fp16" (gradients are scaled, an overflowing step is left out), "bf16", or "auto": bf16 where the
            accelerator has it, fp16 on an older one, and plain float32 on the CPU. Both work on the CPU when named.
    """

    in_lr_find = True

    def __init__(self, precision: Precision = "auto") -> None:
        Compute().use(precision)  # refuses an unknown one here, where it was written
        self.precision = precision

    def before_fit(self, state: TrainState) -> None:
        state.compute.use(self.precision)


class GradientClipping(Callback):
    """Scale the gradients down when their global norm is above `max_norm` (Pascanu et al., 2013).

    Args:
        max_norm: the largest norm let through, over all parameters together, after unscaling.
    """

    in_lr_find = True

    def __init__(self, max_norm: float = 1.0) -> None:
        if not is_positive(max_norm):
            raise UsageError("max_norm", got=max_norm, expected="a finite number above 0")
        self.max_norm = float(max_norm)

    def before_fit(self, state: TrainState) -> None:
        state.compute.clip_norm = self.max_norm
