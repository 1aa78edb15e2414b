"""Predictions: activated outputs of a model over a loader, batch by batch or gathered, without side effects."""

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from contextlib import nullcontext
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from learnkit.checks import check_int
from learnkit.data.loading.batch_parts import parts_of
from learnkit.data.loading.loaders import DatasetLoader, ImageLoader, TensorLoader
from learnkit.data.loading.shares import shares
from learnkit.data.loading.torch_internals import forget_workers
from learnkit.device import Compute, to_device
from learnkit.distributed.world import world
from learnkit.errors import DataError, UsageError
from learnkit.inference.processes import gathered_batch, gathered_set
from learnkit.inference.rows import Gathered, Rows, as_rows
from learnkit.losses.activations import MAKE_TENSORS
from learnkit.losses.broadcasting import no_broadcasting
from learnkit.losses.failures import check_rows
from learnkit.losses.outputs import output_to_pass
from learnkit.models.calling import call_model
from learnkit.modes import eval_mode
from learnkit.seeds import rng_state, set_rng_state
from learnkit.text import name_of
from learnkit.tree import leaves, map_tensors
from learnkit.types import Activation

__all__ = [
    "PerItemLoss",
    "Predictions",
    "activated",
    "count_rows",
    "predict_loader",
    "predict_stream",
    "raw_outputs",
    "read_batches",
    "with_own_workers",
]

PerItemLoss = Callable[[Any, Any], Tensor]  # (raw outputs, targets) -> (N,)
# Of a batch or a data set: outputs, targets (one tensor, or a structure of them) and losses.
Predictions = tuple[Tensor, Any, Tensor | None]


class Read(NamedTuple):
    """A batch, or this process's share of one.

    Attributes:
        inputs: of the model.
        targets: None without labels.
        start: the place of the first item in the set.
        n: how many items count; None for all, 0 for an item that only keeps this process in step.
    """

    inputs: Sequence[Any]
    targets: Any
    start: int = 0
    n: int | None = None


def read_batches(loader: Iterable[Any], compute: Compute, n_batch: int | None = None) -> Iterator[Read]:
    """Inputs and targets batch by batch, on the compute's device; in several processes this one's share of each.

    Args:
        loader: batches of (inputs..., targets) or (inputs,).
        compute: the device.
        n_batch: maximum number of batches to read.

    Raises:
        UsageError: n_batch is not an integer above 0.
        DataError: targets without a tensor, such as names, or of no item; a batch that is none, see `parts_of`.
    """
    if n_batch is not None:
        check_int("n_batch", n_batch, 1)
    if world.size > 1:
        for share in shares(loader, n_batch):
            yield Read(*_split(share.batch, compute.device), share.start, share.n)
        return
    for batch in loader if n_batch is None else islice(loader, n_batch):
        yield Read(*_split(batch, compute.device))


def _split(batch: Any, device: torch.device) -> tuple[Sequence[Any], Any]:
    parts = parts_of(to_device(batch, device))
    return (parts[:-1], _as_targets(parts[-1])) if len(parts) > 1 else (parts, None)


def _as_targets(targets: Any) -> Any:
    """The targets of a batch as a tensor, or as they are if they are a structure of tensors."""
    is_tree = not isinstance(targets, Tensor) and any(isinstance(leaf, Tensor) for leaf in leaves(targets))
    if targets is None or is_tree:
        return targets
    try:
        rows = torch.as_tensor(targets)
    except (TypeError, ValueError, RuntimeError) as error:  # names
        raise DataError(
            "targets, the last element of a batch", got=type(targets).__name__, expected="tensors",
            fix="Use a loader of (inputs..., targets), or of (inputs,) without labels.",
        ) from error  # fmt: skip
    check_rows(rows)
    return rows


def raw_outputs(model: nn.Module, inputs: Sequence[Any], compute: Compute, number: int | None = None) -> Any:
    """Outputs of the model for the inputs of a batch, in float32; modes and gradients are up to the caller.

    The number of the batch is for errors.
    """
    with compute.autocast():
        outputs = call_model(model, inputs, None if number is None else (number, ""))
    return compute.full(outputs)


def activated(activation: Activation, outputs: Any) -> Tensor:
    """activation(outputs), (N, ...), in memory of its own: the next call of a model may overwrite its outputs.

    Models captured as CUDA graphs (`learn.compile(mode="reduce-overhead")`) and those that use `out=` do.

    Raises:
        UsageError: the model returns several outputs, and the activation does not turn them into one tensor.
    """
    try:
        result = activation(outputs)
    except (AttributeError, TypeError) as error:
        if isinstance(outputs, Tensor) and isinstance(error, TypeError):
            raise UsageError(
                f"the activation {name_of(activation)} cannot be called with outputs {tuple(outputs.shape)} ({error})",
                fix="Pass a function of the outputs alone, such as nn.Softmax(1).",
            ) from error
        if isinstance(outputs, Tensor):
            raise
        result = None
    if not isinstance(result, Tensor):
        raise UsageError(
            "the model's outputs, activated", got=type(outputs).__name__, expected="one tensor",
            fix=f"Pass the learner {output_to_pass(outputs)}, or an activation= that makes one of them.",
        )  # fmt: skip
    for makes_tensors in MAKE_TENSORS:  # to ask for the memory takes a twentieth of a small model's time
        if activation is makes_tensors:
            return result
    return result.clone() if _shares_memory(result, outputs) else result


