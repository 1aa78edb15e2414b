"""From an export back to a model and its metadata; nothing in the file is run or imported."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from learnkit.certainty.fitted import FittedCertainty
from learnkit.data.image.preprocess import Reader
from learnkit.data.task_json import task_from_json
from learnkit.data.tasks import Task
from learnkit.errors import CorruptFileError, LearnkitError, MissingModelError, UsageError, WrongTypeError
from learnkit.json_fields import EXPORT_AGAIN, Fields, JsonObject, brief, corrupt
from learnkit.models.finite import tell_of_weights
from learnkit.models.pretrained import Weights
from learnkit.models.spec import BackboneSpec
from learnkit.persistence.lk.base import base_from_json, read_base, takes_base
from learnkit.persistence.lk.certainty import certainty_from_json
from learnkit.persistence.lk.file import Export, open_export
from learnkit.persistence.lk.schema import activation_from_json, backbone_from_json, inputs_from_json, keys_from_json
from learnkit.persistence.lk.setup import setup_from_json
from learnkit.persistence.lk.tensors import Table, dtype_name, table_of
from learnkit.persistence.spec import ExportSpec
from learnkit.persistence.weights import plain_model
from learnkit.seeds import preserve_rng
from learnkit.types import Activation

__all__ = ["GivenModel", "load_model", "network_on_meta", "read_export"]

GivenModel: TypeAlias = nn.Module | Callable[[JsonObject], nn.Module]
ROOM = 1 << 28  # bytes that buffers outside the file may take, or four times the file if that is more
MAX_LISTED = 5  # differences in one error


def read_export(
    path: Path,
    model: GivenModel | None = None,
    sha256: str | None = None,
    *,
    reader: Reader | None = None,
    activation: Activation | None = None,
    weights: Weights | None = None,
) -> ExportSpec:
    """What `write_export` wrote, its model on the CPU and in eval mode; arguments and errors as for `load_learner`."""
    with open_export(path, sha256) as export:
        task = task_from_json(export.manifest, path)
        inputs = inputs_from_json(export.manifest, path, reader)
        activation = activation_from_json(export.manifest, path, activation)
        fields = Fields(export.manifest, "the manifest", path)
        temperature, loss_name = fields.number("temperature", 1e-6, 1e6, 1.0), fields.part("loss").string("name")
        backbone = backbone_from_json(export.manifest, path) if model is None else None
        if backbone is not None and task is not None and backbone.n_out != task.n_out:
            raise corrupt(path, "outputs of the network", got=backbone.n_out, expected=f"{task.n_out}, like its task")
        network = load_model(export, backbone, model, weights)
        tell_of_weights(f"weights in {path}", plain_model(network))
        return ExportSpec(
            network,
            inputs.shape,
            task,
            inputs.preprocess,
            inputs.dtype,
            activation=activation,
            temperature=temperature,
            backbone=backbone,
            loss_name=loss_name,
            keys=keys_from_json(export.manifest, path),
            setup=setup_from_json(export.manifest, path, plain_model(network)),
            certainty=_certainty(export, task, plain_model(network)),
            base=None if backbone is None else base_from_json(export.manifest, network, export.weights),
        )


def _certainty(export: Export, task: Task | None, network: nn.Module) -> FittedCertainty | None:
    fitted = certainty_from_json(export.manifest, export.certainty_tensors(), task, export.path)
    if fitted is not None and fitted.layer is not None and fitted.layer not in dict(network.named_modules()):
        raise corrupt(export.path, "certainty: the layer", got=brief(fitted.layer), expected="one of the network")
    return fitted


def load_model(
    export: Export, backbone: BackboneSpec | None, model: GivenModel | None = None, weights: Weights | None = None
) -> nn.Module:
    """The model of an export, with its weights, on the CPU and in eval mode.

    Args:
        export: an open export.
        backbone: how it is built; None for a custom model.
        model: a custom one: an instance, whose weights are overwritten, or a function of the manifest that makes one.
        weights: those beside adapters, for an export without them; see `read_base`.

    Raises:
        MissingModelError: a custom model, and no `model`; or as `read_base`.
        CorruptFileError: weights whose names or shapes are not those of the backbone, or damaged.
        UsageError: weights whose names or shapes are not those of `model`; `weights` for an export that has all; or as
            `read_base`.
    """
    is_whole = not takes_base(export.manifest)
    if weights is not None and is_whole:
        raise UsageError(
            "weights", got=type(weights).__name__, expected=f"None, as {export.path} has all weights in it"
        )
    if weights is not None and model is not None:
        raise UsageError(
            "weights= and model=: the weights are those of the network in the file", fix="Leave out model=."
        )
    if model is not None:
        return _fill(export, model).eval()
    if backbone is None:
        label = _label(Fields(export.manifest, "the manifest", export.path).part("arch").string("name"))
        raise MissingModelError(
            f"{export.path}: this file holds weights for your custom model {label!r}; "
            f"pass load_learner({export.path.name!r}, model={label}(...)). Nothing was imported."
        )
    network = network_on_meta(backbone, export.path)
    table = export.weights if is_whole else {**table_of(network.state_dict()), **export.weights}
    if wrong := _mismatches(network, table, keeps_type=False):
        versions = Fields(export.manifest.get("versions"), "versions", export.path).content
        written = ", ".join(f"{name} {brief(version)}" for name, version in list(versions.items())[:5])
        raise CorruptFileError(
            f"{export.path}: its weights do not fit the architecture {backbone.name}: {wrong}",
            fix=f"It was written with {written}: another version may build another network.",
        )
    room = max(ROOM, 4 * sum(tensor.nbytes for tensor in network.state_dict().values()))
    tensors = export.tensors()
    if not is_whole:
        absent = table.keys() - export.table.keys()
        tensors |= read_base(export.manifest, export.path, backbone, absent, weights)
    network.load_state_dict(tensors, assign=True)
    missing = _meta_tensors(network)
    if sum(tensor.nbytes for tensor in missing) > room:
        raise corrupt(export.path, f"{backbone.name} needs buffers of more than {room:,} bytes")
    if missing:  # buffers that no state dict holds: only the code that builds the network knows their values
        with preserve_rng(), torch.device("cpu"):
            network = backbone.build(init=None).model
        network.load_state_dict(tensors, assign=True)
    return network.eval()


def _label(name: str) -> str:
    return "".join(letter for letter in name if letter.isalnum() or letter in "_.")[:100] or "MyModel"


def _fill(export: Export, given: GivenModel) -> nn.Module:
    network = given
    if not isinstance(given, nn.Module):
        network = given(export.manifest) if callable(given) and not isinstance(given, type) else given
    if not isinstance(network, nn.Module):
        raise WrongTypeError(
            "model", got=given, expected="an nn.Module, or a function of the manifest that returns one",
            fix="Pass model=MyNet(...).",
        )  # fmt: skip
    if wrong := _mismatches(plain_model(network), export.weights, keeps_type=True):
        raise UsageError(
            f"{export.path} does not fit the given model: {wrong}",
            fix="Build it with the same arguments as before.",
        )
    plain_model(network).load_state_dict(export.tensors())
    return network


def network_on_meta(backbone: BackboneSpec, path: Path) -> nn.Module:
    """The network on the meta device.

    Raises:
        CorruptFileError: nothing can be built from these arguments.
    """
    try:
        return backbone.on_meta()
    except (LearnkitError, RuntimeError, ValueError, TypeError, AssertionError, IndexError, OverflowError) as error:
        raise CorruptFileError(
            f"{path}: {backbone.name} cannot be built from the manifest ({brief(str(error))})", fix=EXPORT_AGAIN
        ) from error


def _mismatches(network: nn.Module, table: Table, *, keeps_type: bool) -> str:
    """What differs between a network and a table, the first five; "" for nothing.

    The precision of floats may differ unless the network keeps its own types. Lazy layers take the shapes of the file.
    """
    state = network.state_dict()
    try:
        own = table_of({name: tensor for name, tensor in state.items() if not is_lazy(tensor)})
    except UsageError as error:
        return str(error)
    wrong = [f"{name} is missing in the file" for name in state if name not in table]
    wrong += [f"{brief(name)!r} is not in the model" for name in table if name not in state]
    for name, (shape, dtype) in own.items():
        found_shape, found = table.get(name, (shape, dtype))
        if found_shape != shape:
            wrong.append(f"{name} {found_shape} in the file, {shape} in the model")
        elif found != dtype and (keeps_type or not (found.is_floating_point and dtype.is_floating_point)):
            wrong.append(f"{name} {dtype_name(found)} in the file, {dtype_name(dtype)} in the model")
    more = f"; and {len(wrong) - MAX_LISTED} more" if len(wrong) > MAX_LISTED else ""
    return "; ".join(wrong[:MAX_LISTED]) + more


def _meta_tensors(network: nn.Module) -> list[Tensor]:
    """Tensors anywhere in the network that are still on the meta device."""
    held = [value for module in network.modules() for value in vars(module).values()]
    return [tensor for value in held for tensor in _tensors(value) if tensor.is_meta]


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple | set):
        for inner in value:
            yield from _tensors(inner)
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _tensors(inner)
