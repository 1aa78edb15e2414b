"""Depth: one rule for what black and white are, whatever an image comes as."""

import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image, TiffImagePlugin
from torch import nn

from learnkit import ImageDataBunch, Learner, load_learner
from learnkit.data.image.depth import BITS, check_depth, to_depth
from learnkit.data.image.preprocess import Preprocess
from learnkit.data.image.resize import Resize
from learnkit.errors import ImageError, LearnkitWarning
from tests.doubles import refused

SIZE = (4, 6)


def ramp(dtype: Any, low: float, high: float) -> npt.NDArray[Any]:
    """Gray from low to high, (4, 6)."""
    return np.linspace(low, high, 24).reshape(SIZE).astype(dtype)


def from_png(pixels: npt.NDArray[Any], folder: Path) -> str:
    Image.fromarray(pixels).save(folder / "a.png")
    return str(folder / "a.png")


def from_tiff(pixels: npt.NDArray[Any], folder: Path) -> str:
    Image.fromarray(pixels).save(folder / "a.tif")
    return str(folder / "a.tif")


def from_bytes(pixels: npt.NDArray[Any], folder: Path) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="TIFF")
    return buffer.getvalue()


FORMS: dict[str, Callable[[npt.NDArray[Any], Path], Any]] = {
    "png": from_png, "tiff": from_tiff, "bytes": from_bytes,
    "pillow": lambda pixels, _: Image.fromarray(pixels), "array": lambda pixels, _: pixels,
    "array of one channel": lambda pixels, _: pixels[..., None],
    "tensor": lambda pixels, _: torch.from_numpy(pixels)[None],
}  # fmt: skip
DECLARED = [(np.uint16, bits, 0, 2**bits - 1) for bits in BITS] + [
    (np.int32, 12, 0, 4095), (np.int32, (0, 100000), 0, 100000), (np.int32, (-1000, 400), -1000, 400),
    (np.float32, (0, 1), 0, 1), (np.float32, (-1.5, 300.25), -1.5, 300.25), (np.uint16, (100, 612), 100, 612),
    (np.uint8, (0, 200), 0, 200), (np.uint8, 8, 0, 255),
]  # fmt: skip


@pytest.mark.parametrize(("dtype", "depth", "low", "high"), DECLARED)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_declared_depth_is_that_of_every_form(
    tmp_path: Path, form: str, dtype: Any, depth: Any, low: float, high: float, channels: int
) -> None:
    if form == "png" and dtype not in (np.uint8, np.uint16):
        return  # PNG has no such numbers
    pixels = ramp(dtype, low, high)
    preprocess = Preprocess(Resize(SIZE), None, channels, depth=depth)
    item = preprocess.item(FORMS[form](pixels, tmp_path))
    assert item.dtype == (torch.uint8 if depth == 8 else torch.float32)
    expected = torch.from_numpy((pixels.astype(np.float64) - low) / (high - low)).float().expand(channels, *SIZE)
    torch.testing.assert_close(preprocess.scale(item), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("dtype", "depth", "low", "high"), DECLARED)
