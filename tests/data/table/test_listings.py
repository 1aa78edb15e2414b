"""Which files are there, and which are the same."""

import os
from pathlib import Path

import pytest

from learnkit.data.table import listings
from learnkit.data.table.listings import real_paths


def tree(root: Path, *names: str) -> list[str]:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x")
    return [str(root / name) for name in names]


def expected(files: list[str]) -> tuple[list[str], list[int]]:
    """The same answers, asked of the system file by file."""
    real = [os.path.realpath(file) for file in files]
    return real, [place for place, file in enumerate(files) if not os.path.exists(file)]


def test_files_links_and_missing_ones_are_told_apart(tmp_path: Path) -> None:
    files = tree(tmp_path, "cat/1.png", "cat/2.png", "dog/1.png")
    (tmp_path / "emu").symlink_to(tmp_path / "cat")
    (tmp_path / "dog" / "link.png").symlink_to(tmp_path / "cat" / "1.png")
    (tmp_path / "dog" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "dog" / "folder.png").mkdir()
    others = ["emu/2.png", "dog/link.png", "dog/gone.png", "dog/folder.png", "dog/none.png", "none/1.png", "cat"]
    files += [str(tmp_path / name) for name in others] + [f"{tmp_path}/dog/../cat/1.png", f"{tmp_path}//cat/2.png"]
    assert real_paths(files) == expected(files)
    assert real_paths(files)[1] == [5, 7, 8]
    assert real_paths([]) == ([], [])


def test_relative_names_and_those_at_the_root_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree(tmp_path, "cat/1.png", "2.png")
    monkeypatch.chdir(tmp_path)
    files = ["cat/1.png", "2.png", "./2.png", "3.png", "/", "/none.png", ".."]
    real, missing = real_paths(files)
    assert ([os.path.realpath(file) for file in real], missing) == expected(files)
    assert missing == [3, 5]


def test_a_name_that_no_file_can_have_is_missing(tmp_path: Path) -> None:
    assert real_paths([f"{tmp_path}/a\0b/1.png", f"{tmp_path}/{'x' * 300}.png"])[1] == [0, 1]


def test_a_few_files_of_a_large_folder_do_not_list_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = tree(tmp_path, *(f"{i:04d}.png" for i in range(200)))
    read = []

    def counted(entries: "os.DirEntry[str]", most: int) -> list["os.DirEntry[str]"]:
        read.append(most)
        return list(entries)[:most]  # type: ignore[call-overload, no-any-return]

    monkeypatch.setattr(listings, "islice", counted)
    assert real_paths([files[7], files[150]]) == ([files[7], files[150]], [])
    assert read == [64 + 2 * listings.MAX_OTHERS]
