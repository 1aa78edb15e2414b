"""Find the weights in the content of a file, and write them."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from learnkit.atomic_files import write_atomically
from learnkit.errors import DataError, UsageError
from learnkit.persistence.lk.tensors import chunks, table_of

__all__ = ["weights_in", "write_weights"]

# of weights in checkpoints
KEYS = ("model", "state_dict", "model_state_dict", "module", "net", "network", "weights")
MAX_DEPTH = 5  # {"model": {"state_dict": ...}}; a mapping may contain itself


def weights_in(content: object) -> dict[str, Tensor]:
    """The weights of a model, a learner (its `.model`), a checkpoint or a state dict, as plain tensors.

    Raises:
        DataError: no named tensors, or tensors that safetensors cannot store.
    """
    found = content
    for _ in range(MAX_DEPTH):
        if isinstance(found, nn.Module):
            found = found.state_dict()
        elif not isinstance(found, Mapping):
            found = getattr(found, "model", None)
        elif tensors := {name: value for name, value in found.items() if isinstance(value, Tensor)}:
            return _plain(tensors)
        else:
            found = next((found[key] for key in KEYS if key in found), None)
    raise DataError(
        "weights", got=type(content).__name__, expected="a model, a state dict, or an object that contains one"
    )


def _plain(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    if not all(isinstance(name, str) for name in tensors):
        raise DataError("weights", got=next(iter(tensors)), expected="names of tensors")
    try:
        table_of(tensors)
    except UsageError as error:
        raise DataError(f"safetensors cannot store these weights ({error})") from error
    if empty := [name for name, tensor in tensors.items() if tensor.is_meta]:
        raise DataError("weights on the meta device", got=empty[:5], expected="tensors with values")
    return {name: tensor.detach().as_subclass(Tensor) for name, tensor in tensors.items()}


def write_weights(path: Path, weights: dict[str, Tensor]) -> None:
    """Write a .safetensors file completely or not at all; weights that share memory are written separately.

    Raises:
        WriteError: as `write_atomically`.
    """
    write_atomically(path, lambda file: file.writelines(chunks(weights, table_of(weights))))
