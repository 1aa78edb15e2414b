"""ImageDataBunch: images on disk, in a table, decoded by workers and augmented on the device."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import torch
from torch import Tensor

from learnkit.data.augment import augmentations
from learnkit.data.bunch import DataBunch
from learnkit.data.datasets import ImageDataset
from learnkit.data.loaders import BatchOrder, ImageLoader, check_batch_size, default_workers
from learnkit.data.samples import check_classes, folder_samples
from learnkit.data.tasks import Classification, Task
from learnkit.data.transforms import IMAGENET, Method, Normalize, Preprocess, Resize
from learnkit.device import find_device
from learnkit.errors import DataError, UsageError
from learnkit.types import DatasetType, PathLike

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["ImageDataBunch"]

Statistics = Literal["imagenet", "data"] | tuple[Sequence[float], Sequence[float]] | None
STATISTICS_ITEMS = 1000  # images that "data" is measured on, evenly spaced


class ImageDataBunch(DataBunch):
    """Images and their targets; see `from_folder`."""

    _samples: "pd.DataFrame"

    @classmethod
    def from_folder(
        cls,
        path: PathLike,
        train: str = "train",
        valid: str = "valid",
        test: str | None = None,
        *,
        valid_pct: float | None = None,
        seed: int = 42,
        classes: Sequence[str] | None = None,
        size: int | tuple[int, int] = 224,
        bs: int = 64,
        resize: Method = "crop",
        augment: bool | Sequence[Any] = True,
        normalize: Statistics = "imagenet",
        channels: int = 3,
        num_workers: int | None = None,
        device: torch.device | str | None = None,
    ) -> Self:
        """Images in a folder a class.

        Args:
            path: holds train/<class>/... and valid/<class>/..., or, with `valid_pct`, <class>/... directly.
            train: the folder of the training images.
            valid: the folder of the validation images; "val" is found when "valid" is not there.
            test: the folder of the test images, labelled (test/<class>/...) or not (test/...).
            valid_pct: take this share of all images at random for validation; a test folder stays out of it.
            seed: of the random split.
            classes: the order of the classes; None for sorted.
            size: of the pictures in pixels, a side or (height, width).
            bs: items in a batch.
            resize: "crop" keeps the centre, "squish" bends the proportions, "pad" adds borders.
            augment: True for the default, False for none, or a list of transforms of a batch in [0, 1].
            normalize: "imagenet" for its statistics, "data" for those of (up to 1,000 of) the training images,
                (mean, std), or None.
            channels: 3 for RGB, 1 for gray.
            num_workers: processes that read images; None for a number that fits the machine.
            device: where batches go; None for the default one.

        Raises:
            MissingFileError: no such folder.
            DataError: no images, one class, a class without training images.
            UsageError: an argument that cannot work.
        """
        samples = folder_samples(path, train, valid, test, valid_pct=valid_pct, seed=seed)
        task = Classification(check_classes(samples, classes))
        return cls._from_samples(
            samples,
            task,
            Path(path),
            bs=bs,
            seed=seed,
            resize=Resize(_size(size), resize),
            augment=augment,
            normalize=normalize,
            channels=channels,
            num_workers=num_workers,
            device=device,
        )

    @classmethod
    def _from_samples(
        cls,
        samples: "pd.DataFrame",
        task: Task,
        path: Path,
        *,
        bs: int,
        seed: int,
        resize: Resize,
        augment: bool | Sequence[Any],
        normalize: Statistics,
        channels: int,
        num_workers: int | None,
        device: torch.device | str | None,
    ) -> Self:
        """The one way from a table of samples to a bunch."""
        where = find_device(device)
        parts = dict(iter(samples.groupby("split")))
        bs = check_batch_size(bs, len(parts["train"]))
        workers = default_workers(len(parts["train"]), where) if num_workers is None else num_workers
        augmentation = augmentations(augment)
        bare = Preprocess(resize, None, channels)
        preprocess = Preprocess(resize, _normalize(normalize, parts["train"]["input"].tolist(), bare), channels)

        def loader(split: str, *, training: bool = False) -> ImageLoader:
            part = parts[split]
            labels = None if part["target"].isna().all() else part["target"].tolist()
            dataset = ImageDataset(part["input"].tolist(), labels, task, preprocess)
            order = BatchOrder(len(dataset), bs, shuffle=training, seed=seed)
            return ImageLoader(
                dataset, order, where, augmentation=augmentation if training else None, num_workers=workers
            )

        test_dl = loader("test") if "test" in parts else None
        bunch = cls(
            loader("train", training=True),
            loader("valid"),
            test_dl,
            loader("train"),
            task=task,
            device=where,
            path=path,
        )
        bunch._samples = samples
        return bunch

    @property
    def samples(self) -> "pd.DataFrame":
        """One row an image: input (path), target, split; the rows of a split in the order of `get_preds`."""
        return self._samples

    @property
    def preprocess(self) -> Preprocess:
        """From a file to what the model sees: one object for training, validation and prediction."""
        return self.fix_dl.preprocess  # type: ignore[no-any-return]

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(channels, height, width)."""
        return (self.preprocess.channels, *self.preprocess.resize.size)

    def prepare(self, item: Any) -> Tensor:
        """One image as a batch of one on the device, as the model sees it.

        Args:
            item: a path, PIL image, encoded bytes, array (H, W[, C]) or tensor (C, H, W) of pixels.

        Raises:
            ImageError: an image that cannot be read.
        """
        return self.preprocess.batch(self.preprocess.item(item)[None].to(self.device))

    def test_dl_from(self, items: Sequence[Any]) -> ImageLoader:
        """A loader of unlabelled image files, in their order."""
        if not len(items):
            raise DataError("the test set is empty", expected="at least one file")
        dataset = ImageDataset([str(item) for item in items], None, None, self.preprocess)
        return ImageLoader(dataset, BatchOrder(len(dataset), self.batch_size or 64, shuffle=False), self.device)

    def item_name(self, ds_type: DatasetType, i: int) -> str:
        """The path of an image."""
        return str(self.ordered_dl(ds_type).dataset.inputs[i])

    def picture(self, ds_type: DatasetType, i: int) -> "np.ndarray[Any, Any]":
        """Image i of a part as the model is shown it, before normalisation: uint8 (H, W, 3)."""
        return _drawable(self.ordered_dl(ds_type).dataset.pixels(i))

    def show_batch(self, rows: int = 3) -> "Figure":
        """rows x rows training images as the model sees them, augmented, with their classes."""
        from learnkit.plots import image_grid

        if isinstance(rows, bool) or not isinstance(rows, int) or rows < 1:
            raise UsageError("rows", got=rows, expected="a whole number, 1 or more")
        x, y = self.one_batch()
        normalize = self.preprocess.normalize
        pixels = (x if normalize is None else normalize.undo(x)).mul(255).round().to(torch.uint8).cpu()
        n = min(rows * rows, len(pixels))
        titles = [self.classes[int(target)] for target in y[:n]]
        return image_grid([_drawable(picture) for picture in pixels[:n]], titles, columns=min(rows, n))


