"""JPEG files decoded at a smaller size, and by the faster decoder."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from learnkit import ImageDataBunch, Points, Segmentation
from learnkit.data.image import jpeg
from learnkit.data.image.crops import Bounded
from learnkit.data.image.opening import open_header
from learnkit.data.image.preprocess import Preprocess
from learnkit.data.image.read import open_image, read_image
from learnkit.data.image.resize import Resize, View
from learnkit.errors import ImageError, WrongTypeError
from learnkit.transforms import Presize, RandomResizedCrop
from tests.doubles import refused

SIZE = (24, 24)


def photo(width: int, height: int, seed: int = 0) -> Image.Image:
    """Gradients, noise of every scale that falls with its frequency, as in photos, and disks with sharp edges."""
    random = np.random.default_rng(seed)
    pixels = np.zeros((height, width), np.float32)
    for k in range(2, 12):
        noise = random.normal(0, 0.5**k, (max(2, 2**k * 3 // 4), 2**k)).astype(np.float32)
        pixels += np.asarray(Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC))
    y, x = np.mgrid[:height, :width]
    pixels = 120 + 45 * pixels / pixels.std() + 30 * np.sin(3 * x / width)
    colors = np.repeat(pixels[..., None], 3, axis=2)
    for _ in range(12):
        across, down, radius = random.uniform(0, width), random.uniform(0, height), random.uniform(0.01, 0.1) * width
        inside = (x - across) ** 2 + (y - down) ** 2 < radius**2
        colors[inside] = 0.5 * colors[inside] + 0.5 * random.uniform(0, 255, 3)
    return Image.fromarray(colors.clip(0, 255).astype(np.uint8))


def ramp(width: int, height: int) -> Image.Image:
    """Red grows from left to right, green from top to bottom: a pixel's color says where it is."""
    y, x = np.mgrid[:height, :width]
    return Image.fromarray(np.stack([255 * x / width, 255 * y / height, 0 * x], axis=2).astype(np.uint8))


def encoded(image: Image.Image, **options: Any) -> bytes:
    target = io.BytesIO()
    image.save(target, options.pop("format", "JPEG"), **{"quality": 92, **options})
    return target.getvalue()


def preprocess(full: bool = False, method: Any = "crop", size: tuple[int, int] = SIZE, **rest: Any) -> Preprocess:
    return Preprocess(Resize(size, method, rest.pop("interpolation", "bilinear")), None, full_decode=full, **rest)


def difference(data: Any, **rest: Any) -> "np.ndarray[Any, Any]":
    """How far the gray levels of what the model sees are from those of an image that is decoded in full."""
    reduced, full = (preprocess(full, **rest).item(data).numpy().astype(int) for full in (False, True))
    return np.abs(reduced - full)


@pytest.mark.parametrize(
    ("box", "shape", "margin", "factor"),
    [
        ((0, 0, 4032, 3024), (224, 224), 2, 4), ((0, 0, 3024, 4032), (224, 224), 1, 8),
        ((0, 0, 960, 960), (60, 60), 2, 8), ((0, 0, 959, 960), (60, 60), 2, 4), ((0, 0, 500, 375), (224, 224), 2, 1),
        ((0, 0, 896, 4000), (224, 224), 2, 2), ((500, 0, 1396, 896), (224, 224), 2, 2),
        ((0, 0, 895, 896), (224, 224), 2, 1), ((9, 9, 10, 10), (1, 1), 2, 1),
    ],
)  # fmt: skip
def test_at_least_two_pixels_are_left_for_each_that_is_seen(box: Any, shape: Any, margin: int, factor: int) -> None:
    assert View(box, shape).factor(margin) == factor


@pytest.mark.slow
def test_large_photos_differ_by_a_fraction_of_a_gray_level() -> None:
    """The bounds that docs/data.md gives."""
    data = encoded(photo(1600, 1200), quality=90)
    for method, size in (("crop", (90, 90)), ("squish", (90, 90)), ("pad", (90, 120)), ("crop", (150, 200))):
        for interpolation in ("bilinear", "bicubic"):
            apart = difference(data, method=method, size=size, interpolation=interpolation)
            assert 0 < apart.mean() < 0.3
            assert apart.max() <= 8
    with_how = [read_image(io.BytesIO(data), how=Resize(size)).factor for size in ((90, 90), (150, 200), (400, 400))]
    assert with_how == [4, 4, 1]


