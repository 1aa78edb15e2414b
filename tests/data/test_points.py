"""Key points, from labels in pixels of a file to predictions in pixels of a file."""

import math
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from learnkit import ImageDataBunch, Learner, Points, load_learner
from learnkit.data.image.resize import Resize
from learnkit.errors import DataError, UsageError
from learnkit.transforms import Brightness, Contrast, Dihedral, Flip, RandomResizedCrop, default_augment
from tests.doubles import refused

NAN = math.nan
NAMES = ["red", "green"]
SIZES = [(40, 60), (60, 40), (48, 48)]  # height, width


@pytest.fixture
def dots(tmp_path: Path) -> pd.DataFrame:
    """Files 0.png, ... of several sizes with a red and a green dot on black, and where the dots are; one is missing."""
    numbers, rows = np.random.default_rng(0), []
    for i in range(12):
        height, width = SIZES[i % 3]
        image, place = np.zeros((height, width, 3), np.uint8), [f"{i}.png"]
        for channel in (0, 1):
            x, y = (
                numbers.integers(width // 2 - 10, width // 2 + 10),
                numbers.integers(height // 2 - 10, height // 2 + 10),
            )
            if (i, channel) == (5, 1):
                x = y = NAN
            else:
                image[y - 1 : y + 2, x - 1 : x + 2, channel] = 255
            place += [float(x), float(y)]
        Image.fromarray(image).save(tmp_path / f"{i}.png")
        rows.append(place)
    return pd.DataFrame(rows, columns=["file", "red_x", "red_y", "green_x", "green_y"])


class Finds(nn.Module):
    """Finds the dots: the centers of mass of the first two channels, as outputs (N, 4); and one number to train."""

    def __init__(self) -> None:
        super().__init__()
        self.off = nn.Parameter(torch.zeros(4))

    def forward(self, x: Tensor) -> Tensor:
        mass = x[:, :2].sum((2, 3)).clamp(min=1e-6)
        centers = []
        for axis, side in ((2, x.shape[3]), (3, x.shape[2])):
            ramp = torch.linspace(-1 + 1 / side, 1 - 1 / side, side)
            centers.append((x[:, :2].sum(axis) * ramp).sum(-1) / mass)
        return torch.stack(centers, -1).flatten(1) + self.off


OPTIONS: dict[str, Any] = {"size": 32, "bs": 4, "normalize": None, "valid_pct": 0.34}
COLUMNS = ["red_x", "red_y", "green_x", "green_y"]


def bunch(folder: Path, table: pd.DataFrame, **options: Any) -> ImageDataBunch:
    return ImageDataBunch.from_df(folder, table, label_col=COLUMNS, task=Points(NAMES), **{**OPTIONS, **options})


@pytest.mark.parametrize("resize", ["crop", "squish", "pad"])
@pytest.mark.parametrize("cache", [None, "memory", "disk"])
def test_targets_are_where_the_dots_are(tmp_path: Path, dots: pd.DataFrame, resize: Any, cache: Any) -> None:
    dls = bunch(tmp_path, dots, resize=resize, cache=cache, augment=False)
    for part in ("train", "valid", "fix"):
        x, y = dls.one_batch(part)
        assert (y.dtype, y.shape[1:]) == (torch.float32, (2, 2))
        is_known = y.isfinite()
        torch.testing.assert_close(Finds()(x).view_as(y)[is_known], y[is_known], atol=0.03, rtol=0)


CROP = RandomResizedCrop((32, 32), 0.5)
GEOMETRY = default_augment("zeros") - [Brightness, Contrast]  # the dots must stay bright


@pytest.mark.parametrize("augment", [GEOMETRY, [Flip()], [Dihedral(), *GEOMETRY], [CROP], [CROP, *GEOMETRY]])
@pytest.mark.parametrize("cache", [None, "memory"])
def test_augmented_targets_are_where_the_dots_are(tmp_path: Path, dots: pd.DataFrame, augment: Any, cache: Any) -> None:
    dls = bunch(tmp_path, dots, augment=augment, cache=cache)
    n_close = n = 0
    for epoch in range(8):
        dls.train_dl.seed_epoch(0, epoch)
        for x, y in dls.train_dl:
            is_inside = (y.abs() < 0.8).all(-1)
            off = (Finds()((x > 0.3).float()).view_as(y) - y).abs().amax(-1)[is_inside]
            n, n_close = n + len(off), n_close + int((off < 0.08).sum())
    assert n > 30
    assert n_close == n


@pytest.mark.parametrize("resize", ["crop", "squish", "pad"])
def test_predictions_are_in_pixels_of_the_original_image(tmp_path: Path, dots: pd.DataFrame, resize: Any) -> None:
    dls = bunch(tmp_path, dots, resize=resize)
    learn = Learner(dls, Finds(), metrics="default")
    predictor = learn.predictor()
    batch = predictor.predict_batch([tmp_path / name for name in dots["file"]])
    for row, of_batch in zip(dots.itertuples(), batch, strict=True):
        file = tmp_path / row.file
        expected = np.array(row[2:]).reshape(2, 2)
        for item in (file, file.read_bytes(), Image.open(file), np.asarray(Image.open(file))):
            label, index, probs = learn.predict(item)
            known = np.isfinite(expected)
            np.testing.assert_allclose(np.array(label)[known], expected[known], atol=0.7)
            assert index.shape == probs.shape == (2, 2)
        for other in (of_batch, predictor.predict(file)):
            np.testing.assert_allclose(other.label, label, atol=1e-3)


@pytest.mark.parametrize("reader", [None, lambda file: np.asarray(Image.open(file))])
def test_a_table_of_predictions_is_in_pixels_of_the_original_images(
    tmp_path: Path, dots: pd.DataFrame, reader: Any
) -> None:
    learn = Learner(bunch(tmp_path, dots, resize="pad", reader=reader), Finds())
    for part in ("train", "valid"):
        table = pd.read_csv(learn.write_preds(tmp_path / "preds.csv", part))
        assert list(table) == ["input", *(f"{kind}_{name} {axis}" for kind in ("label", "target") for name in NAMES
                                          for axis in "xy")]  # fmt: skip
        for row in table.itertuples(index=False):
            expected = dots.set_index("file").loc[Path(row[0]).name].to_numpy(dtype=float)
            np.testing.assert_allclose(np.array(row[5:], dtype=float), expected, atol=1e-3)
            np.testing.assert_allclose(row[1:5], np.ravel(learn.predict(row[0]).label), atol=1e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda label, width, height: [(x / width, y / height) for x, y in label], "look like fractions of the images"),
        (lambda label, width, height: [(x + width, y) for x, y in label], "have points outside them, first .*row 0"),
        (lambda label, width, height: [(x, -y) for x, y in label], "have points outside them, first .*row 0"),
        (lambda label, width, height: [(-1, -1), (width, height)], None), (lambda label, width, height: label, None),
        (lambda label, width, height: [(NAN, NAN), label[0]], None),
    ],
)  # fmt: skip
def test_labels_that_are_hardly_pixels_have_a_warning(
    tmp_path: Path, dots: pd.DataFrame, change: Any, message: str | None
) -> None:
    labels = []
    for i, (_, *numbers) in enumerate(dots.itertuples(index=False)):
        labels.append(change(np.array(numbers).reshape(2, 2).tolist(), *SIZES[i % 3][::-1]))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ImageDataBunch.from_lists(tmp_path, dots["file"], labels, task=Points(NAMES), **OPTIONS)
    texts = [str(one.message) for one in caught]
    assert len(texts) == (message is not None)
    assert message is None or re.search(message, texts[0])


