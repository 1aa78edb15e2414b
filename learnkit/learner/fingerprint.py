"""The fingerprint of a fit: what must not change for it to continue, and what affects only the last bits."""

import hashlib
import inspect
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from learnkit.callbacks.monitor import Monitor
from learnkit.callbacks.recorder import Recorder
from learnkit.data.bunch import DataBunch
from learnkit.data.image_bunch import as_image_bunch
from learnkit.data.table.weights import sampler_of
from learnkit.distributed.world import world
from learnkit.persistence.lk.manifest import versions
from learnkit.text import name_of
from learnkit.training.callback import Callback, Order
from learnkit.training.state import TrainState, loader_length
from learnkit.training.weights import tensors_of

__all__ = ["check_data", "differences", "digest_of", "digest_of_text", "environment", "fingerprint"]

MAX_HASHED = 1 << 26  # bytes of a tensor; of a larger one, evenly spaced rows
DATA = ("classes", "training", "validation", "train items", "valid items", "test items")
COVERED_ELSEWHERE = {"classes", "device", "num_workers", "cache", "on_error", "split", "task", "test", "sampler",
                     "normalize_labels", "suffixes"}  # fmt: skip


def fingerprint(
    dls: DataBunch, state: TrainState, callbacks: Iterable[Callback], arguments: dict[str, Any]
) -> dict[str, str]:
    """What must not change for a fit to continue, as text by name.

    Args:
        dls: the data.
        state: state of a fit that has not started.
        callbacks: callbacks of the fit.
        arguments: arguments of the fit.
    """
    found = {name: _text(value) for name, value in arguments.items()} | _of_data(dls)
    found["batch size"] = _text(dls.batch_size)
    for name, tensor in tensors_of(state.model).items():
        frozen = ", frozen" if isinstance(tensor, nn.Parameter) and not tensor.requires_grad else ""
        found[f"model: {name}"] = f"{tuple(tensor.shape)} {tensor.dtype}{frozen}"
    for number, line in enumerate(_text(state.model).splitlines(), 1):
        found[f"model: line {number} of print(model)"] = line.strip()
    found["optimizer"] = type(state.optimizer).__name__
    for name, value in state.optimizer.defaults.items():
        if value and name not in ("lr", "weight_decay"):  # the fit's own values count
            found[f"optimizer: {name}"] = _text(value)
    has_text = isinstance(state.loss_func, nn.Module | partial)
    found["loss"] = _text(state.loss_func) if has_text else name_of(state.loss_func)
    if state.output is not None:
        found["output"] = _text(state.output)
    found["metrics"] = ", ".join(metric.name for metric in state.metrics) or "none"
    for part in (state.loss_func, *_affecting(callbacks)):
        for name, value in _settings(part).items():
            found[f"{name_of(part)}: {name}"] = value
    return found


def environment(state: TrainState, callbacks: Iterable[Callback]) -> dict[str, str]:
    """What may change, but may affect the last bits."""
    return {
        **versions(),
        "threads": str(torch.get_num_threads()),
        "processes": str(world.size),
        "device": state.compute.device.type,
        "callbacks": ", ".join(callback.label for callback in _affecting(callbacks)),
    }


def check_data(dls: DataBunch) -> None:
    """Refuse several processes with different data: each trains on its share of the same items.

    Args:
        dls: the data; its files are not read, and of datasets and loaders of others only the number of items is known.

    Raises:
        UsageError: in every process, naming what differs.
    """
    if world.size == 1:
        return
    found = _of_data(dls)
    texts = {name: found.pop(f"data: {name}", "") for name in DATA}
    texts["settings"] = _text(sorted(found.items()))
    world.check_same({f"the data: {name} (as a hash)": zlib.crc32(text.encode()) for name, text in texts.items()})


def digest_of(tensors: Iterable[Tensor], *, whole: bool = False) -> str:
    """A short hash of the shapes, types and values of tensors; of all rows of large ones, too, if it is `whole`."""
    return _digest(chain.from_iterable(_bytes(tensor, None if whole else MAX_HASHED) for tensor in tensors))


def digest_of_text(text: str) -> str:
    """A short hash of a text, which may hold names of files that are not valid UTF-8."""
    return _digest([text.encode(errors="surrogateescape")])


def differences(then: dict[str, str], now: dict[str, str]) -> list[str]:
    """What differs, with both values."""
    names = [name for name in {**then, **now} if then.get(name) != now.get(name)]
    return [f"{name}: {then.get(name, 'none')} there, {now.get(name, 'none')} here" for name in names]


