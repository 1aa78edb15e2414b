"""Datasets asked for whole batches: a batch that cannot be read becomes a value that keeps the complete error."""

import pickle
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from learnkit import DataBunch
from learnkit.data.augment.geometry import Flip, Rotate
from learnkit.data.augment.pipeline import Augmentation
from learnkit.data.image.dataset import ImageDataset
from learnkit.data.image.preprocess import Preprocess
from learnkit.data.image.resize import Resize
from learnkit.data.loading.sampler import Draw
from learnkit.data.loading.whole_batches import Collate, Failure, SeededItems, WholeBatches, identity_collate
from learnkit.errors import DataError, ImageError, UsageError

PREPROCESS = Preprocess(Resize((4, 4)), None)


def images(folder: Path, n: int) -> list[str]:
    files = [str(folder / f"{i}.png") for i in range(n)]
    for i, file in enumerate(files):
        Image.new("RGB", (4, 4), (i, i, i)).save(file)
    return files


def draw(*numbers: int, seed: int = 0, epoch: int = 0, is_training: bool = False) -> Draw:
    return Draw(list(numbers), seed, epoch, is_training)


def test_a_batch_of_images_comes_with_the_plan_of_its_augmentation(tmp_path: Path) -> None:
    change = Augmentation([Flip(), Rotate()])
    dataset = WholeBatches(ImageDataset(images(tmp_path, 3), None, None, PREPROCESS), change)
    found = dataset.__getitems__(draw(2, 0, seed=5, epoch=1))
    assert not isinstance(found, Failure)
    expected = change.plan(5, 1, np.array([2, 0]), 4, 4)
    assert found[0].at.indices.tolist() == [2, 0]
    assert torch.equal(found[0].table, expected.table)
    assert found[1][0][:, 0, 0, 0].tolist() == [2, 0]
    assert dataset[1][0][0, 0, 0] == 1
    assert identity_collate(found) is found


def test_an_image_that_cannot_be_read_is_a_value(tmp_path: Path) -> None:
    files = images(tmp_path, 3)
    Path(files[1]).write_bytes(b"")
    found = WholeBatches(ImageDataset(files, None, None, PREPROCESS), Augmentation([])).__getitems__(draw(0, 1))
    assert isinstance(found, Failure)
    assert isinstance(found.error, ImageError)
    assert files[1] in found.error.what


def test_a_failure_crosses_to_another_process_whole() -> None:
    error = ImageError("x.png", got=3, expected="4 pixels", fix="Replace it.")
    copied = pickle.loads(pickle.dumps(Failure(error))).error
    assert type(copied) is ImageError
    for name in ("what", "got", "expected", "fix", "message"):
        assert getattr(copied, name) == getattr(error, name)
    assert str(copied) == str(error) == "x.png: got 3, expected 4 pixels. Replace it."


class Drawing(Dataset[Any]):
    """Items drawn from every global generator; the fifth raises."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error

    def __getitem__(self, index: int) -> Tensor:
        if index == 5 and self.error is not None:
            raise self.error
        return torch.tensor([random.random(), np.random.rand(), torch.rand(()).item()])


class DrawingBatches(Drawing):
    def __getitems__(self, indices: list[int]) -> list[Tensor]:
        return [self[index] for index in indices]


@pytest.mark.parametrize("kind", [Drawing, DrawingBatches])
def test_only_errors_of_learnkit_become_values(kind: type[Drawing]) -> None:
    mine = UsageError("item 5")
    assert SeededItems(kind(mine)).__getitems__(draw(4, 5)).error is mine
    with pytest.raises(KeyError, match="item 5"):
        SeededItems(kind(KeyError("item 5"))).__getitems__(draw(4, 5))


def test_a_training_item_draws_by_seed_epoch_and_number_alone() -> None:
    def items(*numbers: int, seed: int = 1, epoch: int = 2) -> list[list[float]]:
        found = SeededItems(Drawing()).__getitems__(draw(*numbers, seed=seed, epoch=epoch, is_training=True))
        return [item.tolist() for item in found]

    first, second = items(3, 7)
    assert items(7, 3) == [second, first]
    assert items(3) == [first] != [second]
    assert items(3, seed=9) != [first] != items(3, epoch=9)


def test_a_batch_drawn_by_the_dataset_depends_on_its_first_item() -> None:
    def items(*numbers: int, epoch: int = 0) -> list[list[float]]:
        found = SeededItems(DrawingBatches()).__getitems__(draw(*numbers, epoch=epoch, is_training=True))
        return [item.tolist() for item in found]

    assert items(3, 7) == items(3, 8)
    assert items(3, 7) != items(4, 7)
    assert items(3, 7) != items(3, 7, epoch=1)


@pytest.mark.parametrize("kind", [Drawing, DrawingBatches])
def test_the_global_generators_are_restored(kind: type[Drawing]) -> None:
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()  # type: ignore[index, union-attr]
    SeededItems(kind()).__getitems__(draw(1, 2, is_training=True))
    SeededItems(kind(UsageError("x"))).__getitems__(draw(1, 5, is_training=True))
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == random.getstate()
    assert (before[2] == np.random.get_state()[1]).all()  # type: ignore[index]


def test_items_are_collated_as_torch_does_and_a_failure_is_not() -> None:
    items = [(torch.tensor([1.0]), 3), (torch.tensor([2.0]), 4)]
    assert str(Collate(default_collate)(items)) == str(default_collate(items))
    failure = Failure(UsageError("x"))
    assert Collate(default_collate)(failure) is failure


@pytest.mark.parametrize(
    "items", [[torch.ones(2), torch.ones(3)], [object(), object()], [{"a": 1}, {"b": 1}], [np.array("a"), 1]]
)
def test_items_that_make_no_batch_are_an_error_of_the_data(items: list[Any]) -> None:
    found = Collate(default_collate)(items)
    assert isinstance(found, Failure)
    assert "items cannot be made a batch" in found.error.what
    assert "collate_fn=" in found.error.fix
    dls = DataBunch.from_datasets([(one, 0) for one in items], bs=2)
    with pytest.raises(DataError, match="items cannot be made a batch"):
        dls.one_batch("train")