def test_training_measures_the_distance_in_pixels_of_the_model(tmp_path: Path, dots: pd.DataFrame) -> None:
    learn = Learner(bunch(tmp_path, dots, augment=False), Finds(), metrics="default", seed=0)
    loss, distance = learn.validate()
    assert loss < 1e-3
    assert distance < 0.5
    with torch.no_grad():
        learn.model.off += torch.tensor([0.25, 0.0, 0.0, 0.25])  # each a quarter of half of 32 pixels
    assert learn.validate()[1] == pytest.approx(4, abs=0.3)
    learn.fit(3, 0.05)
    assert learn.history["point_distance"].iloc[-1] < 4
    preds, targets, losses = learn.get_preds(with_loss=True)
    assert preds.shape == targets.shape == (len(losses), 2, 2)


def test_an_export_decodes_as_the_learner_does(tmp_path: Path, dots: pd.DataFrame) -> None:
    task = Points(NAMES, swaps=[("red", "green")])
    dls = ImageDataBunch.from_df(tmp_path, dots, label_col=COLUMNS, task=task, **OPTIONS)
    learn = Learner(dls, Finds())
    loaded = load_learner(learn.export(tmp_path / "model"), model=Finds())
    assert loaded.dls.task == learn.dls.task
    np.testing.assert_allclose(loaded.predict(tmp_path / "1.png").label, learn.predict(tmp_path / "1.png").label)
    assert loaded.predict(tmp_path / "1.png").index.shape == (2, 2)


