"""show_results: the titles above the images and their colors, for every task."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from learnkit import DataBunch, DatasetType, ImageDataBunch, Learner
from learnkit.data.image.draw import GAP, RIGHT, WRONG
from learnkit.errors import DataError, UsageError
from learnkit.plots.overlays import class_colors, overlaid
from tests.doubles import refused


class Outputs(nn.Module):
    """Returns these raw outputs, one row per item, batch after batch."""

    def __init__(self, rows: Tensor) -> None:
        super().__init__()
        self.rows, self.place = rows, 0

    def forward(self, x: Tensor) -> Tensor:
        start, self.place = self.place, self.place + len(x)
        return self.rows[start : self.place]


def shown(learn: Learner, **options: Any) -> Any:
    learn.model.place = 0
    return learn.show_results(**options)


def bunch(tmp_path: Path, labels: Any, **options: Any) -> ImageDataBunch:
    names = [f"{number}.png" for number in range(8)]
    for number, name in enumerate(names):
        Image.new("RGB", (10, 10), (30 * number, 0, 0)).save(tmp_path / name)
    options = {"size": 8, "bs": 3, "num_workers": 0, "normalize": None, **options}
    return ImageDataBunch.from_lists(tmp_path, names, labels, split=lambda table: table.index >= 4, **options)


def titles(figure: Any) -> list[str]:
    return [axes.get_title() for axes in figure.axes]


def title_colors(figure: Any) -> list[str]:
    return [axes.title.get_color() for axes in figure.axes]


def test_classes(tmp_path: Path) -> None:
    dls = bunch(tmp_path, ["ant", "bee"] * 4)
    learn = Learner(dls, Outputs(torch.tensor([[2.0, 0], [2, 0], [0, 2], [0, 2]])), seed=0)
    figure = shown(learn, rows=2)
    assert titles(figure) == ["ant / ant", "bee / ant", "ant / bee", "bee / bee"]
    assert title_colors(figure) == [RIGHT, WRONG, WRONG, RIGHT]
    assert figure.get_suptitle() == "target / prediction"
    reds = [int(axes.images[0].get_array()[0, 0, 0]) for axes in figure.axes]
    assert reds == [120, 150, 180, 210], "each image is below its own title"
    assert len(shown(learn, rows=1).axes) == 1
    assert len(shown(learn, rows=5).axes) == 4, "there are no more"


def test_several_labels(tmp_path: Path) -> None:
    dls = bunch(tmp_path, [["ant"], ["bee"], ["ant", "bee"], []] * 2)
    learn = Learner(dls, Outputs(torch.tensor([[9.0, -9], [9, 9], [9, 9], [-9, -9]])), seed=0)
    figure = shown(learn, rows=2)
    assert titles(figure) == ["ant / ant", "bee / ant; bee", "ant; bee / ant; bee", "(none) / (none)"]
    assert title_colors(figure) == [RIGHT, WRONG, RIGHT, RIGHT]


def test_numbers(tmp_path: Path) -> None:
    dls = bunch(tmp_path, [float(number) for number in range(8)], task="regression")
    learn = Learner(dls, Outputs(torch.tensor([[4.0], [5.25], [6], [7]])), seed=0)
    figure = shown(learn, rows=2)
    assert titles(figure) == ["4 / 4", "5 / 5.25", "6 / 6", "7 / 7"]
    assert set(title_colors(figure)) == {"black"}


def test_without_labels_only_predictions_are_shown(tmp_path: Path) -> None:
    dls = bunch(tmp_path, ["ant", "bee"] * 4)
    dls.test_dl = dls.test_dl_from([tmp_path / "6.png", tmp_path / "1.png"])
    learn = Learner(dls, Outputs(torch.tensor([[2.0, 0], [0, 2]])), seed=0)
    figure = shown(learn, ds_type=DatasetType.Test)
    assert titles(figure) == ["ant", "bee"]
    assert figure.get_suptitle() == "prediction"


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    """Dark images 8 x 8 whose left half is of class 1, {images,masks}/{train,valid}/N.png."""
    mask = np.zeros((8, 8), np.uint8)
    mask[:, :4] = 1
    for split in ("train", "valid"):
        for kind in ("images", "masks"):
            (tmp_path / kind / split).mkdir(parents=True)
        for number in range(2):
            Image.new("RGB", (8, 8), (20, 20, 20)).save(tmp_path / "images" / split / f"{split}{number}.png")
            Image.fromarray(mask).save(tmp_path / "masks" / split / f"{split}{number}.png")
    return tmp_path


def test_masks_are_side_by_side(scenes: Path) -> None:
    dls = ImageDataBunch.from_folder_masks(
        scenes,
        "images",
        lambda image: str(image).replace("images", "masks"),
        ["ground", "box", "never"],
        size=8,
        bs=2,
        num_workers=0,
    )
    raw = torch.zeros(2, 3, 8, 8)
    raw[:, 0], raw[0, 1, 2:5] = 1.0, 5.0  # three rows of a box in the first image
    learn = Learner(dls, Outputs(raw), seed=0)
    figure = shown(learn)
    drawn = np.asarray(figure.axes[0].images[0].get_array())
    dark, true, predicted = np.full((8, 8, 3), 20, np.uint8), np.zeros((8, 8), int), np.zeros((8, 8), int)
    true[:, :4], predicted[2:5] = 1, 1
    image, target, prediction = drawn[:, :8], drawn[:, 8 + GAP : 16 + GAP], drawn[:, -8:]
    np.testing.assert_array_equal(image, dark)
    np.testing.assert_array_equal(target, overlaid(dark, true))
    np.testing.assert_array_equal(prediction, overlaid(dark, predicted))
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["ground", "box"]
    np.testing.assert_allclose(legend.get_patches()[1].get_facecolor()[:3], class_colors(2)[1] / 255)
    dls.test_dl = dls.test_dl_from(dls.valid_ds.inputs)
    alone = np.asarray(shown(learn, ds_type=DatasetType.Test).axes[0].images[0].get_array())
    np.testing.assert_array_equal(alone[:, -8:], overlaid(dark, predicted))


def test_what_cannot_be_shown_is_refused(tmp_path: Path, blobs: tuple[Tensor, ...]) -> None:
    learn = Learner(DataBunch.from_tensors(*blobs), nn.Linear(2, 2), seed=0)
    with pytest.raises(UsageError, match="no images"):
        learn.show_results()
    with refused("ds_type", got=learn.dls.valid_dl):
        learn.show_results(learn.dls.valid_dl)
    for rows in (0, True, 1.5):
        with pytest.raises(UsageError, match="rows"):
            learn.show_results(rows=rows)  # type: ignore[arg-type]
    dls = ImageDataBunch.single_from_classes(tmp_path, ["a", "b"], size=8)
    with pytest.raises(DataError, match="no items to show"):
        Learner(dls, nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2)), seed=0).show_results()


def test_of_many_items_evenly_spaced_ones_are_shown(tmp_path: Path) -> None:
    names = [f"{number}.png" for number in range(8)]
    for number, name in enumerate(names):
        Image.new("RGB", (10, 10), (30 * number, 0, 0)).save(tmp_path / name)
    labels = ["ant", "bee", "ant", "ant", "ant", "bee", "bee", "bee"]  # sorted, as folders are
    options: dict[str, Any] = {"size": 8, "bs": 2, "num_workers": 0, "normalize": None}
    dls = ImageDataBunch.from_lists(tmp_path, names, labels, split=lambda table: table.index >= 2, **options)
    learn = Learner(dls, Outputs(torch.tensor([[2.0, 0]] * 4)), seed=0)
    figure = shown(learn, rows=2)
    assert titles(figure) == ["ant / ant", "ant / ant", "bee / ant", "bee / ant"]
    reds = [int(axes.images[0].get_array()[0, 0, 0]) for axes in figure.axes]
    assert reds == [60, 120, 150, 210]  # items 0, 1.67, 3.33 and 5 of 6
