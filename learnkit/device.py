"""Devices and precisions: where batches are moved to, and how forward, backward and step run there."""

import os
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from learnkit.accelerators import default_device, made_current, resolve_device
from learnkit.checks import check_choice
from learnkit.gradients import clip_gradients, divided, drop_gradients, reweigh, take_step
from learnkit.seeds import (
    CPU,
    device_rng_state,
    preserve_all_rng,
    preserve_rng,
    rng_state,
    seed_generators,
    set_device_rng_state,
    set_rng_state,
)
from learnkit.tree import leaves, map_tensors

__all__ = [
    "BF16",
    "FP16",
    "PRECISIONS",
    "Compute",
    "Precision",
    "check_precision",
    "copies_from_pinned",
    "default_device",
    "on_device",
    "resolve_device",
    "to_device",
    "usable_cpus",
]

Precision = Literal["auto", "fp32", "fp16", "bf16"]
FP16: Precision = "fp16"
BF16: Precision = "bf16"
PRECISIONS: dict[str, torch.dtype] = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
_NO_AUTOCAST = nullcontext()


def copies_from_pinned(device: torch.device) -> bool:
    """Whether copies to this device are made from page-locked memory, and so need not be waited for."""
    return device.type == "cuda"


def check_precision(precision: Precision) -> Precision:
    """The precision, if it is one; no device is asked.

    Raises:
        UsageError: an unknown precision.
    """
    check_choice("precision", precision, ("auto", *PRECISIONS))
    return precision


