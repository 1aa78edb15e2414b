"""What goes in and what comes out of an exported model, as JSON: its preprocessing, its task, its activation.

Each is one of a few kinds known here by name; the arguments are plain values within bounds.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from learnkit.data.image.preprocess import Normalize, Preprocess, Reader
from learnkit.data.image.read import MAX_PIXELS, full_depth
from learnkit.data.image.resize import Resize
from learnkit.data.segmentation import Segmentation
from learnkit.data.tasks import Classification, MultiLabel, Regression, Task
from learnkit.errors import DataError, MissingModelError, UsageError
from learnkit.losses.activations import identity, softmax
from learnkit.losses.flattened import CrossEntropyLossFlat
from learnkit.losses.scores import ScoreLoss
from learnkit.persistence.lk.json_fields import Fields, changed, shown
from learnkit.persistence.lk.manifest import Manifest
from learnkit.types import Activation

__all__ = ["Inputs", "activation_name", "read_activation", "read_inputs", "read_task", "written_inputs", "written_task"]

MAX_CLASSES = 1_000_000
MAX_NUMBERS = 1 << 30  # in one input
READERS: dict[str, Reader] = {"full_depth": full_depth}  # those of learnkit's own
_PIXELS = ("channels", "reader")
ACTIVATIONS: dict[str, Activation] = {
    "softmax": softmax,
    "sigmoid": torch.sigmoid,
    "exp": torch.exp,
    "identity": identity,
}
_SAME: dict[str, Sequence[Any]] = {
    "softmax": (softmax, Classification.activation, Segmentation.activation),
    "sigmoid": (torch.sigmoid, F.sigmoid, Tensor.sigmoid, MultiLabel.activation),
    "exp": (torch.exp, Tensor.exp),
    "identity": (identity, Regression.activation),
}


class Inputs(NamedTuple):
    """What the model is given: pictures prepared so, or tensors of this shape (None where that is not known)."""

    preprocess: Preprocess | None
    shape: tuple[int, ...] | None


def written_inputs(inputs: Inputs) -> list[dict[str, Any]]:
    """The part `transforms`: in order, what is done to an input."""
    if inputs.preprocess is None:
        return [{"name": "tensor", "args": {"shape": None if inputs.shape is None else list(inputs.shape)}}]
    resize, normalize, channels, reader = (
        getattr(inputs.preprocess, name) for name in ("resize", "normalize", "channels", "reader")
    )
    known = next((name for name, own in READERS.items() if own is reader), None if reader is None else "custom")
    size = {"size": list(resize.size), "method": resize.method, "interpolation": resize.interpolation}
    steps = [
        {"name": "resize", "args": size},
        {"name": "to_tensor", "args": {"channels": channels, "reader": known}},
    ]
    if normalize is not None:
        statistics = {"mean": list(map(float, normalize.mean)), "std": list(map(float, normalize.std))}
        steps.append({"name": "normalize", "args": statistics})
    return steps


def read_inputs(manifest: Manifest, path: Path | str, reader: Reader | None) -> Inputs:
    """Back from `written_inputs`.

    Raises:
        MissingModelError: a transform that is not known; pictures read by a function of the user's own, and no
            `reader`.
        CorruptFileError: values out of bounds, or transforms in another order.
    """
    steps = manifest.get("transforms")
    if not isinstance(steps, list) or not 1 <= len(steps) <= 3:
        raise changed(path, "the manifest transforms: expected a list of one to three")
    parts = [Fields(step, f"transforms[{number}]", path) for number, step in enumerate(steps)]
    for part in parts:
        part.only(("name", "args"))
    names = [part.text("name") for part in parts]
    if strange := [name for name in names if name not in ("tensor", "resize", "to_tensor", "normalize")]:
        raise MissingModelError(
            f"{path} names the transform {shown(strange[0])}, which this learnkit does not know. Nothing was imported.",
            fix="Update learnkit.",
        )
    if names == ["tensor"]:
        args = parts[0].part("args", ("shape",))
        none = args.content.get("shape") is None
        shape = None if none else args.wholes("shape", range(9), 0, 1 << 24)
        if shape is not None and math.prod(shape) > MAX_NUMBERS:
            raise changed(path, f"transforms[0] shape: got {shape}, at most {MAX_NUMBERS:,} numbers")
        return Inputs(None, shape)
    if names not in (["resize", "to_tensor"], ["resize", "to_tensor", "normalize"]):
        raise changed(path, "the manifest transforms: expected resize, to_tensor and perhaps normalize")
    size, pixels = parts[0].part("args", ("size", "method", "interpolation")), parts[1].part("args", _PIXELS)
    height, width = size.wholes("size", (2,), 1, 16_384)
    if height * width > MAX_PIXELS:
        raise changed(path, f"transforms[0] size: got {height} x {width}, at most {MAX_PIXELS:,} pixels")
    resize = Resize(
        (height, width),
        size.choice("method", ("crop", "squish", "pad")),  # type: ignore[arg-type]
        size.choice("interpolation", ("bilinear", "bicubic")),  # type: ignore[arg-type]
    )
    channels = pixels.whole("channels", 1, 10_000)
    normalize = None
    if len(parts) == 3:
        args = parts[2].part("args", ("mean", "std"))
        mean, std = args.numbers("mean", channels, -1e6, 1e6), args.numbers("std", channels, 1e-6, 1e6)
        normalize = Normalize(mean, std)
    try:
        return Inputs(Preprocess(resize, normalize, channels, _reader(pixels, reader)), None)
    except UsageError as error:
        raise changed(path, f"the manifest transforms: {error}") from error


def _reader(pixels: Fields, given: Reader | None) -> Reader | None:
    name = None if pixels.content.get("reader") is None else pixels.choice("reader", (*READERS, "custom"))
    if given is not None:
        return given
    if name == "custom":
        raise MissingModelError(
            f"{pixels.path}: its pictures are read by a function of your own",
            fix="Pass it: load_learner(file, reader=...). Nothing was imported.",
        )
    return None if name is None else READERS[name]


def written_task(task: Task | None) -> Manifest:
    """The parts `task`, `classes`, `decode` and, where there is more to know, `task_args`.

    Raises:
        UsageError: a task of the user's own.
    """
    kinds: dict[type, str] = {
        Classification: "classification", MultiLabel: "multilabel", Regression: "regression",
        Segmentation: "segmentation", type(None): "none",
    }  # fmt: skip
    if type(task) not in kinds:
        raise UsageError(
            "export: the task", got=type(task).__name__, expected="one of learnkit.data.tasks",
            fix="Set learn.dls.task to the nearest of them before.",
        )  # fmt: skip
    content: Manifest = {"task": kinds[type(task)], "classes": list(task.classes) if task else [], "decode": "none"}
    if isinstance(task, Classification | Segmentation):
        content["decode"] = "argmax"
    if isinstance(task, MultiLabel):
        each = task.threshold if isinstance(task.threshold, Sequence) else (task.threshold,)
        content["decode"] = f"threshold:{','.join(repr(float(one)) for one in each)}"
    if isinstance(task, Regression):
        content["task_args"] = {"names": list(task.names)}
    if isinstance(task, Segmentation):
        values = [value if isinstance(value, int) else list(value) for value in task.values]
        ignored = task.ignore_index
        content["task_args"] = {
            "values": values,
            "ignore_index": ignored if ignored is None or isinstance(ignored, int) else list(ignored),
        }
    return content


def read_task(manifest: Manifest, path: Path | str) -> Task | None:
    """Back from `written_task`.

    Raises:
        MissingModelError: a task that is not known.
        CorruptFileError: values out of bounds.
    """
    fields = Fields(manifest, "the manifest", path)
    name = fields.text("task")
    if name not in _TASKS:
        raise MissingModelError(
            f"{path} is for the task {shown(name)}, which this learnkit does not know", fix="Update learnkit."
        )
    try:
        return _TASKS[name](fields, fields.texts("classes", MAX_CLASSES))
    except (DataError, UsageError) as error:
        raise changed(path, f"the manifest {name}: {error}") from error


def _classification(fields: Fields, classes: tuple[str, ...]) -> Task:
    fields.choice("decode", ("argmax",))
    return Classification(classes)


def _multilabel(fields: Fields, classes: tuple[str, ...]) -> Task:
    kind, _, numbers = fields.text("decode", 40 * len(classes) + 100).partition(":")
    try:
        each = tuple(map(float, numbers.split(",")))
    except ValueError:
        each = ()
    if kind != "threshold" or len(each) not in (1, len(classes)):
        raise changed(fields.path, "the manifest decode: expected threshold: and one number, or one a class")
    thresholds: Any = each[0] if len(each) == 1 else each
    return MultiLabel(classes, thresholds)


def _regression(fields: Fields, classes: tuple[str, ...]) -> Task:
    fields.choice("decode", ("none",))
    return Regression(fields.part("task_args", ("names",)).texts("names", MAX_CLASSES))


def _segmentation(fields: Fields, classes: tuple[str, ...]) -> Task:
    fields.choice("decode", ("argmax",))
    args = fields.part("task_args", ("values", "ignore_index"))
    values = args.value("values", lambda v: isinstance(v, list) and len(v) == len(classes), "one pixel value a class")
    pixels = [_pixel(value) for value in values]
    if len(set(pixels)) < len(classes):
        raise changed(fields.path, "task_args values: expected different ones")
    return Segmentation(dict(zip(pixels, classes, strict=True)), _pixel(args.content.get("ignore_index")))


def _pixel(value: Any) -> Any:
    is_colour = isinstance(value, list) and len(value) == 3 and all(type(part) is int for part in value)
    return tuple(value) if is_colour else value if type(value) is int or value is None else -1  # refused by the task


def _none(fields: Fields, classes: tuple[str, ...]) -> Task | None:
    return None


_TASKS: dict[str, Callable[[Fields, tuple[str, ...]], Task | None]] = {
    "classification": _classification, "multilabel": _multilabel, "regression": _regression,
    "segmentation": _segmentation, "none": _none,
}  # fmt: skip


def activation_name(activation: Any, n_out: int) -> str:
    """What a manifest calls the activation of `n_out` outputs: "custom" for one of the user's own."""
    if isinstance(activation, nn.Identity | nn.Sigmoid):
        return type(activation).__name__.lower()
    if isinstance(activation, nn.Softmax) and activation.dim == 1:
        return "softmax"
    owner, function = getattr(activation, "__self__", None), getattr(activation, "__func__", activation)
    if function is ScoreLoss.activation and isinstance(owner, ScoreLoss):
        return "sigmoid" if owner.binary or n_out == 1 else "softmax"
    if function is CrossEntropyLossFlat.activation and isinstance(owner, CrossEntropyLossFlat):
        return "softmax" if owner.axis == 1 else "custom"
    return next((name for name, same in _SAME.items() if any(function is one for one in same)), "custom")


def read_activation(manifest: Manifest, path: Path | str, given: Activation | None) -> tuple[Activation, float]:
    """The activation and the temperature.

    Raises:
        MissingModelError: an activation of the user's own, and none is given.
        CorruptFileError: values out of bounds.
    """
    loss = Fields(manifest, "the manifest", path).part("loss")
    temperature = Fields(manifest, "the manifest", path).number("temperature", 1e-6, 1e6, 1.0)
    name = loss.choice("activation", (*ACTIVATIONS, "custom"))
    if given is not None:
        return given, temperature
    if name == "custom":
        raise MissingModelError(
            f"{path}: its outputs go through a function of your own",
            fix="Pass it: load_learner(file, activation=...). Nothing was imported.",
        )
    return ACTIVATIONS[name], temperature
