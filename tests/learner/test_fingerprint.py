"""The fingerprint of a fit: what is in it, and what is not."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from learnkit import Callback, DataBunch, ImageDataBunch, Learner
from learnkit.callbacks import CSVLogger, EarlyStopping, MixUp
from learnkit.distributed.world import World
from learnkit.learner import fingerprint as module
from learnkit.learner.fingerprint import differences, environment, fingerprint
from tests.doubles import Blobs, acting, linear_learner


def prints(learn: Learner, *callbacks: Callback, **arguments: Any) -> dict[str, str]:
    return fingerprint(learn.dls, learn._fit_state(3, 1e-2, 0.01, 0), callbacks, arguments)


def test_it_names_every_part(blobs: Blobs) -> None:
    found = prints(linear_learner(blobs, metrics="accuracy"), epochs=3)
    assert found["epochs"] == "3"
    assert found["data: classes"] == "0, 1"
    assert found["data: training"].startswith("64 items, ")
    assert found["batch size"] == "16"
    assert found["model: weight"] == "(2, 2) torch.float32"
    assert found["optimizer"] == "AdamW"
    assert found["optimizer: betas"] == "(0.9, 0.99)"
    assert "optimizer: lr" not in found
    assert found["loss"] == "CrossEntropyLoss()"
    assert found["metrics"] == "accuracy"


def test_equal_fits_have_equal_fingerprints_and_others_do_not(blobs: Blobs) -> None:
    first = prints(linear_learner(blobs))
    assert differences(first, prints(linear_learner(blobs))) == []
    frozen = linear_learner(blobs)
    frozen.model.bias.requires_grad_(False)
    assert differences(first, prints(frozen)) == [
        "model: bias: (2,) torch.float32 there, (2,) torch.float32, frozen here"
    ]
    assert differences(first, prints(linear_learner(blobs), epochs=3)) == ["epochs: none there, 3 here"]
    assert differences(prints(linear_learner(blobs), epochs=3), first) == ["epochs: 3 there, none here"]


@pytest.mark.parametrize("place", range(4))
def test_every_value_of_the_data_counts(place: int, blobs: Blobs) -> None:
    changed = [tensor.clone() for tensor in blobs]
    changed[place][-1] = 1 - changed[place][-1]
    (difference,) = differences(prints(linear_learner(blobs)), prints(linear_learner(tuple(changed))))
    assert difference.startswith("data: training: " if place < 2 else "data: validation: ")


def test_of_large_tensors_evenly_spaced_rows_count(blobs: Blobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_HASHED", blobs[0].nbytes // 4)
    for row, is_seen in ((0, True), (3, False), (4, True), (60, True)):
        changed = blobs[0].clone()
        changed[row] += 1
        found = differences(prints(linear_learner(blobs)), prints(linear_learner((changed, *blobs[1:]))))
        assert bool(found) is is_seen


class Labeled(Dataset[Any]):
    def __init__(self, targets: Any) -> None:
        self.targets = targets

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Any:
        return torch.zeros(2), 0


class Stream:
    def __iter__(self) -> Iterator[Any]:
        return iter([(torch.zeros(4, 2), torch.arange(4) % 2)])


@pytest.mark.parametrize(
    ("loader", "text"),
    [
        (DataLoader(Labeled([0, 1, 0, 1]), 2), "4 items of Labeled, labels "),
        (DataLoader(Labeled(None), 2), "4 items of Labeled"),
        ([(torch.zeros(4, 2), torch.arange(4) % 2)] * 3, "list of 3 batches"),
        (Stream(), "Stream"),
    ],
)
def test_loaders_are_identified_by_their_attributes(loader: Any, text: str) -> None:
    dls = DataBunch.from_loaders(loader, None, classes=["a", "b"])
    found = prints(Learner(dls, nn.Linear(2, 2), seed=0))
    assert found["data: training"].startswith(text)
    assert ("labels" in found["data: training"]) is ("labels" in text)
    assert found["data: validation"] == "none"


def test_labels_of_a_data_set_count() -> None:
    def of(targets: list[int]) -> dict[str, str]:
        dls = DataBunch.from_loaders(DataLoader(Labeled(targets), 2), None, classes=["a", "b"])
        return prints(Learner(dls, nn.Linear(2, 2), seed=0))

    assert len(differences(of([0, 1, 0, 1]), of([0, 1, 1, 0]))) == 1


def test_callbacks_that_only_report_do_not_count(blobs: Blobs) -> None:
    learn = linear_learner(blobs)
    found = prints(learn, MixUp(0.4), CSVLogger(), learn.recorder)
    assert found["MixUp: alpha"] == "0.4"
    assert not [name for name in found if "CSVLogger" in name or "Recorder" in name]
    state = learn._fit_state(1, 1e-2, 0.0, 0)
    assert environment(state, [EarlyStopping(), CSVLogger(), learn.recorder])["callbacks"] == "EarlyStopping"


def test_the_environment_is_reported_separately(blobs: Blobs) -> None:
    state = linear_learner(blobs)._fit_state(1, 1e-2, 0.0, 0)
    found = environment(state, [acting(label="Mine")])
    assert (found["threads"], found["device"], found["callbacks"]) == ("1", "cpu", "Mine")
    assert found["torch"] == torch.__version__ or torch.__version__.startswith(found["torch"])


def own_loss(preds: Tensor, targets: Tensor) -> Tensor:
    return nn.functional.cross_entropy(preds, targets)


def test_the_chosen_output_counts(blobs: Blobs) -> None:
    first, second = (prints(linear_learner(blobs, output=key)) for key in ("logits", 1))
    assert differences(first, second) == ["output: OneOutput(key='logits') there, OneOutput(key=1) here"]
    assert "output" not in prints(linear_learner(blobs))


@pytest.mark.parametrize(
    ("loss", "text"),
    [
        (own_loss, "own_loss"),
        (partial(nn.functional.cross_entropy, label_smoothing=0.5), "label_smoothing=0.5"),
        (nn.CrossEntropyLoss(label_smoothing=0.5), "CrossEntropyLoss()"),
    ],
)
def test_a_loss_is_identified_by_its_name_or_repr(loss: Any, text: str, blobs: Blobs) -> None:
    found = prints(linear_learner(blobs, loss_func=loss))
    assert text in found["loss"]
    assert " at 0x" not in found["loss"]


def test_settings_of_a_loss_count(blobs: Blobs) -> None:
    found = prints(linear_learner(blobs, loss_func=nn.CrossEntropyLoss(weight=torch.tensor([1.0, 3.0]))))
    assert found["CrossEntropyLoss: weight"] == "[1.0, 3.0]"


def of_images(folder: Path, **options: Any) -> dict[str, str]:
    dls = ImageDataBunch.from_folder(folder, num_workers=0, **{"size": 8, "bs": 8, **options})
    return prints(Learner(dls, nn.Sequential(nn.Flatten(), nn.Linear(192, 3)), seed=0))


def test_weights_in_a_column_are_compared_by_their_numbers(class_folder: Path) -> None:
    def weighted(weight: float) -> dict[str, str]:
        dls = ImageDataBunch.from_folder(class_folder, num_workers=0, size=8, bs=8)
        table = dls.samples.assign(w=[weight] + [1.0] * (len(dls.samples) - 1))
        again = ImageDataBunch.from_samples(table, class_folder, num_workers=0, size=8, bs=8, sampler="w")
        return prints(Learner(again, nn.Sequential(nn.Flatten(), nn.Linear(192, 3)), seed=0))

    assert weighted(2.0) == weighted(2.0)
    (found,) = differences(weighted(2.0), weighted(3.0))
    assert found.startswith("data: sampler=: weights ")


def test_image_data_is_compared_by_table_and_settings_but_not_location(class_folder: Path) -> None:
    first = of_images(class_folder)
    assert first["data: train items"].startswith("24, names and labels ")
    assert of_images(class_folder, cache="memory") == first  # a cache changes no number
    found = differences(first, of_images(class_folder, augment=False))
    assert [text.partition(":")[0] for text in found] == ["data"]
    assert "data: augment=: " in found[0]
    (weighted,) = differences(first, of_images(class_folder, sampler=[1.0] * 24))
    assert weighted.startswith("data: sampler=: None there, weights ")
    assert differences(first, of_images(class_folder, sampler="balanced")) == [
        "data: sampler=: None there, 'balanced' here"
    ]
    moved = class_folder.rename(class_folder.with_name("moved"))
    assert of_images(moved) == first
    (moved / "train" / "blue" / "0.png").rename(moved / "train" / "blue" / "renamed.png")
    (renamed,) = differences(first, of_images(moved))
    assert renamed.startswith("data: train items: ")


def test_items_of_a_tensor_data_set_are_counted(blobs: Blobs) -> None:
    data = TensorDataset(blobs[0][:10], blobs[1][:10])
    dls = DataBunch.from_loaders(DataLoader(data, 5), None, classes=["a", "b"])
    assert prints(Learner(dls, nn.Linear(2, 2), seed=0))["data: training"].startswith("10 items, ")


def test_what_processes_compare_of_their_data_differs_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[dict[str, int]] = []
    several = World()
    several._size = 2
    monkeypatch.setattr(several, "check_same", found.append)
    monkeypatch.setattr(module, "world", several)
    x, y = torch.arange(8.0)[:, None], torch.arange(8) % 2
    for inputs, targets in ((x, y), (x.clone(), y), (x.flip(0), y), (x, 1 - y)):
        module.check_data(DataBunch.from_tensors(inputs, targets, x, y, bs=4))
    first, same, *others = found
    assert first == same
    for other in others:
        assert [name for name in first if first[name] != other[name]] == ["the data: training (as a hash)"]
