"""The DataBunch: training, validation and test data as loaders, and what their targets mean."""

from collections.abc import Iterable, Iterator, Sequence, Sized
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from torch import Tensor

from learnkit.data.image.draw import draw_items, drawable
from learnkit.data.image.preprocess import Preprocess
from learnkit.data.loading.loaders import DatasetLoader, ImageLoader, TensorLoader, check_batch_size
from learnkit.data.loading.peek import checked_task, first_input, in_order, input_of, name_of, named_task, size_of
from learnkit.data.loading.sampler import BatchOrder
from learnkit.data.loading.tensors import check_parts, one_item, tensor_samples
from learnkit.data.tasks import Task
from learnkit.device import resolve_device, to_device
from learnkit.errors import DataError, UsageError
from learnkit.text import facts, shortened
from learnkit.types import DatasetType

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from learnkit.plots.layout import FigSize

__all__ = ["DataBunch"]


class DataBunch:
    """Data ready to train on; made by `from_tensors`, `from_datasets`, `from_loaders` or the factories for images.

    Attributes:
        train_dl: training batches (x, y), shuffled; a last short batch is left out if learnkit makes the loader.
        valid_dl: validation batches in order; None without a validation set.
        test_dl: test batches, (x,) without labels; None without a test set.
        fix_dl: the training items in order, all of them, not augmented.
        task: what the targets mean; None if unknown.
        device: where batches go.
        path: where a learner writes its files.
        preprocess: what images go through on their way to the model; None for other data.
        batch_size: items in a training batch; None for a loader that does not have one.
    """

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
    ) -> None:
        self.train_dl: Any = train_dl
        self.valid_dl: Any = valid_dl
        self.test_dl: Any = test_dl
        self.fix_dl: Any = train_dl if fix_dl is None else fix_dl
        self.task = task
        self.device = resolve_device(device)
        self.path = path or Path()
        self.preprocess = preprocess
        self.batch_size: int | None = getattr(train_dl, "batch_size", None)

    @classmethod
    def from_tensors(
        cls,
        x_train: Tensor,
        y_train: Tensor,
        x_valid: Tensor,
        y_valid: Tensor,
        x_test: Tensor | None = None,
        y_test: Tensor | None = None,
        *,
        bs: int = 64,
        task: Task | None = None,
        seed: int = 42,
        classes: Sequence[str] | None = None,
        device: torch.device | str | None = None,
    ) -> Self:
        """Data in memory: inputs (N, ...), targets (N,) or (N, ...).

        Integers of shape (N,) are class indices; other targets need `task`. NumPy arrays are accepted too; float64
        becomes torch's default type.

        Raises:
            UsageError: a batch size that cannot work, or float targets without a task.
            DataError: inputs and targets of different lengths, an empty set, or targets that do not fit the task
                (nan, a number without a class, another shape).
        """
        where = resolve_device(device)
        parts = ((x_train, y_train), (x_valid, y_valid), (x_test, y_test))
        meaning, train, valid, test = check_parts(parts, task, classes, where)
        bs = check_batch_size(bs, len(train[0]))

        def loader(tensors: tuple[Tensor, ...], *, shuffle: bool = False) -> TensorLoader:
            return TensorLoader(tensors, BatchOrder(len(tensors[0]), bs, shuffle=shuffle, seed=seed))

        test_dl = None if test is None else loader(test)
        return cls(loader(train, shuffle=True), loader(valid), test_dl, loader(train), task=meaning, device=where)

    @classmethod
    def from_datasets(
        cls,
        train: Any,
        valid: Any,
        test: Any = None,
        *,
        bs: int = 64,
        task: Task | None = None,
        seed: int = 42,
        classes: Sequence[str] | None = None,
        num_workers: int = 0,
        device: torch.device | str | None = None,
    ) -> Self:
        """Any map-style torch datasets of (x, y); `classes` is taken from the training set when it has them."""
        where = resolve_device(device)
        bs = check_batch_size(bs, len(train))
        for name, part in (("valid", valid), ("test", test)):
            if part is not None and len(part) == 0:
                raise DataError(f"the {name} set is empty", fix="Add at least one item, or leave it out.")

        def loader(dataset: Any, *, shuffle: bool = False) -> DatasetLoader:
            order = BatchOrder(len(dataset), bs, shuffle=shuffle, seed=seed)
            return DatasetLoader(dataset, order, where, num_workers)

        valid_dl, test_dl = (None if part is None else loader(part) for part in (valid, test))
        task = checked_task(task) or named_task(classes or getattr(train, "classes", None))
        return cls(loader(train, shuffle=True), valid_dl, test_dl, loader(train), task=task, device=where)

    @classmethod
    def from_loaders(
        cls,
        train_dl: Iterable[Any],
        valid_dl: Iterable[Any] | None,
        test_dl: Iterable[Any] | None = None,
        *,
        classes: Sequence[str] | None = None,
        task: Task | None = None,
        device: torch.device | str | None = None,
    ) -> Self:
        """Loaders used unchanged: anything that yields batches (x, y) in every iteration; they go to the device.

        Raises:
            UsageError: an iterator, which would be exhausted after one epoch.
        """
        for name, loader in (("train_dl", train_dl), ("valid_dl", valid_dl), ("test_dl", test_dl)):
            if isinstance(loader, Iterator):
                fix = "Pass a list or a DataLoader."
                raise UsageError(f"{name} is an iterator, exhausted after one epoch", got=loader, fix=fix)
            if loader is not None and not isinstance(loader, Iterable):
                raise UsageError(name, got=loader, expected="something that yields batches (x, y) when iterated")
        named = classes or getattr(getattr(train_dl, "dataset", None), "classes", None)
        return cls(train_dl, valid_dl, test_dl, task=checked_task(task) or named_task(named), device=device)

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
    def input_shape(self) -> tuple[int, ...] | None:
        """The shape of one input; None if it takes a batch to find out."""
        first = first_input(self.train_dl)
        return tuple(first.shape) if isinstance(first, Tensor) else None

    @property
    def samples(self) -> "pd.DataFrame":
        """One row per item: input, target, split; the rows of a split in the order of `get_preds`."""
        if not isinstance(self.train_dl, TensorLoader):
            raise UsageError("samples: custom datasets and loaders have no table", fix="Look at dls.train_ds.")
        parts = {"train": self.fix_dl, "valid": self.valid_dl, "test": self.test_dl}
        return tensor_samples({split: loader.tensors for split, loader in parts.items() if loader is not None})

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
            fix = "Make it with one, or pass a loader instead."
            raise UsageError(f"this bunch has no {ds_type.name.lower()} set", fix=fix)
        return in_order(loader)

    def one_batch(self, ds_type: DatasetType | str = DatasetType.Train) -> tuple[Any, ...]:
        """The first batch of a part, as the model sees it: (x, y), on the device."""
        ds_type = DatasetType.of(ds_type)
        loader = self.train_dl if ds_type == DatasetType.Train else self.ordered_dl(ds_type)
        for batch in loader:
            return tuple(to_device(batch, self.device))
        raise DataError(f"the {ds_type.name.lower()} loader yields no batches")

    def test_dl_from(self, items: Any) -> Any:
        """A loader of unlabeled items, in their order."""
        if not len(items):
            raise DataError("the test set is empty", expected="at least one item")
        x = torch.stack([torch.as_tensor(item) for item in items]) if not isinstance(items, Tensor) else items
        return TensorLoader((x.to(self.device),), BatchOrder(len(x), self.batch_size or 64, shuffle=False))

    def prepare(self, item: Any) -> Tensor:
        """One item as a batch of one on the device, as the model sees it.

        Raises:
            UsageError, WrongTypeError: a shape other than that of the inputs, for data in memory; not numbers.
        """
        return one_item(item, getattr(self.train_dl, "tensors", (None,))[0], self.device)

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

    def augmented_dl(self, ds_type: DatasetType | str) -> ImageLoader:
        """The images of a part in their order, augmented as in training; `seed_epoch` selects the random numbers.

        Raises:
            UsageError: the bunch holds no images, or has no augmentation.
        """
        self._image_preprocess("augment")
        return self.ordered_dl(ds_type).augmented_as(self.train_dl)  # type: ignore[no-any-return]

    def image(self, ds_type: DatasetType | str, i: int) -> "np.ndarray[Any, Any]":
        """Image i of a part as the model sees it, before normalization: uint8 (H, W, 3)."""
        preprocess = self._image_preprocess("draw")
        pixels, *_ = self.ordered_dl(ds_type).dataset[i]
        return drawable(preprocess.scale(pixels[None]))[0]

    def show_batch(
        self, rows: int = 3, ds_type: DatasetType | str = DatasetType.Train, *, nrows: int | None = None,
        ncols: int | None = None, max_n: int | None = None, figsize: "FigSize" = None,
    ) -> "Figure":  # fmt: skip
        """Images of a part as the model sees them, those for training augmented, with their targets.

        Args:
            rows: rows x rows images, unless nrows, ncols or max_n say otherwise.
            ds_type: the part: its first batch.
            nrows, ncols: images below and beside each other.
            max_n: at most this many images.
            figsize: width and height in inches.

        Raises:
            UsageError: no such part, no images, or numbers that are not above 0.
        """
        from learnkit.plots.layout import grid_of

        preprocess = self._image_preprocess("draw")
        grid = grid_of(rows, nrows, ncols, max_n)
        x, *y = (part[: grid.n].cpu() for part in self.one_batch(ds_type))
        x = x if preprocess.normalize is None else preprocess.normalize.undo(x)
        assert self.task is not None
        return draw_items(x, y[0] if y else None, self.task, min(grid.columns, len(x)), figsize)

    def _image_preprocess(self, use: str) -> Preprocess:
        if self.preprocess is None:
            raise UsageError(f"this bunch holds no images to {use}", fix="Use an ImageDataBunch.")
        return self.preprocess

    def __repr__(self) -> str:
        parts = (("train", self.train_ds), ("valid", self.valid_ds), ("test", self.test_ds))
        sizes = [f"{name} {len(part):,}" for name, part in parts if isinstance(part, Sized)]
        return f"{type(self).__name__}({', '.join(sizes)}; {len(self.classes)} classes; batches of {self.batch_size})"

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
