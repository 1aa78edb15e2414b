"""The parts of a data set: training, validation and test loaders, and what their targets mean."""

from collections.abc import Iterable, Sized
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.utils.data import default_collate

from learnkit.data.image.preprocess import Preprocess
from learnkit.data.loading.batch_parts import Keys, parts_of
from learnkit.data.loading.batch_size import AUTO, SizeIs
from learnkit.data.loading.dict_batches import keyed
from learnkit.data.loading.loaders import OrderedLoader
from learnkit.data.loading.peek import (
    first_input,
    in_order,
    input_of,
    inputs_of_items,
    name_of,
    size_of,
)
from learnkit.data.loading.targets import SET_NAMES
from learnkit.data.loading.tensors import ItemForm
from learnkit.data.tasks import Task
from learnkit.device import resolve_device, to_device
from learnkit.errors import DataError, UsageError
from learnkit.text import facts, shortened
from learnkit.types import DatasetType

__all__ = ["DataParts"]

_LOADERS = ("train_dl", "valid_dl", "test_dl", "fix_dl")


class DataParts:
    """Loaders of a data set, asked for their items and batches; how they are made is up to a subclass."""

    _fixed: ClassVar[frozenset[str]] = frozenset({"device", "preprocess"})

    def __init__(
        self,
        train_dl: Iterable[Any],
        valid_dl: Iterable[Any] | None,
        test_dl: Iterable[Any] | None = None,
        fix_dl: Iterable[Any] | None = None,
        *,
        task: Task | None = None,
        device: torch.device | str | None = None,
        path: Path | None = None,
        preprocess: Preprocess | None = None,
        keys: Keys | None = None,
    ) -> None:
        self.keys = keys
        self._seen: tuple[Any, str, ItemForm | None] = (None, "", None)  # of which training loader
        self.train_dl: Any = train_dl
        self.valid_dl: Any = valid_dl
        self.test_dl: Any = test_dl
        self.fix_dl: Any = train_dl if fix_dl is None else fix_dl
        self.task = task
        self.device: torch.device = resolve_device(device)
        self.path: Path = path or Path()
        self.preprocess = preprocess

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self._fixed and name in vars(self):
            raise UsageError(f"dls.{name} cannot be changed", got=value, fix=f"Make another bunch with its {name}.")
        if name in _LOADERS:
            value = self.as_own(value, needs_target=name != "test_dl")
        if name == "train_dl" and "fix_dl" in vars(self):
            self.fix_dl = value  # the same items
        super().__setattr__(name, Path(value) if name == "path" else value)

    def as_own(self, loader: Any, *, needs_target: bool) -> Any:
        """Any loader, its batches with named entries read as those of the bunch: by its `inputs=` and `target=`.

        Args:
            loader: yields batches (inputs..., target), or with names.
            needs_target: refuse batches with names that lack the target.
        """
        return keyed(loader, self.keys, needs_target=needs_target, needs_names=False)

    def check_batches(self, name: str, loader: Any) -> None:
        """Refuse a list of items in place of one of batches: each item would be taken for a batch of its rows.

        What a `collate_fn` of yours makes of items is not known, and not compared.

        Args:
            name: the argument, for errors.
            loader: what it was given.

        Raises:
            UsageError: the first entry has the shape of one input.
        """
        own_batches = getattr(self.train_dl, "collate_fn", default_collate) is not default_collate
        if own_batches or not isinstance(loader, list | tuple) or not loader:
            return
        first = loader[0][0] if isinstance(loader[0], list | tuple) and loader[0] else loader[0]
        shape = self.input_shape if isinstance(first, Tensor) else None
        if shape is not None and tuple(first.shape) == shape:
            raise UsageError(
                f"{name}: got items of the shape {shape}, one by one",
                expected=f"a loader, which yields batches (N, {', '.join(map(str, shape))})",
                fix="Pass learn.dls.test_dl_from(items), or a DataLoader of (input, target).",
            )

    @property
    def batch_size(self) -> int | None:
        """Items in a training batch; None for a loader that does not have one. It is set for every loader.

        Raises:
            UsageError: the batches are not learnkit's, so their size is not either.
        """
        return getattr(self.train_dl, "batch_size", None)

    @batch_size.setter
    def batch_size(self, bs: int) -> None:
        loaders = [one for one in (self.train_dl, self.fix_dl, self.valid_dl, self.test_dl) if one is not None]
        if not all(isinstance(loader, OrderedLoader) for loader in loaders):
            raise UsageError("dls.batch_size cannot be changed", got=bs, fix="Make the bunch, or its loaders, with it.")
        for loader in loaders:
            loader.batch_size = bs if loader is self.train_dl else self.train_dl.batch_size

    @property
    def batch_size_is(self) -> SizeIs:
        """Whether the batch size is "given", or, with bs="auto", "due" until a fit or `lr_find`, and then "found"."""
        return getattr(self.train_dl, "size_is", "given")

    def take_found_batch_size(self, bs: int) -> None:
        """Set the batch size that bs="auto" stands for."""
        self.batch_size = bs
        self.train_dl.order.size_is = "found"

    @property
    def train_ds(self) -> Any:
        """The dataset of `train_dl`; None for a loader without one."""
        return getattr(self.train_dl, "dataset", None)

    @property
    def valid_ds(self) -> Any:
        """The dataset of `valid_dl`."""
        return getattr(self.valid_dl, "dataset", None)

    @property
    def test_ds(self) -> Any:
        """The dataset of `test_dl`."""
        return getattr(self.test_dl, "dataset", None)

    @property
    def classes(self) -> list[str]:
        """The class names in the order of the outputs, maybe empty."""
        return list(self.task.classes) if self.task else []

    @property
    def c(self) -> int:
        """How many outputs a model needs; 0 if unknown."""
        return self.task.n_out if self.task else 0

    @property
    def several_inputs(self) -> str:
        """What an item gives the model if that is not one tensor, in words; "" if it is, or if it is unknown."""
        return self._looked_at()[1]

    @property
    def input_shape(self) -> tuple[int, ...] | None:
        """The shape of one input; None if it takes a batch to find out, or if an item has several."""
        first = first_input(self.train_dl)
        return tuple(first.shape) if isinstance(first, Tensor) else None

    @property
    def item_form(self) -> ItemForm | None:
        """What one input looks like; None if it takes a batch to find out."""
        return self._looked_at()[2]

    def _looked_at(self) -> tuple[Any, str, ItemForm | None]:
        """The training loader, its `several_inputs` and its `item_form`; an item is read once for both."""
        if self._seen[0] is not self.train_dl:
            self._seen = self.train_dl, *inputs_of_items(self.train_dl, self.keys)
        return self._seen

    def ordered_dl(self, ds_type: DatasetType | str) -> Any:
        """The loader of a part of the data in the order of its items, all of them, not augmented.

        Args:
            ds_type: a DatasetType, or its name: "train", "valid", "test".

        Raises:
            UsageError: the bunch does not have this part.
        """
        ds_type = DatasetType.of(ds_type)
        loader = {DatasetType.Valid: self.valid_dl, DatasetType.Test: self.test_dl}.get(ds_type, self.fix_dl)
        if ds_type == DatasetType.Single:
            raise UsageError("ds_type", got=ds_type, expected="Train, Valid, Test or Fix", fix="Use learn.predict.")
        if loader is None:
            part = SET_NAMES.get(ds_type.name.lower(), "test")
            raise UsageError(f"this bunch has no {part} set", fix="Make it with one, or pass a loader instead.")
        return in_order(loader)

    def one_batch(self, ds_type: DatasetType | str = DatasetType.Train) -> tuple[Any, ...]:
        """The first batch of a part, as the model sees it: (x, y), on the device.

        Raises:
            DataError: a loader without batches, or a batch with named entries.
        """
        ds_type = DatasetType.of(ds_type)
        loader = self.train_dl if ds_type == DatasetType.Train else self.ordered_dl(ds_type)
        for batch in loader:
            return parts_of(to_device(batch, self.device))
        raise DataError(f"the {ds_type.name.lower()} loader yields no batches")

    def task_of(self, item: Any) -> Task | None:
        """The task, as it decodes the prediction for this item: key points are in pixels of its own image."""
        return self.task

    def one_input(self, ds_type: DatasetType | str, i: int) -> Tensor:
        """Item i of a part as the model sees it, as a batch of one on the device.

        Raises:
            UsageError: i is out of range.
        """
        return to_device(input_of(self.ordered_dl(ds_type), i), self.device)  # type: ignore[no-any-return]

    def item_name(self, ds_type: DatasetType | str, i: int) -> str:
        """The name of an item: the path of an image, the index of any other item."""
        return name_of(self.ordered_dl(ds_type), i)

    def __repr__(self) -> str:
        parts = (("train", self.train_ds), ("valid", self.valid_ds), ("test", self.test_ds))
        sizes = [f"{name} {len(part):,}" for name, part in parts if isinstance(part, Sized)]
        facts = [
            *([", ".join(sizes)] if sizes else []),
            f"{len(self.classes)} classes",
            f"batches of {AUTO if self.batch_size_is == 'due' else self.batch_size}",
        ]
        return f"{type(self).__name__}({'; '.join(facts)})"

    def _repr_html_(self) -> str:
        sets = (("training", self.train_dl), ("validation", self.valid_dl), ("test", self.test_dl))
        return facts(
            type(self).__name__,
            {
                **{f"{name} set": size_of(loader) for name, loader in sets if loader is not None},
                "task": type(self.task).__name__ if self.task else "not known",
                "classes": f"{len(self.classes)}: {shortened(self.classes)}" if self.classes else "none",
                "input": "not known" if self.input_shape is None else " x ".join(map(str, self.input_shape)),
                "device": self.device,
            },
        )
