"""Changing a finished network: layers found, replaced, and appended by name."""

from torch import nn

from learnkit.checks import nearest
from learnkit.errors import UsageError

__all__ = ["append_layer", "find_layer", "replace_layer"]


def find_layer(model: nn.Module, name: str) -> nn.Module:
    """The layer of that dotted name, as `model.named_modules()` returns it ("fc", "classifier.6", "layer1.0.conv1").

    Raises:
        UsageError: no layer of that name; the message lists the nearest.

    >>> find_layer(nn.Sequential(nn.Linear(2, 3), nn.ReLU()), "1")
    ReLU()
    """
    layers: dict[str, nn.Module] = dict(model.named_modules())
    layers.pop("")
    if isinstance(name, str) and name in layers:
        return layers[name]
    raise UsageError(
        "name",
        got=name,
        expected=f"the name of a layer of {type(model).__name__}",
        fix=f"Nearest: {nearest(str(name), layers) or 'it contains no layers'}.",
    )


def replace_layer(model: nn.Module, name: str, layer: nn.Module) -> nn.Module:
    """Replace the layer called `name` by `layer`, and return the old one.

    The model is changed in place. A Learner created before trains the new layer from its next fit on; an optimizer of
    your own still holds the old one.

    Raises:
        UsageError: no layer of that name, or `layer` is not an nn.Module.

    >>> model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 1000))
    >>> replace_layer(model, "1", nn.Linear(3, 10))
    Linear(in_features=3, out_features=1000, bias=True)
    >>> model[1].out_features
    10
    """
    old = find_layer(model, name)
    _check_module(layer)
    model.set_submodule(name, layer, strict=True)
    return old


def append_layer(model: nn.Module, name: str, layer: nn.Module) -> None:
    """Append `layer` after the one called `name`, in place; name "" means after the last layer of an nn.Sequential.

    A Sequential of that name grows by one layer; any other layer becomes a Sequential of itself and the new one, which
    changes the names of its tensors ("fc.weight" becomes "fc.0.weight").

    Raises:
        UsageError: no layer of that name, or `layer` is not an nn.Module.

    >>> model = nn.Sequential(nn.Linear(4, 1000))
    >>> append_layer(model, "", nn.Linear(1000, 10))
    >>> len(model)
    2
    """
    _check_module(layer)
    if name == "" and not isinstance(model, nn.Sequential):
        raise UsageError(
            "name", got="", expected=f"the name of a layer, as a {type(model).__name__} runs by its own forward",
            fix=f"Pass for example {next(reversed([child for child, _ in model.named_children()] or ['fc']))!r}.",
        )  # fmt: skip
    last = model if name == "" else find_layer(model, name)
    if isinstance(last, nn.Sequential):
        last.append(layer)
    else:
        replace_layer(model, name, nn.Sequential(last, layer))


def _check_module(layer: object) -> None:
    if not isinstance(layer, nn.Module):
        raise UsageError("layer", got=layer, expected="an nn.Module", fix="Pass for example nn.Linear(512, 10).")
