"""The parts of a manifest about a model: how it is built, how its inputs are prepared, its activation; and back.

Each is one of a few known kinds, by name; the arguments are plain values within bounds.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from learnkit.data.image.opening import MAX_PIXELS
from learnkit.data.image.preprocess import Normalize, Preprocess, Reader
from learnkit.data.image.read import full_depth
from learnkit.data.image.resize import Resize
from learnkit.data.loading.batch_parts import Keys
from learnkit.data.points import Points, as_points
from learnkit.data.segmentation import Segmentation
from learnkit.data.tasks import Classification, MultiLabel, Regression
from learnkit.errors import LearnkitError, MissingModelError, UsageError
from learnkit.json_fields import Fields, JsonObject, brief, corrupt
from learnkit.losses.activations import identity, softmax
from learnkit.losses.flattened import CrossEntropyLossFlat
from learnkit.losses.scores import ScoreLoss
from learnkit.models.spec import BackboneSpec
from learnkit.persistence.lk.tensors import DTYPES, dtype_name
from learnkit.types import Activation

__all__ = [
    "INPUT_DTYPES",
    "Inputs",
    "activation_from_json",
    "activation_to_json",
    "backbone_from_json",
    "backbone_to_json",
    "inputs_from_json",
    "inputs_to_json",
    "jpeg_scale_to_json",
    "keys_from_json",
    "keys_to_json",
]

MAX_KEYS = 1000  # inputs of a model
MAX_NUMBERS = 1 << 30  # in one input
MAX_SIDE = 16_384  # pixels of an image
MAX_CHANNELS = 10_000
INPUT_DTYPES = {  # by name; more than weights may have
    dtype_name(dtype): dtype
    for dtype in (*DTYPES.values(), torch.uint16, torch.uint32, torch.uint64, torch.complex64, torch.complex128)
}
READERS: dict[str, Reader] = {"full_depth": full_depth}  # learnkit's own
ACTIVATIONS: dict[str, Activation] = {
    "softmax": softmax,
    "sigmoid": torch.sigmoid,
    "exp": torch.exp,
    "identity": identity,
    "points": as_points,
}
_SAME: dict[str, Sequence[Any]] = {
    "softmax": (softmax, Classification.activation, Segmentation.activation),
    "sigmoid": (torch.sigmoid, F.sigmoid, Tensor.sigmoid, MultiLabel.activation),
    "exp": (torch.exp, Tensor.exp),
    "identity": (identity, Regression.activation),
    "points": (as_points, Points.activation),
}


def backbone_to_json(backbone: BackboneSpec | None, label: str, n_out: int) -> JsonObject:
    """The parts `arch` and `head`; for a custom model (None), with a label for it."""
    if backbone is not None:
        return backbone.to_json()
    return {
        "arch": {"source": "custom", "name": label[:100], "config": {}},
        "head": {"kind": "none", "n_out": n_out},
    }


def backbone_from_json(manifest: JsonObject, path: Path | str) -> BackboneSpec | None:
    """Back from `backbone_to_json`; None for a custom model.

    Raises:
        MissingModelError: an unknown architecture or unknown fields.
        CorruptFileError: values out of bounds.
        UsageError: timm is not installed.
    """
    arch = Fields(manifest, "the manifest", path).part("arch", ("source", "name", "config"))
    if arch.choice("source", ("registry", "timm", "custom")) == "custom":
        return None
    try:
        return BackboneSpec.from_json(manifest)
    except MissingModelError as error:
        package = "timm" if arch.content["source"] == "timm" else "learnkit"
        version = Fields(manifest.get("versions"), "versions", path).string(package, default="unknown")
        raise MissingModelError(
            f"{path}: {error.what}", got=brief(error.got), expected=f"{error.expected}. Nothing was imported",
            fix=f"The file was written with {package} {version}; or pass model= with a custom network.",
        ) from error  # fmt: skip
    except UsageError:
        raise
    except LearnkitError as error:
        raise corrupt(path, error.what, got=brief(error.got), expected=error.expected) from error


class Inputs(NamedTuple):
    """The inputs of the model: images prepared by this, or tensors of this shape (None if unknown) and dtype."""

    preprocess: Preprocess | None
    shape: tuple[int, ...] | None
    dtype: torch.dtype = torch.float32


def inputs_to_json(
    preprocess: Preprocess | None, shape: tuple[int, ...] | None, dtype: torch.dtype = torch.float32
) -> list[JsonObject]:
    """The part `transforms`: in order, what is done to an input; shape and dtype are those of data other than images.

    A dtype other than float32 is written, and refused by an earlier learnkit, which would convert items to float32.
    """
    if preprocess is None:
        args: JsonObject = {"shape": None if shape is None else list(shape)}
        return [{"name": "tensor", "args": args if dtype == torch.float32 else {**args, "dtype": dtype_name(dtype)}}]
    resize, normalize, reader = preprocess.resize, preprocess.normalize, preprocess.reader
    known = next((name for name, own in READERS.items() if own is reader), None if reader is None else "custom")
    pixels: JsonObject = {"channels": preprocess.channels, "reader": known}
    if preprocess.depth is not None:
        pixels["depth"] = list(preprocess.depth) if isinstance(preprocess.depth, tuple) else preprocess.depth
    size = {"size": list(resize.size), "method": resize.method, "interpolation": resize.interpolation}
    steps: list[JsonObject] = [
        {"name": "resize", "args": size},
        {"name": "to_tensor", "args": pixels},
    ]
    if normalize is not None:
        statistics = {"mean": list(map(float, normalize.mean)), "std": list(map(float, normalize.std))}
        steps.append({"name": "normalize", "args": statistics})
    return steps


def inputs_from_json(manifest: JsonObject, path: Path | str, reader: Reader | None) -> Inputs:
    """Back from `inputs_to_json`.

    Raises:
        MissingModelError: an unknown transform; images read by a custom function, and no `reader`.
        CorruptFileError: values out of bounds, or transforms in another order.
    """
    steps = manifest.get("transforms")
    if not isinstance(steps, list) or not 1 <= len(steps) <= 3:
        raise corrupt(path, "the manifest transforms", got=brief(steps), expected="a list of one to three")
    parts = [Fields(step, f"transforms[{number}]", path) for number, step in enumerate(steps)]
    for part in parts:
        part.only(("name", "args"))
    names = [part.string("name") for part in parts]
    if unknown := [name for name in names if name not in ("tensor", "resize", "to_tensor", "normalize")]:
        raise MissingModelError(
            f"{path} has the transform {unknown[0]!r}, which this learnkit does not know. Nothing was imported",
            fix="Update learnkit.",
        )
    if names == ["tensor"]:
        args = parts[0].part("args", ("shape", "dtype"))
        return Inputs(None, _tensor_shape(parts[0], args), _tensor_dtype(args))
    if names not in (["resize", "to_tensor"], ["resize", "to_tensor", "normalize"]):
        raise corrupt(path, "the manifest transforms", got=names, expected="resize, to_tensor and perhaps normalize")
    resize, pixels = _resize(parts[0]), parts[1].part("args", ("channels", "reader", "depth"))
    channels = pixels.integer("channels", 1, MAX_CHANNELS)
    normalize = _normalize(parts[2], channels) if len(parts) == 3 else None
    try:
        own, depth = _reader(pixels, reader), pixels.content.get("depth")
        return Inputs(Preprocess(resize, normalize, channels, own, depth, _decodes_in_full(manifest, path)), None)
    except UsageError as error:
        raise corrupt(path, f"the manifest transforms: {error}") from error


def _tensor_shape(step: Fields, args: Fields) -> tuple[int, ...] | None:
    if args.content.get("shape") is None:
        return None
    shape = args.integers("shape", range(9), 0, 1 << 24)
    if math.prod(shape) > MAX_NUMBERS:
        raise corrupt(step.path, f"{step.where} shape", got=shape, expected=f"at most {MAX_NUMBERS:,} numbers")
    return shape


def _tensor_dtype(args: Fields) -> torch.dtype:
    """float32 of a file that names none: of such data, or from before it was written."""
    return INPUT_DTYPES[args.choice("dtype", INPUT_DTYPES)] if "dtype" in args.content else torch.float32


def _resize(step: Fields) -> Resize:
    args = step.part("args", ("size", "method", "interpolation"))
    height, width = args.integers("size", (2,), 1, MAX_SIDE)
    if height * width > MAX_PIXELS:
        raise corrupt(step.path, f"{step.where} size", got=(height, width), expected=f"at most {MAX_PIXELS:,} pixels")
    return Resize(
        (height, width),
        args.choice("method", ("crop", "squish", "pad")),  # type: ignore[arg-type]
        args.choice("interpolation", ("bilinear", "bicubic")),  # type: ignore[arg-type]
    )


def _normalize(step: Fields, channels: int) -> Normalize:
    args = step.part("args", ("mean", "std"))
    return Normalize(args.numbers("mean", channels, -1e6, 1e6), args.numbers("std", channels, 1e-6, 1e6))


def jpeg_scale_to_json(preprocess: Preprocess | None) -> JsonObject:
    """How large JPEGs are decoded; an earlier learnkit passes over it, and decodes them in full."""
    return {} if preprocess is None else {"jpeg_scale": "full" if preprocess.full_decode else "reduced"}


def _decodes_in_full(manifest: JsonObject, path: Path | str) -> bool:
    """Back from `jpeg_scale_to_json`: True of a file from before there was a choice."""
    fields = Fields(manifest, "the manifest", path)
    return "jpeg_scale" not in manifest or fields.choice("jpeg_scale", ("full", "reduced")) == "full"


def _reader(pixels: Fields, given: Reader | None) -> Reader | None:
    name = None if pixels.content.get("reader") is None else pixels.choice("reader", (*READERS, "custom"))
    if given is not None:
        return given
    if name == "custom":
        raise MissingModelError(
            f"{pixels.path}: its images are read by a custom function",
            fix="Pass it: load_learner(file, reader=...). Nothing was imported.",
        )
    return None if name is None else READERS[name]


def activation_to_json(activation: Any, n_out: int) -> str:
    """The name in a manifest of the activation of `n_out` outputs: "custom" for an unknown one."""
    if activation is None:
        return "identity"
    if isinstance(activation, nn.Identity | nn.Sigmoid):
        return type(activation).__name__.lower()
    if isinstance(activation, nn.Softmax) and activation.dim == 1:
        return "softmax"
    owner, function = getattr(activation, "__self__", None), getattr(activation, "__func__", activation)
    if function is ScoreLoss.activation and isinstance(owner, ScoreLoss):
        return "sigmoid" if owner.binary or n_out == 1 else "softmax"
    if function is Segmentation.activation and isinstance(owner, Segmentation) and owner.binary:
        return "sigmoid"
    if function is CrossEntropyLossFlat.activation and isinstance(owner, CrossEntropyLossFlat):
        return "softmax" if owner.axis == 1 else "custom"
    return next((name for name, same in _SAME.items() if any(function is one for one in same)), "custom")


def activation_from_json(manifest: JsonObject, path: Path | str, given: Activation | None) -> Activation:
    """Back from `activation_to_json`.

    Raises:
        MissingModelError: a custom activation, without `activation`.
        CorruptFileError: an unknown one.
    """
    name = Fields(manifest, "the manifest", path).part("loss").choice("activation", (*ACTIVATIONS, "custom"))
    if given is not None:
        return given
    if name == "custom":
        raise MissingModelError(
            f"{path}: its outputs go through a custom activation",
            fix="Pass it: load_learner(file, activation=...). Nothing was imported.",
        )
    return ACTIVATIONS[name]


def keys_to_json(keys: Keys | None) -> JsonObject:
    """The part `keys`, of batches with named entries; none for other batches."""
    if keys is None:
        return {}
    target = {} if keys.target is None else {"target": keys.target}
    return {"keys": {"inputs": list(keys.inputs), **target}}


def keys_from_json(manifest: JsonObject, path: Path | str) -> Keys | None:
    """Back from `keys_to_json`.

    Raises:
        CorruptFileError: keys that are no text, or none.
    """
    if "keys" not in manifest:
        return None
    fields = Fields(manifest, "the manifest", path).part("keys", ("inputs", "target"))
    inputs = fields.strings("inputs", MAX_KEYS)
    if not inputs:
        raise corrupt(path, "the manifest keys inputs", got=0, expected="one or more")
    return Keys(inputs, fields.string("target", 1000) if "target" in fields.content else None)
