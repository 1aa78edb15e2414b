"""Checking a folder of images: each problem is found where it is, and a clean folder has none."""

import hashlib
import math
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from learnkit.data.image.read import open_image
from learnkit.data.table.verify import verify_images
from learnkit.errors import DataError, LearnkitError, MissingFileError
from tests.doubles import refused


def save_image(path: Path, seed: int = 0, size: tuple[int, int] = (32, 24)) -> Path:
    """Different noise for every seed; two bitmaps of one size have equally many bytes."""
    width, height = size
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    return path


def copied(source: Path, *targets: Path) -> None:
    for target in targets:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


def rows(root: Path, **options: Any) -> list[tuple[str, str, str]]:
    return [tuple(row) for row in verify_images(root, **options).to_numpy().tolist()]


def found(root: Path, **options: Any) -> list[tuple[str, str]]:
    return [(path, problem) for path, problem, _ in rows(root, **options)]


def test_a_clean_folder_has_no_problems(tmp_path: Path) -> None:
    names = ["train/cat/a.bmp", "train/dog/a.bmp", "valid/cat/b.bmp", "valid/dog/b.png", "test/c.jpg", "d.gif"]
    for seed, name in enumerate(names):
        save_image(tmp_path / name, seed)
    report = verify_images(tmp_path)
    assert (len(report), list(report.columns)) == (0, ["path", "problem", "detail"])


def test_the_path_may_be_text_and_relative(tmp_path: Path) -> None:
    save_image(tmp_path / "data" / "cat" / "a.png", size=(8, 8))
    expected = [["cat/a.png", "tiny", "8 x 8 pixels"]]
    assert verify_images(str(tmp_path / "data")).to_numpy().tolist() == expected
    assert verify_images("data").to_numpy().tolist() == expected  # every test runs in its tmp_path


def test_nothing_is_changed(tmp_path: Path) -> None:
    copied(save_image(tmp_path / "train" / "a.png"), tmp_path / "train" / "b.png", tmp_path / "valid" / "a.png")
    (tmp_path / "train" / "c.png").write_bytes(b"")

    def state() -> list[tuple[Path, bytes, int]]:
        return sorted((f, f.read_bytes(), f.stat().st_mtime_ns) for f in tmp_path.rglob("*.png"))

    before = state()
    assert len(verify_images(tmp_path)) == 3
    assert state() == before


@pytest.mark.parametrize("content", [b"", b"x", b"<html>not found</html>", b"PK\x03\x04" + bytes(100)])
def test_a_file_that_is_not_an_image_is_unreadable(tmp_path: Path, content: bytes) -> None:
    save_image(tmp_path / "good.png")
    (tmp_path / "bad.jpg").write_bytes(content)
    ((name, problem, detail),) = rows(tmp_path)
    assert (name, problem) == ("bad.jpg", "unreadable")
    assert "bad.jpg cannot be read as an image" in detail


@pytest.mark.parametrize("name", ["cut.png", "cut.jpg", "cut.bmp", "cut.tiff"])
def test_a_truncated_file_is_unreadable(tmp_path: Path, name: str) -> None:
    content = save_image(tmp_path / name, size=(64, 64)).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    assert found(tmp_path) == [(name, "unreadable")]


def test_a_huge_image_is_unreadable(tmp_path: Path) -> None:
    Image.new("1", (11_000, 10_000)).save(tmp_path / "bomb.png")
    ((_, problem, detail),) = rows(tmp_path)
    assert problem == "unreadable"
    assert "too large" in detail


def test_links_to_nothing_and_to_themselves_are_unreadable(tmp_path: Path) -> None:
    (tmp_path / "gone.png").symlink_to("nowhere.png")
    (tmp_path / "self.png").symlink_to("self.png")
    assert found(tmp_path) == [("gone.png", "unreadable"), ("self.png", "unreadable")]
    assert "gone.png does not exist" in rows(tmp_path)[0][2]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    ((name, problem, detail),) = rows(tmp_path)
    assert (name, problem) == ("pipe.jpg", "unreadable")
    assert "not a regular file" in detail


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="this user may read everything")
def test_a_file_that_may_not_be_read_is_unreadable(tmp_path: Path) -> None:
    save_image(tmp_path / "a.png").chmod(0)
    assert found(tmp_path) == [("a.png", "unreadable")]


