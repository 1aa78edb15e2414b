"""Gradients averaged over the processes; the model itself stays as it is."""

import itertools
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from inspect import signature
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from learnkit.distributed.world import world
from learnkit.errors import warn
from learnkit.tree import leaves

__all__ = [
    "Parallel",
    "SharedNorm",
    "average_gradients",
    "share_norms",
    "spare",
    "spread_buffers",
    "synchronized_batch_norm",
]

SYNCHRONIZES = "cuda"  # the type of device on which torch has synchronized batch norm

# What torch calls its own spreading of buffers in each pass, which `spread_buffers` does after each step.
SPREADS_BUFFERS = next(
    name
    for name in ("forward_sync_buffers", "broadcast_buffers")
    if name in signature(nn.parallel.DistributedDataParallel).parameters
)


class Parallel:
    """Runs a model in a fit of several processes.

    The first pass goes through the model alone, and its gradients are averaged afterwards. Later passes go through
    `DistributedDataParallel`, which averages while the backward pass runs, and looks each time for layers that no
    output depends on. Where gradients reach such layers all the same (a loss takes weights from the model, a reentrant
    checkpoint hides some), all passes are like the first.

    Args:
        model: has the same weights in every process.
        others: parameters outside the model that may be trained too, such as those of a loss.

    Attributes:
        others: these, and those that were added since.
        n_groups: how many groups of the optimizer were looked through for such.
    """

    n_groups = 0

    def __init__(self, model: nn.Module, others: list[nn.Parameter]) -> None:
        self._model = model
        self.others: list[nn.Parameter] = others
        self._parallel: nn.parallel.DistributedDataParallel | None = None
        self._trained: list[nn.Parameter] = []  # what it was made for
        self._is_averaged = False  # the model's gradients
        self._is_done = True  # with what the next step takes
        self._reached: set[int] | None = set()  # parameters that outputs depend on; None once that is decided

    def __call__(self, *inputs: Any) -> Any:
        outputs = (self._parallel or self._model)(*inputs)
        if self._reached is not None:
            self._reached |= reached(outputs)
        return outputs

    def averaging(self, is_last: bool) -> AbstractContextManager[None]:
        """Around a forward and a backward pass: gradients are averaged in it, if no other pass adds to them."""
        self._is_averaged, self._is_done = is_last and self._parallel is not None, False
        if self._parallel is None or is_last:
            return nullcontext()
        return self._parallel.no_sync()

    def finish(self) -> None:
        """Average what is left of the gradients since the last step; again it does nothing."""
        if self._is_done:
            return
        self._is_done = True
        spread_buffers(self._model)
        if self._is_averaged:
            average_gradients(self.others)
            return
        trained = [parameter for parameter in self._model.parameters() if parameter.requires_grad]
        average_gradients([*trained, *self.others])
        if trained and self._reached is not None:
            known, self._reached = self._reached, None
            own = {id(parameter) for parameter in trained if parameter.grad is not None}
            if not world.highest(not own <= known):
                self._trained = trained
                options: dict[str, Any] = {"find_unused_parameters": True, SPREADS_BUFFERS: False}
                self._parallel = nn.parallel.DistributedDataParallel(self._model, **options)
                warnings.filterwarnings(
                    "ignore", "find_unused_parameters=True was specified"
                )  # a later one may use less

    def refresh(self) -> None:
        """Notice that other layers are trained than before; before each batch."""
        if self._parallel is not None:
            trained = (parameter for parameter in self._model.parameters() if parameter.requires_grad)
            if any(a is not b for a, b in itertools.zip_longest(trained, self._trained)):
                self._parallel, self._reached = None, set()


def reached(outputs: Any) -> set[int]:
    """The ids of the parameters that outputs depend on, by autograd's record of them."""
    ahead = [leaf.grad_fn for leaf in leaves(outputs) if isinstance(leaf, Tensor) and leaf.grad_fn is not None]
    seen, found = set(ahead), set[int]()
    while ahead:
        node: Any = ahead.pop()
        if hasattr(node, "variable"):
            found.add(id(node.variable))
        new = {before for before, _ in node.next_functions if before is not None} - seen
        seen |= new
        ahead += new
    return found


def average_gradients(parameters: list[nn.Parameter]) -> None:
    """Average those that some process has over all processes."""
    if not parameters:
        return
    used = torch.tensor([p.grad is not None for p in parameters], dtype=torch.int64)
    dist.all_reduce(used, dist.ReduceOp.MAX, group=world.group)
    gradients = []
    for parameter, is_used in zip(parameters, used.tolist(), strict=True):
        if is_used:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            gradients.append(parameter.grad)
    for same in _alike(gradients):
        flat = torch.cat([gradient.reshape(-1) for gradient in same])
        dist.all_reduce(flat)
        _spread_over(flat.div_(world.size), same)


