"""Exports: one safetensors file with the weights of a model, and the manifest in its metadata.

Each step of reading refuses before the next one takes memory: the size of the header, its names and types, the version
and checksum of the manifest, the places of the tensors; the tensors themselves are read last and compared with their
checksum.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from learnkit.atomic_files import write_atomically
from learnkit.certainty.fitted import TENSORS
from learnkit.checks import nearest_folder
from learnkit.errors import CorruptFileError, MissingFileError, UnsafeFileError, UsageError
from learnkit.json_fields import EXPORT_AGAIN, Fields, JsonObject, brief, corrupt
from learnkit.persistence.lk.base import left_out
from learnkit.persistence.lk.manifest import new_manifest, parse, seal, validate
from learnkit.persistence.lk.tensors import DTYPES, Table, plain_tensors, tensors_sha256
from learnkit.persistence.spec import ExportSpec
from learnkit.persistence.weights import plain_model
from learnkit.safe_load import MAX_TENSORS, code_kind

__all__ = ["Export", "open_export", "pack", "write_export"]

KEY = "learnkit"  # of the manifest in the metadata
MAX_HEADER = 16_000_000  # bytes
MAX_NAME = 500  # characters


@dataclass(frozen=True)
class Export:
    """An open export: its verified manifest, the table of its tensors, and safetensors' reader of them."""

    path: Path
    manifest: JsonObject
    table: Table
    reader: Any

    @property
    def weights(self) -> Table:
        """The table of the model's own tensors."""
        return {name: row for name, row in self.table.items() if name not in TENSORS}

    def tensors(self) -> dict[str, Tensor]:
        """The weights, each in its own memory on the CPU.

        Raises:
            CorruptFileError: they are not those that were written.
        """
        try:
            tensors = {name: self.reader.get_tensor(name) for name in self.table}
        except SafetensorError as error:
            raise _incomplete(self.path, str(error)) from error
        wanted = Fields(self.manifest, "the manifest", self.path).part("weights").string("sha256", 64)
        if tensors_sha256(tensors) != wanted:
            raise _incomplete(self.path, "the checksum of its weights is wrong")
        return {name: tensors[name] for name in self.weights}

    def certainty_tensors(self) -> dict[str, Tensor]:
        """Those of certainty that it has; `tensors` compares them with the checksum, too."""
        return {name: self.reader.get_tensor(name) for name in TENSORS if name in self.table}


def write_export(path: Path, spec: ExportSpec) -> JsonObject:
    """Write a model and its manifest, and return the manifest. The same model is written as the same bytes.

    Raises:
        UsageError: a custom task, a state dict with more than plain tensors, or more than `open_export` reads.
        WriteError: as `write_atomically`.
    """
    manifest = new_manifest(spec)
    state = plain_model(spec.model).state_dict()
    for name in left_out(manifest, spec.base, plain_model(spec.model)):
        del state[name]
    if spec.certainty is not None:
        state |= spec.certainty.tensors()
    write_atomically(path, lambda file: file.write(pack(manifest, state)))
    return manifest


def pack(manifest: JsonObject, state: Mapping[str, Any]) -> bytes:
    """The content of a file: `manifest` is without `weights` and checksum.

    Args:
        manifest: of the model.
        state: what is written, by name.

    Raises:
        UsageError: as `write_export`.
    """
    tensors = plain_tensors(state)
    text = seal({**manifest, "weights": {"sha256": tensors_sha256(tensors)}})
    content = save(tensors, {KEY: text})
    size = int.from_bytes(content[:8], "little")
    if size > MAX_HEADER:
        raise UsageError("header of the export", got=f"{size:,} bytes", expected=f"at most {MAX_HEADER:,}")
    try:
        header = _read_header(content[8 : 8 + size], "export")
        _read_manifest(header, "export")
        _read_table(header, "export")
    except CorruptFileError as error:  # nothing is written that would be refused when it is read
        raise UsageError(f"this model is beyond what an export can hold: {error.message}") from error
    return content


@contextmanager
def open_export(path: Path, sha256: str | None = None) -> Iterator[Export]:
    """Read and verify a file of `write_export` except its weights, which `Export.tensors` verifies.

    Args:
        path: the file.
        sha256: digest of the whole file, from a trusted source: compared before anything else.

    Raises:
        MissingFileError: no such file; the message lists the exports that are there.
        UnsafeFileError: a pickle, or another file that runs code when it is opened.
        CorruptFileError: not the file that was written.
        VersionError: a file for later versions.
    """
    if not os.path.isfile(path):  # False for a name too long, too
        folder = nearest_folder(path)
        there = sorted(entry.name for entry in folder.iterdir() if entry.suffix == ".lk")[:10]
        raise MissingFileError(
            f"no file {path}; {folder} holds {', '.join(map(repr, there)) or 'no exports (.lk)'}", fix="Check the path."
        )
    with path.open("rb") as file:
        _check_sha256(file, path, sha256)
        header = _read_header(_header_text(file, path), path)
        manifest, table = _read_manifest(header, path), _read_table(header, path)
        try:
            opened = safe_open(_utf8_path(file, path), "pt", backend="pread")  # not mapped: the file may change later
        except SafetensorError as error:
            raise _incomplete(path, str(error)) from error
    with opened as reader:
        yield Export(path, manifest, table, reader)