def test_a_file_whose_range_is_unknown_is_not_damaged(tmp_path: Path) -> None:
    Image.fromarray(np.linspace(0, 300, 400, dtype=np.float32).reshape(20, 20)).save(tmp_path / "a.tif")
    ((name, problem, detail),) = rows(tmp_path)
    assert (name, problem) == ("a.tif", "undeclared depth")
    assert "depth=(black, white)" in detail
    assert rows(tmp_path, depth=(0, 300)) == []
    ((_, problem, detail),) = rows(tmp_path, depth=(0, 200))
    assert (problem, "range of floats" in detail) == ("unreadable", True)
    with refused("depth", got=11):
        rows(tmp_path, depth=11)


def test_a_decoder_that_crashes_on_one_file_does_not_lose_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_image(tmp_path / "a.png")
    save_image(tmp_path / "b.png", seed=1, size=(8, 8))

    def breaks_down(source: Path, channels: int, **options: Any) -> Any:
        if source.name == "a.png":
            raise TypeError("a tag of the wrong kind")
        return open_image(source, channels, **options)

    monkeypatch.setattr("learnkit.data.table.verify.open_image", breaks_down)
    (first, second) = rows(tmp_path)
    assert first == ("a.png", "unreadable", f"{tmp_path / 'a.png'} cannot be read (TypeError: a tag of the wrong kind)")
    assert second == ("b.png", "tiny", "8 x 8 pixels")


def test_duplicates_name_the_first_of_them(tmp_path: Path) -> None:
    train = tmp_path / "train" / "cat"
    copied(save_image(train / "b.bmp"), train / "a.bmp", train / "c.bmp")
    save_image(train / "other.bmp", seed=1)  # as many bytes, different content
    assert rows(tmp_path) == [
        ("train/cat/b.bmp", "duplicate", "train/cat/a.bmp"),
        ("train/cat/c.bmp", "duplicate", "train/cat/a.bmp"),
    ]


def test_files_outside_split_folders_are_one_split_and_links_count(tmp_path: Path) -> None:
    copied(save_image(tmp_path / "a.png"), tmp_path / "cat" / "c.png")
    (tmp_path / "b.png").symlink_to("a.png")
    assert rows(tmp_path) == [("b.png", "duplicate", "a.png"), ("cat/c.png", "duplicate", "a.png")]


def test_a_leak_is_reported_once_per_pair_of_splits(tmp_path: Path) -> None:
    source = save_image(tmp_path / "test" / "x.png")
    copied(source, *(tmp_path / split / "cat" / "a.png" for split in ("train", "valid")))
    assert rows(tmp_path) == [
        ("train/cat/a.png", "leak", "test/x.png"),
        ("valid/cat/a.png", "leak", "test/x.png"),
        ("valid/cat/a.png", "leak", "train/cat/a.png"),
    ]


def test_a_leak_may_change_class_and_further_copies_are_duplicates(tmp_path: Path) -> None:
    source = save_image(tmp_path / "train" / "cat" / "a.png")
    copied(source, tmp_path / "valid" / "dog" / "b.png", tmp_path / "valid" / "dog" / "c.png")
    assert rows(tmp_path) == [
        ("valid/dog/b.png", "leak", "train/cat/a.png"),
        ("valid/dog/c.png", "duplicate", "valid/dog/b.png"),
    ]


def test_val_is_the_valid_split(tmp_path: Path) -> None:
    copied(save_image(tmp_path / "val" / "cat" / "a.png"), tmp_path / "valid" / "cat" / "b.png")
    assert rows(tmp_path) == [("valid/cat/b.png", "duplicate", "val/cat/a.png")]


def test_split_folders_are_found_further_down(tmp_path: Path) -> None:
    pets = tmp_path / "pets"
    copied(save_image(pets / "train" / "cat" / "a.png"), pets / "valid" / "cat" / "a.png")
    copied(save_image(pets / "train" / "cat" / "b.png", 1), pets / "train" / "dog" / "b.png")
    assert rows(tmp_path) == [
        ("pets/train/dog/b.png", "conflict", "pets/train/cat/b.png"),
        ("pets/valid/cat/a.png", "leak", "pets/train/cat/a.png"),
    ]


