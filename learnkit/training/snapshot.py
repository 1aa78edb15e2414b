"""Snapshots: the whole state of a fit between two optimizer steps, as plain values and tensors, taken and restored."""

import time
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Protocol, TypeGuard

import numpy as np
import torch
from torch import Tensor, nn

from learnkit.device import copies_from_pinned
from learnkit.distributed.sharded import whole
from learnkit.distributed.world import world
from learnkit.errors import UsageError
from learnkit.models.finite import tell_of_weights
from learnkit.optim.fused import load_state
from learnkit.training.callback import Callback
from learnkit.training.sharding import whole_of
from learnkit.training.state import TrainState
from learnkit.training.weights import extra_state, set_tensors, tensors_of
from learnkit.tree import map_tensors

__all__ = ["Copies", "Finished", "is_stateful", "restore", "seek", "snapshot"]


class StatefulLoader(Protocol):
    """A loader that saves and restores its position: the protocol of torchdata's StatefulDataLoader."""

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, saved: dict[str, Any]) -> None: ...


def is_stateful(loader: object) -> TypeGuard[StatefulLoader]:
    """Whether a loader has this protocol; `isinstance` of a protocol takes twenty times as long."""
    return hasattr(loader, "state_dict") and hasattr(loader, "load_state_dict")


@dataclass(frozen=True, eq=False)
class Finished:
    """A tensor on the CPU that never changes again: checkpoints do not copy it, and write it once."""

    tensor: Tensor


class Copies:
    """Copies nested values as plain types, tensors on the CPU; each call reuses the memory of the previous one.

    So each call overwrites the result of the last one. Copying into existing memory is several times faster than into
    new memory. From a device that copies into page-locked memory, all tensors are copied with a single wait.

    >>> Copies().take({"lr": np.float64(0.5), "path": PurePath("a"), "seen": {3}})
    {'lr': 0.5, 'path': 'a', 'seen': [3]}
    """

    def __init__(self) -> None:
        self._memory: dict[str, Tensor] = {}
        self._copying: set[torch.device] = set()  # devices with copies under way

    def take(self, value: Any, where: str = "") -> Any:
        """The copy of a value.

        Args:
            value: dicts, lists, tuples, sets, deques and arrays of tensors, numbers, strings, paths and None; a
                `Finished` is kept as it is.
            where: the name of the value in errors.

        Raises:
            UsageError: a value of any other type.
        """
        try:
            return self._take(value, where)
        finally:
            for device in self._copying:
                torch.accelerator.current_stream(device).synchronize()
            self._copying.clear()

    def _take(self, value: Any, where: str) -> Any:
        if isinstance(value, Tensor):
            return self._copy(value.detach(), where)
        if value is None or type(value) in (bool, int, float, str, torch.dtype, Finished):
            return value
        if isinstance(value, Mapping):
            return {_key(key, where): self._take(part, where + _step(key)) for key, part in value.items()}
        if isinstance(value, tuple):
            return tuple(self._take(part, f"{where}[{place}]") for place, part in enumerate(value))
        if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
            return self._copy(torch.from_numpy(np.ascontiguousarray(value)), where)
        if isinstance(value, np.generic):
            return value.item()
        for kind in (bool, int, float, str):  # their subclasses: enums, NumPy's numbers and strings
            if isinstance(value, kind):
                return kind(value)
        if isinstance(value, PurePath):
            return str(value)
        if isinstance(value, list | set | frozenset | deque):
            return [self._take(part, f"{where}[{place}]") for place, part in enumerate(value)]
        raise UsageError(
            f"{where.lstrip('.')} cannot be saved in a checkpoint", got=type(value).__name__,
            expected="tensors, numbers, strings, None, and lists, tuples and dicts of these",
            fix="Return only these from state_dict().",
        )  # fmt: skip

    def _copy(self, tensor: Tensor, where: str) -> Tensor:
        memory = self._memory.get(where)
        if memory is None or memory.shape != tensor.shape or memory.dtype != tensor.dtype:
            is_pinned = copies_from_pinned(tensor.device)
            memory = self._memory[where] = torch.empty_like(tensor, device="cpu", pin_memory=is_pinned)
        if not copies_from_pinned(tensor.device):
            return memory.copy_(tensor)
        self._copying.add(tensor.device)
        return memory.copy_(tensor, non_blocking=memory.is_pinned())


