"""What a network hands to its head, or any of its layers returns: the features of a batch."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from learnkit.checks import nearest
from learnkit.errors import UsageError
from learnkit.models.calling import call_model
from learnkit.models.head import AdaptiveConcatPool2d
from learnkit.tree import leaves

__all__ = [
    "HeadInputs",
    "LayerOutputs",
    "NoHead",
    "eagerly",
    "head_layers",
    "name_of_layer",
    "parameter_ids",
    "run_layers",
]

FIXED: set[type[nn.Module]] = {
    AdaptiveConcatPool2d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d, nn.AdaptiveMaxPool1d,
    nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d, nn.AvgPool2d, nn.MaxPool2d, nn.Flatten, nn.Identity, nn.ReLU,
}  # fmt: skip  # layers without weights that return the same in training: they belong to the features
TOLERANCE = 1e-4  # of a head by itself, against the whole model


class NoHead(UsageError):
    """The head does not stand apart: no layers at the end of the model turn one tensor into its outputs."""


def head_layers(model: nn.Module, group: nn.Module) -> list[nn.Module]:
    """The layers at the end of a model that hold the parameters of a layer group, to be called one after the other.

    They begin with the first one that has weights or is random: pooling before it belongs to the body.

    Raises:
        NoHead: the group is not the end of the model.

    >>> pool, linear = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), nn.Linear(4, 2)
    >>> head_layers(nn.Sequential(nn.Conv2d(3, 4, 3), pool, nn.Dropout(), linear), linear)
    [Dropout(p=0.5, inplace=False), Linear(in_features=4, out_features=2, bias=True)]
    """
    layers = _end(model, parameter_ids(group))
    while len(layers) > 1 and type(layers[0]) in FIXED and not _has_hooks(layers[0]):
        del layers[0]
    if not layers:
        raise _not_apart("the last layer group is not the last part of the model")
    return layers


class HeadInputs(nn.Module):
    """Returns what a model hands to its last layers, (N, ...), and checks for the first batch that this is all.

    It has the modes of the model, and leaves nothing in it, also after an error.

    Args:
        model: the whole network.
        layers: its last layers, as `head_layers` finds them.
        check_first: is given the features of the first batch.

    Raises:
        NoHead: when it is called: the first of the layers is not called once, with one tensor, or what the last of them
            returns is not what the model does.
    """

    def __init__(
        self, model: nn.Module, layers: Sequence[nn.Module], check_first: Callable[[Tensor], None] | None = None
    ) -> None:
        super().__init__()
        self.model = model
        self._layers = tuple(layers)  # these are modules of the model already
        self._check_first = check_first
        self._is_first = True

    def forward(self, *inputs: Any) -> Tensor:
        caught: list[Any] = []

        def catch(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            given = [*args, *kwargs.values()]
            caught.append([each.clone() if isinstance(each, Tensor) else None for each in given])

        with _watching(self.model, self._layers[0].register_forward_pre_hook(catch, with_kwargs=True)):
            outputs = call_model(self.model, inputs)
        if len(caught) != 1 or len(caught[0]) != 1 or caught[0][0] is None:
            raise _not_apart("its head is not called once, with one tensor")
        features: Tensor = caught[0][0]
        if self._is_first:
            self._is_first = False
            if self._check_first is not None:
                self._check_first(features)
            self._check_outputs(outputs, run_layers(self._layers, features.clone()))
        return features

    def _check_outputs(self, outputs: Any, of_head: Any) -> None:
        pairs = list(zip(leaves(outputs), leaves(of_head), strict=False))
        are_alike = all(a.shape == b.shape and _are_close(a, b) for a, b in pairs)
        if not pairs or not are_alike:
            raise _not_apart("its outputs are not those of its head")


class LayerOutputs(nn.Module):
    """Returns what a layer of a model does, (N, ...); of images, (N, C, H, W), the mean over space, (N, C).

    It has the modes of the model, and leaves nothing in it, also after an error.

    Args:
        model: the whole network.
        name: of the layer, as `name_of_layer` finds it.

    Raises:
        UsageError: when it is called: the layer is not called once, or does not return one tensor with a row per item.
    """

    def __init__(self, model: nn.Module, name: str) -> None:
        super().__init__()
        self.model = model
        self._name = name

    def forward(self, *inputs: Any) -> Tensor:
        caught: list[Any] = []

        def catch(layer: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            caught.append(output.clone() if isinstance(output, Tensor) else output)

        with _watching(self.model, self.model.get_submodule(self._name).register_forward_hook(catch)):
            call_model(self.model, inputs)
        if len(caught) != 1:
            raise UsageError(f"layer {self._name!r} is called {len(caught)} times for a batch", expected="once")
        (output,) = caught
        if not isinstance(output, Tensor) or output.ndim < 2:
            got = f"a tensor of shape {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
            raise UsageError(f"layer {self._name!r} returns {got}", expected="one tensor (N, ...)")
        return output.mean((2, 3)) if output.ndim == 4 else output


def name_of_layer(model: nn.Module, layer: nn.Module | str) -> str:
    """The name of a layer in a model.

    Raises:
        UsageError: it is not in the model, or, for a name, there is none of it.
    """
    names: dict[str, nn.Module] = {name: part for name, part in model.named_modules() if name}
    found = next((name for name, part in names.items() if layer in (name, part)), None)
    if found is None:
        near = f" such as {nearest(layer, names)}" if isinstance(layer, str) else ""
        got = layer if isinstance(layer, str) else type(layer).__name__
        raise UsageError("layer", got=got, expected=f"a module of the model, or its name{near}")
    return found


def eagerly(model: nn.Module) -> AbstractContextManager[Any]:
    """Inside, nothing of a model is compiled: compiled code does not call new hooks."""
    parts = [vars(module) for module in model.modules()]
    is_compiled = any(part.get("_compiled_call_impl") or "_orig_mod" in part["_modules"] for part in parts)
    return torch.compiler.set_stance("force_eager") if is_compiled else nullcontext()


def run_layers(layers: Sequence[nn.Module], x: Any) -> Any:
    """What the last of some layers returns, called one after the other."""
    for layer in layers:
        x = layer(x)
    return x


def parameter_ids(module: nn.Module) -> set[int]:
    """The identities of its parameters."""
    return {id(parameter) for parameter in module.parameters()}


def _are_close(a: Tensor, b: Tensor) -> bool:
    return torch.allclose(a, b, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True)  # of broken weights others say more


@contextmanager
def _watching(model: nn.Module, hook: RemovableHandle) -> Iterator[None]:
    """Call the model inside; afterwards the hook is gone."""
    try:
        with eagerly(model):
            yield
    finally:
        hook.remove()


def _end(module: nn.Module, head: set[int]) -> list[nn.Module]:
    """The last layers of a module that hold just these parameters; none if there are none."""
    in_a_row = _is_plain(module)
    layers = _flat(module) if in_a_row else list(module.children())
    holding = [number for number, layer in enumerate(layers) if parameter_ids(layer) & head]
    if not holding:
        return []
    first = holding[0]
    if in_a_row and set().union(*map(parameter_ids, layers[first:])) == head:
        while first and not parameter_ids(layers[first - 1]):  # dropout, and pooling
            first -= 1
        return layers[first:]
    if len(holding) > 1:
        return []
    return _flat(layers[first]) if parameter_ids(layers[first]) == head else _end(layers[first], head)


def _flat(module: nn.Module) -> list[nn.Module]:
    return [layer for child in module for layer in _flat(child)] if _is_plain(module) else [module]  # type: ignore[attr-defined]


def _is_plain(module: nn.Module) -> bool:
    return type(module) is nn.Sequential and not _has_hooks(module)


def _has_hooks(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks or module._backward_hooks)


def _not_apart(why: str) -> NoHead:
    return NoHead(
        why,
        fix="Set the groups so that the last one is the end of the model, learn.split(lambda m: [m.fc]), or a layer "
        "that takes one tensor.",
    )
