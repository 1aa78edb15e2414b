"""Switches of the loop: mixed precision and gradient clipping."""

import math
from typing import Any

from learnkit.checks import check_number, is_number
from learnkit.device import Precision, check_precision
from learnkit.errors import UsageError, warn
from learnkit.training.callback import Callback
from learnkit.training.state import TrainState

__all__ = ["GradientClipping", "MixedPrecision"]

# Overflows in a row that halve the scale of float16 gradients from 65,536 to 1/256: it is not the scale then.
HOPELESS = 24


class MixedPrecision(Callback):
    """Run the forward passes in half precision; weights, outputs and loss stay in float32, and so do saved files.

    Micikevicius et al.: Mixed precision training, 2018. As a callback of the learner (`learn.to_bf16()`) it holds for
    all that the learner computes: fits, `validate`, `get_preds`, `predict` and the rest, so `validate` repeats the
    recorded `valid_loss`. As a callback of one fit it holds for that fit alone. A loaded export starts in float32.

    The scale of float16 gradients is kept from one fit to the next; in `after_backward` callbacks get the gradients
    without it. In float16 each step waits for the device once: whether gradients overflowed decides if it counts, for
    schedules and `after_step`. In bfloat16 and float32 nothing waits.

    Gradients that are infinite at any scale train nothing: a fit that takes no step, or none anymore, is warned of.

    Args:
        precision: "fp16" (gradients are scaled, overflowing steps are skipped), "bf16", or "auto": bf16 if the
            accelerator supports it, fp16 on older ones, and float32 on the CPU. Both work on the CPU when named.
    """

    in_lr_find = True

    def __init__(self, precision: Precision = "auto") -> None:
        self.precision = check_precision(precision)
        self._compute: dict[str, Any] = {}  # the scale of the gradients, from one fit to the next
        self._first: int | None = None  # steps before the first epoch of a fit; None before that
        self._last, self._n_before = 0, 0.0  # steps after the last epoch in which one was taken, and skipped until then

    def before_fit(self, state: TrainState) -> None:
        self._first = None
        state.compute.use(self.precision)
        if self._compute:
            state.compute.load_state_dict({**self._compute, "n_skipped": 0})

    def before_epoch(self, state: TrainState) -> None:
        if self._first is None:
            self._first = self._last = state.step
            self._n_before = state.compute.n_skipped

    def after_epoch(self, state: TrainState) -> None:
        n_skipped = state.compute.n_skipped
        if state.step != self._last:
            self._last, self._n_before = state.step, n_skipped
        elif n_skipped - self._n_before >= HOPELESS:
            _tell_of_skipped(n_skipped - self._n_before, "Train in bf16 or float32, or look for infinite numbers.")
            self._n_before = math.inf

    def after_fit(self, state: TrainState) -> None:
        if state.is_trial:
            return
        self._compute = state.compute.state_dict()
        n_skipped = state.compute.n_skipped - self._n_before
        if state.step == self._first and n_skipped > 0 and not state.failed:
            _tell_of_skipped(n_skipped, "Each lowers the scale of the gradients: train longer, or in bf16 or float32.")

    def state_dict(self) -> dict[str, Any]:
        return self._compute

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        self._compute = saved


def _tell_of_skipped(n: float, fix: str) -> None:
    warn(
        f"the last {n:.0f} steps were skipped, as gradients overflowed in float16: the weights have not changed. {fix}"
    )


class GradientClipping(Callback):
    """Scale the gradients down when their global norm is above `max_norm` (Pascanu et al., 2013), or cut each number.

    Args:
        max_norm: the maximum norm over all parameters together, after unscaling.
        norm_type: the p of the norm, 1 or more; infinity (`math.inf`) for the largest absolute number.
        clip_value: instead, cut each number of the gradients at this absolute value; `max_norm` must not be passed.

    Raises:
        UsageError: invalid arguments, or both ways of clipping.
    """

    in_lr_find = True

    def __init__(
        self, max_norm: float | None = None, *, norm_type: float = 2.0, clip_value: float | None = None
    ) -> None:
        if clip_value is not None and max_norm is not None:
            raise UsageError("max_norm", got=max_norm, expected="one of max_norm and clip_value", fix="Leave one out.")
        if not (is_number(norm_type) and norm_type >= 1):
            raise UsageError("norm_type", got=norm_type, expected="a number of 1 or more, or math.inf")
        self.max_norm: float = float(check_number("max_norm", 1.0 if max_norm is None else max_norm, "(0, inf)"))
        self.norm_type: float = float(norm_type)
        self.clip_value: float | None = (
            None if clip_value is None else float(check_number("clip_value", clip_value, "(0, inf)"))
        )

    def before_fit(self, state: TrainState) -> None:
        if self.clip_value is None:
            state.compute.clip_norm, state.compute.norm_type = self.max_norm, self.norm_type
        else:
            state.compute.clip_value = self.clip_value