def _step(key: Any) -> str:
    """A key as a part of a name, unambiguous: the key "a.b" differs from the key "b" in "a"."""
    return f".{key}" if isinstance(key, str) and "." not in key else f"[{key!r}]"


def _key(key: Any, where: str) -> Any:
    if isinstance(key, str | int | float):
        return key
    raise UsageError(f"{where.lstrip('.')}: a key", got=key, expected="a string or a number, in a checkpoint")


def snapshot(state: TrainState, callbacks: Iterable[Callback], epoch: int, batch: int) -> dict[str, Any]:
    """Everything a fit needs to continue from batch `batch` of epoch `epoch`; tensors are not copied.

    It does not depend on how many processes share the fit, or how; every one of them must call it.
    """
    model, optimizer = whole_of(state)
    return {
        "at": {
            "epoch": epoch,
            "batch": batch,
            "step": state.step,
            "epochs_begun": state.epochs_begun,
            "validated_step": state.validated_step,
            "seconds": time.monotonic() - state.began,
        },
        "model": tensors_of(model),
        "extra": extra_state(model),
        "loss": tensors_of(state.loss_func) if isinstance(state.loss_func, nn.Module) else {},
        "trains": {name: parameter.requires_grad for name, parameter in model.named_parameters()},
        "optimizer": optimizer.state_dict(),
        "compute": state.compute.state_dict(),
        "record": {"valid": state.valid, "row": state.row, "columns": state.columns},
        "callbacks": {callback.label: _whole(state, callback.state_dict()) for callback in callbacks},
        "loader": state.train_dl.state_dict() if is_stateful(state.train_dl) else {},
        "rng": state.compute.rng_state(),
    }


def _whole(state: TrainState, kept: dict[str, Any]) -> dict[str, Any]:
    """What a callback keeps, with all of every tensor."""
    whole_dict: dict[str, Any] = kept if state.whole is None else map_tensors(whole, kept)
    return whole_dict


def seek(state: TrainState, saved: dict[str, Any]) -> None:
    """Move a fit that has not started to where another was interrupted: its weights, its epoch and its batch."""
    if "model" in saved:  # not in the note of a fit that is done
        _restore_weights(state, saved)
        tell_of_weights("weights in the checkpoint of the fit", (state.whole or state).model, saved["model"])
    at = saved["at"]
    state.start_epoch, state.start_batch, state.step = at["epoch"], at["batch"], at["step"]
    state.validated_step, state.began = at["validated_step"], -at["seconds"]
    state.epochs_begun = at["epochs_begun"] - (at["batch"] > 0)  # the running epoch will be counted again
    state.epoch = min(state.start_epoch, state.n_epochs - 1)
    state.resumed, state.is_done = True, saved["is_finished"]


def restore(state: TrainState, callbacks: Iterable[Callback], saved: dict[str, Any]) -> None:
    """Restore everything else, at the point in the sequence of hooks where the snapshot was taken.

    Raises:
        UsageError: an optimizer with different parameter groups.
    """
    _restore_weights(state, saved)
    try:
        load_state((state.whole or state).optimizer, saved["optimizer"])
    except (ValueError, KeyError) as error:
        raise UsageError(
            f"resume: the state of the optimizer does not fit this fit's optimizer ({error})",
            fix="Create the learner as before the interruption: the same optimizer, groups and frozen layers.",
        ) from error
    if state.whole is not None:
        state.whole.share_out()
    state.optimizer.zero_grad()
    state.compute.load_state_dict(saved["compute"])
    if is_stateful(state.train_dl) and saved["loader"]:
        state.train_dl.load_state_dict(saved["loader"])
    record = saved["record"]
    state.valid, state.row = record["valid"], record["row"]
    state.columns.update(record["columns"])
    if not saved["at"]["batch"] and state.valid_dl is not None:
        state.model.eval()  # as a validation leaves it
    for callback in callbacks:
        kept = saved["callbacks"].get(callback.label) if world.is_first or not callback.is_for_one else None
        if kept:
            callback.load_state_dict(kept)
    state.compute.set_rng_state(saved["rng"])


def _restore_weights(state: TrainState, saved: dict[str, Any]) -> None:
    model = (state.whole or state).model
    for module, kept in ((model, saved["model"]), (state.loss_func, saved["loss"])):
        if isinstance(module, nn.Module):
            set_tensors(module, kept)
    if saved["extra"]:
        model.load_state_dict(saved["extra"], strict=False)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(saved["trains"][name])
