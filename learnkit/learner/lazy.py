"""Lazy layers, which take their sizes from the first batch they see."""

from torch import nn
from torch.nn.parameter import is_lazy

from learnkit.data.bunch import DataBunch
from learnkit.device import Compute
from learnkit.errors import UsageError
from learnkit.modes import eval_mode

__all__ = ["give_sizes"]


def give_sizes(model: nn.Module, dls: DataBunch) -> None:
    """Run the first training batch through a model with lazy layers, such as nn.LazyLinear; others are not changed.

    The weights are drawn from torch's global generator, as those of other layers are when they are made.

    Raises:
        UsageError: a batch that the model does not take.
    """
    if not any(is_lazy(tensor) for tensor in (*model.parameters(), *model.buffers())):
        return
    with Compute(dls.device).preserve_rng(every=True):
        inputs = dls.one_batch()[:-1]
    try:
        with eval_mode(model):
            model(*inputs)
    except (RuntimeError, TypeError, ValueError) as error:
        raise UsageError(
            f"the lazy layers of the model take their sizes from a batch, and it does not take the first one ({error})",
            fix="Call the model once with an input of the right shape before.",
        ) from error
