"""Images without files: held by one object, equal by where they come from, read when they are needed."""

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from learnkit.data.image.sources import HeldImage, as_file, held, image_size, is_image, opened
from learnkit.errors import ImageError, UsageError

PIXELS = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)


def encoded(pixels: Any = PIXELS) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def rotated() -> Image.Image:
    """7 x 5 pixels as stored, 5 x 7 upright."""
    image = Image.fromarray(np.swapaxes(PIXELS, 0, 1))
    image.getexif()[0x0112] = 6
    return image


FORMS: dict[str, Any] = {
    "PIL": Image.fromarray(PIXELS), "array": PIXELS, "tensor": torch.from_numpy(PIXELS).permute(2, 0, 1),
    "bytes": encoded(), "bytearray": bytearray(encoded()), "gray": PIXELS[..., 0], "rotated": rotated(),
}  # fmt: skip


@pytest.mark.parametrize("image", FORMS.values(), ids=FORMS)
def test_every_form_is_an_image_of_its_size(image: Any) -> None:
    assert is_image(image)
    (one,) = held([image], "column")
    assert isinstance(one, HeldImage)
    assert one.read() is image
    assert opened(one) is image
    assert image_size(one) == image_size(image) == (5, 7)
    assert str(one) == repr(one) == "column[0]"


def test_the_size_of_a_file_is_read_from_it(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(encoded())
    for path in (tmp_path / "x.png", str(tmp_path / "x.png")):
        assert not is_image(path)
        assert opened(path) == path
        assert image_size(path) == (5, 7)
    with pytest.raises(ImageError):
        image_size(b"no image")


def test_other_values_are_unchanged_and_held_ones_not_held_again() -> None:
    first = held([PIXELS], "a")[0]
    assert held(["x.jpg", first, 3, PIXELS], "b")[:3] == ["x.jpg", first, 3]


def test_two_are_equal_if_they_are_the_same_item() -> None:
    items, others = [PIXELS, PIXELS], [PIXELS]
    assert HeldImage(items, 0, "a") == HeldImage(items, 0, "b")
    assert len({HeldImage(items, 0, "a"), HeldImage(items, 0, "b"), HeldImage(items, 1, "a")}) == 2
    assert HeldImage(items, 0, "a") != HeldImage(others, 0, "a")
    assert HeldImage(items, 0, "a") != "a"
    one, two = pickle.loads(pickle.dumps([HeldImage(items, 0, "a"), HeldImage(items, 1, "b")]))
    assert one.items is two.items
    assert (one.index, two.name) == (0, "b")


def test_an_opened_file_is_read_before_another_process_could(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(encoded())
    image = Image.open(tmp_path / "x.png")
    held([image], "x")
    (tmp_path / "x.png").unlink()
    assert np.array_equal(np.asarray(image), PIXELS)
    (tmp_path / "half.png").write_bytes(encoded(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))[:900])
    with Image.open(tmp_path / "half.png") as half:
        held([half], "x")  # fails when it is needed


@pytest.mark.parametrize("error", [KeyError("x"), ZeroDivisionError("x"), OSError("x"), IndexError("x")])
def test_any_failure_of_a_dataset_names_the_item(error: Exception) -> None:
    class Fails:
        def __getitem__(self, i: int) -> Any:
            raise error

    with pytest.raises(ImageError, match=rf"train\[3\]: the dataset cannot read it \({type(error).__name__}") as caught:
        HeldImage(Fails(), 3, "train[3]").read()
    assert caught.value.__cause__ is error


def test_an_error_of_the_library_and_a_full_memory_pass() -> None:
    for error in (UsageError("x"), MemoryError()):

        class Fails:
            def __getitem__(self, i: int, error: BaseException = error) -> Any:
                raise error

        with pytest.raises(type(error)):
            HeldImage(Fails(), 0, "x").read()


def test_the_image_of_a_pair_is_its_first() -> None:
    for item in ((PIXELS, 3), [PIXELS, 3], (PIXELS,), PIXELS):
        assert HeldImage([item], 0, "x").read() is PIXELS


def test_the_file_of_a_mask_is_its_path_or_the_bytes_that_are_held() -> None:
    assert as_file("mask.png") == "mask.png"
    file = as_file(HeldImage([b"content"], 0, "train[0]"))
    assert file.read() == b"content"
    assert str(file) == "train[0]"
