"""Masks of two classes and one output: from files to training, predictions, figures, interpretation and exports."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

from learnkit import (
    DataBunch,
    ImageDataBunch,
    Learner,
    Segmentation,
    SegmentationInterpretation,
    load_learner,
    unet_learner,
)
from learnkit.errors import DataError, UsageError
from learnkit.losses import BCEWithLogitsLossFlat, DiceBCELoss, DiceLoss, IoULoss

CODES = {0: "ground", 255: "car"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve dark images, each with a bright square that its mask shows; wider than high."""
    root = tmp_path_factory.mktemp("cars")
    draw = np.random.default_rng(0)
    for name in ("images", "masks"):
        (root / name).mkdir()
    for number in range(12):
        pixels, mask = draw.integers(0, 80, (16, 24, 3), dtype=np.uint8), np.zeros((16, 24), np.uint8)
        top, left = draw.integers(0, 8), draw.integers(0, 16)
        mask[top : top + 8, left : left + 8] = 255
        Image.fromarray(np.where(mask[..., None] > 0, 255 - pixels, pixels)).save(root / f"images/{number}.png")
        Image.fromarray(mask).save(root / f"masks/{number}.png")
    return root


def cars(folder: Path, **options: Any) -> ImageDataBunch:
    settings = {"size": (16, 24), "bs": 4, "valid_pct": 0.34, "device": "cpu", "augment": False, **options}
    return ImageDataBunch.from_folder_masks(
        folder, "images", lambda file: f"masks/{file.name}", CODES, binary=True, **settings
    )


def pixelwise() -> nn.Module:
    torch.manual_seed(0)
    return nn.Conv2d(3, 1, 1)


def trained(dls: DataBunch, **options: Any) -> Learner:
    learn = Learner(dls, pixelwise(), seed=0, **{"metrics": ["dice", "iou", "accuracy"], **options})
    learn.fit(6, 0.3)
    return learn


def test_batches_are_what_binary_cross_entropy_takes(folder: Path) -> None:
    for options in ({}, {"augment": True}, {"cache": "memory"}):
        dls = cars(folder, **options)
        x, y = dls.one_batch()
        assert (dls.c, dls.classes) == (1, ["ground", "car"])
        assert (x.shape, y.shape, y.dtype) == ((4, 3, 16, 24), (4, 1, 16, 24), torch.float32)
        assert y.unique().tolist() == [0, 1]
        assert isinstance(Learner(dls, pixelwise()).loss_func, nn.BCEWithLogitsLoss)


@pytest.mark.parametrize(
    "loss_func",
    [
        None, nn.BCEWithLogitsLoss(), BCEWithLogitsLossFlat(), DiceLoss(), DiceLoss(binary=True), DiceBCELoss(),
        IoULoss(),
        lambda raw, targets: F.binary_cross_entropy_with_logits(raw.reshape(-1), targets.reshape(-1)),
    ],
)  # fmt: skip
def test_every_loss_of_binary_masks_trains(folder: Path, loss_func: Any) -> None:
    learn = trained(cars(folder), loss_func=loss_func)
    loss, dice, iou, accuracy = learn.validate()
    raw = torch.cat([learn.model(x) for x, _ in learn.dls.valid_dl]).detach()
    wanted = torch.cat([y for _, y in learn.dls.valid_dl]) == 1
    found = raw > 0
    both, either = (found & wanted).sum(), (found | wanted).sum()
    assert dice == pytest.approx((2 * both / (found.sum() + wanted.sum())).item())
    assert iou == pytest.approx((both / either).item())
    assert accuracy == pytest.approx((found == wanted).float().mean().item())
    assert dice > 0.95
    probs, targets = learn.get_preds()
    torch.testing.assert_close(probs, raw.sigmoid())
    assert torch.equal(targets == 1, wanted)
    assert np.isfinite(loss)


def test_predictions_figures_and_interpretation(folder: Path, tmp_path: Path) -> None:
    learn = trained(cars(folder))
    file = learn.dls.samples.input.iloc[-1]
    mask, index, probs = learn.predict(file)
    assert (mask.shape, probs.shape) == ((16, 24), (1, 16, 24))
    np.testing.assert_array_equal(mask, (probs[0] > 0.5).numpy())
    np.testing.assert_array_equal(mask, index.numpy())
    truth = np.asarray(Image.open(str(file).replace("images", "masks"))) == 255
    assert (mask == truth).mean() > 0.97
    assert {text.get_text() for text in learn.dls.show_batch().legends[0].get_texts()} == {"ground", "car"}
    assert len(learn.show_results().axes) > 0
    interp = learn.interpret()
    assert isinstance(interp, SegmentationInterpretation)
    preds, targets = learn.get_preds()
    by_hand = np.zeros((2, 2), int)
    for wanted, found in zip((targets == 1).flatten().tolist(), (preds > 0.5).flatten().tolist(), strict=True):
        by_hand[int(wanted), int(found)] += 1
    np.testing.assert_array_equal(interp.confusion_matrix(), by_hand)
    assert interp.iou().loc["car", "dice"] == pytest.approx(learn.validate()[1])
    each = F.binary_cross_entropy(preds, targets, reduction="none").mean((1, 2, 3))
    torch.testing.assert_close(interp.losses, each, atol=1e-4, rtol=1e-3)
    assert interp.top_losses(1)[1].item() == int(each.argmax())
    assert len(interp.plot_top_losses(2).axes) == 8
    assert learn.report(tmp_path / "report.html").is_file()


