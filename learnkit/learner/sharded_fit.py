"""The strategies of a fit of several processes: each holds the whole model, or they share it out."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Literal, TypeAlias

from torch import nn
from torch.optim import Optimizer

from learnkit.checks import check_choice
from learnkit.distributed.world import world
from learnkit.learner.running import Running
from learnkit.training.sharding import sharded
from learnkit.training.state import TrainState

__all__ = ["Around", "Strategy", "in_strategy"]

Strategy = Literal["ddp", "fsdp"] | None
Around: TypeAlias = Callable[[TrainState], AbstractContextManager[None]]


def in_strategy(
    strategy: Strategy, running: Running, make_optimizer: Callable[[nn.Module], Optimizer] | None
) -> Around:
    """What is around a fit with this strategy; one process alone trains the whole model with any.

    With "fsdp" (torch's FSDP2: Zhao et al., PyTorch FSDP, 2023) `state.model` is a sharded copy of the learner's model,
    and `state.optimizer` one of the same `opt_func` over it. The learner's own wait on the CPU and get the results at
    the end; meanwhile a callback that asks for them is refused. Every process must use the same layers for its share of
    a batch.

    Args:
        strategy: "ddp" and None are the same.
        running: of the learner.
        make_optimizer: makes an optimizer of a copy of the learner's model; None for a fit that shares out nothing.

    Raises:
        UsageError: another strategy.
    """
    check_choice("strategy", strategy, (None, "ddp", "fsdp"))
    if strategy != "fsdp" or world.size == 1 or make_optimizer is None:
        return lambda state: nullcontext()

    @contextmanager
    def around(state: TrainState) -> Iterator[None]:
        with running.sharded(), sharded(state, make_optimizer):
            yield

    return around
