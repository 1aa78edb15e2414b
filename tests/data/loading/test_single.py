"""One input of any loader is the one that stands in its batch."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, TensorDataset

from learnkit import DataBunch, DatasetType, ImageDataBunch
from learnkit.errors import UsageError

X, Y = torch.arange(22.0).view(11, 2), torch.arange(11) % 2


def doubled(items: list[Any]) -> tuple[Tensor, Tensor]:
    return 2 * torch.stack([x for x, _ in items]), torch.stack([y for _, y in items])


def bunches() -> dict[str, DataBunch]:
    dataset = TensorDataset(X, Y)
    batches = [(X[start : start + 4], Y[start : start + 4]) for start in (0, 4, 8)]
    loader = DataLoader(dataset, 4, collate_fn=doubled)
    shuffled = DataLoader(dataset, 4, shuffle=True)
    backwards = DataLoader(dataset, batch_sampler=BatchSampler(range(10, -1, -1), 4, drop_last=False))
    whole = DataLoader(batches, batch_size=None)  # type: ignore[arg-type]
    return {
        "tensors": DataBunch.from_tensors(X, Y, X, Y, bs=4),
        "datasets": DataBunch.from_datasets(dataset, dataset, bs=4, classes=["a", "b"]),
        "torch loaders": DataBunch.from_loaders(loader, loader),
        "shuffled": DataBunch.from_loaders(shuffled, shuffled),
        "a batch sampler": DataBunch.from_loaders(backwards, backwards),
        "a dataset of batches": DataBunch.from_loaders(whole, whole),
        "batches": DataBunch.from_loaders(batches, batches),
        "without labels": DataBunch.from_loaders([x for x, _ in batches], [x for x, _ in batches]),
    }


@pytest.mark.parametrize("name", bunches())
def test_an_input_is_the_row_of_its_batch(name: str) -> None:
    dls = bunches()[name]
    for part in (DatasetType.Valid, DatasetType.Fix):
        rows = torch.cat([batch if isinstance(batch, Tensor) else batch[0] for batch in dls.ordered_dl(part)])
        for i in (0, 3, 4, 10):
            assert torch.equal(dls.one_input(part, i), rows[i : i + 1])
        for wrong in (11, -1):
            with pytest.raises(UsageError, match=f"i: got {wrong}, expected the number of an item, from 0 to 10"):
                dls.one_input(part, wrong)


def test_an_input_may_be_written_into() -> None:
    dls = DataBunch.from_tensors(X, Y, X, Y, bs=4)
    dls.one_input(DatasetType.Valid, 0).zero_()
    assert torch.equal(dls.one_input(DatasetType.Valid, 0), X[:1])


def test_a_picture_is_normalised_and_not_augmented(class_folder: Path) -> None:
    dls = ImageDataBunch.from_folder(class_folder, size=16, bs=5, num_workers=0)
    for part in (DatasetType.Valid, DatasetType.Train):
        rows = torch.cat([x for x, _ in dls.ordered_dl(part)])
        for i in (0, 6, 11):
            torch.testing.assert_close(dls.one_input(part, i), rows[i : i + 1])
            torch.testing.assert_close(dls.one_input(part, i), dls.prepare(dls.item_name(part, i)))
        for wrong in (len(rows), -1, 1.0, True):
            with pytest.raises(UsageError, match="i: got"):
                dls.one_input(part, wrong)  # type: ignore[arg-type]
