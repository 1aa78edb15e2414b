"""Segmentation: what the pixels of a mask mean, and that unknown values are refused."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from learnkit.data.image.preprocess import Preprocess
from learnkit.data.image.resize import Resize
from learnkit.data.segmentation import Segmentation
from learnkit.errors import DataError, ImageError
from learnkit.metrics import make_metrics
from tests.doubles import refused

NUMBERS = np.array([[0, 1, 2], [2, 1, 0]], dtype=np.uint8)
NAMES = ["sky", "tree", "road"]


def saved(path: Path, pixels: npt.ArrayLike) -> Path:
    Image.fromarray(np.asarray(pixels)).save(path)
    return path


def test_gray_levels_are_class_indices(tmp_path: Path) -> None:
    read = Segmentation(NAMES).read(saved(tmp_path / "m.png", NUMBERS))
    np.testing.assert_array_equal(read, NUMBERS)
    assert read.dtype == np.uint8


def test_palette_numbers_are_class_indices(tmp_path: Path) -> None:
    image = Image.fromarray(NUMBERS)
    image.putpalette([90, 0, 0, 0, 90, 0, 0, 0, 90])
    image.save(tmp_path / "m.png")
    np.testing.assert_array_equal(Segmentation(NAMES).read(tmp_path / "m.png"), NUMBERS)


def test_masks_of_one_bit(tmp_path: Path) -> None:
    path = saved(tmp_path / "m.png", NUMBERS == 1)
    np.testing.assert_array_equal(Segmentation(["other", "tree"]).read(path), NUMBERS == 1)


@pytest.mark.parametrize("codes", [{0: "other", 255: "tree"}, {255: "tree", 0: "other"}])
def test_values_are_mapped_in_the_order_of_the_codes(tmp_path: Path, codes: dict[int, str]) -> None:
    path = saved(tmp_path / "m.png", np.where(NUMBERS == 1, 255, 0).astype(np.uint8))
    task = Segmentation(codes)
    np.testing.assert_array_equal(task.read(path), np.where(NUMBERS == 1, list(codes).index(255), list(codes).index(0)))
    assert task.classes == tuple(codes.values())


def test_sixteen_bit_values(tmp_path: Path) -> None:
    path = saved(tmp_path / "m.png", NUMBERS.astype(np.uint16) * 1000)
    np.testing.assert_array_equal(Segmentation({0: "a", 1000: "b", 2000: "c"}).read(path), NUMBERS)


def test_colors(tmp_path: Path) -> None:
    colors = np.array([(0, 0, 0), (0, 1, 0), (224, 224, 192)], dtype=np.uint8)
    path = saved(tmp_path / "m.png", colors[NUMBERS])
    codes: dict[Any, str] = {(0, 0, 0): "a", (0, 1, 0): "b", (224, 224, 192): "c"}
    np.testing.assert_array_equal(Segmentation(codes).read(path), NUMBERS)
    del codes[224, 224, 192]
    ignoring = Segmentation(codes, ignore_index=(224, 224, 192))
    np.testing.assert_array_equal(ignoring.read(path), np.where(NUMBERS == 2, 255, NUMBERS))
    with pytest.raises(
        DataError, match=r"m\.png \(row 2\): pixel values .*\(224, 224, 192\)}.*Add \(224, 224, 192\) to"
    ):
        Segmentation(codes).read(path, " (row 2)")


@pytest.mark.parametrize("void", [2, 77, 255])
def test_a_value_outside_the_codes_is_ignored(tmp_path: Path, void: int) -> None:
    task = Segmentation(NAMES[:2], ignore_index=void)
    path = saved(tmp_path / "m.png", np.where(NUMBERS == 2, void, NUMBERS).astype(np.uint8))
    np.testing.assert_array_equal(task.read(path), np.where(NUMBERS == 2, 255, NUMBERS))
    assert (task.n_out, task.ignored) == (2, 255)


def test_a_class_that_is_ignored_keeps_its_output(tmp_path: Path) -> None:
    task = Segmentation({10: "a", 11: "void", 12: "c"}, ignore_index=11)
    np.testing.assert_array_equal(task.read(saved(tmp_path / "m.png", NUMBERS + 10)), NUMBERS)
    assert (task.n_out, task.ignored) == (3, 1)


@pytest.mark.parametrize("pixels", [[[0, 1], [2, 1]], [[0, 1], [254, 255]]])
@pytest.mark.parametrize("ignore_index", [None, 255])
def test_unknown_values_are_refused(tmp_path: Path, pixels: list[list[int]], ignore_index: int | None) -> None:
    path = saved(tmp_path / "m.png", np.array(pixels, dtype=np.uint8))
    found = ", ".join(str(value) for value in sorted({value for row in pixels for value in row}))
    strange = sorted({value for row in pixels for value in row} - {0, 1, ignore_index})[0]
    with pytest.raises(DataError) as caught:
        Segmentation(["a", "b"], ignore_index).read(path, " (row 4)")
    for part in (f"{path} (row 4)", f"{{{found}}}", "2 codes", f"ignore_index={strange}"):
        assert part in str(caught.value)


@pytest.mark.parametrize("value", [0.5, -1.0, float("nan")])
def test_values_that_are_not_class_indices_are_not_truncated(tmp_path: Path, value: float) -> None:
    with pytest.raises(DataError, match=r"m\.tiff: pixel values"):
        Segmentation(["a", "b"]).read(saved(tmp_path / "m.tiff", np.array([[0, value]], dtype=np.float32)))
    if value == -1:
        with pytest.raises(DataError, match="-1"):
            Segmentation(["a", "b"]).read(saved(tmp_path / "m.tiff", np.array([[0, -1]], dtype=np.int32)))


def test_a_mask_that_is_not_an_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "m.png").write_bytes(b"")
    with pytest.raises(ImageError, match=r"m\.png \(row 1\)"):
        Segmentation(NAMES).read(tmp_path / "m.png", " (row 1)")


def test_a_mask_of_another_size_is_refused(tmp_path: Path) -> None:
    image, mask = saved(tmp_path / "p.png", np.zeros((4, 6), np.uint8)), saved(tmp_path / "m.png", NUMBERS)
    with pytest.raises(DataError) as caught:
        Preprocess(Resize((4, 4)), None).decode(str(image), str(mask), task=Segmentation(NAMES))
    for part in (f"{mask}", "3 x 2", f"{image}", "6 x 4"):
        assert part in str(caught.value)


@pytest.mark.parametrize("ignore_index", [None, 1, 255])
def test_the_loss_is_the_mean_of_the_pixels_that_are_not_ignored(ignore_index: int | None) -> None:
    raw = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    targets = torch.arange(40).reshape(2, 4, 5) % 3
    if ignore_index == 255:
        targets[0, 0] = 255
    each = [
        -raw[n, :, y, x].log_softmax(0)[number]
        for (n, y, x), number in np.ndenumerate(targets.numpy())
        if number != ignore_index
    ]
    loss = Segmentation(NAMES, ignore_index).loss()(raw, targets)
    torch.testing.assert_close(loss, torch.stack(each).mean())


def test_accuracy_ignores_ignored_pixels() -> None:
    predicted = torch.tensor([[[0, 1, 2], [2, 2, 0]]])
    raw = torch.nn.functional.one_hot(predicted, 3).permute(0, 3, 1, 2).float()
    targets = torch.tensor([[[0, 1, 1], [255, 255, 2]]])
    for ignore_index, right in ((255, 2 / 4), (1, 1 / 4), (None, 2 / 6)):
        (accuracy,) = Segmentation(NAMES, ignore_index).metrics
        assert accuracy(raw, targets).item() == pytest.approx(right)


def test_decoding_takes_the_most_likely_class() -> None:
    task = Segmentation(NAMES)
    raw = torch.tensor([[[[3.0, 0.0]], [[1.0, 2.0]], [[2.0, 1.0]]]])  # (1, 3, 1, 2)
    probs = task.activation(raw)
    torch.testing.assert_close(probs.sum(1), torch.ones(1, 1, 2))
    array, index = task.decode(probs[0])
    assert array.tolist() == index.tolist() == [[0, 1]]
    assert isinstance(array, np.ndarray)


def test_text_names_the_largest_classes_first() -> None:
    task = Segmentation([*NAMES, "car"], ignore_index=255)
    assert task.text(torch.tensor([[2, 2, 2, 0], [0, 1, 255, 255]], dtype=torch.uint8)) == "road, sky, tree"
    assert task.text(torch.tensor([[3, 255]])) == "car"


def test_labels_are_files_or_arrays(tmp_path: Path) -> None:
    task = Segmentation(NAMES)
    assert task.encode(saved(tmp_path / "m.png", NUMBERS)).tolist() == NUMBERS.tolist()
    assert task.encode(NUMBERS).tolist() == NUMBERS.tolist()


def test_tasks_are_equal_if_they_give_equal_numbers() -> None:
    task = Segmentation({0: "a", 7: "b"}, 255)
    assert task == Segmentation({0: "a", 7: "b"}, 255)
    assert hash(task) == hash(Segmentation({0: "a", 7: "b"}, 255))
    assert Segmentation(["a", "b"]) == Segmentation({0: "a", 1: "b"})
    for other in (
        Segmentation({7: "b", 0: "a"}, 255),
        Segmentation({0: "a", 7: "b"}),
        Segmentation({0: "a", 8: "b"}, 255),
    ):
        assert task != other
    again = pickle.loads(pickle.dumps(task))
    assert (again, again.ignored, repr(again)) == (task, 255, repr(task))


def binary(**settings: Any) -> Segmentation:
    return Segmentation(["ground", "car"], binary=True, **settings)


def test_binary_masks_have_one_output_and_float_targets() -> None:
    task = binary()
    masks = torch.tensor([[[0, 1, 1]], [[1, 0, 0]]], dtype=torch.uint8)
    targets = task.targets(masks)
    assert (task.n_out, task.classes) == (1, ("ground", "car"))
    assert (targets.dtype, targets.shape) == (torch.float32, (2, 1, 1, 3))
    assert torch.equal(task.indices(targets), masks.long())
    raw = torch.tensor([[[[-1.0, 2.0, 0.0]]], [[[3.0, -0.1, 0.1]]]])
    probs = task.activation(raw)
    torch.testing.assert_close(probs, raw.sigmoid())
    assert task.predicted(probs).tolist() == [[[0, 1, 0]], [[1, 0, 1]]]  # a half is not above a half
    array, index = task.decode(probs[0])
    assert array.tolist() == index.tolist() == [[0, 1, 0]]
    torch.testing.assert_close(task.loss()(raw, targets), F.binary_cross_entropy_with_logits(raw, targets))
    assert task.text(targets[0]) == "car, ground"


def test_the_loss_of_binary_masks_leaves_ignored_pixels_out() -> None:
    raw = torch.randn(2, 1, 3, 4, generator=torch.Generator().manual_seed(0))
    masks = torch.arange(24).reshape(2, 3, 4).remainder(2).to(torch.uint8)
    masks[0, :2] = 255
    loss = binary(ignore_index=9).loss()(raw, binary().targets(masks))
    counted = masks != 255
    by_hand = F.binary_cross_entropy_with_logits(raw[:, 0][counted], masks[counted].float())
    torch.testing.assert_close(loss, by_hand)


def test_metrics_of_binary_masks_are_those_of_the_second_class() -> None:
    raw, masks = torch.tensor([[[[3.0, 3.0, -3.0, -3.0, 3.0]]]]), torch.tensor([[[1, 0, 1, 0, 255]]])
    metrics: list[Any] = make_metrics(binary(ignore_index=255).metrics)
    for metric, expected in zip(metrics, (2 / 4, 1 / 3), strict=True):
        metric.update(raw, binary().targets(masks))
        assert metric.compute() == pytest.approx(expected)  # one right, one too many, one missing


@pytest.mark.parametrize("where", ["file", "reader"])
def test_several_values_are_one_class_and_several_are_ignored(tmp_path: Path, where: str) -> None:
    pixels = np.array([[0, 1, 2, 250, 255]], dtype=np.uint8)
    reader = None if where == "file" else (lambda file: np.load(file))
    path = tmp_path / "m.png"
    if reader is None:
        saved(path, pixels)
    else:
        with open(path, "wb") as file:
            np.save(file, pixels)
    task = Segmentation({0: "sky", 1: "car", 2: "car"}, ignore_index=[250, 255], mask_reader=reader)
    assert task.read(path).tolist() == [[0, 1, 1, 255, 255]]
    assert (task.classes, task.n_out, task.ignored, task.ignore_index) == (("sky", "car"), 2, 255, (250, 255))
    void = Segmentation({0: "sky", 1: "void", 2: "void"}, ignore_index=[1, 2, 250, 255], mask_reader=reader)
    assert (void.read(path).tolist(), void.ignored) == ([[0, 1, 1, 1, 1]], 1)


def test_soft_masks_and_jpeg_have_a_threshold(tmp_path: Path) -> None:
    hard = np.zeros((16, 16), np.uint8)
    hard[4:12, 4:12] = 255
    for name, mode in (("m.jpg", "L"), ("c.jpg", "RGB"), ("m.png", "L"), ("bits.png", "1"), ("p.png", "P")):
        Image.fromarray(hard).convert(mode).save(tmp_path / name)
        task = Segmentation(["ground", "car"], threshold=0.5)
        np.testing.assert_array_equal(task.read(tmp_path / name), hard == 255)
    wide = saved(tmp_path / "wide.png", hard.astype(np.uint16) * 257)
    np.testing.assert_array_equal(Segmentation({0: "a", 255: "b"}, threshold=0.5).read(wide), hard == 255)
    for pixels, is_right in (
        (hard / 255, True), (hard == 255, True), (hard.astype(np.uint16) * 257, True), (hard.astype(np.int64), False),
        (hard.astype(np.float32), False), (hard / -255, False), (hard * np.nan, False),
    ):  # fmt: skip
        task = Segmentation(["ground", "car"], threshold=0.5, mask_reader=lambda file, pixels=pixels: pixels)
        if is_right:
            np.testing.assert_array_equal(task.read("m.h5"), hard == 255)
        else:
            with pytest.raises(ImageError, match=r"m.h5: a mask for threshold=: got .*mask_reader="):
                task.read("m.h5")
    rgba = np.zeros((16, 16, 4), np.uint8)
    rgba[..., 3] = hard
    with pytest.raises(ImageError, match="transparency"):
        Segmentation(["ground", "car"], threshold=0.5).read(saved(tmp_path / "alpha.png", rgba))


@pytest.mark.parametrize(
    ("codes", "returned", "is_right"),
    [
        (["a", "b"], np.ones((2, 3), np.uint8), True), (["a", "b"], np.ones((2, 3, 1), np.int64), True),
        (["a", "b"], np.ones((2, 3), bool), True), (["a", "b"], torch.ones(2, 3), True),
        (["a", "b"], np.ones((2, 3, 3), np.uint8), False), (["a", "b"], np.ones(3, np.uint8), False),
        (["a", "b"], None, False), (["a", "b"], np.full((2, 3), "b"), False),
        ({(0, 0, 0): "a", (1, 1, 1): "b"}, np.ones((2, 3, 3), np.uint8), True),
        ({(0, 0, 0): "a", (1, 1, 1): "b"}, np.ones((2, 3), np.uint8), False),
    ],
)  # fmt: skip
def test_a_mask_reader_returns_numbers_or_colors(codes: Any, returned: Any, is_right: bool) -> None:
    task = Segmentation(codes, mask_reader=lambda file: returned)
    if is_right:
        assert task.read("m.h5").tolist() == [[1] * 3] * 2
    else:
        with pytest.raises(ImageError, match=r"m\.h5 \(row 3\): mask_reader returned"):
            task.read("m.h5", " (row 3)")


def test_a_mask_reader_that_fails_names_the_file() -> None:
    def fails(file: str) -> Any:
        raise KeyError("mask")

    with pytest.raises(ImageError, match=r"m\.h5 \(row 3\): mask_reader failed \(KeyError: 'mask'\)"):
        Segmentation(NAMES, mask_reader=fails).read("m.h5", " (row 3)")


@pytest.mark.parametrize(
    ("settings", "fill"),
    [
        ({}, None), ({"ignore_index": 9}, 255), ({"ignore_index": 2}, 2), ({"border": "tree"}, 1),
        ({"border": "sky", "ignore_index": 9}, 0),
    ],
)  # fmt: skip
def test_what_shows_nothing_of_the_image_is_ignored_or_of_the_border(settings: Any, fill: int | None) -> None:
    assert Segmentation(NAMES, **settings).fill == fill


@pytest.mark.parametrize(
    ("codes", "settings", "named"),
    [
        (NAMES, {"binary": True}, "binary=True: the classes"), (["a"], {"binary": True}, "binary=True: the classes"),
        (["a", "b"], {"binary": True, "ignore_index": 1}, "ignore_index"), (NAMES, {"threshold": 0.5}, "threshold"),
        (["a", "b"], {"threshold": 128}, "threshold"), (["a", "b"], {"threshold": 0.5, "ignore_index": 9}, "threshold"),
        ({(0, 0, 0): "a", (1, 1, 1): "b"}, {"threshold": 0.5}, "threshold"), (NAMES, {"border": "Sky"}, "border"),
        (NAMES, {"border": 0}, "border"), (NAMES, {"mask_reader": "cv2"}, "mask_reader"),
    ],
)  # fmt: skip
def test_settings_that_cannot_work_together_are_refused(codes: Any, settings: Any, named: str) -> None:
    with refused(named):
        Segmentation(codes, **settings)


def test_every_setting_makes_another_task() -> None:
    settings: list[Any] = [{}, {"binary": True}, {"threshold": 0.5}, {"border": "a"}, {"mask_reader": np.load}]
    tasks = [Segmentation(["a", "b"], **one) for one in settings]
    assert len(set(tasks)) == len(tasks)
    assert [eval(repr(task)) for task in tasks[:4]] == tasks[:4]
    assert pickle.loads(pickle.dumps(tasks)) == tasks


@pytest.mark.parametrize(
    ("codes", "ignore_index", "named"),
    [
        ([], None, "codes"), ("ab", None, "codes"), (["a", "a"], None, "codes"), (map(str, range(256)), None, "codes"),
        ({-1: "a"}, None, "codes"), ({65536: "a"}, None, "codes"), ({True: "a"}, None, "codes"),
        ({1.0: "a"}, None, "codes"),
        ({0: "a", (0, 0, 1): "b"}, None, "codes"), ({(0, 0, 256): "a"}, None, "codes"), ({(0, 0): "a"}, None, "codes"),
        (["a"], -1, "ignore_index"), (["a"], 65536, "ignore_index"), (["a"], True, "ignore_index"),
        (["a"], (0, 0, 0), "ignore_index"), ({(0, 0, 0): "a"}, 255, "ignore_index"),
    ],
)  # fmt: skip
def test_invalid_codes_are_refused(codes: Any, ignore_index: Any, named: str) -> None:
    with refused(named):
        Segmentation(list(codes) if isinstance(codes, map) else codes, ignore_index)
