"""Batches in the layout that networks and losses written for plain PyTorch expect: contiguous (N, C, H, W)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from learnkit import DataBunch, DatasetType, ImageDataBunch, Learner
from learnkit.transforms import Flip, OnItem, RandomResizedCrop

PARTS = (DatasetType.Train, DatasetType.Valid, DatasetType.Fix)


def gray(x: Tensor) -> Tensor:
    return x.mean(1, keepdim=True).expand_as(x)  # not contiguous


def turned(image: Tensor) -> Tensor:
    return image.transpose(1, 2)


def floats(file: str) -> Any:
    return np.asarray(Image.open(file), dtype=np.float32) / 255


@pytest.mark.parametrize("augment", [False, True, "light", "strong", "trivial", [Flip()], [gray], [OnItem(turned)]])
@pytest.mark.parametrize("normalize", ["imagenet", None])
def test_batches_are_contiguous_whatever_changes_them(class_folder: Path, augment: Any, normalize: Any) -> None:
    dls = ImageDataBunch.from_folder(class_folder, size=16, bs=4, augment=augment, normalize=normalize)
    for part in PARTS:
        assert dls.one_batch(part)[0].is_contiguous(), part


@pytest.mark.parametrize(
    "options",
    [
        {"cache": "memory"}, {"cache": "device"}, {"cache": "memory", "augment": [RandomResizedCrop((16, 16))]},
        {"channels": 1}, {"reader": floats}, {"num_workers": 1}, {"resize": "pad"}, {"resize": "squish"},
    ],
)  # fmt: skip
def test_batches_are_contiguous_wherever_they_come_from(class_folder: Path, options: dict[str, Any]) -> None:
    dls = ImageDataBunch.from_folder(class_folder, size=16, bs=4, **options)
    batches = [dls.one_batch(part)[0] for part in PARTS]
    batches += [next(iter(dls.test_dl_from([str(class_folder / "valid/red/0.png")])))[0]]
    batches += [dls.prepare(class_folder / "valid/red/0.png"), dls.one_input("valid", 0)]
    if "augment" not in options:
        batches += [next(iter(dls.augmented_dl("valid")))[0]]
    assert all(x.is_contiguous() for x in batches)


@pytest.mark.parametrize("wrap", [torch.Tensor.numpy, torch.Tensor.clone])
def test_batches_of_tensors_are_contiguous_whatever_the_layout_of_these(wrap: Any) -> None:
    """Weights are contiguous: a batch in channels-last would have them converted in every forward pass."""
    x = wrap(torch.rand(12, 4, 5, 3).permute(0, 3, 1, 2))  # as images read by other libraries are
    dls = DataBunch.from_tensors(x, torch.arange(12) % 2, x, torch.arange(12) % 2, bs=4)
    for part in PARTS:
        assert dls.one_batch(part)[0].is_contiguous(), part
    assert torch.equal(torch.cat([images for images, _ in dls.valid_dl]), torch.as_tensor(x))


def test_a_layout_is_not_a_change_of_pixels(class_folder: Path) -> None:
    for cache in (None, "memory", "device"):
        dls = ImageDataBunch.from_folder(class_folder, size=24, bs=4, augment=False, normalize=None, cache=cache)
        x, _ = dls.one_batch("valid")
        pixels = np.asarray(Image.open(dls.samples.query("split == 'valid'")["input"].iloc[0]))
        np.testing.assert_allclose(x[0].permute(1, 2, 0), pixels / 255, atol=1e-6)


class FiveByFive(nn.Module):
    """A LeNet for 32 x 32 pixels, flattened by `view` as in PyTorch's tutorials."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 6, 5), nn.Conv2d(6, 16, 5)
        self.out = nn.Linear(400, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        out: Tensor = self.out(x.view(-1, 400))
        return out


class Flat(nn.Module):
    """A linear model of pixels, flattened before anything else."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(3 * 32 * 32, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.out(x.view(len(x), -1))
        return out


@pytest.mark.parametrize("kind", [FiveByFive, Flat])
@pytest.mark.parametrize("augment", [True, False])
def test_networks_that_flatten_by_view_train_and_predict(class_folder: Path, kind: Any, augment: bool) -> None:
    dls = ImageDataBunch.from_folder(class_folder, size=32, bs=8, augment=augment)
    learn = Learner(dls, kind(), metrics="accuracy", seed=0)
    learn.fit(1)
    preds, _ = learn.get_preds()
    torch.testing.assert_close(learn.predict(dls.valid_ds.inputs[5]).probs, preds[5])
    assert learn.show_results().axes


def flattened(preds: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    return torch.sigmoid(preds).view(-1), targets.view(-1).float()


def dice(preds: Tensor, targets: Tensor) -> Tensor:
    p, t = flattened(preds, targets)
    return 1 - (2 * (p * t).sum() + 1) / (p.sum() + t.sum() + 1)


def dice_bce(preds: Tensor, targets: Tensor) -> Tensor:
    p, t = flattened(preds, targets)
    return F.binary_cross_entropy(p, t) + dice(preds, targets)


def iou(preds: Tensor, targets: Tensor) -> Tensor:
    p, t = flattened(preds, targets)
    both = (p * t).sum()
    return 1 - (both + 1) / (p.sum() + t.sum() - both + 1)


def focal(preds: Tensor, targets: Tensor) -> Tensor:
    cross_entropy = F.binary_cross_entropy(*flattened(preds, targets))
    return 0.8 * (1 - torch.exp(-cross_entropy)) ** 2 * cross_entropy


@pytest.fixture
def masked_folder(tmp_path: Path) -> Path:
    """images/{0..5}.png, a bright square on black, and masks/ of the same names: 1 in the square; 16 x 16."""
    for i in range(6):
        mask = np.zeros((16, 16), np.uint8)
        mask[i : i + 8, 4:12] = 1
        for folder, pixels in (("images", np.dstack([mask * 200] * 3)), ("masks", mask)):
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / folder / f"{i}.png")
    return tmp_path


@pytest.mark.parametrize("loss", [dice, dice_bce, iou, focal])
def test_losses_that_flatten_by_view_train_on_masks(masked_folder: Path, loss: Callable[..., Tensor]) -> None:
    masks = {"masks": lambda image: masked_folder / "masks" / image.name, "codes": ["ground", "square"]}
    dls = ImageDataBunch.from_folder_masks(masked_folder, valid_pct=0.34, size=16, bs=2, **masks)
    torch.manual_seed(0)
    model = nn.Conv2d(3, 1, 3, padding=1)
    optimizer = torch.optim.Adam(model.parameters(), 0.1)
    losses = []
    for _ in range(10):
        for x, y in dls.train_dl:
            value = loss(model(x), y)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            losses.append(value.item())
    assert losses[-1] < 0.7 * losses[0]