def _affecting(callbacks: Iterable[Callback]) -> list[Callback]:
    """Callbacks that affect the training, not those that only report it."""
    return [c for c in callbacks if c.order < Order.REPORT and not isinstance(c, Recorder)]


def _settings(part: Any) -> dict[str, str]:
    """The arguments of a callback or a loss that it stores under their names and that are plain values."""
    arguments = inspect.signature(type(part).__init__).parameters
    attributes = {**vars(part), **getattr(part, "_buffers", {})}
    kept = {name: value for name, value in attributes.items() if name in arguments}
    plain = (bool, int, float, str, tuple, list, slice, type(None), Monitor, Tensor)
    return {name: _text(value) for name, value in kept.items() if isinstance(value, plain)}


def _text(value: Any) -> str:
    value = value.tolist() if isinstance(value, Tensor) else value
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


def _of_data(dls: DataBunch) -> dict[str, str]:
    found = {"data: classes": ", ".join(dls.classes)}
    if (images := as_image_bunch(dls)) is not None:
        settings = images.settings
        items = _of_streams(images) if images.is_stream else _of_table(images)
        found |= {f"data: {name}": text for name, text in items.items()}
        for name in settings.__dataclass_fields__.keys() - COVERED_ELSEWHERE - {"bs", "allow_leak", "valid_pct"}:
            found[f"data: {name}="] = _text(getattr(settings, name))
        if not images.is_stream:
            train = images.samples.query("split == 'train'")
            found["data: sampler="] = _of_sampler(sampler_of(train, settings.sampler))
        return found
    for name, loader in (("training", dls.train_dl), ("validation", dls.valid_dl)):
        found[f"data: {name}"] = _of_loader(loader)
    return found


def _of_sampler(sampler: Any) -> str:
    if sampler is None or isinstance(sampler, str):
        return _text(sampler)
    return f"weights {digest_of_text(_text(torch.as_tensor(sampler, dtype=torch.float64)))}"


def _of_table(dls: DataBunch) -> dict[str, str]:
    table = dls.samples
    names = [str(name) for name in table["input"]]
    start = _folder_of(names)
    found = {}
    for split, rows in table.groupby("split"):
        items = zip(rows["input"], rows["target"], strict=True)
        lines = [f"{str(name).removeprefix(start)}\t{str(target).removeprefix(start)}" for name, target in items]
        found[f"{split} items"] = f"{len(lines)}, names and labels {digest_of_text(chr(10).join(lines))}"
    return found


def _of_streams(dls: DataBunch) -> dict[str, str]:
    sets = {"train": dls.train_ds, "valid": dls.valid_ds, "test": dls.test_ds}
    return {
        f"{split} items": f"{len(part)}, chunks {digest_of_text(part.items.about())}"
        for split, part in sets.items()
        if part is not None
    }


def _folder_of(names: Sequence[str]) -> str:
    """The folder of all files, with a trailing slash: data that was moved is the same data."""
    first, last = min(names, default=""), max(names, default="")
    n_same = next((n for n, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    return first[: first.rfind("/", 0, n_same) + 1]


def _of_loader(loader: Any) -> str:
    if loader is None:
        return "none"
    dataset = getattr(loader, "dataset", None)
    tensors = getattr(dataset, "tensors", None)
    if tensors is not None and all(isinstance(tensor, Tensor) for tensor in tensors):
        return f"{len(tensors[0])} items, {digest_of(tensors)}"
    if dataset is not None and hasattr(dataset, "__len__"):
        targets = getattr(dataset, "targets", None)
        labels = f", labels {digest_of_text(_text(list(targets)))}" if isinstance(targets, list | tuple) else ""
        return f"{len(dataset)} items of {type(dataset).__name__}{labels}"
    n_batches = loader_length(loader)
    return f"{type(loader).__name__}" + ("" if n_batches is None else f" of {n_batches} batches")


def _bytes(tensor: Tensor, most: int | None) -> Iterator[bytes]:
    """Shape, type and rows of a tensor, about as many as make up `most` bytes; in pieces, to need no copy of it."""
    step = 1 if most is None else max(1, tensor.nbytes // most)
    rows = (tensor if tensor.ndim else tensor[None])[::step].detach()
    yield f"{tuple(tensor.shape)} {tensor.dtype}".encode()
    n = max(1, MAX_HASHED * len(rows) // max(1, rows.nbytes))
    for start in range(0, len(rows), n):
        yield rows[start : start + n].cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def _digest(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()[:16]