def test_one_content_in_two_classes_is_a_conflict_and_not_a_duplicate(tmp_path: Path) -> None:
    source = save_image(tmp_path / "train" / "cat" / "a.png")
    copied(source, tmp_path / "train" / "cat" / "b.png", tmp_path / "train" / "dog" / "a.png")
    assert rows(tmp_path) == [
        ("train/cat/b.png", "duplicate", "train/cat/a.png"),
        ("train/dog/a.png", "conflict", "train/cat/a.png"),
    ]


def test_classes_directly_below_the_folder_conflict_too(tmp_path: Path) -> None:
    copied(
        save_image(tmp_path / "cat" / "2024" / "a.png"), tmp_path / "dog" / "a.png", tmp_path / "cat" / "2025" / "a.png"
    )
    assert rows(tmp_path) == [
        ("cat/2025/a.png", "duplicate", "cat/2024/a.png"),
        ("dog/a.png", "conflict", "cat/2024/a.png"),
    ]


def test_unreadable_files_are_not_compared(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"")
    assert found(tmp_path) == [("a.png", "unreadable"), ("b.png", "unreadable")]


def test_only_files_of_a_repeated_size_are_hashed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[str] = []
    digest = hashlib.file_digest

    def noted(content: Any, kind: Any) -> Any:
        hashed.append(Path(content.name).name)
        return digest(content, kind)

    monkeypatch.setattr(hashlib, "file_digest", noted)
    save_image(tmp_path / "a.bmp")
    save_image(tmp_path / "b.bmp", seed=1)
    save_image(tmp_path / "c.bmp", seed=2, size=(33, 24))
    assert found(tmp_path) == []
    assert sorted(hashed) == ["a.bmp", "b.bmp"]


def test_a_short_side_is_tiny(tmp_path: Path) -> None:
    save_image(tmp_path / "narrow.png", 0, (15, 40))
    save_image(tmp_path / "low.png", 1, (40, 15))
    save_image(tmp_path / "enough.png", 2, (16, 16))
    assert rows(tmp_path) == [("low.png", "tiny", "40 x 15 pixels"), ("narrow.png", "tiny", "15 x 40 pixels")]
    assert rows(tmp_path, min_side=15) == []
    assert len(rows(tmp_path, min_side=17, channels=1)) == 3


def test_the_size_is_that_of_the_upright_image(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    Image.new("RGB", (40, 10)).save(tmp_path / "a.jpg", exif=exif)
    assert rows(tmp_path) == [("a.jpg", "tiny", "10 x 40 pixels")]


def test_a_long_side_is_an_extreme_aspect(tmp_path: Path) -> None:
    save_image(tmp_path / "wide.png", 0, (106, 20))  # 5.3
    save_image(tmp_path / "tall.png", 1, (20, 130))  # 6.5
    save_image(tmp_path / "five.png", 2, (100, 20))
    assert rows(tmp_path) == [("tall.png", "extreme aspect", "6.5"), ("wide.png", "extreme aspect", "5.3")]
    assert found(tmp_path, max_aspect=6) == [("tall.png", "extreme aspect")]
    assert found(tmp_path, max_aspect=math.inf) == []


def test_one_file_can_have_several_problems(tmp_path: Path) -> None:
    save_image(tmp_path / "a.png", size=(1, 5000))
    assert rows(tmp_path) == [("a.png", "extreme aspect", "5000.0"), ("a.png", "tiny", "1 x 5000 pixels")]


def test_hidden_and_other_files_are_left_out(tmp_path: Path) -> None:
    source = save_image(tmp_path / "a.png")
    copied(source, tmp_path / ".a.png", tmp_path / ".hidden" / "b.png", tmp_path / "notes.txt")
    assert rows(tmp_path) == []


def test_a_link_to_the_folder_itself_is_followed_once(tmp_path: Path) -> None:
    save_image(tmp_path / "cat" / "a.png")
    (tmp_path / "cat" / "loop").symlink_to(tmp_path, target_is_directory=True)
    assert rows(tmp_path) == []


def test_the_number_of_threads_changes_nothing(tmp_path: Path) -> None:
    for number in range(12):
        save_image(tmp_path / f"{number:02}.png", seed=number % 5, size=(12 + 2 * (number % 5), 40))
    expected = [(f"{number:02}.png", "tiny") for number in (0, 1, 5, 6, 10, 11)]  # seeds 0 and 1: 12 and 14 wide
    expected += [(f"{number:02}.png", "duplicate") for number in range(5, 12)]
    assert found(tmp_path) == found(tmp_path, num_threads=1) == found(tmp_path, num_threads=8) == sorted(expected)


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(DataError, match=r"no images .*\.png.* under"):
        verify_images(tmp_path)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    save_image(tmp_path / "pets" / "a.png")
    with pytest.raises(MissingFileError, match=r"no folder .*pats.* contains pets"):
        verify_images(tmp_path / "pats")
    with pytest.raises(MissingFileError, match=r"no folder .*a\.png"):
        verify_images(tmp_path / "pets" / "a.png")


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("min_side", 0), ("min_side", 2.5), ("min_side", True), ("min_side", "16"),
        ("max_aspect", 0.5), ("max_aspect", math.nan), ("max_aspect", True), ("max_aspect", "5"),
        ("channels", 2), ("channels", True), ("channels", 3.0),
        ("num_threads", 0), ("num_threads", -1), ("num_threads", 1.5), ("num_threads", False),
    ],
)  # fmt: skip
def test_arguments_out_of_range_are_refused(tmp_path: Path, argument: str, value: object) -> None:
    save_image(tmp_path / "a.png")
    with refused(argument, got=value):
        verify_images(tmp_path, **{argument: value})  # type: ignore[arg-type]


