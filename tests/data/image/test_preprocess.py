"""Preprocessing: the same size and the same numbers, whatever kind of object the image is."""

import io
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from learnkit import transforms
from learnkit.data.image.preprocess import Normalize, Preprocess
from learnkit.data.image.read import full_depth
from learnkit.data.image.resize import Resize
from learnkit.data.segmentation import Segmentation
from learnkit.errors import ImageError, UsageError, WrongTypeError
from tests.doubles import refused

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, as torchvision documents them


def noise(*shape: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def array_of(file: str) -> npt.NDArray[Any]:
    """A reader of arrays."""
    return np.asarray(np.load(file))


def many(channels: int) -> Preprocess:
    return Preprocess(Resize((8, 8)), None, channels, reader=array_of)


def saved(path: Path, pixels: npt.NDArray[Any]) -> str:
    np.save(path, pixels)
    return str(path)


def test_imagenet_is_the_mean_and_std_of_pretrained_networks() -> None:
    assert transforms.IMAGENET == (MEAN, STD)


def test_height_comes_before_width() -> None:
    assert Preprocess(Resize((6, 9)), None).item(Image.new("RGB", (20, 20))).shape == (3, 6, 9)


def test_normalization_is_minus_mean_over_std() -> None:
    normalize = Normalize((0.5, 0.0, 0.25), (0.5, 1.0, 0.25))
    x = torch.full((2, 3, 1, 1), 0.75)
    assert normalize(x)[0].flatten().tolist() == pytest.approx([0.5, 0.75, 2.0])
    assert (x == 0.75).all()
    torch.testing.assert_close(normalize.undo(normalize(x)), x)
    for mean, std in (((0.5,), (0.0,)), ((0.5,), (0.5, 0.5)), ((math.nan,), (0.5,)), ((0.5,), (math.inf,))):
        with refused("normalize", got=(mean, std)):
            Normalize(mean, std)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("method", ["crop", "squish", "pad"])
def test_every_kind_of_item_gives_the_same_numbers(tmp_path: Path, channels: int, method: Any) -> None:
    mean, std = (values[:channels] for values in (MEAN, STD))
    preprocess = Preprocess(Resize((24, 20), method), Normalize(mean, std), channels)
    array = noise(50, 70, 3) if channels == 3 else noise(50, 70)
    image = Image.fromarray(array)
    image.save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    tensor = torch.from_numpy(array.copy())
    expected = preprocess.item(image)
    assert (expected.dtype, expected.shape) == (torch.uint8, (channels, 24, 20))
    numbers = (expected.float() / 255 - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    for item in (
        image, str(tmp_path / "a.png"), tmp_path / "a.png", content, bytearray(content), memoryview(content),
        array, array.astype(np.float64) / 255, array.astype(np.float32) / 255, array.astype(np.uint16) * 257,
        tensor.permute(2, 0, 1) if channels == 3 else tensor[None], array if channels == 3 else array[..., None],
        image.convert("RGBA"), np.ascontiguousarray(array[::-1])[::-1],
    ):  # fmt: skip
        torch.testing.assert_close(preprocess.batch(preprocess.item(item)[None]), numbers[None], atol=1e-5, rtol=0)


def test_sixteen_bit_gray_is_the_same_as_a_file_and_as_an_array(tmp_path: Path) -> None:
    preprocess = Preprocess(Resize((4, 4)), None, 1)
    for pixels in (noise(4, 4).astype(np.uint16), noise(4, 4).astype(np.uint16) * 257):
        Image.fromarray(pixels).save(tmp_path / "a.png")
        assert torch.equal(preprocess.item(tmp_path / "a.png"), preprocess.item(pixels))


def test_a_rotated_image_is_the_same_as_a_file_and_opened(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(noise(10, 16, 3)).save(tmp_path / "a.png", exif=exif)
    preprocess = Preprocess(Resize((16, 10)), None)
    upright = np.rot90(noise(10, 16, 3), -1)  # clockwise
    with Image.open(tmp_path / "a.png") as opened:
        assert torch.equal(preprocess.item(opened), preprocess.item(upright))
    assert torch.equal(preprocess.item(tmp_path / "a.png"), preprocess.item(upright))
    assert torch.equal(preprocess.item((tmp_path / "a.png").read_bytes()), preprocess.item(upright))


def test_bytes_may_be_of_any_format() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (9, 9), "red").save(buffer, format="BMP")
    assert Preprocess(Resize((8, 8)), None).item(buffer.getvalue())[:, 0, 0].tolist() == [255, 0, 0]
    with pytest.raises(ImageError, match=r"the given bytes \(row 3\) cannot be read"):
        Preprocess(Resize((8, 8)), None).item(b"GIF89a", " (row 3)")


@pytest.mark.parametrize(
    "bad", [np.zeros((4, 4, 7), np.uint8), np.zeros(5, np.uint8), np.zeros((0, 4), np.uint8), torch.zeros(3, 4, 0)]
)
def test_arrays_that_are_not_images_are_refused(bad: object) -> None:
    with refused("image array"):
        Preprocess(Resize((8, 8)), None).item(bad)


@pytest.mark.parametrize(
    "bad", [np.full((4, 4), 3.0), np.full((4, 4), np.nan), np.zeros((4, 4), bool), np.zeros((4, 4), np.int64)]
)
def test_arrays_of_unknown_range_are_refused(bad: object) -> None:
    with pytest.raises(ImageError, match=r"the given array: (dtype|range of floats|16 pixels are nan)"):
        Preprocess(Resize((8, 8)), None).item(bad)


@pytest.mark.parametrize("channels", [4, 2, 0, -1, True, 3.0])
def test_invalid_numbers_of_channels_are_refused(channels: Any) -> None:
    with refused("channels", got=channels):
        Preprocess(Resize((8, 8)), None, channels=channels)
    if channels not in (4, 2):
        with refused("channels", got=channels):
            Preprocess(Resize((8, 8)), None, channels=channels, reader=array_of)


@pytest.mark.parametrize("channels", [1, 2, 4, 5])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "float64"])
def test_a_reader_may_return_any_channels_and_depth(tmp_path: Path, channels: int, dtype: str) -> None:
    levels: npt.NDArray[Any] = noise(8, 8, channels)
    pixels: npt.NDArray[Any] = {
        "uint8": levels, "uint16": levels.astype(np.uint16) * 256 + 7,
        "float32": levels.astype(np.float32) / 255, "float64": levels / 255,
    }[dtype]  # fmt: skip
    preprocess = many(channels)
    item = preprocess.item(saved(tmp_path / "a.npy", pixels))
    assert item.dtype == (torch.uint8 if dtype == "uint8" else torch.float32)
    largest = {"uint8": 255, "uint16": 65535}.get(dtype, 1)
    expected = torch.from_numpy(np.moveaxis(pixels / largest, 2, 0)[None]).float()
    torch.testing.assert_close(preprocess.batch(item[None]), expected, atol=1e-7, rtol=0)
    for same in (pixels, torch.from_numpy(np.moveaxis(pixels, 2, 0).copy())):
        assert torch.equal(preprocess.item(same), item)


