"""A model whose weights, gradients and optimizer state are shared out over the processes: torch's FSDP2."""

from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from learnkit.distributed import parallel
from learnkit.distributed.parallel import average_gradients, share_norms, spread_buffers
from learnkit.distributed.world import world

__all__ = ["Sharded", "is_shared_out", "placed", "shard", "units", "whole"]

LARGEST, SMALLEST = 1 / 4, 1 / 128  # of the model's parameters, in one unit
CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


class Sharded:
    """Runs a sharded model in a fit of several processes, as `Parallel` runs one that every process holds.

    Gradients are averaged and shared out in every pass, also in those that are accumulated: until the last one, they
    would take the memory of the whole model. Of the buffers, which every process holds, the first one's count.

    Args:
        model: of `shard`.
        others: parameters that every process holds: those that `shard` left out, and those of a loss.

    Attributes:
        others, n_groups: as those of `Parallel`.
    """

    n_groups = 0

    def __init__(self, model: nn.Module, others: list[nn.Parameter]) -> None:
        self._model = model
        self.others: list[nn.Parameter] = others
        self._is_done = True  # with what the next step takes

    def __call__(self, *inputs: Any) -> Any:
        return self._model(*inputs)

    def averaging(self, is_last: bool) -> AbstractContextManager[None]:
        """Around a forward and a backward pass."""
        self._is_done = False
        return nullcontext()

    def finish(self) -> None:
        """Average the gradients that are not shared out since the last step; again it does nothing."""
        if not self._is_done:
            self._is_done = True
            spread_buffers(self._model)
            average_gradients(self.others)

    def refresh(self) -> None:
        """Nothing to do when other layers are trained than before: each pass looks at what is."""


def shard(model: nn.Module, device: torch.device) -> list[nn.Parameter]:
    """Share out the parameters of a model, in place: each of its `units` is gathered while it computes.

    Args:
        model: may be on the CPU; each unit is moved to the device before it is shared out.
        device: where the shares are.

    Returns:
        The parameters that every process keeps whole: those without a dimension.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    if device.type == parallel.SYNCHRONIZES:
        share_norms(model)
    scalars = [parameter for parameter in model.parameters() if not parameter.ndim]
    for tensor in scalars:
        tensor.data = tensor.data.to(device)
    for tensor in model.parameters():  # torch shares out no others, such as those in channels-last memory format
        tensor.data = tensor.data.contiguous()
    mesh, left_out = init_device_mesh(device.type, (world.size,)), set(scalars)
    for module in (*units(model), model):
        # After each pass, so that nothing but shares is changed between two of them.
        fully_shard(module, mesh=mesh, reshard_after_forward=True, ignored_params=left_out)
    return scalars


def units(model: nn.Module) -> list[nn.Module]:
    """The parts of a model that are gathered one after another; the rest is gathered for the whole pass.

    They are the largest modules in an `nn.Sequential`, `nn.ModuleList` or `nn.ModuleDict` that hold at most a quarter
    of the parameters (a layer may hold more), at least 1/128 of them, and none that is used outside. So they are the
    blocks of a network that repeats some.
    """
    total = _size(model)
    uses = _uses(model)

    def inside(parent: nn.Module) -> Iterator[nn.Module]:
        for child in parent.children():
            size, smaller = _size(child), list(inside(child))
            has_forward = type(child).forward is not nn.Module.forward
            can_be_one = isinstance(parent, CONTAINERS) and has_forward and size and size >= total * SMALLEST
            if not can_be_one or (smaller and size > total * LARGEST) or not _uses(child).items() <= uses.items():
                yield from smaller
            else:
                yield child

    return list(inside(model))


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters() if parameter.ndim)


def _uses(module: nn.Module) -> Counter[int]:
    """How many modules hold each parameter."""
    return Counter(id(own) for part in module.modules() for own in part.parameters(recurse=False))


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor that is shared out, on the CPU; any other unchanged. Every process must call it."""
    return getattr(tensor.detach(), "full_tensor")().cpu() if is_shared_out(tensor) else tensor  # noqa: B009


def placed(value: Tensor, like: Tensor) -> Tensor:
    """This process's part of a whole tensor, as `like` is shared out; unchanged if it is not."""
    if not is_shared_out(like) or is_shared_out(value):
        return value
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(like, DTensor)
    return distribute_tensor(value.detach().to(like.device), like.device_mesh, like.placements, src_data_rank=None)


def is_shared_out(tensor: Tensor) -> bool:
    """Whether it is a part of a tensor: torch's DTensor, whose import alone takes time."""
    return hasattr(tensor, "full_tensor")
