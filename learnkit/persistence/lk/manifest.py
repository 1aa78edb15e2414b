"""The manifest of an export: JSON with everything about a model except its weights, and with its own checksum."""

import hashlib
import json
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from learnkit.data.image.read import full_depth
from learnkit.data.task_json import task_from_json, task_to_json
from learnkit.errors import CorruptFileError, UsageError, VersionError, warn
from learnkit.json_fields import EXPORT_AGAIN, Fields, JsonObject, brief, corrupt
from learnkit.losses.activations import identity
from learnkit.persistence.lk.base import LORA, base_to_json
from learnkit.persistence.lk.certainty import certainty_from_json
from learnkit.persistence.lk.schema import (
    activation_from_json,
    activation_to_json,
    backbone_from_json,
    backbone_to_json,
    inputs_from_json,
    inputs_to_json,
    jpeg_scale_to_json,
    keys_from_json,
    keys_to_json,
)
from learnkit.persistence.lk.setup import setup_from_json, setup_to_json
from learnkit.persistence.lk.tensors import table_of
from learnkit.persistence.spec import ExportSpec
from learnkit.persistence.weights import plain_model

__all__ = ["new_manifest", "parse", "seal", "validate", "versions"]

FORMAT = "learnkit"
SCHEMA = 1  # what this learnkit writes
READER = 1  # the highest `min_reader` it can read
MAX_PARTS = 100_000  # a reader of millions of lists takes seconds
SUBSPACE = "certainty tensors"  # without them, a reader would take these for weights
KNOWN_FEATURES = frozenset({LORA, SUBSPACE})  # what `requires` may ask for


def new_manifest(spec: ExportSpec) -> JsonObject:
    """The manifest of a model, without `weights` and checksum.

    Raises:
        UsageError: a custom task, or values that `load_learner` would refuse.

    Warns:
        LearnkitWarning: the model was changed since it was built, so `load_learner` will need it.
    """
    model, backbone = plain_model(spec.model), spec.backbone
    table_of(model.state_dict())  # raises for what no file can hold, before a warning about changed layers
    if backbone is not None and not backbone.matches(model):
        warn(
            f"the model is no longer the {backbone.name} that was built: its layers were changed. The export holds its "
            "weights; load_learner will need the model itself: load_learner(file, model=...)"
        )
        backbone = None
    n_out = spec.task.n_out if spec.task else 0
    manifest = {
        "format": FORMAT,
        "schema": SCHEMA,
        "min_reader": 1,
        "requires": _required(spec),
        **task_to_json(spec.task),
        **backbone_to_json(backbone, type(model).__name__, n_out),
        "transforms": inputs_to_json(spec.preprocess, spec.input_shape, spec.dtype),
        **jpeg_scale_to_json(spec.preprocess),
        **keys_to_json(spec.keys),
        "loss": {"name": spec.loss_name, "activation": activation_to_json(spec.activation, n_out)},
        "temperature": float(spec.temperature),
        "versions": versions(*(["timm"] if backbone is not None and backbone.source == "timm" else [])),
        "training": dict(spec.training),
        **setup_to_json(spec.setup),
        **({} if spec.certainty is None else {"certainty": spec.certainty.to_json()}),
        **({} if backbone is None else base_to_json(spec.base, model)),
        "card": spec.card,
    }
    _check_readable(manifest, model, {} if spec.certainty is None else spec.certainty.tensors())
    return manifest


def _required(spec: ExportSpec) -> list[str]:
    """What a reader must know so that it gets nothing wrong."""
    has_adapters = spec.backbone is not None and spec.backbone.lora is not None
    has_tensors = spec.certainty is not None and bool(spec.certainty.tensors())
    return [LORA] * has_adapters + [SUBSPACE] * has_tensors


def _check_readable(manifest: JsonObject, model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Nothing is written that would be refused when it is read."""
    try:
        task = task_from_json(manifest, "export")
        inputs_from_json(manifest, "export", full_depth)
        backbone_from_json(manifest, "export")
        keys_from_json(manifest, "export")
        activation_from_json(manifest, "export", identity)
        setup_from_json(manifest, "export", model)
        certainty_from_json(manifest, tensors, task, "export")
    except CorruptFileError as error:
        raise UsageError(f"this learner is beyond what an export can hold: {error.message}") from error


def versions(*packages: str) -> dict[str, str]:
    """The versions of learnkit, torch, Python and further packages."""
    names = {"learnkit": _version("learnkit"), "torch": str(torch.__version__), "python": platform.python_version()}
    return names | {package: _version(package) for package in packages}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def seal(manifest: JsonObject) -> str:
    """The manifest as JSON, with the checksum of itself as last field."""
    return _dump({**_without_checksum(manifest), "self_sha256": _checksum(manifest)})


def _checksum(manifest: JsonObject) -> str:
    return hashlib.sha256(_dump(_without_checksum(manifest)).encode()).hexdigest()


def _without_checksum(manifest: JsonObject) -> JsonObject:
    return {name: value for name, value in manifest.items() if name != "self_sha256"}


def _dump(content: JsonObject) -> str:
    return json.dumps(content, separators=(",", ":"), allow_nan=False)


def parse(text: str | bytes, where: str) -> Any:
    """Untrusted JSON: every name once in an object, no NaN, not too deep, not too many parts.

    Args:
        text: the JSON.
        where: its name in errors, with that of the file.

    Raises:
        CorruptFileError: any other text.
    """
    try:
        text = text if isinstance(text, str) else text.decode()
        if text.count("[") + text.count("{") > MAX_PARTS:
            raise ValueError(f"more than {MAX_PARTS:,} lists and objects")
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise CorruptFileError(f"{where} is not valid JSON ({brief(str(error))})", fix=EXPORT_AGAIN) from error


def _unique(pairs: list[tuple[str, Any]]) -> JsonObject:
    content = dict(pairs)
    if len(content) < len(pairs):
        raise ValueError("an object has a name twice")
    return content


def _refuse_constant(word: str) -> None:
    raise ValueError(f"{word} is not a number")


def validate(content: Any, path: Path | str) -> JsonObject:
    """A parsed manifest, if this learnkit can read it and it is unchanged.

    Raises:
        VersionError: it needs a later learnkit.
        CorruptFileError: not a manifest, or changed since.
    """
    fields = Fields(content, "the manifest", path)
    fields.value("format", lambda value: value == FORMAT, repr(FORMAT))
    fields.integer("schema", 1, 1_000_000)
    written_by = fields.part("versions").string("learnkit", default="unknown")
    update = f"Update: pip install -U learnkit (to {written_by} or later)."
    min_reader = fields.integer("min_reader", 1, 1_000_000)
    if min_reader > READER:
        raise VersionError(
            f"{path} was written by learnkit {written_by}; its min_reader", got=min_reader,
            expected=f"at most {READER}, the schema that this learnkit reads", fix=update,
        )  # fmt: skip
    if unknown := [name for name in fields.strings("requires", 100) if name not in KNOWN_FEATURES]:
        raise VersionError(
            f"{path} requires features that this learnkit lacks: {brief(', '.join(unknown))}", fix=update
        )
    try:
        is_intact = _checksum(content) == content.get("self_sha256")
    except (ValueError, RecursionError):
        is_intact = False
    if not is_intact:
        raise corrupt(path, "the checksum of the manifest is wrong: it was changed since it was written")
    return fields.content