def test_what_does_not_fit_key_points_is_refused(tmp_path: Path, dots: pd.DataFrame) -> None:
    dls = bunch(tmp_path, dots)
    learn = Learner(dls, Finds())
    with pytest.raises(UsageError, match="tta: key points of augmented images"):
        learn.tta()
    with pytest.raises(UsageError, match="of what image key points are"):
        learn.write_preds(tmp_path / "preds.csv", [dls.one_batch("valid")])
    with pytest.raises(UsageError, match=r"fits the data's task, Points: learnkit\.metrics\.point_distance"):
        Learner(dls, Finds(), metrics="mae")
    with pytest.raises(UsageError, match="returns 3 outputs per item, the data has 4"):
        Learner(dls, nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()))


def test_every_source_of_labels(tmp_path: Path, dots: pd.DataFrame) -> None:
    where = {row.file: np.array(row[2:]) for row in dots.itertuples()}
    options = {**OPTIONS, "task": Points(NAMES), "augment": False}
    files = list(where)
    bunches = [
        bunch(tmp_path, dots, augment=False),
        ImageDataBunch.from_lists(tmp_path, files, list(where.values()), **options),
        ImageDataBunch.from_lists(tmp_path, files, [flat.reshape(2, 2).tolist() for flat in where.values()], **options),
        ImageDataBunch.from_name_func(tmp_path, files, lambda file: where[Path(file).name], **options),
    ]
    bunches.append(ImageDataBunch.from_samples(bunches[0].samples, tmp_path, **{**options, "valid_pct": None}))
    bunches += list(bunches[0].folds(2))[:1]
    for dls in bunches:
        assert len(dls.samples) == len(files)
        for file, target in zip(dls.samples["input"], dls.samples["target"], strict=True):
            np.testing.assert_equal(np.array(target).ravel(), where[Path(file).name])
    dls.summary()


