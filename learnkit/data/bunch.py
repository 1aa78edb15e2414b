"""The DataBunch: training, validation and test data as loaders, and what their targets mean."""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import default_collate

from learnkit.arguments import checks_keywords
from learnkit.data.image.draw import draw_items, drawable
from learnkit.data.image.preprocess import Preprocess
from learnkit.data.loading.batch_parts import chosen_keys
from learnkit.data.loading.batch_size import AUTO, BatchSize, check_batch_size
from learnkit.data.loading.dict_batches import keyed
from learnkit.data.loading.from_datasets import check_inputs, check_loader, dataset_loaders
from learnkit.data.loading.items import listed
from learnkit.data.loading.loaders import ImageLoader, TensorLoader
from learnkit.data.loading.sampler import BatchOrder
from learnkit.data.loading.targets import known_task
from learnkit.data.loading.tensors import check_parts, one_item, tensor_samples
from learnkit.data.parts import DataParts
from learnkit.data.tasks import Task
from learnkit.device import resolve_device
from learnkit.errors import UsageError, WrongTypeError
from learnkit.losses.outputs import names_of
from learnkit.models.calling import SEVERAL_INPUTS
from learnkit.types import DatasetType

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from learnkit.plots.layout import FigSize

__all__ = ["DataBunch"]


