"""Finding image files below a folder."""

import errno
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from learnkit import ImageDataBunch, LearnkitWarning, get_image_files, verify_images
from learnkit.data.table.files import checked_suffixes, existing_folder, image_names, no_images, text_below
from learnkit.errors import DataError, MissingFileError, WrongTypeError
from tests.doubles import refused


def save_image(path: Path, color: str = "red") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), color).save(path)
    return path


def tree(root: Path, *names: str) -> Path:
    for name in names:
        save_image(root / name)
    return root


def names_in(root: Path) -> list[str]:
    return [file.relative_to(root).as_posix() for file in get_image_files(root)]


def test_images_below_a_folder_are_sorted_by_path(tmp_path: Path) -> None:
    tree(tmp_path, "b/2.png", "b/10.JPG", "a.webp", "a/z/1.bmp", "a/b.jpeg")
    assert names_in(tmp_path) == ["a.webp", "a/b.jpeg", "a/z/1.bmp", "b/10.JPG", "b/2.png"]


def test_hidden_files_and_other_files_are_left_out(tmp_path: Path) -> None:
    tree(tmp_path, "cat/a.png", ".ipynb_checkpoints/c.png", "cat/._a.png")
    (tmp_path / "cat" / "notes.txt").write_text("x")
    (tmp_path / "empty").mkdir()
    assert names_in(tmp_path) == ["cat/a.png"]


