"""Switches of the loop: mixed precision and gradient clipping."""

from typing import Any

from learnkit.checks import check_number
from learnkit.device import Compute, Precision
from learnkit.training.callback import Callback
from learnkit.training.state import TrainState

__all__ = ["GradientClipping", "MixedPrecision"]


class MixedPrecision(Callback):
    """Run the forward passes of a fit in half precision; weights and loss stay in float32.

    Micikevicius et al.: Mixed precision training, 2018. The scale of float16 gradients is kept from one fit to the
    next; in `after_backward` callbacks get the gradients without it.

    Args:
        precision: "fp16" (gradients are scaled, overflowing steps are skipped), "bf16", or "auto": bf16 if the
            accelerator supports it, fp16 on older ones, and float32 on the CPU. Both work on the CPU when named.
    """

    in_lr_find = True

    def __init__(self, precision: Precision = "auto") -> None:
        Compute().use(precision)  # raises early for an unknown one
        self.precision = precision
        self._compute: dict[str, Any] = {}  # the scale of the gradients, from one fit to the next

    def before_fit(self, state: TrainState) -> None:
        state.compute.use(self.precision)
        if self._compute:
            state.compute.load_state_dict({**self._compute, "n_skipped": 0})

    def after_fit(self, state: TrainState) -> None:
        if not state.is_trial:
            self._compute = state.compute.state_dict()

    def state_dict(self) -> dict[str, Any]:
        return self._compute

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        self._compute = saved


class GradientClipping(Callback):
    """Scale the gradients down when their global norm is above `max_norm` (Pascanu et al., 2013).

    Args:
        max_norm: the maximum norm over all parameters together, after unscaling.
    """

    in_lr_find = True

    def __init__(self, max_norm: float = 1.0) -> None:
        self.max_norm = float(check_number("max_norm", max_norm, "(0, inf)"))

    def before_fit(self, state: TrainState) -> None:
        state.compute.clip_norm = self.max_norm