def _drawable(pixels: Tensor) -> "np.ndarray[Any, Any]":
    return pixels.permute(1, 2, 0).expand(-1, -1, 3).numpy()


def _size(size: Any) -> tuple[int, int]:
    sides = (size, size) if isinstance(size, int) else tuple(size) if isinstance(size, tuple | list) else ()
    if len(sides) != 2 or any(isinstance(side, bool) or not isinstance(side, int) or side < 1 for side in sides):
        raise UsageError("size", got=size, expected="pixels, a side or (height, width)")
    return sides


def _normalize(statistics: Statistics, files: list[str], preprocess: Preprocess) -> Normalize | None:
    if statistics is None:
        return None
    if isinstance(statistics, str):
        if statistics == "data":
            return _measured(files, preprocess)
        if statistics != "imagenet":
            raise UsageError("normalize", got=statistics, expected="'imagenet', 'data', (mean, std) or None")
        mean, std = IMAGENET
        if preprocess.channels == 1:
            return Normalize((sum(mean) / 3,), (sum(std) / 3,))
        return Normalize(mean, std)
    given = [tuple(float(value) for value in np.atleast_1d(part)) for part in statistics]
    if len(given) != 2 or len(given[0]) != preprocess.channels:
        raise UsageError(
            "normalize", got=statistics, expected=f"a mean and a std for each of {preprocess.channels} channels"
        )
    return Normalize(*given)


def _measured(files: list[str], preprocess: Preprocess) -> Normalize:
    """Mean and standard deviation per channel over all pixels of evenly spaced training images."""
    step = max(1, len(files) // STATISTICS_ITEMS)
    total, squares = torch.zeros(preprocess.channels).double(), torch.zeros(preprocess.channels).double()
    n = 0
    for file in files[::step]:
        x = preprocess.item(file).double() / 255
        total, squares, n = total + x.sum((1, 2)), squares + (x * x).sum((1, 2)), n + x[0].numel()
    mean = total / n
    std = (squares / n - mean**2).clamp(min=1e-8).sqrt()
    return Normalize(tuple(mean.tolist()), tuple(std.tolist()))