def _utf8_path(file: BufferedReader, path: Path) -> str:
    """The path of an open file for safetensors, which opens no others than those in UTF-8."""
    try:
        return path.as_posix().encode().decode()
    except UnicodeEncodeError:  # bytes in a file name that are not UTF-8, where file names are bytes
        return f"/dev/fd/{file.fileno()}"


def _check_sha256(file: BufferedReader, path: Path, sha256: str | None) -> None:
    """Compare the SHA-256 of an open file with the expected one, if there is one."""
    if sha256 is None:
        return
    found = hashlib.file_digest(file, "sha256").hexdigest()
    if not isinstance(sha256, str) or found != sha256.lower():
        raise CorruptFileError(
            f"{path} is not the expected file: its SHA-256", got=found, expected=str(brief(sha256)),
            fix="Fetch it again, or ask where the digest came from.",
        )  # fmt: skip


def _header_text(file: BufferedReader, path: Path) -> bytes:
    """The header of a safetensors file: JSON after its size in eight bytes."""
    total = file.seek(0, 2)
    file.seek(0)
    start = file.read(9)
    size = int.from_bytes(start[:8], "little")
    if start[8:] != b"{":
        _refuse_other(path, total, could_be_cut=total < 9 and size <= MAX_HEADER)
    if total < 8 + size:
        raise _incomplete(path, "the file seems truncated")
    if size > MAX_HEADER:
        raise _incomplete(path, f"its header has {size:,} bytes, at most {MAX_HEADER:,} are read")
    file.seek(8)
    return file.read(size)


def _refuse_other(path: Path, size: int, *, could_be_cut: bool) -> None:
    if not size:
        raise CorruptFileError(f"{path} is empty", fix=EXPORT_AGAIN)
    if kind := code_kind(path):
        raise UnsafeFileError(
            f"{path} is {kind}; learnkit does not run code from files",
            fix="Load weights with learn.load, and export again with learn.export if you trust the file.",
        )
    if could_be_cut:
        raise _incomplete(path, "the file seems truncated")
    raise CorruptFileError(
        f"{path} is not a learnkit export ({size:,} bytes)",
        fix="learn.export writes one; files of weights are read by learn.load.",
    )


def _read_header(text: bytes, path: Path | str) -> JsonObject:
    header = parse(text, f"{path}: the header")
    if not isinstance(header, dict):
        raise corrupt(path, "the header", got=brief(header), expected="an object")
    return header


def _read_manifest(header: JsonObject, path: Path | str) -> JsonObject:
    metadata = header.get("__metadata__")
    text = metadata.get(KEY) if isinstance(metadata, dict) else None
    if not isinstance(text, str):
        raise CorruptFileError(
            f"{path} has weights, but no learnkit manifest",
            fix="learn.export writes one; files of weights are read by learn.load.",
        )
    return validate(parse(text, f"{path}: the manifest"), path)


def _read_table(header: JsonObject, path: Path | str) -> Table:
    rows = {name: row for name, row in header.items() if name != "__metadata__"}
    if len(rows) > MAX_TENSORS:
        raise corrupt(path, "tensors", got=len(rows), expected=f"at most {MAX_TENSORS:,}")
    return {name: _read_row(name, row, path) for name, row in rows.items()}


def _read_row(name: str, row: Any, path: Path | str) -> tuple[tuple[int, ...], Any]:
    """The shape and type of a tensor; its place is for safetensors' reader to check."""
    if len(name) > MAX_NAME or not name.isprintable():
        raise corrupt(path, "name of a tensor", got=brief(name), expected=f"at most {MAX_NAME} printable characters")
    fields = Fields(row, f"tensor {name}", path)
    fields.only(("dtype", "shape", "data_offsets"))
    dtype = DTYPES[fields.choice("dtype", DTYPES)]
    return fields.integers("shape", range(17), 0, 1 << 40), dtype


def _incomplete(path: Path, why: str) -> CorruptFileError:
    size = path.stat().st_size
    return CorruptFileError(f"{path} is not a complete learnkit export ({size:,} bytes; {why})", fix=EXPORT_AGAIN)
