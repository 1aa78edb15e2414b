"""Several raw outputs as a list of tensors, which is what a graph returns, and as the structure that the model made."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from learnkit.persistence.deploy.familiarity import OUTPUT
from learnkit.tree import leaves, map_tensors

__all__ = ["Flat", "FlatOutputs", "FromFlat", "tensors_in"]


def tensors_in(outputs: Any) -> list[Tensor]:
    """The tensors of a structure, or of a list of them, in their order."""
    return [leaf for leaf in leaves(outputs) if isinstance(leaf, Tensor)]


class Flat:
    """How the raw outputs of a network are laid out.

    Args:
        network: from inputs (N, ...) to raw outputs.
        inputs: a batch of more than two.

    Attributes:
        examples: the tensors for two of the inputs.
        free: of each, the names of the dimensions of any size: the first, or none if it has no row per input.
        names: of the outputs of a graph of them.
    """

    def __init__(self, network: Callable[[Tensor], Any], inputs: Tensor) -> None:
        with torch.no_grad():
            outputs, every = network(inputs[:2]), tensors_in(network(inputs))
        self.examples: list[Tensor] = tensors_in(outputs)
        self.free: list[tuple[str, ...]] = [
            ("batch",) if one.shape[:1] == (2,) and whole.shape[:1] == (len(inputs),) else ()
            for one, whole in zip(self.examples, every, strict=True)
        ]
        n = len(self.examples)
        self.names: list[str] = [OUTPUT] if n == 1 else [f"{OUTPUT}{place}" for place in range(n)]
        self._structure = map_tensors(lambda _: torch.empty(0), outputs)

    def filled(self, tensors: Tensor | Sequence[Tensor]) -> Any:
        """The structure that the model returns, of these tensors."""
        values = iter(tensors_in(tensors))
        return map_tensors(lambda _: next(values), self._structure)


class FlatOutputs(nn.Module):
    """A network that returns its tensors as a list."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, input: Tensor) -> list[Tensor]:
        return [tensor.clone() for tensor in tensors_in(self.network(input))]  # a graph returns none twice


class FromFlat(nn.Module):
    """An activation of several outputs that takes them as a list."""

    def __init__(self, activation: nn.Module, flat: Flat) -> None:
        super().__init__()
        self.activation = activation
        self.flat = flat

    def forward(self, tensors: Sequence[Tensor]) -> Tensor:
        return self.activation(self.flat.filled(tensors))  # type: ignore[no-any-return]
