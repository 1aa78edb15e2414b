"""A split of a set that is cached as a whole: its items in its order, and one store for all folds."""

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from learnkit import ImageDataBunch, Segmentation
from learnkit.data.home import home
from learnkit.data.image.cache import build_store
from learnkit.data.image.preprocess import Preprocess
from learnkit.data.image.store_part import StorePart
from learnkit.errors import UsageError
from learnkit.transforms import RandomResizedCrop

LABELS = ["a", "b"] * 12


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    names = [str(tmp_path / f"{number:02}.png") for number in range(24)]
    for number, name in enumerate(names):
        pixels = np.random.default_rng(number).integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(name)
        Image.fromarray(pixels[..., 0] // 128).save(name.replace(".png", "_mask.png"))
    return names


def bunch(files: list[str], labels: list[Any] = LABELS, **options: Any) -> ImageDataBunch:
    settings = {"size": 16, "bs": 4, "augment": False, "device": "cpu", "cache": "disk", **options}
    return ImageDataBunch.from_lists(Path(files[0]).parent, files, labels, **settings)


def stores() -> list[int]:
    return [os.path.getsize(file) for file in sorted((home() / "cache").glob("*.u8"))]


def test_a_part_has_the_items_of_its_places() -> None:
    whole = build_store("memory", 5, lambda i: (np.full((2, 2), i, np.uint8),), "")
    assert whole is not None
    part = StorePart(whole, [4, 0, 2])
    again = pickle.loads(pickle.dumps(part))
    for one in (part, again):
        assert len(one) == 3
        assert [int(one[i][0][0, 0]) for i in range(3)] == [4, 0, 2]
        rows = one.rows([2, 0])
        assert rows is not None
        assert rows[:, 0, 0].tolist() == [2, 4]


def test_all_folds_splits_and_seeds_of_a_set_share_one_store(files: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    first = bunch(files)
    assert stores() == [24 * 16 * 16 * 3]

    def fails(*arguments: object, **options: object) -> Any:
        raise AssertionError("decoded again")

    monkeypatch.setattr(Preprocess, "decode", fails)
    folds = list(first.folds(5))
    others = [bunch(files, seed=seed) for seed in range(3)]
    shuffled = bunch(files[::-1], LABELS[::-1])
    assert stores() == [24 * 16 * 16 * 3]
    for dls in (*folds, *others, shuffled):
        for loader in (dls.fix_dl, dls.valid_dl):
            kept = torch.cat([x for x, _ in loader])
            monkeypatch.undo()
            names = dls.samples.input[dls.samples.split == ("train" if loader is dls.fix_dl else "valid")]
            torch.testing.assert_close(kept, torch.cat([dls.prepare(name) for name in names]))


def test_masks_share_a_store_too(files: list[str]) -> None:
    masks = [name.replace(".png", "_mask.png") for name in files]
    first = bunch(files, masks, task=Segmentation(["dark", "light"]))
    for dls in first.folds(3):
        x, y = next(iter(dls.valid_dl))
        held_out = dls.samples[dls.samples.split == "valid"]
        torch.testing.assert_close(x[:1], dls.prepare(held_out.input.iloc[0]))
        np.testing.assert_array_equal(y[0], np.asarray(Image.open(held_out.target.iloc[0])))
    assert stores() == [24 * 16 * 16 * 4]
    bunch(files, masks, task=Segmentation(["light", "dark"], border="dark"))
    assert len(stores()) == 2
    with pytest.raises(UsageError, match="cannot notice that a reader changed"):
        bunch(files, masks, task=Segmentation(["dark", "light"], mask_reader=lambda file: np.zeros((16, 16), int)))


def test_random_crops_need_one_more_store_and_no_more_for_folds(files: list[str]) -> None:
    first = bunch(files, size=4, augment=[RandomResizedCrop((4, 4))])
    before = stores()
    assert len(before) == 2
    list(first.folds(4))
    assert stores() == before


def test_a_test_set_without_labels_of_its_own_shares_it(files: list[str]) -> None:
    split = ["train"] * 16 + ["valid"] * 4 + ["test"] * 4
    dls = bunch(files, split=lambda table: split)
    assert len(stores()) == 1
    assert dls.test_dl is not None
    torch.testing.assert_close(torch.cat([x for x, *_ in dls.test_dl]), torch.cat([dls.prepare(f) for f in files[20:]]))
