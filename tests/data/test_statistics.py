"""The statistics images are normalized by."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from learnkit.data.image.preprocess import Normalize, Preprocess
from learnkit.data.image.resize import Resize
from learnkit.data.statistics import measure, normalize_by
from learnkit.errors import UsageError

RGB = Preprocess(Resize((4, 6)), None)
GRAY = Preprocess(Resize((4, 6)), None, channels=1)


def images(folder: Path, n: int) -> tuple[list[str], Any]:
    """n files of noise, and their pixels (n, 4, 6, 3) in [0, 1]."""
    pixels = np.random.default_rng(n).integers(0, 256, (n, 4, 6, 3), dtype=np.uint8)
    for i, one in enumerate(pixels):
        Image.fromarray(one).save(folder / f"{i}.png")
    return [str(folder / f"{i}.png") for i in range(n)], pixels / 255


def test_imagenet_has_the_published_numbers() -> None:
    assert normalize_by("imagenet", [], RGB) == Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    gray = normalize_by("imagenet", [], GRAY)
    assert gray is not None
    assert gray.mean == pytest.approx([(0.485 + 0.456 + 0.406) / 3])
    assert gray.std == pytest.approx([(0.229 + 0.224 + 0.225) / 3])


def test_the_data_is_measured_over_all_pixels(tmp_path: Path) -> None:
    files, pixels = images(tmp_path, 5)
    for found in (measure(files, RGB), normalize_by("data", files, RGB)):
        assert found is not None
        assert found.mean == pytest.approx(pixels.mean((0, 1, 2)), abs=1e-6)
        assert found.std == pytest.approx(pixels.std((0, 1, 2)), abs=1e-6)


def test_images_of_one_color_have_a_std_to_divide_by(tmp_path: Path) -> None:
    Image.new("RGB", (6, 4), "white").save(tmp_path / "white.png")
    found = measure([str(tmp_path / "white.png")], RGB)
    assert found.mean == (1, 1, 1)
    assert found.std == pytest.approx([1e-4] * 3)


@pytest.mark.parametrize(("n", "measured"), [(999, 999), (1000, 1000), (1999, 1999), (2000, 1000), (5000, 1000)])
def test_of_many_files_evenly_spaced_ones_are_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n: int, measured: int
) -> None:
    (file,), _ = images(tmp_path, 1)
    pixels, seen = RGB.item(file), []
    monkeypatch.setattr(Preprocess, "item", lambda self, name: seen.append(int(name)) or pixels)
    measure([str(i) for i in range(n)], RGB)
    assert len(seen) == measured
    assert len(set(np.diff(seen))) == 1


def test_numbers_are_accepted_one_per_channel() -> None:
    assert normalize_by(None, [], RGB) is None
    given = ((0.1, 0.2, 0.3), [1, 2, 3])
    assert normalize_by(given, [], RGB) == Normalize((0.1, 0.2, 0.3), (1.0, 2.0, 3.0))
    assert normalize_by((0.5, 0.25), [], GRAY) == Normalize((0.5,), (0.25,))  # type: ignore[arg-type]
    assert normalize_by((np.array([0.5]), (0.25,)), [], GRAY) == Normalize((0.5,), (0.25,))


@pytest.mark.parametrize(
    "statistics",
    ["cifar", ((0.5,), (0.5,)), ((0.5,) * 3,), ((0.5,) * 3, (1.0, 0.0, 1.0)), ((0.5,) * 3, (1.0, 1.0)), ("a", "b"), 3],
)
def test_statistics_that_cannot_work_are_refused(statistics: Any) -> None:
    with pytest.raises(UsageError) as caught:
        normalize_by(statistics, [], RGB)
    assert caught.value.what in ("normalize", "Normalize", "std")
    assert caught.value.expected
