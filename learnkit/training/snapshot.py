"""The whole state of a fit between two optimizer steps, as plain values and tensors: taken, and put back."""

from collections import deque
from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from learnkit.errors import UsageError
from learnkit.training.callback import Callback
from learnkit.training.nan_guard import tensors_of
from learnkit.training.state import TrainState

__all__ = ["Copies", "StatefulLoader", "place", "restore", "snapshot"]

EXTRA = "_extra_state"  # torch's name for what a module keeps beside tensors


@runtime_checkable
class StatefulLoader(Protocol):
    """A loader that tells where it is, and goes there: the protocol of torchdata's StatefulDataLoader."""

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, saved: dict[str, Any]) -> None: ...


class Copies:
    """Copies of nested values with plain types alone, tensors on the CPU; the memory of one copy serves the next.

    So what the last call gave is overwritten by the next one. Copying into memory that is there is several times faster
    than into new memory.

    >>> Copies().take({"lr": np.float64(0.5), "path": PurePath("a"), "seen": {3}})
    {'lr': 0.5, 'path': 'a', 'seen': [3]}
    """

    def __init__(self) -> None:
        self._memory: dict[str, Tensor] = {}

    def take(self, value: Any, where: str = "") -> Any:
        """The copy of a value.

        Args:
            value: dicts, lists, tuples, sets, deques and arrays of tensors, numbers, texts, paths and None.
            where: what the value is, for errors.

        Raises:
            UsageError: a value of any other type.
        """
        if isinstance(value, Tensor):
            return self._copy(value.detach(), where)
        if value is None or type(value) in (bool, int, float, str):
            return value
        if isinstance(value, Mapping):
            return {_key(key, where): self.take(part, where + _step(key)) for key, part in value.items()}
        if isinstance(value, tuple):
            return tuple(self.take(part, f"{where}[{place}]") for place, part in enumerate(value))
        if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
            return self._copy(torch.from_numpy(np.ascontiguousarray(value)), where)
        if isinstance(value, np.generic):
            return value.item()
        for kind in (bool, int, float, str):  # their subclasses: enums, numpy's numbers and texts
            if isinstance(value, kind):
                return kind(value)
        if isinstance(value, PurePath):
            return str(value)
        if isinstance(value, list | set | frozenset | deque):
            return [self.take(part, f"{where}[{place}]") for place, part in enumerate(value)]
        raise UsageError(
            f"{where.lstrip('.')} cannot be kept in a checkpoint", got=type(value).__name__,
            expected="tensors, numbers, texts, None, and lists, tuples and dicts of these",
            fix="Let state_dict() give these alone.",
        )  # fmt: skip

    def _copy(self, tensor: Tensor, where: str) -> Tensor:
        memory = self._memory.get(where)
        if memory is None or memory.shape != tensor.shape or memory.dtype != tensor.dtype:
            memory = self._memory[where] = torch.empty_like(tensor, device="cpu")
        return memory.copy_(tensor)


def _step(key: Any) -> str:
    """The key in the name of a place: no two places have one name, a.b in itself and b in a neither."""
    return f".{key}" if isinstance(key, str) and "." not in key else f"[{key!r}]"


def _key(key: Any, where: str) -> Any:
    if isinstance(key, str | int | float):
        return key
    raise UsageError(f"{where.lstrip('.')}: a key", got=key, expected="a text or a number, to be kept in a checkpoint")


def snapshot(state: TrainState, callbacks: Iterable[Callback], epoch: int, batch: int) -> dict[str, Any]:
    """Everything a fit needs to go on from batch `batch` of epoch `epoch`; tensors are those in use, not copied."""
    tensors = tensors_of(state.model)
    extra = {name: value for name, value in state.model.state_dict().items() if name.endswith(EXTRA)}
    return {
        "at": {"epoch": epoch, "batch": batch, "step": state.step, "epochs_begun": state.epochs_begun},
        "model": tensors,
        "extra": extra,
        "loss": tensors_of(state.loss_func) if isinstance(state.loss_func, nn.Module) else {},
        "trains": {name: parameter.requires_grad for name, parameter in state.model.named_parameters()},
        "optimizer": state.optimizer.state_dict(),
        "compute": state.compute.state_dict(),
        "record": {"valid": state.valid, "row": state.row, "columns": state.columns},
        "callbacks": {callback.label: callback.state_dict() for callback in callbacks},
        "loader": state.train_dl.state_dict() if isinstance(state.train_dl, StatefulLoader) else {},
        "rng": state.compute.rng_state(),
    }


def place(state: TrainState, saved: dict[str, Any]) -> None:
    """Let a fit that has not begun begin where another was left: its weights, and the number of its epoch and batch."""
    _put_weights(state, saved)
    at = saved["at"]
    state.start_epoch, state.start_batch, state.step = at["epoch"], at["batch"], at["step"]
    state.epochs_begun = at["epochs_begun"] - (at["batch"] > 0)  # the running epoch is about to be counted again
    state.epoch = min(state.start_epoch, state.n_epochs - 1)
    state.resumed, state.is_done = True, saved["is_finished"]


def restore(state: TrainState, callbacks: Iterable[Callback], saved: dict[str, Any]) -> None:
    """Put everything else back, at the very point of the sequence of hooks where it was taken.

    Raises:
        UsageError: an optimizer with other groups of parameters.
    """
    _put_weights(state, saved)
    try:
        state.optimizer.load_state_dict(saved["optimizer"])
    except (ValueError, KeyError) as error:
        raise UsageError(
            f"resume: the optimizer's state does not fit the one of this fit ({error})",
            fix="Make the learner as the one that was interrupted: the same optimizer, groups and frozen layers.",
        ) from error
    state.optimizer.zero_grad()
    state.compute.load_state_dict(saved["compute"])
    if isinstance(state.train_dl, StatefulLoader) and saved["loader"]:
        state.train_dl.load_state_dict(saved["loader"])
    record = saved["record"]
    state.valid, state.row = record["valid"], record["row"]
    state.columns.update(record["columns"])
    if not saved["at"]["batch"] and state.valid_dl is not None:
        state.model.eval()  # as a validation leaves it
    for callback in callbacks:
        kept = saved["callbacks"].get(callback.label)
        if kept:
            callback.load_state_dict(kept)
    state.compute.set_rng_state(saved["rng"])


@torch.no_grad()
def _put_weights(state: TrainState, saved: dict[str, Any]) -> None:
    for module, kept in ((state.model, saved["model"]), (state.loss_func, saved["loss"])):
        if isinstance(module, nn.Module):
            for name, tensor in tensors_of(module).items():
                tensor.copy_(kept[name])
    if saved["extra"]:
        state.model.load_state_dict(saved["extra"], strict=False)
    for name, parameter in state.model.named_parameters():
        parameter.requires_grad_(saved["trains"][name])