@torch.no_grad()
def spread_buffers(model: nn.Module) -> None:
    """What forward passes leave in buffers, such as running statistics: those of the first process, in all."""
    if world.size == 1:
        return
    layers = (module for module in model.modules() if not isinstance(module, nn.SyncBatchNorm))
    kept = [b for layer in layers for b in layer.buffers(recurse=False) if b.is_floating_point() and b.numel()]
    for same in _alike(kept):
        flat = torch.cat([buffer.reshape(-1) for buffer in same])
        dist.broadcast(flat, group_src=0)
        _spread_over(flat, same)


def _alike(tensors: list[Tensor]) -> list[list[Tensor]]:
    """In groups of one device and type, which can be sent as one."""
    groups: dict[Any, list[Tensor]] = {}
    for tensor in tensors:
        groups.setdefault((tensor.device, tensor.dtype), []).append(tensor)
    return list(groups.values())


def _spread_over(flat: Tensor, tensors: list[Tensor]) -> None:
    """Write the numbers of all of them, one after another, back in place."""
    parts = torch.split(flat, [tensor.numel() for tensor in tensors])
    torch._foreach_copy_(tensors, [part.view(tensor.shape) for part, tensor in zip(parts, tensors, strict=True)])


class SharedNorm(nn.SyncBatchNorm):
    """Batch norm over the items of all processes; of one that has only a spare item, that does not count.

    Attributes:
        counts: whether this process's items do. If not, it takes part with none, as its layers must send and get what
            those of the others do, and its item goes on with the running statistics.
    """

    counts = True

    def forward(self, x: Tensor) -> Tensor:
        if self.counts or not self.training:
            return super().forward(x)
        # As float32, as those of others are sent.
        none = super().forward(x[:0].to(torch.promote_types(x.dtype, torch.float32)))
        mean, variance = self.running_mean, self.running_var
        if mean is None or variance is None:
            mean = x.new_zeros(self.num_features, dtype=none.dtype)
            variance = torch.ones_like(mean)
        # Copies, as a later call changes the statistics.
        own = F.batch_norm(x, mean.clone(), variance.clone(), self.weight, self.bias, eps=self.eps)
        return own + none.sum().to(own.dtype)  # so that gradients pass through both


@contextmanager
def spare(model: nn.Module) -> Iterator[None]:
    """Inside, this process has no item of the batch: what it computes on is in no statistics."""
    norms = [module for module in model.modules() if isinstance(module, SharedNorm)]
    for norm in norms:
        norm.counts = False
    try:
        yield
    finally:
        for norm in norms:
            norm.counts = True


def share_norms(model: nn.Module) -> list[tuple[nn.Module, str, nn.Module]]:
    """Replace batch norm by `SharedNorm`s of the same parameters and buffers; returns parents, names and old layers."""
    places = _norms(model)
    shared = {child: _shared(child) for *_, child in places}  # a layer may have several places
    for parent, name, child in places:
        setattr(parent, name, shared[child])
    return places


def _shared(norm: nn.Module) -> nn.Module:
    group = getattr(norm, "process_group", None)
    made: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(norm, group)  # type: ignore[no-untyped-call]
    made.__class__ = SharedNorm
    return made.train(norm.training)


def _norms(model: nn.Module) -> list[tuple[nn.Module, str, nn.Module]]:
    """The layers of batch norm that are not shared yet."""
    return [
        (parent, name, child)
        for parent in model.modules()
        for name, child in parent._modules.items()
        if isinstance(child, nn.modules.batchnorm._BatchNorm) and not isinstance(child, SharedNorm)
    ]


@contextmanager
def synchronized_batch_norm(model: nn.Module) -> Iterator[None]:
    """Batch norm over the items of all processes inside, where torch has it: on CUDA.

    The layers are replaced by others of the same parameters and buffers, and put back.

    Warns:
        LearnkitWarning: batch norm on another device, whose statistics are those of each process's share.
    """
    if world.size == 1 or not _norms(model):
        yield
        return
    tensors = itertools.chain(model.parameters(), model.buffers())
    if any(tensor.device.type != SYNCHRONIZES for tensor in tensors):
        warn(
            f"batch norm normalizes with the statistics of each process's share of a batch, a {world.size}th: torch "
            "synchronizes them on CUDA alone. Results differ from those of one process, most for small batches."
        )
        yield
        return
    places = share_norms(model)
    try:
        yield
    finally:
        for parent, name, child in places:
            setattr(parent, name, child.train(getattr(parent, name).training))
