"""Devices and precisions: where batches are moved to, and how forward, backward and step run there."""

import os
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from learnkit.checks import check_choice
from learnkit.distributed.world import world
from learnkit.errors import UsageError
from learnkit.gradients import clip_gradients, divided, reweigh
from learnkit.seeds import preserve_all_rng, preserve_rng, rng_state, set_rng_state
from learnkit.tree import leaves, map_tensors

__all__ = [
    "BF16",
    "FP16",
    "PRECISIONS",
    "Compute",
    "Precision",
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


def default_device() -> torch.device:
    """`LEARNKIT_DEVICE` if it is set, else the accelerator if there is one that works, else the CPU."""
    world.begin()  # of several processes, each has an accelerator of its own
    named = os.environ.get("LEARNKIT_DEVICE")
    if named:
        return resolve_device(named)
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if accelerator is None:
        return torch.device("cpu")
    try:
        (torch.ones(2, device=accelerator) + 1).sum().item()
    except RuntimeError:  # an accelerator without a working driver
        return torch.device("cpu")
    return accelerator


def resolve_device(device: str | torch.device | None) -> torch.device:
    """The device of this name; None is the default one.

    Raises:
        UsageError: a name unknown to torch, or a device that is not available.
    """
    if device is None:
        return default_device()
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise UsageError("device", got=device, expected="a device known to torch, such as 'cpu' or 'cuda:0'") from error
    try:
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, ImportError) as error:
        present = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        what = "the CPU" if present is None else f"the CPU and {torch.accelerator.device_count()} of {present.type}"
        raise UsageError(
            f"device {str(device)!r} cannot be used ({(str(error) or type(error).__name__).splitlines()[0]})",
            expected=f"an available device; torch finds {what}",
        ) from error
    return found


def copies_from_pinned(device: torch.device) -> bool:
    """Whether copies to this device are faster from page-locked memory."""
    return device.type == "cuda"


def usable_cpus() -> int:
    """The number of CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def to_device(batch: Any, device: torch.device) -> Any:
    """The batch with every tensor in it on `device`, whatever structure holds them; see `learnkit.tree`."""
    return map_tensors(lambda t: t if t.device == device else t.to(device, non_blocking=True), batch)


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
        whole: what the mean of the whole batch is divided by, while a batch is trained on in parts; else None.
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
    whole: Tensor | float | None = None
    n_gathered: int = 0
    weight_gathered: Tensor | float = 0.0
    n_skipped: int = 0
    leaves_rng: bool = False
    _scaler: torch.amp.GradScaler | None = None

    def use(self, precision: Precision) -> None:
        """Set the precision of later forward passes.

        "auto" is bf16 if the accelerator supports it, fp16 on an older one, fp32 on the CPU and on MPS.

        Raises:
            UsageError: an unknown precision.
        """
        check_choice("precision", precision, ("auto", *PRECISIONS))
        self.precision = self._best_precision() if precision == "auto" else precision
        self._scaler = torch.amp.GradScaler(self.device.type) if self.precision == "fp16" else None

    def _best_precision(self) -> Precision:
        if self.device.type != "cuda":
            return "fp32"
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"

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
        total = self.accumulate if self.whole is None else self.whole
        if total is not None and weight is not None:
            loss = loss * (weight / total)
            self.weight_gathered = self.weight_gathered + weight
        if self._scaler is None:
            loss.backward()  # type: ignore[no-untyped-call]
        else:
            self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]

    def unscaled(self, optimizer: Optimizer) -> AbstractContextManager[None]:
        """Inside, the gradients are those of the loss: in float16 they are scaled up before and after."""
        return _NO_AUTOCAST if self._scaler is None else divided(optimizer, self._scaler.get_scale())

    def step(self, optimizer: Optimizer, model: nn.Module) -> bool:
        """Clip the gradients, take one optimizer step, drop the gradients.

        Returns:
            False if the step was skipped because of an overflow in float16.
        """
        if self._scaler is not None:
            self._scaler.unscale_(optimizer)
        if self.accumulate is not None:
            reweigh(optimizer, self.accumulate, self.weight_gathered)
        if self.clip_norm is not None or self.clip_value is not None:
            clip_gradients(optimizer, model, self.clip_norm, self.norm_type, self.clip_value)
        taken = True
        if self._scaler is None:
            optimizer.step()
        else:
            scale = self._scaler.get_scale()
            self._scaler.step(optimizer)
            self._scaler.update()
            taken = self._scaler.get_scale() >= scale
            self.n_skipped += not taken
        self.zero_grad(optimizer)
        return taken

    def zero_grad(self, optimizer: Optimizer) -> None:
        """Drop the accumulated gradients."""
        optimizer.zero_grad()
        self.n_gathered, self.weight_gathered = 0, 0.0

    @property
    def adds_up(self) -> bool:
        """Whether the next gradients are added to those of other batches or parts."""
        return self.accumulate is not None or self.whole is not None

    @property
    def is_due(self) -> bool:
        """Whether enough items are accumulated for a step."""
        return self.accumulate is None or self.n_gathered >= self.accumulate

    @property
    def sync_is_free(self) -> bool:
        """Whether reading a number from a tensor does not wait for queued work."""
        return self.device.type == "cpu"

    def reseed(self, seed: int) -> None:
        """Seed the generators that dropout and mixing use: those of the CPU and of this device, no others."""
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.default_generators[self.device.index or 0].manual_seed(seed)
        elif self.device.type == "mps":
            torch.mps.manual_seed(seed)

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
        """The states of the global generators: `learnkit.seeds.rng_state`, and that of this device."""
        state = rng_state()
        if self.device.type != "cpu":
            state["device"] = torch.get_device_module(self.device).get_rng_state()
        return state

    def set_rng_state(self, state: dict[str, Any]) -> None:
        """Restore what `rng_state` returned; the state of a device only on a device."""
        set_rng_state(state)
        if self.device.type != "cpu" and "device" in state:
            torch.get_device_module(self.device).set_rng_state(state["device"])

    @contextmanager
    def preserve_rng(self, *, every: bool = False) -> Iterator[None]:
        """Restore torch's generators afterwards, also after an error; with `every`, NumPy's and Python's too."""
        if self.leaves_rng:
            yield
            return
        with preserve_all_rng() if every else preserve_rng():
            if self.device.type == "cpu":
                yield
                return
            module = torch.get_device_module(self.device)
            state = module.get_rng_state()
            try:
                yield
            finally:
                module.set_rng_state(state)