def test_only_files_that_cannot_be_read_are_deleted_and_only_on_request(tmp_path: Path) -> None:
    save_image(tmp_path / "a.png", size=(8, 8))
    copied(tmp_path / "a.png", tmp_path / "b.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "a.png").read_bytes()[:40])
    (tmp_path / "notes.txt").write_text("kept")
    assert ("cut.png", "unreadable") in found(tmp_path)
    assert (tmp_path / "cut.png").exists()
    detail = {path: detail for path, problem, detail in rows(tmp_path, delete=True) if problem == "unreadable"}
    assert list(detail) == ["cut.png"]
    assert detail["cut.png"].startswith("deleted: ")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.png", "b.png", "notes.txt"]
    assert "unreadable" not in dict(found(tmp_path)).values()


def test_a_link_is_deleted_and_not_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "broken.bin").write_bytes(b"no image")
    save_image(tmp_path / "data" / "a.png")
    (tmp_path / "data" / "b.png").symlink_to(tmp_path / "kept" / "broken.bin")
    verify_images(tmp_path / "data", delete=True)
    assert not (tmp_path / "data" / "b.png").is_symlink()
    assert (tmp_path / "kept" / "broken.bin").exists()


@pytest.mark.parametrize("kind", ["png", "jpg", "bmp", "webp", "tif", "gif"])
def test_large_images_are_shrunk_in_their_own_format(kind: str, tmp_path: Path) -> None:
    file = save_image(tmp_path / f"a.{kind}", size=(200, 100))
    small = save_image(tmp_path / f"b.{kind}", size=(50, 40)).read_bytes()
    assert rows(tmp_path, max_size=50) == [(f"a.{kind}", "large", "200 x 100 pixels, now 50 x 25")]
    with Image.open(file) as image:
        assert (image.size, image.format) == ((50, 25), {"jpg": "JPEG", "tif": "TIFF"}.get(kind, kind.upper()))
    assert (tmp_path / f"b.{kind}").read_bytes() == small
    assert rows(tmp_path, max_size=50) == []


def test_a_shrunk_image_keeps_its_place_its_transparency_and_its_palette(tmp_path: Path) -> None:
    turned = Image.fromarray(np.zeros((40, 80, 3), np.uint8))
    turned.putpixel((0, 0), (255, 0, 0))
    exif = turned.getexif()
    exif[0x0112] = 6  # to be turned by a quarter
    turned.save(tmp_path / "turned.jpg", exif=exif)
    Image.new("RGBA", (80, 40), (0, 255, 0, 100)).save(tmp_path / "clear.png")
    mask = Image.fromarray(np.repeat(np.arange(4, dtype=np.uint8), 200).reshape(4, 200)).convert("P")
    mask.resize((200, 100), Image.Resampling.NEAREST).save(tmp_path / "mask.png")
    verify_images(tmp_path, max_size=40, max_aspect=math.inf, min_side=1)
    assert open_image(tmp_path / "turned.jpg").size == (20, 40)
    with Image.open(tmp_path / "clear.png") as image:
        assert (image.mode, image.getpixel((0, 0))) == ("RGBA", (0, 255, 0, 100))
    with Image.open(tmp_path / "mask.png") as image:
        assert set(np.unique(np.asarray(image))) <= {0, 1, 2, 3}


