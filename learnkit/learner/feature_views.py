"""Augmented views of the training set, of which the features are kept: in each epoch another one is trained on."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from torch import Tensor

from learnkit.checks import check_int
from learnkit.data.bunch import DataBunch
from learnkit.data.loading.loaders import ImageLoader, TensorLoader
from learnkit.data.loading.sampler import BatchOrder
from learnkit.errors import UsageError
from learnkit.learner.resume import Resume, RunCounter, stored_seed

__all__ = ["ViewLoader", "Views", "views_of"]


class Views:
    """A loader for each view, all items in their order: view v is augmented as epoch v of a fit with this seed is.

    Args:
        loader: the training images in their order, augmented.
        n_views: number of views.
        seed: of the augmentation.
    """

    def __init__(self, loader: ImageLoader, n_views: int, seed: int) -> None:
        self._loader, self._n_views, self._seed = loader, n_views, seed

    def __len__(self) -> int:
        return self._n_views

    def __iter__(self) -> Iterator[ImageLoader]:
        for view in range(self._n_views):
            self._loader.seed_epoch(self._seed, view)
            yield self._loader


def views_of(
    dls: DataBunch, n_views: int, epochs: int, folder: Path, counter: RunCounter, resume: Resume
) -> Views | None:
    """The augmented views of the training set; None for one, which is not augmented.

    Args:
        dls: the data.
        n_views: number of views.
        epochs: of the fit, each of which trains on one of the views.
        folder, counter, resume: as of `stored_seed`, which gives the seed of the augmentation.

    Raises:
        UsageError: more views than epochs, or data without images or without augmentation.
    """
    if check_int("n_views", n_views, 1, epochs, expected=f"1 to {epochs}: each of the epochs trains on one view") == 1:
        return None
    try:
        loader = dls.augmented_dl("train")
    except UsageError as error:
        raise error.prefixed(f"n_views={n_views}") from None
    return Views(loader, n_views, stored_seed(folder, counter, resume))


class ViewLoader(TensorLoader):
    """Batches of the features of one of several views of the same items: in epoch e, of view e mod the number of views.

    So each view is trained on equally often, and a fit that is resumed knows its view from the epoch.

    Args:
        views: (features, targets) of each, all on the device and of the same shapes.
        order: which rows make which batch.
    """

    def __init__(self, views: Sequence[tuple[Tensor, Tensor]], order: BatchOrder) -> None:
        super().__init__(views[0], order)
        self.n_views: int = len(views)
        self._each = [TensorLoader(view, order) for view in views]

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        return iter(self._each[self.order.next_epoch % self.n_views])