def test_a_declared_depth_is_that_of_a_reader_and_of_the_arrays_it_returns(
    dtype: Any, depth: Any, low: float, high: float
) -> None:
    pixels = ramp(dtype, low, high)
    preprocess = Preprocess(Resize(SIZE), None, 1, reader=lambda file: pixels, depth=depth)
    expected = torch.from_numpy((pixels.astype(np.float64) - low) / (high - low)).float()[None]
    for item in ("a file", pixels, pixels[..., None]):
        torch.testing.assert_close(preprocess.scale(preprocess.item(item)), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("form", ["tiff", "bytes", "pillow"])
@pytest.mark.parametrize("dtype", [np.int32, np.float32])
@pytest.mark.parametrize("brightest", [0.9, 1, 100, 255, 256, 300, 65535])
def test_files_of_numbers_without_a_range_of_their_own_are_refused(
    tmp_path: Path, form: str, dtype: Any, brightest: float
) -> None:
    item = FORMS[form](ramp(dtype, 0, brightest), tmp_path)
    advice = r"depth=\(0, 1\), or depth=\(black, white\)" if dtype == np.float32 else r"depth=12 for 12 bits, or depth="
    with pytest.raises(ImageError, match=rf"a declared range\. Declare the range of all images: {advice}"):
        Preprocess(Resize(SIZE), None, 1).item(item)
    Preprocess(Resize(SIZE), None, 1, depth=(0, brightest)).item(item)
    if brightest <= 1 or dtype == np.int32:
        Preprocess(Resize(SIZE), None, 1, depth=(0, 1) if dtype == np.float32 else 16).item(item)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("dtype", "depth", "low", "high"),
    [
        (np.uint16, 12, 0, 4096), (np.uint16, 8, 0, 256), (np.float32, (0, 1), 0, 1.001),
        (np.float32, (0, 1), -0.001, 1), (np.int32, 16, -1, 9), (np.uint8, 12, 0, 255), (np.float32, 12, 0, 4095),
    ],
)  # fmt: skip
def test_pixels_beyond_the_declared_depth_are_refused(
    tmp_path: Path, form: str, dtype: Any, depth: Any, low: float, high: float
) -> None:
    if form == "png" and dtype not in (np.uint8, np.uint16):
        return
    with pytest.raises(ImageError, match=r"range of|depth=12"):
        Preprocess(Resize(SIZE), None, 1, depth=depth).item(FORMS[form](ramp(dtype, low, high), tmp_path))


@pytest.mark.parametrize("depth", [None, (0, 1)])
@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_pixels_that_are_no_numbers_are_named_with_their_place(wrong: float, depth: Any) -> None:
    pixels = ramp(np.float32, 0, 1)
    pixels[2, 3] = pixels[3, 0] = wrong
    kind = "nan" if np.isnan(wrong) else "infinite"
    with pytest.raises(ImageError, match=rf"given array: 2 pixels are {kind}, the first at row 2, column 3"):
        Preprocess(Resize(SIZE), None, 1, depth=depth).item(pixels)


def test_a_tiff_of_twelve_bits_says_so_itself(tmp_path: Path) -> None:
    """Two pixels of 12 bits are three bytes."""
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    for tag, value in {256: 2, 257: 1, 258: 12, 259: 1, 262: 1, 273: 0, 277: 1, 278: 1, 279: 3}.items():
        tags[tag] = value
    header = b"II*\x00\x08\x00\x00\x00"
    (tmp_path / "a.tif").write_bytes(header + tags.tobytes(len(header)) + bytes([0xFF, 0xF8, 0x00]))  # 4095, 2048
    with Image.open(tmp_path / "a.tif") as image:
        assert np.asarray(image).tolist() == [[4095, 2048]]
    item = Preprocess(Resize((1, 2)), None, 1).item(tmp_path / "a.tif")
    assert item.flatten().tolist() == [255, 128]


def test_colors_and_transparency_of_arrays_of_more_bits() -> None:
    preprocess = Preprocess(Resize((1, 2)), None, 3, depth=10)
    red = np.array([[[1023, 0, 0, 1023], [1023, 0, 0, 0]]], dtype=np.uint16)
    assert preprocess.item(red)[:, 0].T.tolist() == [[1, 0, 0], [1, 1, 1]]
    gray = Preprocess(Resize((1, 2)), None, 1, depth=10).item(red[..., :3])
    assert gray.flatten().tolist() == pytest.approx([0.299, 0.299])  # ITU-R BT.601
    veiled = np.array([[[0, 1023], [0, 0]]], dtype=np.uint16)
    assert Preprocess(Resize((1, 2)), None, 1, depth=10).item(veiled).flatten().tolist() == [0, 1]


