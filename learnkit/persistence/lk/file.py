"""Exports: one file that holds a model with all that is needed to use it, and that is read without running anything.

Each step of reading refuses before the next one allocates: layout, size of the manifest, its version and checksum,
checksums of the weights, names and bounds, shapes on the meta device; only then is memory taken for the weights.
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import IO, Any, TypeAlias

import torch
from torch import Tensor, nn

from learnkit.checks import nearest_folder
from learnkit.errors import CorruptFileError, MissingFileError, MissingModelError, UsageError, WrongTypeError
from learnkit.persistence.lk.archive import WEIGHTS, read_members, write_members
from learnkit.persistence.lk.json_fields import Fields, changed, shown
from learnkit.persistence.lk.manifest import Manifest, checked, parsed, sealed, weights_of, weights_part
from learnkit.persistence.lk.recipes import read_recipe, sketched
from learnkit.persistence.lk.tensors import Digest, Table, chunks, digest, read_tensors, table_of, verify
from learnkit.persistence.weights import plain_model
from learnkit.seeds import preserve_rng

__all__ = [
    "Export",
    "GivenModel",
    "built_model",
    "check_sha256",
    "existing_file",
    "open_export",
    "write_export",
]

GivenModel: TypeAlias = nn.Module | Callable[[Manifest], nn.Module]
ROOM = 1 << 28  # bytes that buffers outside the file may take, or four times the file where that is more


@dataclass(frozen=True)
class Export:
    """A verified export: its manifest, and its weights in an open file."""

    path: Path
    manifest: Manifest
    table: Table
    file: BufferedReader
    start: int  # of the weights

    def tensors(self) -> dict[str, Tensor]:
        """The weights, on the CPU."""
        return read_tensors(self.file, self.path, self.start, self.table)


def write_export(file: IO[bytes], manifest: Manifest, model: nn.Module) -> None:
    """Write a model and its manifest (all of it but `weights`) to an open file.

    Raises:
        UsageError: a state dict with more than plain tensors, or more of them than one file holds.
    """
    state = model.state_dict()
    table = table_of(state)
    found = digest(chunks(state, table))
    content = sealed({**manifest, "weights": weights_part(WEIGHTS.decode(), table, found)})
    write_members(file, content, chunks(state, table), found.size, found.crc or 0)


@contextmanager
def open_export(path: Path, sha256: str | None = None) -> Iterator[Export]:
    """Read and verify all of a file of `write_export` but its weights, whose checksums are compared.

    Args:
        path: the file.
        sha256: of the whole file, from somewhere trusted: compared before anything else.

    Raises:
        MissingFileError: no such file.
        UnsafeFileError: a pickle, or another file that runs code when it is opened.
        CorruptFileError: not the file that was written.
        VersionError: a file for later readers.
    """
    existing_file(path)
    with path.open("rb") as file:
        check_sha256(file, path, sha256)
        members = read_members(file, path)
        manifest = checked(parsed(members.manifest, path), path)
        table, expected = weights_of(manifest, WEIGHTS.decode(), path)
        verify(file, path, members.start, table, Digest(expected.sha256, members.crc, members.size))
        if expected.size != members.size:
            raise changed(path, f"the manifest weights: {expected.size:,} bytes, found {members.size:,}")
        yield Export(path, manifest, table, file, members.start)


def existing_file(path: Path) -> None:
    """Refuse what is no regular file.

    Raises:
        MissingFileError: the message lists the exports that are there.
    """
    if not os.path.isfile(path):  # False for a name too long, too
        folder = nearest_folder(path)
        there = sorted(entry.name for entry in folder.iterdir() if entry.suffix == ".lk")[:10]
        raise MissingFileError(
            f"no file {path}; {folder} holds {', '.join(map(repr, there)) or 'no exports (.lk)'}", fix="Check the path."
        )


def check_sha256(file: BufferedReader, path: Path, sha256: str | None) -> None:
    """Compare the SHA-256 of an open file with the one that is wanted, if there is one.

    Raises:
        CorruptFileError: it is another.
    """
    if sha256 is None:
        return
    found = hashlib.file_digest(file, "sha256").hexdigest()
    if not isinstance(sha256, str) or found != sha256.lower():
        raise CorruptFileError(
            f"{path} is not the file that is wanted: its SHA-256 is {found}, expected {shown(sha256)}",
            fix="Fetch it again, or ask where the digest came from.",
        )


def built_model(export: Export, model: GivenModel | None = None) -> nn.Module:
    """The model of an export, with its weights, on the CPU and in eval mode.

    Args:
        export: an open one.
        model: of the user's own: an instance, whose weights are written over, or a function of the manifest that makes
            one.

    Raises:
        MissingModelError: a model of the user's own and no `model`; an architecture that is not known.
        CorruptFileError: weights of other names or shapes than those of the architecture.
        UsageError: weights of other names or shapes than those of `model`.
    """
    if model is not None:
        return _filled(export, model).eval()
    recipe = read_recipe(export.manifest, export.path)
    if recipe is None:
        label = _label(Fields(export.manifest, "the manifest", export.path).part("arch").text("name"))
        raise MissingModelError(
            f"{export.path}: this file holds weights for your own model {label!r}; "
            f"pass load_learner({export.path.name!r}, model={label}(...)). Nothing was imported."
        )
    network = sketched(recipe, export.path)
    if wrong := _misfits(network, export.table, keeps_type=False):
        versions = Fields(export.manifest.get("versions"), "versions", export.path).content
        written = ", ".join(f"{name} {shown(version)}" for name, version in list(versions.items())[:5])
        raise CorruptFileError(
            f"{export.path}: its weights do not fit the architecture {recipe.name}: {wrong}",
            fix=f"It was written with {written}: another version may build another network.",
        )
    room = max(ROOM, 4 * sum(tensor.nbytes for tensor in network.state_dict().values()))
    network.load_state_dict(export.tensors(), assign=True)
    missing = _without_numbers(network)
    if sum(tensor.nbytes for tensor in missing) > room:
        raise changed(export.path, f"{recipe.name} needs buffers of more than {room:,} bytes")
    if missing:  # buffers that are in no state dict: what they hold is known to the code that builds the network
        with preserve_rng(), torch.device("cpu"):
            network = recipe.build()
        network.load_state_dict(export.tensors(), assign=True)
    return network.eval()


def _label(name: str) -> str:
    return "".join(letter for letter in name if letter.isalnum() or letter in "_.")[:100] or "MyModel"


def _filled(export: Export, given: GivenModel) -> nn.Module:
    network = given
    if not isinstance(given, nn.Module):
        network = given(export.manifest) if callable(given) and not isinstance(given, type) else given
    if not isinstance(network, nn.Module):
        raise WrongTypeError(
            "model", got=given, expected="an nn.Module, or a function of the manifest that returns one",
            fix="Pass model=MyNet(...).",
        )  # fmt: skip
    if wrong := _misfits(plain_model(network), export.table, keeps_type=True):
        raise UsageError(
            f"{export.path} does not fit the given model: {wrong}",
            fix="Build it with the arguments it was built with before.",
        )
    plain_model(network).load_state_dict(export.tensors())
    return network


def _misfits(network: nn.Module, table: Table, *, keeps_type: bool) -> str:
    """What differs between a network and a table, the first five; "" for nothing.

    Floats may be of another precision than the network's unless it keeps its own types.
    """
    own = network.state_dict()
    try:
        types = {name: kind for name, (_, kind) in table_of(own).items()}
    except UsageError as error:
        return str(error)
    wrong = [f"{name} is missing in the file" for name in own if name not in table]
    wrong += [f"{shown(name)} is not in the model" for name in table if name not in own]
    for name in own:
        if name not in table:
            continue
        shape, kind = table[name]
        if shape != tuple(own[name].shape):
            wrong.append(f"{name} {shape} in the file, {tuple(own[name].shape)} in the model")
        elif kind != types[name] and (keeps_type or "float" not in kind or "float" not in types[name]):
            wrong.append(f"{name} {kind} in the file, {types[name]} in the model")
    more = f"; and {len(wrong) - 5} more" if len(wrong) > 5 else ""
    return "; ".join(wrong[:5]) + more


def _without_numbers(network: nn.Module) -> list[Tensor]:
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
