"""What a fit of several processes does together: one loss, one gradient, one result of a validation."""

import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import islice
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from learnkit.data.loading.shares import Share, shares
from learnkit.distributed.exchange import whole_batch
from learnkit.distributed.parallel import Parallel
from learnkit.distributed.sharded import Sharded
from learnkit.distributed.world import world
from learnkit.errors import warn
from learnkit.losses.reduction import is_of_batches, loss_sums
from learnkit.optim.build import own_parameters
from learnkit.text import name_of
from learnkit.training.limits import FirstBatches
from learnkit.training.nan_guard import zero_if_empty
from learnkit.training.state import TrainState
from learnkit.training.weights import tensors_of

__all__ = [
    "finish_gradients",
    "loss_of_all",
    "loss_of_set",
    "own_batches",
    "own_part",
    "parallel",
    "seen_whole",
    "share_added",
    "share_loss",
    "spread_weights",
    "weight_of_all",
]


def parallel(state: TrainState) -> Parallel | Sharded | None:
    """What averages the gradients of a fit: what it has already, as a sharded one; None for one process.

    Warns:
        LearnkitWarning: a loss of whole batches, which is that of each process's share.
    """
    if world.size == 1:
        return None
    if is_of_batches(state.loss_func):  # also of a sharded fit
        warn(
            f"the loss is one number for a whole batch (per_batch=True), in training for each process's share, a "
            f"{world.size}th: weights and training losses differ from those of one process"
        )
    return state.parallel or Parallel(state.model, own_parameters(state.model, state.loss_func))


def share_added(state: TrainState) -> None:
    """Parameters that a callback has added to the optimizer: give all processes the first one's, and average them too.

    Each pass begins with it, each step, too: those added within a pass have been computed with as each process made
    them.
    """
    groups, parallel = state.optimizer.param_groups, state.parallel
    if parallel is None or len(groups) == parallel.n_groups:
        return
    parallel.n_groups = len(groups)
    known = {id(parameter) for parameter in (*state.model.parameters(), *parallel.others)}
    added = [parameter for group in groups for parameter in group["params"] if id(parameter) not in known]
    world.spread(*added)
    parallel.others += added
    if state.whole is not None:
        state.whole.join_groups()


def finish_gradients(state: TrainState) -> None:
    """Average what is left of the gradients since the last step; again, or alone, it does nothing."""
    if state.parallel is not None:
        share_added(state)
        state.parallel.finish()


def spread_weights(*modules: Any) -> None:
    """Give all processes the first one's parameters and buffers of these modules; other objects have none."""
    if world.size > 1:
        world.spread(
            *(tensor for part in modules if isinstance(part, nn.Module) for tensor in tensors_of(part).values())
        )


def own_batches(loader: Any) -> Iterator[Share]:
    """This process's share of every batch; alone, every batch."""
    if isinstance(loader, FirstBatches):
        return islice(own_batches(loader.loader), loader.n)
    if world.size == 1:
        return (Share(batch, 0, 1, 1) for batch in loader)
    return shares(loader)


def share_loss(state: TrainState) -> Tensor:
    """Make `state.loss` that of the whole batch, and `state.share_weight` its divisor; nothing waits for the device.

    Returns:
        What to go backward from: its gradients, averaged over the processes, are those of the whole batch.
    """
    share = state.share
    assert share is not None
    weight, loss = zero_if_empty(state), state.loss
    counts = 1.0 if share.n else 0.0
    if isinstance(weight, Tensor):
        own = weight.double() * counts
    else:  # filled in on the device: a number that is copied to it would wait
        own = torch.full((), (1 if weight is None else weight) * counts, dtype=torch.float64, device=loss.device)
    both = torch.stack([loss.detach().double() * own, own])
    dist.all_reduce(both)
    if weight is None:
        state.loss, state.share_weight = both[0].to(loss.dtype), None
        return loss * (counts * world.size)
    total = both[1].clamp(min=torch.finfo(torch.float64).tiny)
    state.loss = (both[0] / total).to(loss.dtype)
    state.share_weight = both[1] if isinstance(weight, Tensor) else share.total
    return loss * (own * world.size / total).to(loss.dtype)


def own_part(state: TrainState) -> Tensor:
    """What to go backward from for a part of this process's share, in a batch that is trained on in parts."""
    assert state.share is not None
    zero_if_empty(state)
    return state.loss * (world.size if state.share.n else 0)


def weight_of_all(weight: Tensor | int | None, share: Share) -> Tensor | int | None:
    """What the loss of a whole batch is divided by, from what that of this process's share is."""
    if not isinstance(weight, Tensor):
        return None if weight is None else share.total
    total = weight.double() * bool(share.n)
    dist.all_reduce(total)
    return total


def loss_of_all(loss: Tensor, share: Share) -> Tensor:
    """The loss of a whole batch, from what each process's share adds to it."""
    total = loss.detach().double() * bool(share.n)
    dist.all_reduce(total)
    return total.to(loss.dtype)


def seen_whole(state: TrainState, share: Share) -> AbstractContextManager[bool]:
    """Inside, the loss sees in `state` what it is of: this process's share of a batch of a validation, or all of it.

    What it enters with is whether this process counts the loss: each that of its share, and the first one that of a
    whole batch.

    Raises:
        UsageError: a loss of whole batches, with outputs or targets that are not one row per item.
    """
    of_share = world.size == 1 or not is_of_batches(state.loss_func)
    return nullcontext(share.n > 0) if of_share else _put_together(state, share)


@contextmanager
def _put_together(state: TrainState, share: Share) -> Iterator[bool]:
    own = state.preds, state.targets
    state.preds, state.targets = (whole_batch(name_of(state.loss_func), part, share.n) for part in own)
    try:
        yield world.is_first
    finally:
        state.preds, state.targets = own


def loss_of_set(losses: Sequence[Tensor], divisors: Sequence[Tensor | int | None]) -> float | None:
    """The loss of a set from those of its batches in all processes; None if there was none."""
    total, weight = loss_sums(losses, divisors) if losses else (0.0, 0.0)
    n, total, weight, n_sums = world.sums(len(losses), total, weight, any(each is None for each in divisors))
    if not n:
        return None
    if n_sums:  # of sums: each process has a weight of 1
        return total
    return total / weight if weight else math.nan
