"""Files written completely or not at all."""

import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from learnkit.atomic_files import make_folder, named_file, partial_files, sha256_of, write_atomically
from learnkit.errors import UsageError, WriteError
from tests.doubles import refused


def test_the_folder_is_created_and_nothing_else_is_left(tmp_path: Path) -> None:
    write_atomically(tmp_path / "new" / "folder" / "a", lambda file: file.write(b"x"))
    assert (tmp_path / "new" / "folder" / "a").read_bytes() == b"x"
    assert [path.name for path in (tmp_path / "new" / "folder").iterdir()] == ["a"]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    path.write_bytes(b"old")

    def fail(file: object) -> None:
        file.write(b"half")  # type: ignore[attr-defined]
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, fail)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.pth"]


def test_a_saved_file_follows_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        write_atomically(tmp_path / "a", lambda file: file.write(b"x"))
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


def test_a_link_planted_at_the_path_is_replaced_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_bytes(b"precious")
    (tmp_path / "a").symlink_to(tmp_path / "precious")
    write_atomically(tmp_path / "a", lambda file: file.write(b"x"))
    assert (tmp_path / "precious").read_bytes() == b"precious"
    assert not (tmp_path / "a").is_symlink()


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), WriteError),
        (RuntimeError("[enforce fail at inline_container.cc:664] . unexpected pos 64 vs 0"), WriteError),
        (RuntimeError("shape mismatch"), RuntimeError),
        (KeyboardInterrupt(), KeyboardInterrupt),
        (UsageError("card"), UsageError),
    ],
)
def test_only_errors_of_the_disk_become_write_errors(
    tmp_path: Path, error: BaseException, kind: type[BaseException]
) -> None:
    def fail(file: Any) -> None:
        file.write(b"half")
        file.flush()
        raise error

    with pytest.raises(kind) as caught:
        write_atomically(tmp_path / "a", fail)
    assert type(caught.value) is kind
    assert list(tmp_path.iterdir()) == []


def test_a_write_error_has_the_path_the_cause_and_the_free_space(tmp_path: Path) -> None:
    def fail(file: Any) -> None:
        file.write(b"half")
        file.flush()
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(WriteError) as caught:
        write_atomically(tmp_path / "a", fail)
    path = tmp_path / "a"
    assert caught.value.what.startswith(f"{path} could not be written (No space left on device) after 4 bytes; ")
    assert caught.value.what.endswith(f" bytes are free in {tmp_path}")
    free = int(caught.value.what.split("; ")[1].split()[0].replace(",", ""))
    assert abs(free - shutil.disk_usage(tmp_path).free) < 1e9
    assert caught.value.errno == errno.ENOSPC


def test_the_old_file_is_moved_to_keep(tmp_path: Path) -> None:
    path, kept = tmp_path / "a", tmp_path / "kept"
    write_atomically(path, lambda file: file.write(b"1"), keep=kept)
    assert not kept.exists()
    write_atomically(path, lambda file: file.write(b"2"), keep=kept)
    assert (path.read_bytes(), kept.read_bytes()) == (b"2", b"1")


def test_the_content_is_on_the_disk_before_the_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    def recording(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def record(*args: Any) -> Any:
            done.append(name)
            return function(*args)

        return record

    monkeypatch.setattr(os, "fsync", recording("fsync", os.fsync))
    monkeypatch.setattr(os, "replace", recording("replace", os.replace))
    write_atomically(tmp_path / "a", lambda file: file.write(b"x"))
    assert done == ["fsync", "replace", "fsync"]  # the file, and in the end its folder


def test_a_folder_that_cannot_be_created_is_a_write_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(WriteError, match=rf"{tmp_path}/file/folder could not be written \(Not a directory\)"):
        make_folder(tmp_path / "file" / "folder")
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()


@pytest.mark.parametrize("path", ["", ".", "..", "/", "a/.."])
def test_a_path_without_a_name_is_refused(path: str) -> None:
    with refused("file", got=path):
        named_file("file", path)
    assert named_file("file", "a/b.lk") == Path("a/b.lk")


def test_unfinished_files_of_this_name_are_found(tmp_path: Path) -> None:
    long = "x" * 200
    for name in (".a.pth.1.partial", ".a.pth.0.partial", ".b.pth.0.partial", "a.pth", f".{long[:100]}.0.partial"):
        (tmp_path / name).touch()
    assert [path.name for path in partial_files(tmp_path / "a.pth")] == [".a.pth.0.partial", ".a.pth.1.partial"]
    assert len(partial_files(tmp_path / long)) == 1


def test_a_name_that_is_almost_too_long_can_be_written(tmp_path: Path) -> None:
    write_atomically(tmp_path / ("x" * 250), lambda file: torch.save({}, file))
    assert (tmp_path / ("x" * 250)).is_file()


def test_the_sha256_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc" * 100_000)
    assert sha256_of(tmp_path / "a") == hashlib.sha256(b"abc" * 100_000).hexdigest()