@pytest.mark.parametrize("closed", ["", "dog", "dog/deep"])
def test_a_folder_that_cannot_be_read_is_no_empty_one(
    tmp_path: Path, closed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root reads every folder, so the system is asked to refuse one."""
    tree(tmp_path, "cat/a.png", "dog/b.png", "dog/deep/c.png")
    scan = os.scandir

    def refusing(folder: Any) -> Any:
        if str(folder).rstrip("/") == str(tmp_path / closed):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), folder)
        return scan(folder)

    monkeypatch.setattr(os, "scandir", refusing)
    for find in (get_image_files, verify_images, partial(ImageDataBunch.from_folder, valid_pct=0.5, size=8)):
        with pytest.raises(DataError, match=rf"the folder .*{closed}/? cannot be read \(Permission denied\)"):
            find(tmp_path)


def test_a_folder_without_permission_and_a_file_are_no_missing_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = save_image(tmp_path / "a.png")
    with refused(f"no folder {file}: it is a file", MissingFileError):
        existing_folder(file)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(DataError, match=rf"the folder {tmp_path} cannot be read \(Permission denied\)"):
        existing_folder(tmp_path)


def test_the_folders_of_a_disk_itself_hold_no_data(tmp_path: Path) -> None:
    tree(tmp_path, "cat/a.png", "lost+found/b.png", "System Volume Information/c.png", "$RECYCLE.BIN/d.png")
    assert names_in(tmp_path) == ["cat/a.png"]


def test_links_are_followed_and_loops_end(tmp_path: Path) -> None:
    tree(tmp_path / "elsewhere", "x.png")
    data = tree(tmp_path / "data", "cat/a.png")
    (data / "dog").symlink_to(tmp_path / "elsewhere")
    (data / "cat" / "loop").symlink_to(data)
    assert names_in(data) == ["cat/a.png", "dog/x.png"]


def test_images_that_are_links_or_reached_by_one_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = tree(tmp_path / "elsewhere", "x.png", "deep/y.png")
    data = tree(tmp_path / "data", "cat/a.png", "cat/b.PNG", "c.png")
    (data / "dog").symlink_to(elsewhere)
    (data / "cat" / "loop").symlink_to(data)
    (data / "cat" / "self.png").symlink_to(data / "cat" / "self.png")
    (data / "cat" / "link.png").symlink_to(elsewhere / "x.png")
    (data / "cat" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "alias").symlink_to(data)
    names = ["c.png", "cat/a.png", "cat/b.PNG"]
    apart = ["cat/gone.png", "cat/link.png", "cat/self.png", "dog/deep/y.png", "dog/x.png"]
    monkeypatch.chdir(data)
    for root in (data, Path(), Path("../data"), tmp_path / "alias"):
        linked: set[str] = set()
        assert image_names(root, linked=linked) == names + apart
        is_real = root in (data, Path())  # of others every file is asked for
        assert linked == set(text_below(root, apart if is_real else names + apart))


def test_the_order_of_the_file_system_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree(tmp_path, *(f"{label}/{i}.png" for label in ("cat", "dog") for i in range(6)))
    (tmp_path / "emu").symlink_to(tmp_path / "cat")  # the same folder by two names: it is found by the first
    listed = names_in(tmp_path)
    real = os.scandir

    @contextmanager
    def backwards(folder: str) -> Iterator[list["os.DirEntry[str]"]]:
        with real(folder) as entries:
            yield sorted(entries, key=lambda entry: entry.name, reverse=True)

    monkeypatch.setattr(os, "scandir", backwards)
    assert names_in(tmp_path) == listed
    assert listed == [f"{label}/{i}.png" for label in ("cat", "dog") for i in range(6)]


def test_a_missing_folder_names_the_nearest_there_is(tmp_path: Path) -> None:
    tree(tmp_path, "pets/cat/a.png")
    with pytest.raises(
        MissingFileError, match=r"no folder .*/pest/x; the nearest existing one, .* contains pets"
    ) as caught:
        existing_folder(tmp_path / "pest" / "x")
    assert isinstance(caught.value, FileNotFoundError)
    with pytest.raises(MissingFileError, match=r"no folder .*a\.png: it is a file"):
        existing_folder(tmp_path / "pets" / "cat" / "a.png")
    assert existing_folder(str(tmp_path)) == tmp_path


def test_without_recursion_only_the_folder_itself_is_searched(tmp_path: Path) -> None:
    tree(tmp_path, "b.png", "a.png", "cat/c.png")
    assert get_image_files(tmp_path, recurse=False) == [tmp_path / "a.png", tmp_path / "b.png"]
    assert get_image_files(str(tmp_path), False) == [tmp_path / "a.png", tmp_path / "b.png"]
    assert get_image_files(str(tmp_path)) == [tmp_path / "a.png", tmp_path / "b.png", tmp_path / "cat" / "c.png"]


def test_a_folder_without_images_has_none_and_a_missing_one_is_refused(tmp_path: Path) -> None:
    assert get_image_files(tmp_path) == []
    with pytest.raises(MissingFileError, match="no folder"):
        get_image_files(tmp_path / "pets")
    with pytest.raises(WrongTypeError):
        get_image_files(3)  # type: ignore[arg-type]


KINDS = ["heic", "avif", "jfif", "tif", "dcm", "npy", ""]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("written", ["{}", ".{}", ".{}x"])
def test_suffixes_name_the_files_to_find_in_any_case(kind: str, written: str, tmp_path: Path) -> None:
    names = [f"a.{kind}".rstrip("."), f"b.{kind.upper()}".rstrip("."), "c.png", "d.txt"]
    for name in names:
        (tmp_path / name).write_bytes(b"")
    suffix = written.format(kind) if kind else ""
    found = [file.name for file in get_image_files(tmp_path, suffixes=[suffix])]
    assert found == ([] if suffix.endswith("x") else names[:2])
    both = [file.name for file in get_image_files(tmp_path, suffixes=(kind.upper(), ".PNG"))]
    assert both == names[:3]


@pytest.mark.parametrize("suffixes", [[], 3, [3], [None]])
def test_suffixes_that_are_no_text_are_refused(suffixes: Any, tmp_path: Path) -> None:
    with refused("suffixes", got=suffixes):
        get_image_files(tmp_path, suffixes=suffixes)
    assert checked_suffixes("NPY") == (".npy",)


def test_pictures_that_are_left_out_are_counted(tmp_path: Path) -> None:
    for name in ("a.png", "b.heic", "c.HEIC", "d.avif", "e.txt", "f.npy"):
        (tmp_path / name).write_bytes(b"")
    with pytest.warns(LearnkitWarning, match=r"files in .* that are not read: 2 \.heic, 1 \.avif; suffixes="):
        assert len(get_image_files(tmp_path)) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(get_image_files(tmp_path, suffixes=[".png"])) == 1


@pytest.mark.parametrize("kind", ["heic", "avif", "jfif", "dcm", "npy", ""])
def test_a_folder_without_images_says_what_there_is(kind: str, tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.{kind}".rstrip(".")).write_bytes(b"")
    suffix = f".{kind}" if kind else ""
    with pytest.raises(DataError) as caught:
        raise no_images(tmp_path)
    assert f"There are 3 {suffix or 'without a suffix'}: suffixes={[suffix]} reads them" in caught.value.fix
    assert len(get_image_files(tmp_path, suffixes=[suffix])) == 3  # the advice is true
    (tmp_path / "x.png").write_bytes(b"")
    assert "suffixes=" not in no_images(tmp_path, layout="train/<class>", fix="Look.").fix


@pytest.mark.parametrize("as_is", [True, False])
def test_paths_of_bytes_are_refused(tmp_path: Path, as_is: bool) -> None:
    class Place:
        def __fspath__(self) -> bytes:
            return os.fsencode(tmp_path)

    with refused("path", WrongTypeError, got=os.fsencode(tmp_path), expected="the path of a folder"):
        existing_folder(os.fsencode(tmp_path) if as_is else Place())  # type: ignore[arg-type]