def test_pictures_are_drawn(tmp_path: Path, dots: pd.DataFrame) -> None:
    dls = bunch(tmp_path, dots)
    learn = Learner(dls, Finds())
    for figure in (dls.show_batch(2), dls.show_augmented(0, n=3), learn.show_results(rows=2)):
        image = np.asarray(figure.axes[0].images[0].get_array())
        assert (image == (0, 114, 178)).all(2).any()  # blue
    assert (image == (213, 94, 0)).all(2).any()  # orange
    assert figure.axes[0].get_title().endswith("px off")


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ([1, 2, 3, 4], [[1, 2], [3, 4]]), ([[1, 2], [3, 4]], [[1, 2], [3, 4]]), (list("1234"), [[1, 2], [3, 4]]),
        ((1, None, 3, 4), [[NAN, NAN], [3, 4]]), (np.array([[NAN, NAN], [3, 4.5]]), [[NAN, NAN], [3, 4.5]]),
        (torch.tensor([1.0, 2, 3, 4]), [[1, 2], [3, 4]]),
        ([torch.tensor([1, 2]), [3, torch.tensor(4)]], [[1, 2], [3, 4]]),
    ],
)  # fmt: skip
def test_labels(label: Any, expected: Any) -> None:
    np.testing.assert_equal(Points(NAMES).parse(label), np.array(expected, np.float32))


@pytest.mark.parametrize(
    "label", [[1, 2], [1, 2, 3, 4, 5], [[1, 2, 3, 4]], "nose", [1, 2, 3, math.inf], 5, [["a", 1], [2, 3]]]
)
def test_labels_that_are_no_points_are_named_with_their_row(tmp_path: Path, dots: pd.DataFrame, label: Any) -> None:
    labels = [[1, 2, 3, 4]] * 3 + [label] + [[1, 2, 3, 4]] * 8
    with pytest.raises(DataError, match=r"row 3 \(.*3.png\): label"):
        ImageDataBunch.from_lists(tmp_path, dots["file"], labels, task=Points(NAMES), **OPTIONS)


def test_a_training_set_without_points_is_refused(tmp_path: Path, dots: pd.DataFrame) -> None:
    with pytest.raises(DataError, match="no training image has a point"):
        ImageDataBunch.from_lists(tmp_path, dots["file"], [[NAN] * 4] * 12, task=Points(NAMES), **OPTIONS)


def test_names_and_columns() -> None:
    assert Points(2).names == ("point 0", "point 1")
    assert Points(np.int64(1)).names == ("point 0",)  # type: ignore[arg-type]
    task = Points(["nose", "tail"])
    assert (task.n_out, task.columns) == (4, ("nose x", "nose y", "tail x", "tail y"))
    assert task.mirrored is None
    assert Points(["l", "nose", "r"], swaps=[("l", "r")]).mirrored == (2, 1, 0)
    assert Points(["left ear", "nose"]).says_swaps is False
    assert Points(["left ear", "nose"], swaps=()).says_swaps is True


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda: Points([]), "names"), (lambda: Points("nose"), "names"), (lambda: Points(0), "names"),
        (lambda: Points(["a", "a"]), "names"), (lambda: Points([1, 2]), "names"),  # type: ignore[list-item]
        (lambda: Points(["a", "b"], swaps=[("a", "c")]), "swaps"),
        (lambda: Points(["a", "b"], swaps=["ab", "ba"]), "swaps"),  # type: ignore[list-item]
        (lambda: Points(["a", "b"], swaps=[("a", "a")]), "swaps"),
        (lambda: Points(["a"], swaps=3), "swaps"),  # type: ignore[arg-type]
    ],
)  # fmt: skip
def test_invalid_arguments_are_refused(make: Any, what: str) -> None:
    with refused(f"Points: {what}"):
        make()


def test_decoding_without_an_image_stays_in_the_units_of_targets() -> None:
    label, index = Points(1).decode(torch.tensor([[0.5, -0.25]]))
    assert label == ((0.5, -0.25),)
    placed = Points(1).of(Resize((10, 10), "squish").view(100, 200))
    assert placed.decode(index)[0] == ((149.5, 37.0),)


def test_text() -> None:
    assert Points(["nose"], size=(10, 20)).text(torch.tensor([[0.0, 0.0]])) == "nose 9.5, 4.5"
    assert Points(["nose"]).text(torch.tensor([[NAN, NAN]])) == "nose missing"
    assert Points(3).text(torch.tensor([[NAN, NAN], [0, 0], [0, 0]])) == "2 of 3 points"
