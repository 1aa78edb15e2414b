"""The manifest of an export: JSON that says all there is to know of a model but its weights, and its own checksum."""

import hashlib
import json
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeAlias

import torch

from learnkit.errors import CorruptFileError, VersionError
from learnkit.persistence.lk.json_fields import Fields, shown
from learnkit.persistence.lk.tensors import Digest, Table, checked_table

__all__ = ["Manifest", "checked", "parsed", "sealed", "started", "versions", "weights_of", "weights_part"]

Manifest: TypeAlias = dict[str, Any]

FORMAT = "learnkit"
SCHEMA = 1  # what this learnkit writes
READER = 1  # the highest `min_reader` it can read
MAX_PARTS = 100_000  # twice the tensors, and room: a reader of millions of lists takes seconds
KNOWS: frozenset[str] = frozenset()  # what `requires` may ask for


def started() -> Manifest:
    """The fields every manifest begins with."""
    return {"format": FORMAT, "schema": SCHEMA, "min_reader": 1, "requires": []}


def versions(*packages: str) -> dict[str, str]:
    """The versions of learnkit, torch, Python and further packages."""
    names = {"learnkit": _version("learnkit"), "torch": str(torch.__version__), "python": platform.python_version()}
    return names | {package: _version(package) for package in packages}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def weights_part(file: str, table: Table, digest: Digest) -> dict[str, Any]:
    """The part `weights`."""
    tensors = {name: [list(shape), dtype] for name, (shape, dtype) in table.items()}
    return {"file": file, "bytes": digest.size, "sha256": digest.sha256, "tensors": tensors}


def sealed(manifest: Manifest) -> bytes:
    """The manifest as JSON, with the checksum of itself as last field."""
    content = {name: value for name, value in manifest.items() if name != "self_sha256"}
    return _text({**content, "self_sha256": _checksum(content)})


def _checksum(manifest: Manifest) -> str:
    content = {name: value for name, value in manifest.items() if name != "self_sha256"}
    return hashlib.sha256(_text(content)).hexdigest()


def _text(content: Manifest) -> bytes:
    return json.dumps(content, separators=(",", ":"), allow_nan=False).encode()


def parsed(text: bytes, path: Path | str) -> Any:
    """JSON of somebody else's: no name twice in an object, no NaN, not too deep or of too many parts.

    Raises:
        CorruptFileError: it is not.
    """
    try:
        if text.count(b"[") + text.count(b"{") > MAX_PARTS:
            raise ValueError(f"more than {MAX_PARTS:,} lists and objects")
        return json.loads(text.decode(), object_pairs_hook=_once, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise CorruptFileError(
            f"{path}: the manifest is no JSON ({shown(str(error))})", fix="Export again or copy it again."
        ) from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        raise ValueError("a name stands twice in an object")
    return content


def _refuse(word: str) -> None:
    raise ValueError(f"{word} is no number")


def checked(content: Any, path: Path | str) -> Manifest:
    """A parsed manifest that this learnkit can read and that is as it was written.

    Raises:
        VersionError: only a later learnkit reads it rightly.
        CorruptFileError: not a manifest, or changed since.
    """
    fields = Fields(content, "the manifest", path)
    fields.value("format", lambda value: value == FORMAT, repr(FORMAT))
    fields.whole("schema", 1, 1_000_000)
    written_by = shown(fields.part("versions").text("learnkit", default="unknown"))
    if fields.whole("min_reader", 1, 1_000_000) > READER:
        raise VersionError(
            f"{path} was written by learnkit {written_by} for readers of {content['min_reader']} and up, "
            f"this one is of {READER}",
            fix=f"Update: pip install -U learnkit (to {written_by} or later).",
        )
    if unknown := [name for name in fields.texts("requires", 100) if name not in KNOWS]:
        raise VersionError(
            f"{path} needs what this learnkit does not know: {shown(', '.join(unknown))}",
            fix=f"Update: pip install -U learnkit (to {written_by} or later).",
        )
    try:
        fits = _checksum(content) == content.get("self_sha256")
    except (ValueError, RecursionError):
        fits = False
    if not fits:
        raise CorruptFileError(
            f"{path}: the checksum of the manifest is wrong: it was changed since it was written",
            fix="Export again or copy it again.",
        )
    return fields.content


def weights_of(manifest: Manifest, file: str, path: Path | str) -> tuple[Table, Digest]:
    """The table and the checksums of the weights, which stand in `file`.

    Raises:
        CorruptFileError: they are not of the kind, or are said to stand elsewhere.
    """
    part = Fields(manifest.get("weights"), "weights", path)
    part.value("file", lambda value: value == file, repr(file))
    table = checked_table(part.content.get("tensors"), f"{path}: weights")
    return table, Digest(part.text("sha256", 64), None, part.whole("bytes", 0, 1 << 42))
