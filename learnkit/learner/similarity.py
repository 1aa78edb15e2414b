"""What a learner's features tell about its data: embeddings, similar items, near-duplicates, outliers."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from learnkit.arguments import checks_methods
from learnkit.data.loading.loaders import OrderedLoader
from learnkit.device import Compute
from learnkit.distributed.world import world
from learnkit.errors import UsageError
from learnkit.inference.predictions import predict_loader
from learnkit.learner.answers import Answers
from learnkit.learner.kept_features import KeptFeatures, identity, table_of
from learnkit.learner.preds import Part, Source
from learnkit.models.features import HeadInputs, LayerOutputs, NoHead, head_layers, name_of_layer
from learnkit.neighbors.cosine import nearest
from learnkit.neighbors.duplicates import MAX_RATIO, near_duplicates
from learnkit.neighbors.outliers import find_outliers
from learnkit.types import DatasetType

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Similarity"]

SPLITS = {"train": DatasetType.Train, "valid": DatasetType.Valid, "test": DatasetType.Test}


@checks_methods
class Similarity(Answers):
    """Features of items, and which items are alike by them; nothing of the learner changes, as for other answers."""

    def __init__(self) -> None:
        super().__init__()
        self._kept: dict[DatasetType, KeptFeatures] = {}

    def embed(
        self, ds_type: Source | Sequence[Any] = DatasetType.Valid, layer: nn.Module | str | None = None
    ) -> Tensor:
        """The features of items, in their order: float32 (N, D), on the CPU.

        Args:
            ds_type: a part of the data ("train", "valid", "test" or a DatasetType), one of its loaders or a DataLoader;
                or a list of new items, in forms that `predict` takes. Nothing is augmented.
            layer: None for what the head gets, after pooling and flattening: what `fit_head` trains on. Or a module of
                the model, or its name: what that returns; of images (N, C, H, W) the mean over space, (N, C), and of
                other shapes all numbers of an item in a row.

        Raises:
            UsageError: the head does not stand apart from the rest (a single layer group, a U-Net), so that `layer` is
                needed; a layer that is not in the model, or is not called once; one item alone.
            DataError: no items.
        """
        return self._embedded(self._items(ds_type), layer)

    def similar(self, item: Any, k: int = 9, ds_type: Part = "train") -> "pd.DataFrame":
        """The k items of a part of the data that are most similar to one, the nearest first.

        The distance is the cosine distance of what the head gets, as `embed` returns it: 1 - cosine similarity, in
        [0, 2]. It is exact; see `learnkit.neighbors.nearest`.

        The features of a part are computed once, and again when the weights or the data have changed: to know, all
        weights are read, and the time of every file. For datasets and readers of your own this cannot be known, and
        they are computed in every call: keep `learn.embed(...)`, and use `learnkit.neighbors.nearest`.

        Args:
            item: in a form that `predict` takes; an item of that part finds itself first, at distance 0.
            k: how many; all if there are fewer.
            ds_type: where to search.

        Returns:
            columns input and target, as in `dls.samples` (without a table of samples: numbers, and None), and distance.

        Raises:
            UsageError: as `embed`, but for `layer`.
        """
        import pandas as pd

        part = DatasetType.of(ds_type)
        bank = self._bank(part)
        distances, places = nearest(self.embed([item]), bank, k)
        found = places[0].tolist()
        inputs, targets = ([column[i] for i in found] for column in self._columns(part, len(bank)))
        columns = {"input": _objects(inputs), "target": _objects(targets), "distance": distances[0].tolist()}
        return pd.DataFrame(columns)

    def near_duplicates(self, max_ratio: float = MAX_RATIO) -> "pd.DataFrame":
        """Pairs of items that look almost alike, within a part of the data and across, the most alike first.

        For each item, the one most like it in each part. Two shots of one thing may be found too: look at them.

        Args:
            max_ratio: of their distance to that of others around; see `learnkit.neighbors.near_duplicates`.

        Returns:
            columns item (its number in its split), input, target and split; other_item, other_input, other_target and
            other_split, of an item before it (in the order train, valid, test); and distance.

        Raises:
            UsageError: as `embed`, but for `layer`.
        """
        import pandas as pd

        features, table = self._all_features()
        pairs = near_duplicates(features, max_ratio, table["split"].tolist())
        rows, others = (table.iloc[places.tolist()].reset_index(drop=True) for places in (pairs.later, pairs.earlier))
        found = pd.concat([rows, others.add_prefix("other_")], axis=1)
        return found.assign(distance=pairs.distances.tolist())

    def outliers(self) -> "pd.DataFrame":
        """Items that are unlike all others of the data, the most unlike first: what may not belong to it.

        Returns:
            columns item (its number in its split), input, target, split, and score: how far from the nearest others,
            see `learnkit.neighbors.find_outliers`.

        Raises:
            UsageError: as `embed`, but for `layer`.
        """
        features, table = self._all_features()
        found = find_outliers(features)
        rows = table.iloc[found.places.tolist()].reset_index(drop=True)
        return rows.assign(score=found.scores.tolist())

    def _all_features(self) -> "tuple[Tensor, pd.DataFrame]":
        """Of all items of all parts: features, and item, input, target and split."""
        import pandas as pd

        loaders = {"train": self.dls.train_dl, "valid": self.dls.valid_dl, "test": self.dls.test_dl}
        banks = {name: self._bank(SPLITS[name]) for name, loader in loaders.items() if loader is not None}
        tables = []
        for name, bank in banks.items():
            inputs, targets = map(_objects, self._columns(SPLITS[name], len(bank)))
            columns = {"item": range(len(bank)), "input": inputs, "target": targets, "split": name}
            tables.append(pd.DataFrame(columns))
        return torch.cat(list(banks.values())), pd.concat(tables, ignore_index=True)

    def _columns(self, part: DatasetType, n: int) -> tuple[Sequence[Any], Sequence[Any]]:
        """The inputs and the targets of now: another table of the same files has other labels."""
        return table_of(self.dls, part.name.lower(), n)

    def _bank(self, part: DatasetType) -> Tensor:
        """The features of a part of the data: those that are kept if nothing has changed since they were computed."""
        loader, kept = self._loader(part), self._kept
        with self._answering():
            now = self._identity(loader)
            is_stale = part not in kept or not now or kept[part].identity != now
            if not world.highest(int(is_stale)):
                return kept[part].features
            features = self._embedded(loader, None)
            after = self._identity(loader)  # a fit beside it may have changed the weights meanwhile
        kept[part] = KeptFeatures(features, now if now == after else "")
        return features

    def _identity(self, loader: Any) -> str:
        return identity(self.model, self._head(self.model)[0], loader, self._compute())

    def _items(self, source: Any) -> Any:
        """A loader of a part of the data, of items, or the same loader."""
        is_loader = isinstance(source, DataLoader | OrderedLoader) or any(
            source is own for own in (self.dls.train_dl, self.dls.valid_dl, self.dls.test_dl, self.dls.fix_dl)
        )
        if is_loader or isinstance(source, str) or not isinstance(source, Iterable):
            return self._loader(source)
        return self._loader(self.dls.test_dl_from(source))

    def _embedded(self, loader: Any, layer: nn.Module | str | None) -> Tensor:
        name = None if layer is None else name_of_layer(self.model, layer)
        with self._answering() as (model, compute):
            watched = HeadInputs(model, self._head(model)) if name is None else LayerOutputs(model, name)
            return self._features(watched, loader, compute)

    def _features(self, watched: nn.Module, loader: Any, compute: Compute) -> Tensor:
        try:
            return predict_loader(watched, loader, compute, _rows)[0]
        except NoHead as error:
            raise _needs_layer(error) from error

    def _head(self, model: nn.Module) -> list[nn.Module]:
        """The layers whose inputs are the features."""
        try:
            if len(self.groups) < 2:
                raise NoHead(f"this model has {len(self.groups)} layer group, so there is no head")
            return head_layers(model, self.groups[-1])
        except NoHead as error:
            raise _needs_layer(error) from error


def _rows(features: Tensor) -> Tensor:
    return features.flatten(1).float()


def _needs_layer(error: NoHead) -> UsageError:
    return UsageError(
        f"embed: {error.what}",
        fix='Name a layer, learn.embed(..., layer="body.3"), or set groups, learn.split(lambda m: [m.body, m.fc]).',
    )


def _objects(values: Sequence[Any]) -> "pd.Series[Any]":
    """A column of any values: a path need not be valid UTF-8."""
    import pandas as pd

    return pd.Series(list(values), dtype=object)