def test_arrays_of_a_reader_are_resized_like_images(tmp_path: Path) -> None:
    levels = noise(20, 30, 3)
    item = many(3).item(saved(tmp_path / "a.npy", levels))
    assert torch.equal(item, Preprocess(Resize((8, 8)), None).item(levels))
    exact = many(3).item(saved(tmp_path / "b.npy", levels.astype(np.float32) / 255)) * 255
    assert (exact - item).abs().max() <= 1


def test_sixteen_bits_keep_their_precision(tmp_path: Path) -> None:
    levels = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1040 + 15
    Image.fromarray(levels).save(tmp_path / "a.png")
    preprocess = Preprocess(Resize((8, 8)), None, 1, reader=full_depth)
    batch = preprocess.batch(preprocess.item(str(tmp_path / "a.png"))[None])
    assert (batch[0, 0].double() * 65535 - torch.from_numpy(levels.astype(np.float64))).abs().max() < 0.5


@pytest.mark.parametrize(
    ("pixels", "what", "got"),
    [
        (np.zeros((8, 8, 3), np.uint8), "shape", (8, 8, 3)), (np.zeros((8, 8), np.uint8), "shape", (8, 8, 1)),
        (np.zeros((8, 0, 5), np.uint8), "shape", (8, 0, 5)), (np.zeros((1, 8, 8, 5), np.uint8), "shape", (1, 8, 8, 5)),
        (np.full((8, 8, 5), 1.5), "range of floats", (1.5, 1.5)),
        (np.full((8, 8, 5), -0.1), "range of floats", (-0.1, -0.1)),
        (np.zeros((8, 8, 5), np.int32), "dtype", "int32"), (np.zeros((8, 8, 5), bool), "dtype", "bool"),
    ],
)  # fmt: skip
def test_invalid_arrays_of_a_reader_are_named_with_the_file(
    tmp_path: Path, pixels: npt.NDArray[Any], what: str, got: object
) -> None:
    file = saved(tmp_path / "wrong.npy", pixels)
    with refused(f"{file} (row 3): {what}", ImageError, got=got):
        many(5).item(file, " (row 3)")
    with refused(f"the given array (row 3): {what}", ImageError, got=got):
        many(5).item(pixels, " (row 3)")


def test_nan_of_a_reader_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"wrong\.npy: 320 pixels are nan, the first at row 0, column 0"):
        many(5).item(saved(tmp_path / "wrong.npy", np.full((8, 8, 5), np.nan)))


def test_a_failing_reader_is_named_with_the_file(tmp_path: Path) -> None:
    (tmp_path / "text.npy").write_text("no array")
    (tmp_path / "empty.npy").touch()
    for name in ("text.npy", "empty.npy", "gone.npy"):
        with pytest.raises(ImageError, match=rf"{name} \(row 3\): the reader failed"):
            many(5).item(str(tmp_path / name), " (row 3)")