def usable_cpus() -> int:
    """The number of CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def to_device(batch: Any, device: torch.device) -> Any:
    """The batch with every tensor in it on `device`, whatever structure holds them; see `learnkit.tree`.

    Copies to CUDA do not wait for the device: they are made from page-locked memory. All others wait: elsewhere memory
    may be read after it is freed (pytorch#189690), and on the CPU a tensor may be read before it has arrived.
    """
    return map_tensors(lambda t: t if t.device == device else _copy(t, device), batch)


def _copy(tensor: Tensor, device: torch.device) -> Tensor:
    if not copies_from_pinned(device) or tensor.device.type != "cpu" or tensor.layout != torch.strided:
        return tensor.to(device)
    if not tensor.is_pinned() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        tensor = tensor.pin_memory()  # torch's allocator keeps it until it is copied
    return tensor.to(device, non_blocking=tensor.is_pinned())


def on_device(batches: Iterable[Any], device: torch.device) -> Iterator[Any]:
    """Each batch on `device`; on CUDA the next one is copied in a separate stream while this one is used."""
    if device.type != "cuda":
        for batch in batches:
            yield to_device(batch, device)
        return
    copy_stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    ready: Any = None
    for batch in batches:
        with torch.cuda.stream(copy_stream):
            following = to_device(batch, device)
        if ready is not None:
            yield ready
        torch.cuda.current_stream(device).wait_stream(copy_stream)
        _record_stream(following, torch.cuda.current_stream(device))
        ready = following
    if ready is not None:
        yield ready


def _record_stream(batch: Any, stream: torch.cuda.Stream) -> None:
    """Tell the allocator that this stream uses the tensors, which were allocated in another one."""
    for leaf in leaves(batch):
        if isinstance(leaf, Tensor):
            leaf.record_stream(stream)


@dataclass(slots=True)
class Compute:
    """A device and a precision, and the operations that depend on them.

    Attributes:
        device: the device of model and batches.
        precision: "fp32", "fp16" (with gradient scaling) or "bf16"; weights stay float32.
        clip_norm: the global gradient norm above which gradients are scaled down; None for no clipping.
        norm_type: the p of that norm.
        clip_value: the absolute value at which each number of the gradients is cut; None for no cutting.
        accumulate: number of items whose gradients are accumulated before a step; None for a step per batch.
        part: the maximum number of items in one forward and backward pass; None for whole batches.
        batch_weight: what the mean of the whole batch is divided by, while a batch is trained on in parts; else None.
        n_gathered: items accumulated since the last step.
        weight_gathered: what the mean over these items is divided by.
        n_skipped: steps skipped because float16 gradients overflowed.
        leaves_rng: whether the global generators are those of a fit in another thread, so not to be touched.
    """

    device: torch.device = field(default_factory=default_device)
    precision: Precision = "fp32"
    clip_norm: float | None = None
    norm_type: float = 2.0
    clip_value: float | None = None
    accumulate: int | None = None
    part: int | None = None
    batch_weight: Tensor | float | None = None
    n_gathered: int = 0
    weight_gathered: Tensor | float = 0.0
    n_skipped: int = 0
    leaves_rng: bool = False
    _scaler: torch.amp.GradScaler | None = None

    def __post_init__(self) -> None:
        self.device = made_current(self.device)

    def use(self, precision: Precision) -> None:
        """Set the precision of later forward passes.

        "auto" is bf16 if the accelerator supports it, fp16 on an older one, fp32 on the CPU and on MPS.

        Raises:
            UsageError: an unknown precision.
        """
        check_precision(precision)
        self.precision = self._best_precision() if precision == "auto" else precision
        self._scaler = torch.amp.GradScaler(self.device.type) if self.precision == "fp16" else None

    def _best_precision(self) -> Precision:
        module = None if self.device.type == "cpu" else torch.get_device_module(self.device)
        is_supported = getattr(module, "is_bf16_supported", None)  # of the current device
        if is_supported is None:
            return "fp32"
        return "bf16" if is_supported(including_emulation=False) else "fp16"

    def autocast(self) -> AbstractContextManager[Any]:
        """The context manager of a forward pass."""
        if self.precision == "fp32":
            return _NO_AUTOCAST
        return torch.autocast(self.device.type, PRECISIONS[self.precision])

    def full(self, preds: Any) -> Any:
        """Outputs of a forward pass under autocast as float32, for a loss in full precision."""
        if self.precision == "fp32":
            return preds
        return map_tensors(lambda t: t.float() if t.is_floating_point() else t, preds)

    def backward(self, loss: Tensor, n_items: int = 1, weight: Tensor | float | None = None) -> None:
        """Accumulate the gradients of a loss; scaled up for float16.

        Args:
            loss: of a batch, or of a part of one, shape ().
            n_items: its number of items, which count toward the next step.
            weight: what this mean was divided by, see `learnkit.losses.reduction`, so that the means of several batches
                or parts add up to one; None for a sum.
        """
        self.n_gathered += n_items
        total = self.accumulate if self.batch_weight is None else self.batch_weight
        if total is not None and weight is not None:
            loss = loss * (weight / total)
            self.weight_gathered = self.weight_gathered + weight
        if self._scaler is None:
            loss.backward()  # type: ignore[no-untyped-call]
        else:
            self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]

    def unscaled(self, optimizer: Optimizer) -> AbstractContextManager[None]:
        """Inside, the gradients are those of the loss: in float16 they are scaled up before and after."""
        return _NO_AUTOCAST if self._scaler is None else divided(optimizer, self._scale())

    def _scale(self) -> Tensor:
        """The scale of float16 gradients, on the device; `get_scale` would wait for it."""
        assert self._scaler is not None
        return self._scaler.scale(torch.ones((), device=self.device))

    def step(self, optimizer: Optimizer, model: nn.Module) -> bool:
        """Clip the gradients, take one optimizer step, drop the gradients.

        Only float16 waits for the device: for its backward pass, as an overflow skips the step.

        Returns:
            False if the step was skipped because of an overflow in float16.
        """
        if self._scaler is not None:
            self._scaler.unscale_(optimizer)
        if self.accumulate is not None:
            reweigh(optimizer, self.accumulate, self.weight_gathered)
        if self.clip_norm is not None or self.clip_value is not None:
            clip_gradients(optimizer, model, self.clip_norm, self.norm_type, self.clip_value)
        taken = self._scaler is None or self._update_scale(self._scaler)
        if taken:
            take_step(optimizer)
        else:
            self.n_skipped += 1
        self.zero_grad(optimizer)
        return taken

    def _update_scale(self, scaler: torch.amp.GradScaler) -> bool:
        """Set the scale for the next gradients; whether those that were unscaled are finite. The one wait of a step."""
        before = self._scale()
        scaler.update()  # lowers it after an overflow
        after = self._scale()
        return bool((after >= before) & (after > 0))

    def zero_grad(self, optimizer: Optimizer) -> None:
        """Drop the accumulated gradients."""
        drop_gradients(optimizer)
        self.n_gathered, self.weight_gathered = 0, 0.0

    @property
    def adds_up(self) -> bool:
        """Whether the next gradients are added to those of other batches or parts."""
        return self.accumulate is not None or self.batch_weight is not None

    @property
    def is_due(self) -> bool:
        """Whether enough items are accumulated for a step."""
        return self.accumulate is None or self.n_gathered >= self.accumulate

    @property
    def sync_is_free(self) -> bool:
        """Whether reading a number from a tensor does not wait for queued work."""
        return self.device == CPU

    def reseed(self, seed: int) -> None:
        """Seed the generators of the CPU and of this device, no others; beside a fit in another thread, none."""
        if not self.leaves_rng:
            seed_generators(seed, self.device)

    def state_dict(self) -> dict[str, Any]:
        """What a fit changes: the scale of float16 gradients, and the number of skipped steps."""
        scaler = {} if self._scaler is None else self._scaler.state_dict()
        return {"scaler": scaler, "n_skipped": self.n_skipped}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Restore what `state_dict` returned, in the same precision."""
        self.n_skipped = saved["n_skipped"]
        if self._scaler is not None and saved["scaler"]:
            self._scaler.load_state_dict(saved["scaler"])

    def rng_state(self) -> dict[str, Any]:
        """The states of the global generators: `learnkit.seeds.rng_state`, and that of this device by its type."""
        own = device_rng_state(self.device)
        return rng_state() if own is None else {**rng_state(), self.device.type: own}

    def set_rng_state(self, state: dict[str, Any]) -> None:
        """Restore what `rng_state` returned; the state of a device only on one of the same type."""
        set_rng_state(state)
        set_device_rng_state(state.get(self.device.type), self.device)

    def preserve_rng(self, *, every: bool = False) -> AbstractContextManager[None]:
        """Restore torch's generators afterwards, also after an error; with `every`, NumPy's and Python's too."""
        if self.leaves_rng:
            return _NO_AUTOCAST
        of_cpu = preserve_all_rng() if every else preserve_rng()
        return of_cpu if self.device == CPU else self._with_own_rng(of_cpu)

    @contextmanager
    def _with_own_rng(self, of_cpu: AbstractContextManager[None]) -> Iterator[None]:
        with of_cpu:
            state = device_rng_state(self.device)
            try:
                yield
            finally:
                set_device_rng_state(state, self.device)