@pytest.mark.parametrize("to", ["lk", "pt2"])
def test_an_export_predicts_the_same(folder: Path, tmp_path: Path, to: Any) -> None:
    learn = trained(cars(folder))
    file = learn.dls.samples.input.iloc[0]
    path = learn.export(tmp_path / f"m.{to}", to=to)
    if to == "lk":
        loaded = load_learner(path, model=pixelwise(), device="cpu")
        assert loaded.dls.task == learn.dls.task
        assert isinstance(loaded.loss_func, nn.BCEWithLogitsLoss)
        assert np.array_equal(loaded.predict(file)[0], learn.predict(file)[0])
        assert torch.equal(loaded.predict(file)[2], learn.predict(file)[2])
    else:
        program = torch.export.load(path)
        torch.testing.assert_close(program.module()(learn.dls.prepare(file))[0], learn.predict(file)[2])


def test_a_border_is_ignored_in_loss_metrics_and_interpretation(folder: Path) -> None:
    learn = trained(cars(folder, size=(24, 24), resize="pad", ignore_index=7), metrics="default")
    assert learn.dls.one_batch()[1].unique().tolist() == [0, 1, 255]
    raw = torch.cat([learn.model(x) for x, _ in learn.dls.valid_dl]).detach()
    targets = torch.cat([y for _, y in learn.dls.valid_dl])
    counted = targets != 255
    assert counted.float().mean().item() == pytest.approx(16 / 24)
    by_hand = F.binary_cross_entropy_with_logits(raw[counted], targets[counted])
    loss, dice, _ = learn.validate()
    found, wanted = raw[counted] > 0, targets[counted] == 1
    assert dice == pytest.approx((2 * (found & wanted).sum() / (found.sum() + wanted.sum())).item())
    assert loss == pytest.approx(by_hand.item(), rel=1e-5)  # every item has as many pixels that count
    interp = learn.interpret()
    assert int(interp.confusion_matrix().sum()) == int(counted.sum())
    items = [F.binary_cross_entropy_with_logits(r[c], t[c]) for r, t, c in zip(raw, targets, counted, strict=True)]
    torch.testing.assert_close(interp.losses, torch.stack(items))


def test_a_unet_has_one_output(folder: Path, tmp_path: Path) -> None:
    dls = cars(folder, size=32)
    learn = unet_learner(dls, "squeezenet1_1", pretrained=False, seed=0, metrics="default")
    assert learn.model(dls.one_batch()[0]).shape == (4, 1, 32, 32)
    learn.fit(1, 1e-3)
    assert [metric.name for metric in learn.metrics] == ["dice", "iou"]
    loaded = load_learner(learn.export(tmp_path / "m.lk"), device="cpu")
    file = dls.samples.input.iloc[0]
    assert torch.equal(loaded.predict(file)[2], learn.predict(file)[2])


def test_the_spread_of_dropout_is_that_of_two_classes(folder: Path) -> None:
    model = nn.Sequential(nn.Dropout(0.2), pixelwise())
    spread = Learner(cars(folder), model).mc_dropout(n=2)
    p = spread.mean
    torch.testing.assert_close(spread.entropy, -(p * p.log() + (1 - p) * (1 - p).log())[:, 0], atol=1e-5, rtol=1e-4)


def test_tensors_of_binary_masks() -> None:
    x, task = torch.randn(8, 3, 4, 4), Segmentation(["ground", "car"], ignore_index=9, binary=True)
    for y in (x[:, 0] > 0, (x[:, 0] > 0).long(), (x[:, :1] > 0).float()):
        dls = DataBunch.from_tensors(x, y, x, y, bs=4, task=task, device="cpu")
        batch = dls.one_batch()[1]
        assert (batch.shape, batch.dtype) == ((4, 1, 4, 4), torch.float32)
        Learner(dls, pixelwise()).fit(1)
    for wrong in (x[:, 0], x[:, :1] + 3, (x > 0).float(), torch.zeros(8)):
        with pytest.raises(DataError, match="0 or 1 for each pixel"):
            DataBunch.from_tensors(x, wrong, x, wrong, bs=4, task=task, device="cpu")


def test_two_outputs_do_not_fit(folder: Path) -> None:
    with pytest.raises(UsageError, match="returns 2 outputs"):
        Learner(cars(folder), nn.Conv2d(3, 2, 1))


def white_above(level: int) -> Any:
    return lambda file: np.asarray(Image.open(file)) > level


@pytest.mark.parametrize(
    "settings", [{"threshold": 0.3}, {"mask_reader": white_above(99)}, {"border": "ground", "resize": "pad"}]
)
def test_every_setting_of_masks_is_one_of_the_factory(folder: Path, settings: Any) -> None:
    for (x, y), (_, expected) in zip(cars(folder, **settings).valid_dl, cars(folder).valid_dl, strict=True):
        assert torch.equal(y, expected)
        assert len(x) == len(y)


def test_settings_stand_beside_codes_or_in_the_task(folder: Path) -> None:
    task = Segmentation(CODES, binary=True)
    options: dict[str, Any] = {"size": 16, "bs": 4, "valid_pct": 0.34, "task": task}
    alone = ImageDataBunch.from_folder_masks(folder, "images", lambda file: f"masks/{file.name}", **options)
    assert alone.task == cars(folder).task
    for extra in ({"codes": CODES}, {"binary": True}, {"ignore_index": 7}, {"threshold": 0.5}, {"border": "car"}):
        with pytest.raises(UsageError, match=r"task: .*no codes= beside it"):
            ImageDataBunch.from_folder_masks(folder, "images", lambda file: f"masks/{file.name}", task=task, **extra)
