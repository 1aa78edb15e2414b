"""torch's loader as learnkit's loaders use it: its workers persist, and what they are sent is checked first."""

import io
import multiprocessing
import pickle
from multiprocessing.reduction import ForkingPickler
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from learnkit.checks import check_int
from learnkit.data.image.cache import Store
from learnkit.data.loading.torch_internals import state_without_workers
from learnkit.data.loading.workers import READER, ignore_terminal
from learnkit.device import copies_from_pinned
from learnkit.errors import UsageError

__all__ = ["torch_loader"]


class _Loader(DataLoader[Any]):
    """Is copied and pickled without its workers, and is not read then."""

    def __getstate__(self) -> dict[str, Any]:
        return state_without_workers({name: value for name, value in vars(self).items() if name != READER})


class _WithoutPixels(ForkingPickler):
    """Pickles what a dataset consists of but its images: they can always be sent, and may be large."""

    def persistent_id(self, part: Any) -> str | None:
        """What replaces a part; None to pickle it."""
        return "pixels" if isinstance(part, Store | np.ndarray | Tensor | bytes) else None


def torch_loader(
    dataset: Dataset[Any], device: torch.device, num_workers: int, random: torch.Generator, **options: Any
) -> "DataLoader[Any]":
    """torch's loader with persistent workers.

    Raises:
        UsageError: a number of workers that cannot work, or a dataset that cannot be pickled for spawned workers.
    """
    num_workers = check_int("num_workers", num_workers, 0)
    if num_workers and multiprocessing.get_start_method() != "fork":
        try:
            _WithoutPixels(io.BytesIO()).dump((dataset, options["collate_fn"]))
        except (pickle.PicklingError, TypeError, AttributeError) as error:
            raise UsageError(
                f"num_workers={num_workers}: the data cannot be sent to a process ({error})",
                fix="Define functions you pass (reader, augment, collate_fn) at the top level of a module, or use "
                "num_workers=0.",
            ) from error
    return _Loader(
        dataset,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        pin_memory=copies_from_pinned(device),
        generator=random,
        worker_init_fn=ignore_terminal,
        **options,
    )