@pytest.mark.parametrize(
    "depth",
    [
        0, 1, 7, 32, 12.0, True, "12", (1,), (0, 1, 2), (1, 1), (2, 1), (0, np.nan), (0, np.inf), ("a", 1), {0, 1},
        10**400, (0, 10**400),
    ],
)  # fmt: skip
def test_what_is_no_depth_is_refused(depth: Any) -> None:
    with refused("depth", got=depth):
        check_depth(depth)
    with refused("depth"):
        Preprocess(Resize(SIZE), None, depth=depth)


@pytest.mark.parametrize("depth", [None, 8, np.int64(12), (0, 1), [0, 4095], np.array([-1000.0, 400.0])])
def test_numbers_of_numpy_become_those_of_python(depth: Any) -> None:
    found = check_depth(depth)
    assert found == (tuple(depth) if not np.isscalar(depth) and depth is not None else depth)
    assert type(found) in (int, tuple, type(None))


def test_eight_bits_are_not_copied() -> None:
    pixels = ramp(np.uint8, 0, 255)
    assert to_depth(pixels, None, "x") is pixels
    assert to_depth(pixels, 8, "x") is pixels


OPTIONS: Any = {
    "size": SIZE, "bs": 2, "augment": False, "device": "cpu", "split": lambda table: [False] * 4 + [True] * 4,
}  # fmt: skip


def image_files(folder: Path, brightest: int) -> list[str]:
    files = [str(folder / f"{number}.png") for number in range(8)]
    for file in files:
        Image.fromarray(ramp(np.uint16, 0, brightest)).save(file)
    return files


@pytest.mark.parametrize(("brightest", "bits"), [(1023, 10), (4095, 12), (4096, 14), (16383, 14)])
def test_files_that_would_look_black_are_warned_about(tmp_path: Path, brightest: int, bits: int) -> None:
    files = image_files(tmp_path, brightest)
    options: Any = {"channels": 1, "normalize": None, **OPTIONS}
    with pytest.warns(LearnkitWarning, match=rf"16 bits is {brightest}.* depth={bits} if .* depth=16 if"):
        ImageDataBunch.from_lists(tmp_path, files, ["a", "b"] * 4, **options)
    for depth in (bits, 16):
        dls = ImageDataBunch.from_lists(tmp_path, files, ["a", "b"] * 4, depth=depth, **options)
        assert dls.one_batch()[0].max().item() == pytest.approx(brightest / (2**depth - 1), abs=1e-6)
        assert torch.equal(dls.prepare(Path(files[0]).read_bytes()), dls.prepare(files[0]))


def test_a_learner_predicts_the_same_of_every_form(tmp_path: Path) -> None:
    """And so does the learner from its export, and the loader of its data."""
    files = image_files(tmp_path, 4095)
    for number, file in enumerate(files):
        Image.fromarray(np.roll(ramp(np.uint16, 0, 4095), number)).save(file)
    dls = ImageDataBunch.from_lists(tmp_path, files, ["a", "b"] * 4, channels=1, depth=12, normalize="data", **OPTIONS)
    learn = Learner(dls, nn.Sequential(nn.Flatten(), nn.Linear(24, 2)), seed=0)
    loaded = load_learner(learn.export(tmp_path / "m.lk"), model=nn.Sequential(nn.Flatten(), nn.Linear(24, 2)))
    assert loaded.dls.preprocess.depth == 12
    for row, file in enumerate(dls.samples.input[dls.samples.split == "valid"]):
        pixels = np.asarray(Image.open(file))
        for item in (file, Path(file).read_bytes(), Image.open(file), pixels, torch.from_numpy(pixels.copy())[None]):
            for one in (learn, loaded):
                torch.testing.assert_close(one.predict(item)[2], learn.get_preds()[0][row])


def test_files_of_sixteen_bits_are_not_warned_about(tmp_path: Path) -> None:
    files = image_files(tmp_path, 16384)
    with warnings.catch_warnings(record=True) as caught:
        ImageDataBunch.from_lists(tmp_path, files, ["a", "b"] * 4, **OPTIONS)
    assert caught == []
