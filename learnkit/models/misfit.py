"""A layer and an input that do not fit each other: read from torch's error once it has come, so that no batch pays."""

from collections.abc import Sequence
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from learnkit.device_memory import is_out_of_memory
from learnkit.errors import UsageError
from learnkit.tree import leaves

__all__ = ["kinds_of", "misfit"]

SIDES = {1: ("length",), 2: ("height", "width"), 3: ("depth", "height", "width")}  # of what convolutions take
ABOUT_TYPES = ("type", "implemented for")  # words of torch's errors


def misfit(error: BaseException, model: nn.Module, inputs: Sequence[Any]) -> UsageError | None:
    """The error for a model that failed on its inputs as one of its layers takes others.

    Args:
        error: what the model raised.
        model: without wrappers; the layer is named as in it.
        inputs: what it was called with.

    Returns:
        None where it cannot be told from the layer that failed: its type, and the shape and type of its input.
    """
    called = error.__traceback__
    layer, x = _failed(called and called.tb_next)  # reading the locals of who handles it would keep the error in them
    if layer is None or x is None or is_out_of_memory(error):
        return None
    taken, gets, fix = _taken(layer, x, about_types=any(word in str(error) for word in ABOUT_TYPES))
    if not taken:
        return None
    name = next((name for name, module in model.named_modules() if module is layer), "")
    which = f"its layer {name} ({type(layer).__name__})" if name else f"{type(layer).__name__}"
    return UsageError(
        f"the model does not fit its input, {kinds_of(inputs)}: {which} takes {taken}, and gets {gets}",
        fix=fix,
    )


def kinds_of(inputs: Sequence[Any]) -> str:
    """The types and shapes of the tensors in some inputs.

    >>> kinds_of([torch.zeros(2, 3), {"mask": torch.zeros(2, dtype=torch.bool)}])
    'float32 (2, 3) and bool (2,)'
    """
    tensors = [leaf for leaf in leaves(list(inputs)) if isinstance(leaf, Tensor)]
    return " and ".join(f"{_short(tensor.dtype)} {tuple(tensor.shape)}" for tensor in tensors) or "no tensor"


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _failed(traceback: TracebackType | None) -> tuple[nn.Module | None, Tensor | None]:
    """The innermost module that a traceback leads to, and the first tensor that it was called with."""
    layer, x = None, None
    while traceback is not None:
        local = traceback.tb_frame.f_locals
        module, args = local.get("self"), (*local.get("args", ()), *local.get("kwargs", {}).values())
        if isinstance(module, nn.Module) and module is not layer and traceback.tb_frame.f_code.co_name in _CALLS:
            layer, x = module, next((one for one in args if isinstance(one, Tensor)), None)
        traceback = traceback.tb_next
    return layer, x


_CALLS = {nn.Module.__call__.__name__, nn.Module._call_impl.__name__}  # their frames hold self, args and kwargs


def _taken(layer: nn.Module, x: Tensor, *, about_types: bool) -> tuple[str, str, str]:
    """What a layer takes, what this input is instead, and advice; empty where nothing is known to be wrong."""
    if shape := _shape_taken(layer, x):
        return shape, kinds_of([x]), "Make the items of the data as the model takes them, or the layer as they are."
    if isinstance(layer, nn.Embedding | nn.EmbeddingBag):
        return _indices_taken(layer, x)
    own = next((one for one in layer.parameters(recurse=False) if not is_lazy(one)), None)
    if not about_types or own is None or not own.is_floating_point() or own.dtype == x.dtype:
        return "", "", ""
    other = f", or the model, model.to({x.dtype})" if x.is_floating_point() else ""
    return _short(own.dtype), kinds_of([x]), f"Convert the items of the data, x.to({own.dtype}){other}."


def _shape_taken(layer: nn.Module, x: Tensor) -> str:
    """What a layer of torch takes, where this shape is another."""
    if isinstance(layer, nn.Linear):
        return "" if x.shape[-1:] == (layer.in_features,) else f"{layer.in_features} numbers on its last axis"
    if isinstance(layer, nn.modules.conv._ConvNd):
        n = len(layer.kernel_size)
        fits = x.ndim == n + 2 and x.shape[1] == layer.in_channels
        return "" if fits else f"(batch, {layer.in_channels}, {', '.join(SIDES[n])})"
    if isinstance(layer, nn.modules.batchnorm._NormBase):
        return "" if x.shape[1:2] == (layer.num_features,) else f"{layer.num_features} channels on its second axis"
    if isinstance(layer, nn.GroupNorm):
        return "" if x.shape[1:2] == (layer.num_channels,) else f"{layer.num_channels} channels on its second axis"
    if isinstance(layer, nn.LayerNorm | nn.RMSNorm):
        last = tuple(layer.normalized_shape)
        return "" if tuple(x.shape[-len(last) :]) == last else f"(..., {', '.join(map(str, last))})"
    if isinstance(layer, nn.RNNBase | nn.RNNCellBase):
        return "" if x.shape[-1:] == (layer.input_size,) else f"{layer.input_size} numbers on its last axis"
    return ""


def _indices_taken(layer: nn.Embedding | nn.EmbeddingBag, x: Tensor) -> tuple[str, str, str]:
    if x.dtype not in (torch.int32, torch.int64):
        return "int64 or int32", kinds_of([x]), "Convert the items of the data, x.long()."
    if not x.is_cpu or not x.numel():  # CUDA answers nothing any more
        return "", "", ""
    low, high, n = int(x.min()), int(x.max()), layer.num_embeddings
    if low >= 0 and high < n:
        return "", "", ""
    return f"numbers from 0 to {n - 1}", f"{low} to {high}", f"Look at the data, or make the layer for {high + 1}."