class DataBunch(DataParts):
    """Data ready to train on; made by `from_tensors`, `from_datasets`, `from_loaders` or the factories for images.

    Attributes:
        train_dl: training batches (x, y), shuffled; a last short batch is left out if learnkit makes the loader.
        valid_dl: validation batches in order; None without a validation set.
        test_dl: test batches, (x,) without labels; None without a test set.
        fix_dl: the training items in order, all of them, not augmented.
        task: what the targets mean; None if unknown.
        device: where batches go. It cannot be changed.
        path: where a learner writes its files.
        preprocess: what images go through on their way to the model; None for other data. It cannot be changed.
        keys: the `inputs=` and `target=` of batches with named entries, of loaders given later too; None for none.
    """

    @classmethod
    @checks_keywords
    def from_tensors(
        cls,
        x_train: Tensor,
        y_train: Tensor,
        x_valid: Tensor | None = None,
        y_valid: Tensor | None = None,
        x_test: Tensor | None = None,
        y_test: Tensor | None = None,
        *,
        bs: BatchSize = 64,
        task: Task | None = None,
        seed: int = 42,
        classes: Sequence[str] | None = None,
        device: torch.device | str | None = None,
    ) -> Self:
        """Data in memory: inputs (N, ...), targets (N,) or (N, ...); without a validation set if there is none.

        Integers of shape (N,) are class indices; other targets need `task`, except floats of three axes or more, such
        as the images of an autoencoder: its learner needs `loss_func`. NumPy arrays are accepted too; float64 becomes
        torch's default type. Floats of the other sets become those of the training set's type.

        Args:
            x_train, y_train: the training set.
            x_valid, y_valid: the validation set.
            x_test, y_test: the test set; `y_test` None for one without labels.
            bs: items in a batch.
            task: what the targets mean; None for a classification by whole numbers.
            seed: of the order of the training set.
            classes: names of the classes, in the order of their numbers.
            device: where the batches go; None for the best there is.

        Raises:
            UsageError: a batch size that cannot work, or float targets without a task.
            DataError: inputs and targets of different lengths, an empty set, or targets that do not fit the task
                (nan, a number without a class, another shape).
        """
        where = resolve_device(device)
        parts = ((x_train, y_train), (x_valid, y_valid), (x_test, y_test))
        meaning, train, valid, test = check_parts(parts, task, classes, where)
        check_inputs("train", train[0][0])
        size = check_batch_size(bs, len(train[0]))

        def loader(tensors: tuple[Tensor, ...], *, shuffle: bool = False) -> TensorLoader:
            order = BatchOrder(len(tensors[0]), size, shuffle=shuffle, seed=seed, finds_size=bs == AUTO)
            return TensorLoader(tensors, order)

        valid_dl, test_dl = (None if part is None else loader(part) for part in (valid, test))
        return cls(loader(train, shuffle=True), valid_dl, test_dl, loader(train), task=meaning, device=where)

    @classmethod
    @checks_keywords
    def from_datasets(
        cls,
        train: Any,
        valid: Any = None,
        test: Any = None,
        *,
        bs: BatchSize = 64,
        task: Task | None = None,
        seed: int = 42,
        classes: Sequence[str] | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[Any], Any] = default_collate,
        inputs: str | Sequence[str] | None = None,
        target: str | None = None,
        device: torch.device | str | None = None,
    ) -> Self:
        """Any torch datasets of (x, y), map-style or IterableDatasets; x is what the model gets.

        A map-style dataset keeps its length: a longer or shorter one needs a bunch of its own.

        `ImageDataBunch.from_datasets` takes datasets of images.

        Args:
            train: the training items.
            valid: those to validate on; None to train without.
            test: those to predict, (x,) without labels.
            bs: items per batch, or "auto" for the largest that fits, which the first fit or `lr_find` finds.
            task: what the targets mean; None for class indices if there are classes.
            seed: seed of the training order.
            classes: names of the class indices; None for those the datasets name (`dataset.classes`).
            num_workers: processes that read items. They start once: of what is changed on a dataset later they see
                only tensors in shared memory.
            collate_fn: makes a batch of a list of items.
            inputs: for batches that are dicts, named tuples or dataclasses, the keys (the names of the fields) of the
                model's inputs, in the order of its arguments.
            target: for such batches, the key of the target.
            device: where batches go.

        Raises:
            DataError: an empty set, sets with different classes, or targets that do not fit the task. The targets of
                datasets that do not list them are checked in the first batch.
        """
        where, keys = resolve_device(device), chosen_keys(inputs, target)
        sets = {"train": train, "valid": valid, "test": test}
        task = known_task(task, classes, sets)
        loaders = dataset_loaders(sets, task, where, collate_fn, keys, bs=bs, seed=seed, num_workers=num_workers)
        return cls(*loaders, task=task, device=where, keys=keys)

    @classmethod
    @checks_keywords
    def from_loaders(
        cls,
        train_dl: Iterable[Any],
        valid_dl: Iterable[Any] | None = None,
        test_dl: Iterable[Any] | None = None,
        *,
        classes: Sequence[str] | None = None,
        task: Task | None = None,
        inputs: str | Sequence[str] | None = None,
        target: str | None = None,
        device: torch.device | str | None = None,
    ) -> Self:
        """Anything that yields batches (x, y) in every iteration: torch DataLoaders, lists, custom loaders.

        `train_dl` is trained on, `valid_dl` validates, `test_dl` is there for predictions.

        The loaders are used unchanged, with or without a length; their batches are moved to the device. With `inputs`
        and `target`, batches that are dicts, named tuples or dataclasses become (inputs..., target). So do those of
        other loaders that a learner is given, as in `learn.get_preds(loader)`.

        Raises:
            UsageError: an iterator, which would be exhausted after one epoch.
            DataError: datasets with different classes.
        """
        loaders, keys = {"train": train_dl, "valid": valid_dl, "test": test_dl}, chosen_keys(inputs, target)
        for name, loader in loaders.items():
            if loader is not None or name == "train":
                check_loader(f"{name}_dl", loader)
        sets = {name: getattr(loader, "dataset", None) for name, loader in loaders.items()}
        ready = (keyed(loader, keys, needs_target=name != "test") for name, loader in loaders.items())
        return cls(*ready, task=known_task(task, classes, sets), device=device, keys=keys)

    @property
    def samples(self) -> "pd.DataFrame":
        """One row per item: input, target, split; the rows of a split in the order of `get_preds`.

        Raises:
            UsageError: custom datasets and loaders.
        """
        if not isinstance(self.train_dl, TensorLoader):
            raise UsageError("samples: custom datasets and loaders have no table", fix="Look at dls.train_ds.")
        parts = {"train": self.fix_dl, "valid": self.valid_dl, "test": self.test_dl}
        return tensor_samples({split: loader.tensors for split, loader in parts.items() if loader is not None})

    def test_dl_from(self, items: Iterable[Any]) -> Any:
        """A loader of unlabeled items, in their order; each as `prepare` takes it.

        Raises:
            UsageError: one item alone, or an item of another shape.
            DataError: no items.
        """
        x = torch.cat([self.prepare(item) for item in listed(items)])
        return TensorLoader((x,), BatchOrder(len(x), self.batch_size or 64, shuffle=False))

    def prepare(self, item: Any) -> Tensor:
        """One item as a batch of one on the device, as the model sees it: floats are of the type of the data.

        Of one with named entries it is the entry that the bunch's `inputs=` names.

        Where it takes a batch to know that type, tensors keep theirs, and NumPy's float64 becomes torch's default.

        Raises:
            UsageError, WrongTypeError: a shape other than that of the inputs, for data in memory; not numbers, or not
                integers of the data's type; data of several inputs.
            DataError: named entries without that one.
        """
        if self.several_inputs:
            raise WrongTypeError(
                f"item: got {names_of(item)}", fix=SEVERAL_INPUTS,
                expected=f"numbers, the one input of a model; this data gives it {self.several_inputs}",
            )  # fmt: skip
        return one_item(item if self.keys is None else self.keys.item(item), self.item_form, self.device)

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

    @checks_keywords
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
            fix = "Use an ImageDataBunch: from_datasets and from_hf take datasets of images."
            raise UsageError(f"this bunch holds no images to {use}", fix=fix)
        return self.preprocess
