"""A fit whose weights, gradients and optimizer state are shared out over the processes, then put together again."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.optim import Optimizer

from learnkit.distributed.failures import fail_alike
from learnkit.distributed.sharded import Sharded, is_shared_out, shard
from learnkit.errors import warn
from learnkit.optim.build import own_parameters
from learnkit.optim.kept import AsMade
from learnkit.training.state import TrainState
from learnkit.training.weights import copied
from learnkit.training.whole import Whole

__all__ = ["sharded", "whole_of"]


@contextmanager
def sharded(state: TrainState, make_optimizer: Callable[[nn.Module], Optimizer]) -> Iterator[None]:
    """Train a sharded copy of the model inside; the model and its optimizer wait on the CPU, and get its results.

    They get them also when all processes fail with the same error. After any other failure they are those of the last
    time that all were put together, for a checkpoint or a file, or of the start of the fit; a note says so.

    Args:
        state: of a fit that has not started.
        make_optimizer: makes the optimizer of a model that is a copy of the state's, with the same groups.

    Warns:
        LearnkitWarning: a compiled model, whose copy is not.

    Raises:
        UsageError: `make_optimizer` makes other groups.
    """
    model, optimizer, as_made, device = state.model, state.optimizer, state.as_made, state.compute.device
    if getattr(model, "_compiled_call_impl", None) is not None:
        warn("strategy='fsdp' trains a copy of the model that is not compiled")
    _move(model, optimizer, torch.device("cpu"))
    try:
        copy = copied(model)
        left_out = shard(copy, device)
        state.model, state.optimizer = copy, _for_shares(make_optimizer(copy))
        state.as_made = AsMade.of(state.optimizer)
        state.parallel = Sharded(copy, [*left_out, *own_parameters(model, state.loss_func)])
        state.whole = Whole(model, optimizer, copy, state.optimizer)
        state.whole.share_out()
        state.kept_step = state.step
        try:
            yield
        except BaseException as error:
            if fail_alike(error):
                whole_of(state)
            if state.kept_step == state.step:  # also of a fit that left with a checkpoint
                state.kept_step = None
            else:
                error.add_note(
                    f"the learner has the weights and the optimizer of step {state.kept_step} of this fit: those of "
                    f"step {state.step} are shared out over processes that did not end together"
                )
            raise
        whole_of(state)
        state.kept_step = None
    finally:
        state.model, state.optimizer, state.parallel, state.whole = model, optimizer, None, None
        state.as_made = as_made
        _move(model, optimizer, device)


def whole_of(state: TrainState) -> tuple[nn.Module, Optimizer]:
    """The model and the optimizer of a fit with all their weights; of a sharded one, every process must call it.

    Those of a sharded fit are on the CPU, and what is set in them has no effect on the fit before `Whole.share_out`.
    """
    if state.whole is None:
        return state.model, state.optimizer
    state.whole.gather()
    state.kept_step = state.step
    return state.whole.model, state.whole.optimizer


def _move(model: nn.Module, optimizer: Optimizer, device: torch.device) -> None:
    """Move what is somewhere else to the device, in place; the state of an optimizer follows its parameters."""
    if any(parameter.device != device for parameter in model.parameters()):
        model.to(device)
        optimizer.load_state_dict(optimizer.state_dict())


def _for_shares(optimizer: Optimizer) -> Optimizer:
    """Choose implementations that know shared-out tensors: few fused ones do, and none a mixture with others."""
    for group in optimizer.param_groups:
        is_mixed = len({is_shared_out(parameter) for parameter in group["params"]}) > 1
        if group.get("fused"):
            group["fused"], group["foreach"] = False, not is_mixed
        elif group.get("foreach"):
            group["foreach"] = not is_mixed
    if optimizer.defaults.get("fused"):  # those of groups that a callback adds
        optimizer.defaults["fused"] = False
    vars(optimizer).pop("_step_supports_amp_scaling", None)  # that of the fused ones
    return optimizer
