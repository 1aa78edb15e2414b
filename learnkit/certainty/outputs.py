"""A model's raw outputs and the features its head gets, in one pass and from any number of threads."""

import threading
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from learnkit.errors import UsageError
from learnkit.models.calling import call_model
from learnkit.models.features import NoHead, eagerly, head_layers, parameter_ids

__all__ = ["RawAndFeatures", "head_name", "in_rows", "pooled"]


def head_name(model: nn.Module, group: nn.Module) -> str | None:
    """The name in a model of the first layer of its head, whose input are the features.

    None where the head does not stand apart: a single layer group, or one that is not the end of the model.
    """
    own, ids = parameter_ids(group), [id(parameter) for parameter in model.parameters()]
    if own.issuperset(ids) or ids[-1] not in own:
        return None
    try:
        first = head_layers(model, group)[0]
    except NoHead:
        return None
    return next((name for name, module in model.named_modules() if module is first), None)


def pooled(features: Tensor) -> Tensor:
    """Features (N, D) as they are; of maps (N, D, ...) the means over all places, (N, D); in float32.

    >>> pooled(torch.ones(2, 3, 4, 5)).shape
    torch.Size([2, 3])
    """
    return (features if features.ndim < 3 else features.flatten(2).mean(2)).float().view(features.shape[0], -1)


def in_rows(outputs: Tensor) -> Tensor:
    """Outputs (N, C) or (N,) as float32 (N, C).

    Raises:
        UsageError: more axes.
    """
    if outputs.ndim not in (1, 2):
        raise UsageError("the model's outputs", got=tuple(outputs.shape), expected="one tensor (N, C)")
    return outputs.float().view(outputs.shape[0], -1)


class RawAndFeatures(nn.Module):
    """Returns a model's raw outputs, one tensor or a structure of several, and the pooled features that its head gets.

    Until `close`, a hook of the model remembers what the head gets, for each thread by itself.

    Args:
        model: the network; modes and gradients are the caller's.
        layer: the name of the one whose input are the features; None for raw outputs alone.
        output: picks the one of the model's outputs that is the prediction; None for all of them.
    """

    def __init__(self, model: nn.Module, layer: str | None, output: Callable[[Any], Any] | None = None) -> None:
        super().__init__()
        self.model = model
        self._output = output
        self._own = _Caught()
        self._hook = None
        if layer is not None:
            self._hook = model.get_submodule(layer).register_forward_pre_hook(self._own.catch, with_kwargs=True)

    def forward(self, *inputs: Any) -> tuple[Any, Tensor | None]:
        """Raw outputs, of several with all of their parts, and features (N, D); None without a layer.

        One tensor of outputs is float32 (N, C).
        """
        outputs, features = self.all_outputs(*inputs)
        raw = outputs if self._output is None else self._output(outputs)
        raw = in_rows(raw) if isinstance(raw, Tensor) else raw
        if features is not None and isinstance(raw, Tensor) and len(features) != len(raw):
            raise _not_once()
        return raw, features

    def all_outputs(self, *inputs: Any) -> tuple[Any, Tensor | None]:
        """What the model returns, as it is, and features (N, D) in float32; None without a layer."""
        if self._hook is None:
            return call_model(self.model, inputs), None
        caught: list[Tensor] = []
        self._own.inputs = caught
        try:
            with eagerly(self.model):
                outputs = call_model(self.model, inputs)
        finally:
            self._own.inputs = None
        if len(caught) != 1:
            raise _not_once()
        return outputs, caught[0]

    def close(self) -> None:
        """Take the hook out of the model."""
        if self._hook is not None:
            self._hook.remove()


def _not_once() -> NoHead:
    return NoHead("the head is not called once, with one tensor of all items")


class _Caught(threading.local):
    """What the head got in this thread; None while nobody asks."""

    inputs: list[Tensor] | None = None

    def __reduce__(self) -> tuple[type["_Caught"], tuple[()]]:
        return _Caught, ()  # a copy of a model is used by nobody yet

    def catch(self, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self.inputs is not None:
            tensors = [each for each in (*args, *kwargs.values()) if isinstance(each, Tensor)]
            self.inputs += [pooled(each) for each in tensors[:1]] if len(tensors) == 1 else [torch.empty(0)]
