"""Items to check an export on: evenly spaced, of images, tensors and plain loaders alike."""

import torch

from learnkit import DataBunch, ImageDataBunch
from learnkit.persistence.deploy.real_data import RealData


def bunch() -> DataBunch:
    x, y = torch.arange(10.0)[:, None], torch.arange(10) % 2
    return DataBunch.from_tensors(x, y, x[:5], y[:5], bs=2, classes=["a", "b"], device="cpu")


def test_training_inputs_are_evenly_spaced_from_the_first_on() -> None:
    assert [one.tolist() for one in RealData(bunch()).inputs(3)] == [[[0.0]], [[3.0]], [[6.0]]]
    assert [one.item() for one in RealData(bunch()).inputs(6)] == [0, 1, 3, 5, 6, 8]  # of all, not of the first ones
    assert [one.item() for one in RealData(bunch()).inputs(50)] == list(range(10))


def test_a_plain_loader_gives_its_first_ones() -> None:
    batches = [(torch.full((2, 1), float(i)), torch.zeros(2, dtype=torch.long)) for i in range(3)]
    data = RealData(DataBunch.from_loaders(batches, batches[:1], classes=["a", "b"], device="cpu"))
    assert data.has_inputs
    assert [one.item() for one in data.inputs(3)] == [0.0, 0.0, 1.0]
    assert [len(x) for x, _ in data.batches()] == [2]


def test_the_validation_set_in_order_and_nothing_without_one() -> None:
    assert torch.cat([x for x, _ in RealData(bunch()).batches()]).flatten().tolist() == [0, 1, 2, 3, 4]
    x, y = torch.zeros(4, 1), torch.arange(4) % 2
    alone = RealData(DataBunch.from_tensors(x, y, bs=2, classes=["a", "b"], device="cpu"))
    assert list(alone.batches()) == []
    assert alone.images(3) == []


def test_data_without_items_has_no_inputs() -> None:
    assert not RealData(ImageDataBunch.single_from_classes(".", ["a", "b"], size=8, device="cpu")).has_inputs