def _shares_memory(result: Tensor, outputs: Any) -> bool:
    """Whether the result is one of the outputs, or a view of one; sparse tensors are never views of others."""
    if result is outputs or result.layout != torch.strided:
        return result is outputs
    if not isinstance(outputs, Tensor):
        return any(isinstance(one, Tensor) and _shares_memory(result, one) for one in leaves(outputs))
    return result.untyped_storage().data_ptr() == outputs.untyped_storage().data_ptr()


def predict_stream(
    model: nn.Module,
    loader: Iterable[Any],
    compute: Compute,
    activation: Activation,
    *,
    loss: PerItemLoss | None = None,
    n_batch: int | None = None,
) -> Iterator[Predictions]:
    """Like `predict_loader`, batch by batch, on the CPU.

    Between batches the modes of the model, gradient recording and the global generators are those of the caller, so
    iteration may stop at any time.
    """
    batches = _predict_batches(model, loader, compute, activation, loss, n_batch)
    every = not isinstance(loader, TensorLoader | DatasetLoader | ImageLoader)  # these use only torch's generators
    read: Callable[[], Any] = rng_state if every else torch.get_rng_state
    put: Callable[[Any], None] = set_rng_state if every else torch.set_rng_state
    if compute.leaves_rng:
        read, put = (lambda: None), (lambda state: None)
    state = read()
    while True:
        with eval_mode(model), compute.preserve_rng(every=every):
            put(state)  # the random state of the loader continues from batch to batch
            batch = next(batches, None)
            state = read()
        if batch is None:
            return
        parts, n = batch[0], batch[1].n
        outputs, targets, losses = (gathered_batch(part, n) for part in parts)
        yield outputs.cpu(), map_tensors(Tensor.cpu, targets), None if losses is None else losses.cpu()


def predict_loader(
    model: nn.Module,
    loader: Iterable[Any],
    compute: Compute,
    activation: Activation,
    *,
    loss: PerItemLoss | None = None,
    n_batch: int | None = None,
    out: Tensor | np.ndarray[Any, Any] | None = None,
) -> Predictions:
    """Activated outputs, targets (None when the loader has none) and losses (None unless requested), on the CPU.

    If the loader knows its number of items (learnkit's own, and torch's DataLoader of a map-style dataset), each is
    written into one tensor allocated at the first batch; apart from them, memory for one batch is needed.

    Args:
        model: called in eval mode.
        loader: batches of (inputs..., targets) or (inputs,), in the order of the rows.
        compute: the device and precision.
        activation: applied to the raw outputs.
        loss: losses per item from raw outputs and targets.
        n_batch: maximum number of batches to read.
        out: a float array of shape (n_items, ...) to write the outputs to, for example a memory-mapped file.

    Raises:
        DataError: an empty loader, or `loss` without targets.
        UsageError: an `out` that is not writable, not float, or of the wrong shape.
    """
    n_rows = count_rows(loader, n_batch)
    given = None if out is None else as_rows(out, n_rows)
    if world.size > 1:
        with eval_mode(model), compute.preserve_rng(every=True):
            own = _predict_batches(model, loader, compute, activation, loss, n_batch)
            return gathered_set(((parts, read.start, read.n or 0) for parts, read in own), given)
    rows = Rows("outputs", n_rows, given)
    is_fresh = isinstance(loader, DataLoader | TensorLoader | DatasetLoader | ImageLoader)
    target_rows, loss_rows = Gathered(Rows("targets", n_rows, at_once=not is_fresh)), Rows("losses", n_rows)
    with eval_mode(model), compute.preserve_rng(every=True):
        for (outputs, targets, losses), _ in _predict_batches(model, loader, compute, activation, loss, n_batch):
            rows.add(outputs)
            if targets is not None:
                target_rows.add(targets, len(outputs))
            if losses is not None:
                loss_rows.add(losses)
        preds = rows.result()
    if preds is None:
        raise DataError("this set has no items to predict")
    return preds, target_rows.result(), loss_rows.result()


def _predict_batches(
    model: nn.Module,
    loader: Iterable[Any],
    compute: Compute,
    activation: Activation,
    loss: PerItemLoss | None,
    n_batch: int | None,
) -> Iterator[tuple[Predictions, Read]]:
    for number, read in enumerate(read_batches(loader, compute, n_batch)):
        targets, outputs = read.targets, raw_outputs(model, read.inputs, compute, number)
        losses = None
        if loss is not None:
            if targets is None:
                raise DataError("with_loss=True, but this set has no labels", fix="Leave with_loss out.")
            with nullcontext() if number else no_broadcasting("loss_func", outputs, targets):
                losses = loss(outputs, targets)
        yield (activated(activation, outputs), targets, losses), read


def with_own_workers(loader: Any) -> Any:
    """The loader with separate workers, for slow iteration.

    The persistent workers of a torch loader abandon an iteration as soon as another one starts.
    """
    inner = getattr(loader, "_loader", loader)
    if not isinstance(inner, DataLoader) or not inner.persistent_workers:
        return loader
    own = copy.copy(inner)
    forget_workers(own)
    if inner is loader:
        return own
    loader = copy.copy(loader)
    loader._loader = own
    return loader


def count_rows(loader: Any, n_batch: int | None = None) -> int | None:
    """The number of items a loader yields; None if it is unknown."""
    sampler = getattr(loader, "sampler", None) if isinstance(loader, DataLoader) else None
    n_items = len(sampler) if isinstance(sampler, Sized) else getattr(loader, "n_items", None)
    size = getattr(loader, "batch_size", None)
    if n_items is None or size is None or not isinstance(loader, Sized):
        return None
    n_batches = len(loader) if n_batch is None else min(n_batch, len(loader))
    return int(min(n_items, n_batches * size))
