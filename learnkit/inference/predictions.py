"""Predictions: a model's activated outputs over a loader or for one item, without any trace of a fit."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from learnkit.device import Compute, to_device
from learnkit.errors import DataError, UsageError
from learnkit.modes import evaluating
from learnkit.types import Activation

__all__ = ["predict_batches", "predict_loader"]

PerItemLoss = Callable[[Any, Any], Tensor]  # (raw outputs, targets) -> (N,)


def predict_batches(
    model: nn.Module, loader: Iterable[Any], compute: Compute, n_batch: int | None = None
) -> Iterator[tuple[Tensor, Any]]:
    """(raw outputs, targets or None) batch by batch, on the compute's device; at most `n_batch` of them."""
    with evaluating(model), compute.kept_rng():
        for number, batch in enumerate(loader):
            if number == n_batch:
                return
            batch = to_device(batch, compute.device)
            if not isinstance(batch, tuple | list):
                batch = (batch,)
            inputs, targets = (batch[:-1], batch[-1]) if len(batch) > 1 else (batch, None)
            with compute.autocast():
                outputs = model(*inputs)
            yield compute.full(outputs), targets


def predict_loader(
    model: nn.Module,
    loader: Iterable[Any],
    compute: Compute,
    activation: Activation,
    *,
    loss: PerItemLoss | None = None,
    n_batch: int | None = None,
    out: Tensor | np.ndarray[Any, Any] | None = None,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Activated outputs, targets (None when the loader has none) and losses (None unless asked for), on the CPU.

    Args:
        model: called in eval mode.
        loader: batches of (inputs..., targets) or (inputs,), in the order the rows are wanted.
        compute: the device and precision.
        activation: applied to the raw outputs.
        loss: losses per item from raw outputs and targets.
        n_batch: read no more batches than this.
        out: where the outputs are written, float, shape (n_items, ...); memory-mapped files welcome.

    Raises:
        DataError: an empty loader, or `loss` without targets.
    """
    all_targets: list[Tensor] = []
    all_losses: list[Tensor] = []
    rows = _Rows(out, getattr(loader, "n_items", None) if n_batch is None else None)
    for outputs, targets in predict_batches(model, loader, compute, n_batch):
        if loss is not None:
            if targets is None:
                raise DataError("with_loss=True, but this set has no labels", fix="Leave with_loss out.")
            all_losses.append(loss(outputs, targets).cpu())
        rows.add(activation(outputs))
        if targets is not None:
            all_targets.append(torch.as_tensor(targets).cpu())
    preds = rows.done()
    return preds, torch.cat(all_targets) if all_targets else None, torch.cat(all_losses) if all_losses else None


class _Rows:
    """Rows written into one tensor as they come, so that peak memory is the result and one batch."""

    def __init__(self, out: Tensor | np.ndarray[Any, Any] | None, n_items: int | None) -> None:
        self._all = torch.from_numpy(out) if isinstance(out, np.ndarray) else out
        self._is_given = out is not None
        self._n_items = n_items
        self._parts: list[Tensor] = []  # only for a loader that does not know its number of items
        self._n = 0

    def add(self, batch: Tensor) -> None:
        end = self._n + len(batch)
        if self._all is None and self._n_items is not None:
            self._all = torch.empty(self._n_items, *batch.shape[1:], dtype=batch.dtype)
        if self._all is None:
            self._parts.append(batch.cpu())
        elif end > len(self._all) or self._all.shape[1:] != batch.shape[1:]:
            wanted = f"room for rows of shape {tuple(batch.shape[1:])}, at least {end} of them"
            raise UsageError("out", got=tuple(self._all.shape), expected=wanted)
        else:
            self._all[self._n : end].copy_(batch)
        self._n = end

    def done(self) -> Tensor:
        if not self._n:
            raise DataError("this set has no items to predict")
        if self._all is None:
            return torch.cat(self._parts)
        return self._all if self._is_given else self._all[: self._n]