@pytest.mark.parametrize("size", [(203, 157), (200, 152), (97, 333)])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_places_are_kept_whatever_the_size_and_the_orientation(size: tuple[int, int], orientation: int) -> None:
    """A cut block may lie on any side once the image is upright; a shift by a pixel of 8 would be 10 gray levels."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(ramp(*size), exif=exif, subsampling=0, quality=95)
    for pixels in ((9, 8), (12, 12), (20, 6)):
        decoded = read_image(io.BytesIO(data), how=Resize(pixels, "squish"))
        assert decoded.factor > 1
        assert decoded.size == open_image(io.BytesIO(data)).size[::-1]  # type: ignore[union-attr, operator]
        for method in ("squish", "crop"):
            assert difference(data, method=method, size=pixels).max() <= 3


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"subsampling": 0}, {"subsampling": 1}, {"mode": "L"}, {"mode": "CMYK"}]
)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_kind_of_jpeg_is_reduced(options: dict[str, Any], channels: int) -> None:
    image = photo(400, 300)
    image = image.convert(options.pop("mode")) if "mode" in options else image
    data = encoded(image, **options)
    assert difference(data, channels=channels).mean() < 0.5
    assert read_image(io.BytesIO(data), channels, how=Resize(SIZE)).factor == 4


def test_a_jpeg_with_further_pictures_is_reduced_too() -> None:
    image = photo(400, 300)
    data = encoded(image, format="MPO", save_all=True, append_images=[image.rotate(180)])
    with open_header(io.BytesIO(data), "") as opened:
        assert opened.format == "MPO"
    assert read_image(io.BytesIO(data), how=Resize(SIZE)).factor == 4
    assert 0 < difference(data).mean() < 0.5


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "BMP"])
def test_other_formats_are_never_reduced(kind: str) -> None:
    data = encoded(photo(400, 300), format=kind)
    assert read_image(io.BytesIO(data), how=Resize(SIZE)).factor == 1
    assert difference(data).max() == 0


def test_what_is_not_read_from_a_file_is_not_reduced(tmp_path: Path) -> None:
    image, file = photo(400, 300), tmp_path / "a.jpg"
    file.write_bytes(encoded(image))
    whole = open_image(file)
    full = preprocess(True).item(file)
    assert torch.equal(preprocess().item(whole), full)
    assert torch.equal(preprocess().item(np.asarray(whole)), full)
    read = preprocess(reader=lambda name: np.asarray(Image.open(name))).item(file)
    assert torch.equal(read, full)
    assert torch.equal(preprocess().item(file.read_bytes()), preprocess().item(file))
    assert not torch.equal(preprocess().item(file), full)


def test_a_declared_depth_sees_the_same_pixels() -> None:
    data = encoded(photo(400, 300))
    floats = preprocess(depth=(0, 255)).item(data)
    assert torch.allclose(floats * 255, preprocess().item(data).float(), atol=1.01)  # rounded twice


def test_masks_and_points_belong_to_the_whole_image(tmp_path: Path) -> None:
    file, mask = tmp_path / "a.jpg", tmp_path / "a.png"
    file.write_bytes(encoded(ramp(400, 300)))
    numbers = np.random.default_rng(0).integers(0, 2, (300, 400), dtype=np.uint8)
    Image.fromarray(numbers).save(mask)
    task = Segmentation(["sky", "sea"])
    (_, seen), (_, expected) = (preprocess(full).decode(file, mask, task=task) for full in (False, True))
    assert (seen == expected).all()
    points = Points(("nose",))
    pixels, (place,) = preprocess().decode(file, ((250.0, 100.0),), task=points)
    column, row = ((place + 1) / 2 * SIZE[0] - 0.5).round().astype(int)
    assert abs(int(pixels[row, column, 0]) - 255 * 250 / 400) < 8  # the ramp says where it is
    assert abs(int(pixels[row, column, 1]) - 255 * 100 / 300) < 8


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i in range(8):
        file = tmp_path / "photos" / "ab"[i % 2] / f"{i}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(encoded(photo(320, 240, i)))
    return tmp_path / "photos"


@pytest.mark.parametrize("first", [RandomResizedCrop(SIZE), Presize((30, 30)), None])
@pytest.mark.parametrize("kind", ["memory", "disk"])
def test_training_validation_prediction_and_caches_agree(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: Any, kind: Any
) -> None:
    monkeypatch.setenv("LEARNKIT_HOME", str(tmp_path / "home"))
    options: dict[str, Any] = {"valid_pct": 0.5, "size": SIZE, "bs": 2, "device": "cpu", "num_workers": 0}
    options["augment"] = False if first is None else [first]
    plain, kept = (ImageDataBunch.from_folder(folder, cache=cache, **options) for cache in (None, kind))
    in_full = ImageDataBunch.from_folder(folder, full_decode=True, cache=kind, **options)
    for split in ("train_ds", "valid_ds"):
        batches = [getattr(dls, split).batch([0, 1], 3, 1)[0] for dls in (plain, kept, in_full)]
        assert torch.equal(batches[0], batches[1])
        apart = (batches[0].int() - batches[2].int()).abs()
        assert 0 < apart.float().mean() < 0.5
    file = plain.samples["input"].iloc[-1]
    predicted = plain.preprocess.item(file)
    assert torch.equal(predicted, plain.valid_ds.batch([len(plain.valid_ds) - 1])[0][0])
    bound = Bounded(SIZE) if isinstance(first, RandomResizedCrop) else Resize((30, 30)) if first else Resize(SIZE)
    assert read_image(file, how=bound).factor > 1


def test_full_decode_is_yes_or_no() -> None:
    with refused("full_decode", got="yes", kind=WrongTypeError):
        preprocess("yes")  # type: ignore[arg-type]


ENCODINGS: list[dict[str, Any]] = [
    {"quality": 90}, {"quality": 60, "subsampling": 0}, {"subsampling": 1}, {"progressive": True, "subsampling": 2},
    {"restart_marker_rows": 1, "optimize": True}, {"keep_rgb": True},
]  # fmt: skip


@pytest.mark.parametrize("options", ENCODINGS)
@pytest.mark.parametrize("size", [(64, 48), (33, 17), (1, 1), (8, 203)])
def test_the_faster_decoder_gives_the_same_bits_as_pillow(options: dict[str, Any], size: tuple[int, int]) -> None:
    data = encoded(photo(128, 96).resize(size), **options)
    with open_header(io.BytesIO(data), "") as image:
        pixels = jpeg.plain_pixels(image)
        assert pixels is not None
        assert (pixels == np.asarray(image)).all()  # Pillow can still decode it
    seen = preprocess(size=size[::-1]).decode(data)[0]
    assert (seen == pixels).all()


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_other_jpegs_are_left_to_pillow(mode: str) -> None:
    with open_header(io.BytesIO(encoded(photo(64, 48).convert(mode))), "") as image:
        assert jpeg.plain_pixels(image) is None


def test_without_the_faster_decoder_pillow_decodes(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(photo(48, 48))
    fast = preprocess(size=(48, 48)).item(data)
    monkeypatch.setattr(jpeg, "_decoder", lambda: None)
    assert torch.equal(preprocess(size=(48, 48)).item(data), fast)


def test_damaged_files_are_refused_or_read_as_pillow_does() -> None:
    """Cut, changed and overwritten at places drawn by a seed."""
    random = np.random.default_rng(0)
    outcomes: set[str | bytes] = set()
    whole = encoded(photo(40, 30))
    for number in range(150):
        data, place = bytearray(whole), int(random.integers(2, len(whole)))
        if number % 3 == 0:
            data = data[:place]
        elif number % 3 == 1:
            data[place] = int(random.integers(256))
        else:
            data[place : place + 12] = bytes(random.integers(0, 256, 12, dtype=np.uint8))
        outcomes.add(answer(data, None))
        assert answer(data, Resize((30, 40))) == answer(data, None)
    assert len(outcomes) > 50
    assert any(isinstance(outcome, str) for outcome in outcomes)


def answer(data: bytes | bytearray, how: Resize | None) -> str | bytes:
    """The pixels, or what is wrong."""
    try:
        return np.asarray(read_image(io.BytesIO(data), how=how).image).tobytes()
    except ImageError as error:
        return error.what
