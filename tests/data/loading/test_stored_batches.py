"""cache="device": the batches of any other cache, from tensors on the device; the CPU stands in for one."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from learnkit import ImageDataBunch, Learner, LearnkitWarning, Points, Regression
from learnkit.data.loading import stored_batches
from learnkit.errors import UsageError
from learnkit.transforms import Flip, OnBatch, Presize, RandomErasing, default_augment
from tests.data.loading.test_loaders import Copies

N = 14


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """images/0.png, ... of several sizes in which every pixel differs, and masks/ of the same names."""
    numbers = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
    for i in range(N):
        shape = (12 + i % 3, 16)
        Image.fromarray(numbers.integers(0, 256, (*shape, 3), dtype=np.uint8)).save(tmp_path / f"images/{i}.png")
        Image.fromarray(numbers.integers(0, 2, shape, dtype=np.uint8)).save(tmp_path / f"masks/{i}.png")
    return [f"images/{i}.png" for i in range(N)]


def bunch(folder: Path, files: list[str], kind: str = "classes", **options: Any) -> Any:
    settings: dict[str, Any] = {"size": 8, "bs": 4, "valid_pct": 0.3, "num_workers": 0, "device": "cpu", **options}
    if kind == "masks":
        return ImageDataBunch.from_folder_masks(
            folder, masks=lambda image: folder / "masks" / image.name, codes=["a", "b"], **settings
        )
    labels: list[Any] = ["ab"[i % 2] for i in range(N)]
    if kind == "several labels":
        labels = [["a"] * (i % 2) + ["b"] * (i % 3 > 0) for i in range(N)]
    if kind == "numbers":
        labels, settings["task"] = [[i / 2, -i] for i in range(N)], Regression(["price", "weight"])
    if kind == "points":
        labels, settings["task"] = [[4, 5, 8, 6]] * N, Points(["left", "right"], swaps=[("left", "right")])
    return ImageDataBunch.from_lists(folder, files, labels, **settings)


def loader_of(dls: Any, part: str) -> Any:
    return dls.train_dl if part == "train" else dls.ordered_dl(part)


def epoch(loader: Any, number: int = 0, start: int = 0) -> list[tuple[Tensor, ...]]:
    loader.seed_epoch(3, number, start)
    return [tuple(part.clone() for part in batch) for batch in loader]


def assert_alike(ours: list[tuple[Tensor, ...]], theirs: list[tuple[Tensor, ...]]) -> None:
    assert len(ours) == len(theirs) > 0
    for a, b in zip(itertools.chain(*ours), itertools.chain(*theirs), strict=True):
        assert a.dtype == b.dtype
        assert a.is_contiguous()
        assert torch.equal(a.nan_to_num(9), b.nan_to_num(9))


@pytest.mark.parametrize("kind", ["classes", "several labels", "numbers", "masks", "points"])
@pytest.mark.parametrize("augment", [True, False, [Presize(12), Flip(), RandomErasing(0.5)], [Flip(), OnBatch(abs)]])
def test_batches_are_those_of_a_cache_in_memory(
    tmp_path: Path, files: list[str], kind: str, augment: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_batches, "PLANNED", 8)  # two batches
    if kind in ("masks", "points") and isinstance(augment, list):
        augment = [OnBatch(one.fn, moves=False) if isinstance(one, OnBatch) else one for one in augment]
    ours, theirs = (bunch(tmp_path, files, kind, augment=augment, cache=cache) for cache in ("device", "memory"))
    for part in ("train", "valid", "fix"):
        for number in (0, 1):
            assert_alike(*(epoch(loader_of(dls, part), number) for dls in (ours, theirs)))
    assert not torch.equal(epoch(ours.train_dl, 0)[0][0], epoch(ours.train_dl, 1)[0][0])


@pytest.mark.parametrize("options", [{"sampler": "balanced"}, {"normalize": None}, {"normalize": "data"}])
def test_options_of_a_bunch_mean_the_same(tmp_path: Path, files: list[str], options: Any) -> None:
    ours, theirs = (bunch(tmp_path, files, cache=cache, **options) for cache in ("device", None))
    assert_alike(epoch(ours.train_dl), epoch(theirs.train_dl))


@pytest.mark.parametrize("cache", ["device", "memory", None])
@pytest.mark.parametrize("start", [1, 2])
def test_an_epoch_can_begin_at_any_batch(tmp_path: Path, files: list[str], start: int, cache: Any) -> None:
    dls = bunch(tmp_path, files, bs=3, cache=cache)
    assert_alike(epoch(dls.train_dl, 2, start), epoch(dls.train_dl, 2)[start:])


@pytest.mark.parametrize("cache", ["device", "memory", None])
def test_an_item_does_not_depend_on_the_size_of_its_batch(tmp_path: Path, files: list[str], cache: Any) -> None:
    dls = bunch(tmp_path, files, cache=cache, augment=[*default_augment(), RandomErasing(0.5)])
    whole = torch.cat([x for x, _ in epoch(dls.train_dl)])
    for size in (1, 2, 5):
        dls.train_dl.batch_size = size
        parts = torch.cat([x for x, _ in epoch(dls.train_dl)])
        n = min(len(parts), len(whole))
        torch.testing.assert_close(parts[:n], whole[:n], atol=1e-5, rtol=0)


def test_files_are_not_read_again(tmp_path: Path, files: list[str]) -> None:
    dls = bunch(tmp_path, files, cache="device")
    before = epoch(dls.train_dl)
    for file in files:
        (tmp_path / file).unlink()
    assert_alike(epoch(dls.train_dl), before)
    assert sum(len(x) for x, _ in dls.valid_dl) == 4


def test_unreadable_files_are_left_out(tmp_path: Path, files: list[str]) -> None:
    (tmp_path / files[3]).write_bytes(b"no image")
    with pytest.warns(LearnkitWarning, match="1 of 14 items cannot be read"):
        dls = bunch(tmp_path, files, cache="device", on_error="skip")
    assert len(dls.skipped) == 1
    assert len(dls.train_ds) + len(dls.valid_ds) == N - 1


@pytest.mark.parametrize("form", ["tensors", "arrays"])
def test_images_that_are_in_memory(form: str) -> None:
    pixels = torch.randint(0, 256, (10, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    options: dict[str, Any] = {"size": 8, "bs": 10, "augment": False, "normalize": None, "cache": "device"}
    options |= {"device": "cpu", "valid_pct": 0}
    if form == "tensors":
        dls = ImageDataBunch.from_datasets([(x, i % 2) for i, x in enumerate(pixels)], **options)
    else:
        images = [x.permute(1, 2, 0).numpy() for x in pixels]
        frame = pd.DataFrame({"image": images, "label": ["ab"[i % 2] for i in range(10)]})
        dls = ImageDataBunch.from_df(".", frame, **options)
    x, y = dls.one_batch("fix")
    torch.testing.assert_close(x, pixels / 255)
    assert y.tolist() == [0, 1] * 5


@pytest.mark.parametrize("augment", ["strong", "trivial"])
def test_transforms_of_single_images_are_refused(tmp_path: Path, files: list[str], augment: str) -> None:
    with pytest.raises(UsageError, match=r"cache='device' keeps images.* Use cache='memory'"):
        bunch(tmp_path, files, augment=augment, cache="device")


@pytest.mark.parametrize("augment", [True, "light", [Presize(12), Flip()], False])
def test_nothing_is_copied_for_a_batch(tmp_path: Path, files: list[str], augment: Any) -> None:
    dls = bunch(tmp_path, files, augment=augment, cache="device", device="meta", bs=2)
    for loader in (dls.train_dl, dls.valid_dl):
        batches = iter(loader)
        next(batches)
        with Copies() as counted:
            assert next(batches)[0].device.type == "meta"
        assert counted.n == 0


def test_augmented_images_in_their_order_are_those_of_a_cache_in_memory(tmp_path: Path, files: list[str]) -> None:
    ours, theirs = (bunch(tmp_path, files, cache=cache) for cache in ("device", "memory"))
    assert_alike(*(epoch(dls.augmented_dl("valid")) for dls in (ours, theirs)))
    assert ours.augmented_dl("train").store is ours.train_dl.store


def test_a_learner_trains_to_the_same_weights_and_predicts_the_same(tmp_path: Path, files: list[str]) -> None:
    results = []
    for cache in ("device", "memory"):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(192, 2))
        learn = Learner(bunch(tmp_path, files, cache=cache), model, path=tmp_path, seed=0)
        learn.fit(2, 0.01)
        results.append((model[1].weight.detach(), *learn.get_preds()))
    for ours, theirs in zip(*results, strict=True):
        assert torch.equal(ours, theirs)
