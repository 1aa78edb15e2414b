"""Outputs and targets that torch would broadcast: (N, 1) and (N,) silently make (N, N), every item with every other."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from learnkit.errors import UsageError
from learnkit.tree import leaves

__all__ = ["no_broadcasting"]

# Functions of outputs and targets, element by element, which must have one shape; torch broadcasts some with a warning.
PAIRED: set[Callable[..., Tensor]] = {
    F.mse_loss, F.l1_loss, F.smooth_l1_loss, F.huber_loss, F.soft_margin_loss, F.hinge_embedding_loss, F.kl_div,
    F.poisson_nll_loss, F.gaussian_nll_loss, F.binary_cross_entropy, F.binary_cross_entropy_with_logits,
}  # fmt: skip


@contextmanager
def no_broadcasting(
    what: str, preds: Any, targets: Any, hint: str = "Compare targets.view_as(outputs)."
) -> Iterator[None]:
    """Refuse, inside, every operation that would broadcast outputs against targets.

    It watches what a loss or a metric does with them and with what it computes from them, so that one that reshapes
    them first may take any shapes. Watching costs time: meant for the first batch.

    Args:
        what: the loss or metric that is called inside, for the error.
        preds: the outputs it is called with, any structure.
        targets: its targets, likewise.
        hint: what to do if both have as many elements.

    Raises:
        UsageError: inside, naming both shapes.

    >>> preds, targets = torch.zeros(3, 1), torch.zeros(3)
    >>> with no_broadcasting("loss_func", preds, targets):
    ...     (preds.flatten() - targets).abs().mean()
    tensor(0.)
    """
    with _Watch(what, _Family(preds), _Family(targets), hint):
        yield


class _Family:
    """The tensors of a structure and all that are computed from them."""

    def __init__(self, tree: Any) -> None:
        tensors = [leaf for leaf in leaves(tree) if isinstance(leaf, Tensor)]
        self.shapes = {tensor.shape for tensor in tensors}
        self._members = {id(tensor): tensor for tensor in tensors}  # kept, so that no other gets their id

    def __contains__(self, tensor: Tensor) -> bool:
        """Whether it is one of them in its first shape."""
        return tensor.shape in self.shapes and id(tensor) in self._members

    def add(self, result: Tensor, given: list[Tensor]) -> None:
        """Take in what was computed from members."""
        if any(id(tensor) in self._members for tensor in given):
            self._members[id(result)] = result


class _Watch(TorchFunctionMode):
    def __init__(self, what: str, preds: _Family, targets: _Family, hint: str) -> None:
        super().__init__()
        self.what, self.preds, self.targets, self.hint = what, preds, targets, hint

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = [value for value in leaves((tuple(args), kwargs or {})) if isinstance(value, Tensor)]
        if func in PAIRED and len(given) > 1:
            self._check_pair(given[0].shape, given[1].shape)
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor):
            self._check_result(given, result.shape)
            self.preds.add(result, given)
            self.targets.add(result, given)
        return result

    def _check_pair(self, one: torch.Size, other: torch.Size) -> None:
        """Shapes that differ, except for one number against many."""
        if one != other and 1 not in (one.numel(), other.numel()):
            raise self._error(one, other)

    def _check_result(self, given: list[Tensor], result: torch.Size) -> None:
        """Outputs and targets whose axes of items met another axis: each item was paired with every other."""
        for one in given:
            for other in given:
                if one in self.preds and other in self.targets and _mixes_items(one.shape, other.shape, result):
                    raise self._error(one.shape, other.shape)

    def _error(self, preds: torch.Size, targets: torch.Size) -> UsageError:
        return UsageError(
            f"{self.what}: outputs {tuple(preds)} and targets {tuple(targets)} would be broadcast against each other",
            expected="one shape",
            fix=self.hint if preds.numel() == targets.numel() else "Give the targets the shape of the outputs.",
        )


def _mixes_items(one: torch.Size, other: torch.Size, result: torch.Size) -> bool:
    if len(one) == len(other) or not one or not other or one[0] != other[0] or one[0] == 1:
        return False
    try:
        return bool(result == torch.broadcast_shapes(one, other))  # type: ignore[no-untyped-call]
    except RuntimeError:  # not an operation of single elements
        return False