@pytest.mark.parametrize(
    ("settings", "border"),
    [
        ({"ignore_index": 255}, 255), ({"ignore_index": 1}, 1), ({"ignore_index": [7, 9]}, 255),
        ({"border": "b"}, 1), ({"border": "a", "ignore_index": 255}, 0), ({"border": "b", "binary": True}, 1),
    ],
)  # fmt: skip
def test_padded_pixels_are_what_was_declared(tmp_path: Path, settings: Any, border: int) -> None:
    mask = str(tmp_path / "m.png")
    Image.new("L", (4, 8), 0).save(mask)
    task = Segmentation(["a", "b"], **settings)
    image, numbers = Preprocess(Resize((8, 8), "pad"), None).decode(Image.new("RGB", (4, 8), "white"), mask, task=task)
    assert image[0, :, 0].tolist() == [0, 0, 255, 255, 255, 255, 0, 0]
    assert numbers[0].tolist() == [border, border, 0, 0, 0, 0, border, border]


def test_padded_masks_without_a_class_for_the_border_are_refused(tmp_path: Path) -> None:
    Image.new("L", (4, 8), 0).save(tmp_path / "m.png")
    for method in ("crop", "squish", "pad"):
        preprocess = Preprocess(Resize((8, 8), method), None)  # type: ignore[arg-type]
        item, mask, task = Image.new("RGB", (4, 8)), str(tmp_path / "m.png"), Segmentation(["a", "b"])
        if method == "pad":
            with pytest.raises(UsageError, match=r"ignore_index= or border="):
                preprocess.decode(item, mask, task=task)
        else:
            assert not preprocess.decode(item, mask, task=task)[1].any()


@pytest.mark.parametrize("item", [None, 3, [[1, 2], [3, 4]], {"bytes": b"x"}, (1, 2), object])
def test_what_is_no_image_is_refused_by_its_type(item: Any) -> None:
    for preprocess in (Preprocess(Resize((8, 8)), None), file_only(3)):
        with pytest.raises(WrongTypeError, match=r"item: got .*expected a path, "):
            preprocess.item(item)


def file_only(channels: int) -> Preprocess:
    return Preprocess(Resize((8, 8)), None, channels, reader=lambda file: noise(8, 8, channels))


@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("item", [b"bytes", bytearray(b"bytes"), memoryview(b"bytes"), Image.new("RGB", (8, 8))])
def test_items_that_would_go_around_the_reader_are_refused(item: object, channels: int) -> None:
    """What the message advises works."""
    with pytest.raises(UsageError, match=r"path of a file, or an array as the reader returns it"):
        file_only(channels).item(item)
    expected = file_only(channels).item("a path")
    assert torch.equal(file_only(channels).item(noise(8, 8, channels)), expected)


def test_a_batch_of_floats_is_overwritten_only_in_place() -> None:
    preprocess = Preprocess(Resize((2, 2)), Normalize((0.5,) * 3, (0.25,) * 3))
    x = torch.full((2, 3, 2, 2), 0.75)
    normalized = preprocess.batch(x)
    assert x.unique().tolist() == [0.75]
    assert normalized.unique().tolist() == [1.0]
    assert preprocess.batch(x, in_place=True) is x
    assert torch.equal(x, normalized)


def test_without_normalize_keeps_everything_else() -> None:
    preprocess = Preprocess(Resize((8, 8)), Normalize(MEAN, STD))
    assert preprocess.without_normalize() == Preprocess(Resize((8, 8)), None)
    assert pickle.loads(pickle.dumps(preprocess)) == preprocess


def test_a_given_array_is_not_overwritten() -> None:
    array = noise(8, 8, 3)
    item = Preprocess(Resize((8, 8)), None).item(array)
    item.zero_()
    np.testing.assert_array_equal(array, noise(8, 8, 3))


@pytest.mark.parametrize(
    ("mean", "std"),
    [(0.5, 0.5), ([0.5] * 3, 0.5), (None, None), ({0.5}, {0.5}), ("555", "555"), ([True], [1]), ([0.5], [10**400])],
)
def test_statistics_that_are_no_lists_of_numbers_are_refused(mean: Any, std: Any) -> None:
    with refused("normalize", expected="a mean and a std above 0 for each channel, each a list of numbers"):
        Normalize(mean, std)


@pytest.mark.parametrize("kind", [list, np.array, torch.tensor])
def test_statistics_are_numbers_in_any_list(kind: Any) -> None:
    assert Normalize(kind([0.5, 0.25]), kind([1, 2])) == Normalize((0.5, 0.25), (1.0, 2.0))


@pytest.mark.parametrize("damage", ["closed", "truncated", "deleted"])
def test_a_pillow_image_that_cannot_be_decoded_any_more_is_an_image_error(tmp_path: Path, damage: str) -> None:
    file = tmp_path / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(file)
    content = file.read_bytes()
    image = Image.open(io.BytesIO(content[: len(content) // 2]) if damage == "truncated" else file)
    if damage != "truncated":
        image.close()
    if damage == "deleted":
        file.unlink()
    with pytest.raises(ImageError, match=r"the given image \(row 3\) cannot be read .*image\.load\(\)"):
        Preprocess(Resize((8, 8)), None).decode(image, where=" (row 3)")
