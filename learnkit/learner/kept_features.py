"""Features of a part of the data, and what they depend on: they are used again only while none of that has changed.

What they do not depend on, labels and names, is never kept.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from learnkit.data.bunch import DataBunch
from learnkit.data.image.dataset import ImageDataset
from learnkit.data.loading.loaders import TensorLoader
from learnkit.device import Compute
from learnkit.errors import UsageError
from learnkit.learner.fingerprint import digest_of, digest_of_text
from learnkit.training.weights import extra_state, tensors_of

__all__ = ["KeptFeatures", "identity", "table_of"]

PLAIN = (bool, int, float, str, tuple, type(None))
HOOKS = ("_forward_hooks", "_forward_pre_hooks")


@dataclass(frozen=True)
class KeptFeatures:
    """The features of a part of the data.

    Attributes:
        features: float32 (N, D), on the CPU.
        identity: what they depend on; "" if that is not known, so that they cannot be used again.
    """

    features: Tensor
    identity: str = ""


def identity(model: nn.Module, first_layer: nn.Module, loader: Any, compute: Compute) -> str:
    """A hash of all that the features of a loader depend on; "" if that cannot be found out.

    That is every number of the model's weights and buffers, its layers and their settings, the precision, and the data:
    the numbers if they are tensors in memory; the names, sizes and times of files, and how they are read. It is not
    known for other datasets, readers and images of the user, streams, and models with hooks.

    Args:
        model: the network.
        first_layer: the layer whose inputs are the features.
        loader: the items in order.
        compute: device and precision.
    """
    data = _of_data(loader)
    parts = dict(model.named_modules())
    if not data or extra_state(model) or any(vars(part)[hooks] for part in parts.values() for hooks in HOOKS):
        return ""
    settings = {
        name: {key: value for key, value in vars(part).items() if isinstance(value, PLAIN) and key != "training"}
        for name, part in parts.items()
    }
    place = next(name for name, part in parts.items() if part is first_layer)
    weights = digest_of(tensors_of(model).values(), whole=True)
    return digest_of_text(str((data, str(model), settings, place, weights, compute.precision, str(compute.device))))


def table_of(dls: DataBunch, split: str, n: int) -> tuple[Sequence[Any], Sequence[Any]]:
    """The inputs and the targets of the n items of a part: as in `dls.samples`, or numbers and None without a table."""
    try:
        samples = dls.samples
    except UsageError:
        return [dls.item_name(split, i) for i in range(n)], [None] * n
    rows = samples[samples["split"] == split]
    return rows["input"].tolist(), rows["target"].tolist()


def _of_data(loader: Any) -> str:
    dataset = getattr(loader, "dataset", None)
    if isinstance(loader, TensorLoader):
        return digest_of(loader.tensors, whole=True)
    if not isinstance(dataset, ImageDataset) or not dataset.has_files or dataset.preprocess.reader is not None:
        return ""
    return digest_of_text("\n".join([repr(dataset.preprocess), *map(_of_file, dataset.inputs)]))


def _of_file(file: Any) -> str:
    try:
        found = os.stat(file)
    except OSError:  # reading it will say why
        return f"{file}: missing"
    return f"{file}: {found.st_size} {found.st_mtime_ns} {found.st_ctime_ns} {found.st_ino}"
