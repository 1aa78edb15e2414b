"""Loaders: batches as the model sees them, the same for any number of workers."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import TensorDataset, default_collate

from learnkit.checks import check_int
from learnkit.data.augment.pipeline import Augmentation, Plan
from learnkit.data.augment.targets import moving_targets
from learnkit.data.image.dataset import ImageDataset
from learnkit.data.image.device_store import DeviceStore
from learnkit.data.image.preprocess import Preprocess
from learnkit.data.loading.batch_size import SizeIs, check_batch_size
from learnkit.data.loading.items import checked_item
from learnkit.data.loading.sampler import BatchOrder, Draw, DrawnOrder
from learnkit.data.loading.stored_batches import stored_batches
from learnkit.data.loading.targets import TargetCheck
from learnkit.data.loading.tensors import ItemForm
from learnkit.data.loading.torch_loader import torch_loader
from learnkit.data.loading.whole_batches import Collate, SeededItems, WholeBatches, identity_collate
from learnkit.data.loading.workers import supervised
from learnkit.device import on_device, to_device, usable_cpus
from learnkit.distributed.world import world
from learnkit.errors import DataError, UsageError
from learnkit.seeds import Stream, derive

__all__ = [
    "DatasetLoader",
    "ImageLoader",
    "OrderedLoader",
    "TensorLoader",
    "default_workers",
]

NOTHING = Augmentation([])
FEW_IMAGES = 1000  # below this, starting workers takes longer than they save


def default_workers(n_train: int, device: torch.device) -> int:
    """How many processes read images: none for few, half the cores if the CPU trains, all (at most 8) elsewhere.

    Several processes that train on this machine share its cores.
    """
    if n_train < FEW_IMAGES:
        return 0
    world.begin()
    cores = usable_cpus() // world.local_size
    return min(8, cores // 2 if device.type == "cpu" else cores)


class OrderedLoader:
    """What learnkit's loaders of items with numbers have in common; only their batch size can be changed.

    Args:
        dataset: the items.
        order: which of them make which batch.
    """

    dataset: Any

    def __init__(self, dataset: Any, order: BatchOrder) -> None:
        self.dataset = dataset
        self.order = order
        self.n_items: int = order.n_items
        self._random = torch.Generator()  # for the workers' seeds, so that the global generator is not used

    def __setattr__(self, name: str, value: Any) -> None:
        if name in vars(self) and not name.startswith("_"):
            raise UsageError(
                f"the {name} of a loader cannot be changed", fix="Make another bunch; only batch_size can be set."
            )
        super().__setattr__(name, value)

    @property
    def batch_size(self) -> int:
        """Items per batch, from the next iteration on."""
        return self.order.batch_size

    @batch_size.setter
    def batch_size(self, bs: int) -> None:
        size = check_int("batch_size", bs, 1)
        self.order.batch_size = check_batch_size(size, self.n_items) if self.order.shuffle else size
        self.order.size_is = "given"

    @property
    def size_is(self) -> SizeIs:
        """Whether the batch size was given by the user, was found, or is to be."""
        return self.order.size_is

    def __len__(self) -> int:
        return len(self.order)

    def seed_epoch(self, seed: int, epoch: int, start: int = 0) -> None:
        """The next iteration is this epoch of this seed, from batch `start` on."""
        self.order.seed_epoch(seed, epoch, start)
        self._random.manual_seed(derive(seed, Stream.ORDER, epoch, 1))


class TensorLoader(OrderedLoader):
    """Batches cut straight out of tensors in memory; the tensors are on the device already.

    Args:
        tensors: (x, y), or (x,) without labels; equal first dimensions.
        order: which rows make which batch.
    """

    dataset: TensorDataset

    def __init__(self, tensors: tuple[Tensor, ...], order: BatchOrder) -> None:
        super().__init__(TensorDataset(*tensors), order)
        self.tensors = tensors
        self.item_form: ItemForm = ItemForm(tensors[0].shape[1:], tensors[0].dtype)

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        if self.order.is_whole:
            for parts in zip(*(torch.split(tensor, self.batch_size) for tensor in self.tensors), strict=True):
                # new ones, as a model may write into its input; contiguous, as weights are
                yield tuple(part.clone(memory_format=torch.contiguous_format) for part in parts)
            return
        device = self.tensors[0].device
        for numbers in self.order.begin().batches:
            rows = to_device(numbers, device)
            yield tuple([tensor[rows].contiguous() for tensor in self.tensors])


class DatasetLoader(OrderedLoader):
    """Batches of any map-style dataset, on the device.

    Args:
        dataset: anything with a length and items by number.
        order: which items make which batch.
        device: where batches go.
        num_workers: processes that read items.
        collate_fn: makes a batch of a list of items.
        check: is given every batch, and returns it as a tuple.
    """

    def __init__(
        self,
        dataset: Any,
        order: BatchOrder,
        device: torch.device,
        num_workers: int = 0,
        *,
        collate_fn: Callable[[Any], Any] = default_collate,
        check: TargetCheck | None = None,
    ) -> None:
        super().__init__(dataset, order)
        self.device = device
        self.collate_fn = collate_fn
        self.check: TargetCheck = check or TargetCheck(None, "")
        self._loader = torch_loader(
            SeededItems(dataset), device, num_workers, self._random,
            batch_sampler=DrawnOrder(order), collate_fn=Collate(collate_fn),
        )  # fmt: skip

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        if len(self.dataset) != self.n_items:
            raise DataError(
                f"the dataset has {len(self.dataset)} items, and had {self.n_items} when the bunch was made",
                fix="Make a bunch of it as it is now, and set learn.dls between two fits.",
            )
        for batch in on_device(supervised(self._loader), self.device):
            yield self.check(batch)


class ImageLoader(OrderedLoader):
    """Images decoded to uint8 by the workers; on the device augmented as a batch (when training) and normalized.

    Args:
        dataset: the images.
        order: which of them make which batch.
        device: where batches go.
        augmentation: what is done to a batch; None for nothing.
        num_workers: processes that decode.
        store: the images on the device, decoded as for training; None to read them from the dataset.
    """

    dataset: ImageDataset

    def __init__(
        self,
        dataset: ImageDataset,
        order: BatchOrder,
        device: torch.device,
        *,
        augmentation: Augmentation | None = None,
        num_workers: int = 0,
        store: DeviceStore | None = None,
    ) -> None:
        super().__init__(dataset, order)
        self.augmentation = augmentation
        self.store = store
        self.device = device
        self.num_workers = num_workers
        self._loader = torch_loader(
            WholeBatches(dataset, (augmentation or NOTHING).drawn_first), device, num_workers, self._random,
            batch_sampler=DrawnOrder(order), collate_fn=identity_collate,
        )  # fmt: skip

    def augmented_as(self, training: "ImageLoader") -> "ImageLoader":
        """These images in their order, each changed at random as `training` changes its own.

        Raises:
            UsageError: `training` has no augmentation.
        """
        dataset = self.dataset.staged(training._item_stage())
        # what is kept is what this one would decode
        store = self.store if dataset.bound == self.dataset.bound else None
        order = BatchOrder(len(dataset), self.batch_size, shuffle=False, changes=True)
        return ImageLoader(
            dataset, order, self.device, augmentation=training.augmentation, num_workers=self.num_workers, store=store
        )

    def augmented(self, i: int, n: int) -> tuple[Tensor, Tensor]:
        """Item i as the first n epochs change it, and its targets, on the CPU.

        Raises:
            UsageError: i is out of range, or there is no augmentation.
        """
        self._item_stage()
        i = checked_item(i, self.n_items)
        read = self._loader.dataset.__getitems__  # type: ignore[attr-defined]
        batches = [to_device(read(Draw([i], self.order.seed, epoch, True)), self.device) for epoch in range(n)]
        changed = [self._prepared(*batch) for batch in batches]
        x, y = (torch.cat(parts).cpu() for parts in zip(*changed, strict=True))
        return x, y

    def _item_stage(self) -> list[Any]:
        stage = self.dataset.item_stage
        if self.augmentation is None and not stage:
            raise UsageError("this bunch does not augment its images", fix="Make it with augment=True.")
        return stage

    @property
    def preprocess(self) -> Preprocess:
        """The preprocessing of the images, without augmentation."""
        return self.dataset.preprocess

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        for plan, batch in self._batches():
            yield self._prepared(plan, batch)

    def _batches(self) -> Iterator[tuple[Plan, tuple[Tensor, ...]]]:
        """Each batch of the dataset on the device, with the plan of its augmentation."""
        if self.store is None or (self.dataset.bound is not None and not self.order.changes):  # of another size
            return on_device(supervised(self._loader), self.device)
        return stored_batches(self.store, self.order, self.augmentation or NOTHING)

    def _prepared(self, plan: Plan, batch: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """A batch of the dataset as the model sees it."""
        pixels, *targets = batch
        moving = moving_targets(self.dataset.task, targets[0]) if targets else None
        change = self.augmentation or NOTHING
        x, moving = change.apply(pixels, plan, moving, in_place=True, finish=self.preprocess.batch)
        return (x, *targets) if moving is None else (x, moving.targets)
