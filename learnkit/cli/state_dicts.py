"""Finding the weights in whatever a file of a model turned out to hold, and writing them."""

from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save
from torch import Tensor, nn

from learnkit.atomic_files import write_atomically
from learnkit.errors import DataError, UsageError
from learnkit.persistence.lk.tensors import plain_tensors, table_of

__all__ = ["weights_in", "write_weights"]

# Under these keys checkpoints keep the weights.
KEYS = ("model", "state_dict", "model_state_dict", "module", "net", "network", "weights")
DEPTH = 5  # {"model": {"state_dict": ...}}; a mapping may hold itself


def weights_in(content: object) -> dict[str, Tensor]:
    """The weights of a model, a learner (its `.model`), a checkpoint or a state dict, as plain tensors.

    Raises:
        DataError: there are no tensors by name, or tensors that safetensors has no form for.
    """
    found = content
    for _ in range(DEPTH):
        if isinstance(found, nn.Module):
            found = found.state_dict()
        elif not isinstance(found, Mapping):
            found = getattr(found, "model", None)
        elif tensors := {name: value for name, value in found.items() if isinstance(value, Tensor)}:
            return _plain(tensors)
        else:
            found = next((found[key] for key in KEYS if key in found), None)
    raise DataError("weights", got=type(content).__name__, expected="a model, a state dict, or one that holds them")


def _plain(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    if not all(isinstance(name, str) for name in tensors):
        raise DataError("weights", got=next(iter(tensors)), expected="tensors by name")
    try:
        table_of(tensors)
    except UsageError as error:
        raise DataError(f"this has no form in safetensors ({error})") from error
    if empty := [name for name, tensor in tensors.items() if tensor.is_meta]:
        raise DataError(f"there are no numbers in {empty[:5]}: these tensors are on the meta device")
    return {name: tensor.detach().as_subclass(Tensor) for name, tensor in tensors.items()}


def write_weights(path: Path, weights: dict[str, Tensor]) -> None:
    """Write a .safetensors file whole or not at all; weights that share their memory are written each.

    Raises:
        WriteError: as `write_atomically`.
    """
    write_atomically(path, lambda file: file.write(save(plain_tensors(weights))))