def test_an_animation_is_left_as_it_is(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (200, 100), color) for color in ("red", "green", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    before = (tmp_path / "a.gif").read_bytes()
    [(_, problem, detail)] = rows(tmp_path, max_size=50, delete=True)
    assert problem == "large"
    assert "not shrunk: several frames" in detail
    assert (tmp_path / "a.gif").read_bytes() == before


@pytest.mark.parametrize(("name", "value"), [("delete", 1), ("delete", "yes"), ("max_size", 0), ("max_size", 1.5)])
def test_what_changes_files_is_asked_for_plainly(name: str, value: Any, tmp_path: Path) -> None:
    save_image(tmp_path / "a.png")
    with pytest.raises(LearnkitError, match=name):
        verify_images(tmp_path, **{name: value})


@pytest.mark.parametrize("name", ["train", "val", "valid"])
def test_a_class_called_like_a_split_is_a_class(name: str, tmp_path: Path) -> None:
    source = save_image(tmp_path / "bus" / "a.png")
    save_image(tmp_path / "car" / "b.png", 1)
    copied(source, tmp_path / name / "c.png")
    assert found(tmp_path) == [(f"{name}/c.png", "conflict")]


@pytest.mark.parametrize(("train", "valid"), [("training", "validation"), ("Train", "VAL")])
def test_splits_have_their_other_names(train: str, valid: str, tmp_path: Path) -> None:
    copied(save_image(tmp_path / train / "cat" / "a.png"), tmp_path / valid / "cat" / "b.png")
    assert {problem for _, problem in found(tmp_path)} == {"leak"}


# With features


def mean_colors(files: Sequence[Path]) -> Tensor:
    """A picture's 4 x 4 pixels: enough to tell noise of different seeds apart."""
    small = [np.asarray(Image.open(file).convert("RGB").resize((4, 4), Image.Resampling.BOX)) for file in files]
    return torch.from_numpy(np.stack(small).reshape(len(files), -1)).float() - 127


def test_near_duplicates_are_found_within_a_split_and_across(tmp_path: Path) -> None:
    root = tmp_path / "data"
    for seed in range(6):
        save_image(root / "train" / "a" / f"{seed}.png", seed)
    again = Image.open(root / "train" / "a" / "2.png")
    again.save(root / "train" / "a" / "x.jpg", quality=90)
    (root / "valid" / "b").mkdir(parents=True)
    again.resize((64, 48)).save(root / "valid" / "b" / "y.png")
    copied(root / "train" / "a" / "4.png", root / "train" / "a" / "z.png", root / "valid" / "b" / "z.png")
    report = rows(root, embed=mean_colors, max_ratio=0.02)
    near = [(path, problem, detail.split(",")[0]) for path, problem, detail in report if problem.startswith("near")]
    assert ("train/a/x.jpg", "near-duplicate", "train/a/2.png") in near
    assert [row[0] for row in near if row[1] == "near leak"] == ["valid/b/y.png"] * len(near[1:])
    assert {row[2] for row in near} <= {"train/a/2.png", "train/a/x.jpg"}
    assert ("train/a/z.png", "duplicate", "train/a/4.png") in report
    assert ("valid/b/z.png", "leak", "train/a/4.png") in report
    assert not any(problem.startswith("near") for _, problem in found(root))


def test_outliers_are_found_and_what_cannot_be_read_is_not_asked_for(tmp_path: Path) -> None:
    for seed in range(30):
        noise = np.random.default_rng(seed).integers(0, 60, (16, 16, 3), dtype=np.uint8)
        file = tmp_path / "data" / f"{seed:02}.png"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(noise).save(file)
    Image.fromarray(np.dstack([np.full((16, 16), 250, np.uint8), *[np.zeros((16, 16), np.uint8)] * 2])).save(
        tmp_path / "data" / "07.png"
    )
    (tmp_path / "data" / "08.png").write_text("no image")
    report = found(tmp_path / "data", embed=mean_colors, max_ratio=0)
    assert report == [("07.png", "outlier"), ("08.png", "unreadable")]
