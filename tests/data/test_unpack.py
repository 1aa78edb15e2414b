"""Unpacking: the result, and that nothing is written from a hostile or damaged archive."""

import errno
import gzip
import io
import os
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from learnkit.data import unpack as archives
from learnkit.data.unpack import unpack_safely
from learnkit.errors import CorruptFileError, LearnkitError, UnsafeFileError, UsageError, WriteError

FILES = {"a.txt": b"one", "deep/er/b.bin": bytes(range(256)) * 9000, "deep/empty": b""}


def entry(
    name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = ""
) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, len(content)
    return info, content


def tar(path: Path, *entries: tuple[tarfile.TarInfo, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for info, content in entries:
            archive.addfile(info, io.BytesIO(content))
    return path


def zipped(path: Path, *entries: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries:
            archive.writestr(name, content, zipfile.ZIP_DEFLATED)
    return path


def tree(folder: Path) -> dict[str, bytes]:
    assert not any(path.is_symlink() for path in folder.rglob("*"))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refusal(archive: Path, error: type[LearnkitError], match: str, **options: int) -> LearnkitError:
    """The archive is refused, no folder is created, and nothing is written, here or two folders up."""
    dest = archive.parent / "in" / "dest"
    dest.parent.mkdir(exist_ok=True)
    top = archive.parent.parent
    before = sorted(top.rglob("*"))
    with pytest.raises(error, match=match) as caught:
        unpack_safely(archive, dest, **options)
    assert sorted(top.rglob("*")) == before
    assert str(archive) in caught.value.what or str(dest) in caught.value.what
    return caught.value


@pytest.fixture
def spot(tmp_path: Path) -> Path:
    """A folder with another above it, both of this test alone."""
    folder = tmp_path / "spot"
    folder.mkdir()
    return folder


@pytest.mark.parametrize(
    ("name", "mode"),
    [("x.tar", "w"), ("x.tar.gz", "w:gz"), ("x.tgz", "w:gz"), ("x.tar.bz2", "w:bz2"), ("x.tar.xz", "w:xz"), ("x", "w")],
)
def test_a_tar_file_is_unpacked(spot: Path, name: str, mode: str) -> None:
    archive = tar(spot / name, *(entry(file, content) for file, content in FILES.items()), mode=mode)
    dest = spot / "out"
    assert unpack_safely(archive, str(dest)) == dest
    assert tree(dest) == FILES
    assert sorted(path.name for path in spot.iterdir()) == sorted([name, "out"])


def test_a_zip_file_is_unpacked(spot: Path) -> None:
    archive = zipped(spot / "x.zip", ("deep/", b""), ("hollow/", b""), *FILES.items())
    unpack_safely(archive, spot / "out")
    assert tree(spot / "out") == FILES
    assert (spot / "out" / "hollow").is_dir()


def test_archives_made_by_other_means_are_unpacked(spot: Path) -> None:
    source = spot / "source"
    for name, content in FILES.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(content)
    with tarfile.open(spot / "x.tar", "w", format=tarfile.GNU_FORMAT) as archive:
        archive.add(source, arcname=".")
    unpack_safely(spot / "x.tar", spot / "out")
    assert tree(spot / "out") == FILES


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_and_foreign_names_are_kept(spot: Path, form: int) -> None:
    name = f"{'d' * 120}/{'f' * 150}-\u00e9\u732b.txt"
    with tarfile.open(spot / "x.tar", "w", format=form) as archive:
        archive.addfile(entry(name, b"x")[0], io.BytesIO(b"x"))
    unpack_safely(spot / "x.tar", spot / "out")
    assert tree(spot / "out") == {name: b"x"}


def test_one_folder_of_the_name_of_dest_becomes_dest(spot: Path) -> None:
    archive = tar(spot / "pets.tar", entry("pets", kind=tarfile.DIRTYPE), entry("pets/cat.png", b"cat"))
    assert tree(unpack_safely(archive, spot / "pets")) == {"cat.png": b"cat"}
    assert tree(unpack_safely(archive, spot / "other")) == {"pets/cat.png": b"cat"}


@pytest.mark.parametrize("other", ["README", "a", "zz", "1", "cat.png", "pets.txt"])
def test_a_folder_next_to_others_keeps_its_name(spot: Path, other: str) -> None:
    archive = zipped(spot / "pets.zip", ("pets/cat.png", b"cat"), (other, b"x"))
    assert tree(unpack_safely(archive, spot / "pets")) == {"pets/cat.png": b"cat", other: b"x"}


def test_files_and_folders_get_the_modes_of_new_ones(spot: Path) -> None:
    info, content = entry("run.sh", b"#!/bin/sh")
    info.mode = 0o4777
    archive = tar(spot / "x.tar", (info, content))
    old = os.umask(0o027)
    try:
        unpack_safely(archive, spot / "out")
    finally:
        os.umask(old)
    assert stat.S_IMODE((spot / "out" / "run.sh").stat().st_mode) == 0o640
    assert stat.S_IMODE((spot / "out").stat().st_mode) == 0o750


ATTACKS: dict[str, tuple[str, list[tuple[tarfile.TarInfo, bytes]]]] = {
    "traversal": ("'../../evil.txt'", [entry("fine.txt", b"x"), entry("../../evil.txt", b"x")]),
    "traversal within": ("'a/../../evil.txt'", [entry("a/../../evil.txt", b"x")]),
    "dots that stay inside": ("'a/../b'", [entry("a/../b", b"x")]),
    "folder of dots": ("'a/..'", [entry("a/..", kind=tarfile.DIRTYPE)]),
    "absolute": ("'/tmp/learnkit-evil.txt'", [entry("/tmp/learnkit-evil.txt", b"x")]),
    "drive": ("'C:/evil.txt'", [entry("C:/evil.txt", b"x")]),
    "backslash": (r"evil.txt'", [entry("..\\..\\evil.txt", b"x")]),
    "no name": ("''", [entry("", b"x")]),
    "through a link": ("'l' is a link", [entry("l", kind=tarfile.SYMTYPE, link="../.."), entry("l/evil.txt", b"x")]),
    "link inside": ("'link' is a link", [entry("a", b"x"), entry("link", kind=tarfile.SYMTYPE, link="a")]),
    "hard link": ("'b' is a link", [entry("a", b"x"), entry("b", kind=tarfile.LNKTYPE, link="../../outside.txt")]),
    "hard link inside": ("'b' is a link", [entry("a", b"x"), entry("b", kind=tarfile.LNKTYPE, link="a")]),
    "pipe": ("'pipe' is a special file", [entry("pipe", kind=tarfile.FIFOTYPE)]),
    "character device": ("'null' is a special file", [entry("null", kind=tarfile.CHRTYPE)]),
    "block device": ("'disk' is a special file", [entry("disk", kind=tarfile.BLKTYPE)]),
    "file twice": ("'a' occurs twice", [entry("a", b"1"), entry("a", b"2")]),
    "file twice by other names": ("'./a' occurs twice", [entry("a", b"1"), entry("./a", b"2")]),
    "file, then below it": ("'a/b' occurs twice, or as a file and as a folder", [entry("a", b"1"), entry("a/b", b"2")]),
    "folder, then file": ("'a' occurs twice, or", [entry("a/b", b"2"), entry("a", b"1")]),
    "file, then folder": ("'a' occurs twice, or", [entry("a", b"2"), entry("a", kind=tarfile.DIRTYPE)]),
    "file for the root": ("'.' occurs twice, or", [entry(".", b"x")]),
}  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_hostile_tar_file_is_refused(spot: Path, attack: str) -> None:
    (spot / "outside.txt").write_text("mine")
    match, entries = ATTACKS[attack]
    refusal(tar(spot / "x.tar.gz", *entries, mode="w:gz"), UnsafeFileError, match)
    assert (spot / "outside.txt").read_text() == "mine"
    assert not Path("/tmp/learnkit-evil.txt").exists()


def test_a_nul_in_a_name_of_a_tar_file_is_refused(spot: Path) -> None:
    info, content = entry("x", b"x")
    info.pax_headers = {"path": "evil\0.png"}
    refusal(tar(spot / "x.tar", (info, content)), UnsafeFileError, "'evil")


def special(name: str, mode: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = (mode | 0o777) << 16
    return info


ZIP_ATTACKS: dict[str, tuple[str, list[tuple[str | zipfile.ZipInfo, bytes]]]] = {
    "traversal": ("'../../evil.txt'", [("fine.txt", b"x"), ("../../evil.txt", b"x")]),
    "absolute": ("'/tmp/learnkit-evil.txt'", [("/tmp/learnkit-evil.txt", b"x")]),
    "drive": ("'C:evil.txt'", [("C:evil.txt", b"x")]),
    "backslash": ("evil.txt'", [("..\\..\\evil.txt", b"x")]),
    "link": ("'link' is a link or a device", [(special("link", stat.S_IFLNK), b"../.."), ("link/evil.txt", b"x")]),
    "device": ("'null' is a link or a device", [(special("null", stat.S_IFCHR), b"")]),
    "file, then below it": ("'a/b' occurs twice, or as a file and as a folder", [("a", b"1"), ("a/b", b"2")]),
}


@pytest.mark.parametrize("attack", ZIP_ATTACKS)
def test_a_hostile_zip_file_is_refused(spot: Path, attack: str) -> None:
    match, entries = ZIP_ATTACKS[attack]
    refusal(zipped(spot / "x.zip", *entries), UnsafeFileError, match)
    assert not Path("/tmp/learnkit-evil.txt").exists()


def test_a_name_twice_in_a_zip_file_is_refused(spot: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        archive = zipped(spot / "x.zip", ("a", b"1"), ("a", b"2"))
    refusal(archive, UnsafeFileError, "'a' occurs twice")


def test_a_nul_in_a_name_of_a_zip_file_is_refused(spot: Path) -> None:
    archive = zipped(spot / "x.zip", ("evil?.png", b"x"))
    archive.write_bytes(archive.read_bytes().replace(b"evil?", b"evil\0"))
    refusal(archive, UnsafeFileError, "'evil")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_file_that_cannot_be_read_in_pieces_is_refused(spot: Path, method: int) -> None:
    """A few compressed bytes of this member can become gigabytes in memory before any is counted."""
    with zipfile.ZipFile(spot / "x.zip", "w", method) as archive:
        archive.writestr("a", b"x")
    refusal(spot / "x.zip", UnsafeFileError, "'a' is compressed by a method")


def make_zip_bomb(path: Path) -> Path:
    return zipped(path / "x.zip", ("zeros", bytes(3_000_000)))


def make_tar_bomb(path: Path) -> Path:
    return tar(path / "x.tar.gz", entry("zeros", bytes(3_000_000)), mode="w:gz")


def make_bomb_of_parts(path: Path) -> Path:
    return zipped(path / "x.zip", *((f"{i}", bytes(300_000)) for i in range(10)))


@pytest.mark.parametrize("make", [make_zip_bomb, make_tar_bomb, make_bomb_of_parts])
def test_a_bomb_is_refused(spot: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], Path]) -> None:
    monkeypatch.setattr(archives, "MIN_LIMIT", 1_000_000)
    archive = make(spot)
    assert archive.stat().st_size < 10_000  # so that 100 times as much is less
    error = refusal(archive, UnsafeFileError, "unpacked size")
    assert error.what == f"{archive}: unpacked size"
    assert error.expected == "at most 1,000,000 bytes"
    assert "100 times the archive, or 1 GB" in error.fix
    assert "max_unpacked=" in error.fix
    assert tree(unpack_safely(archive, spot / "out", max_bytes=3_000_000)).keys()
    refusal(archive, UnsafeFileError, "at most 2,999,999 bytes", max_bytes=2_999_999)


def test_three_gigabytes_from_three_megabytes_are_refused(spot: Path) -> None:
    """By the default limits; what is declared is enough to refuse."""
    archive = zipped(spot / "x.zip", ("noise", os.urandom(3_000_000)), ("zeros", bytes(3_000)))
    size, lie = (3_000).to_bytes(4, "little"), (3_000_000_000).to_bytes(4, "little")
    archive.write_bytes(archive.read_bytes().replace(size, lie))
    error = refusal(archive, UnsafeFileError, "unpacked size")
    assert (error.got, error.expected) == (3_003_000_000, "at most 1,000,000,000 bytes")


@pytest.mark.parametrize("declared", [10, 10**12])
def test_declared_and_actual_sizes_are_both_counted(spot: Path, monkeypatch: pytest.MonkeyPatch, declared: int) -> None:
    real = archives._zip_members

    def misstated(file: object) -> object:
        for member in real(file):  # type: ignore[arg-type]
            yield member._replace(size=declared)

    monkeypatch.setattr(archives, "_zip_members", misstated)
    error = refusal(make_zip_bomb(spot), UnsafeFileError, "unpacked size", max_bytes=1_000_000)
    assert error.got == (declared if declared > 1_000_000 else archives.CHUNK)  # after the first bytes at the latest


@pytest.mark.parametrize("declared", [10, 3_000_001])
def test_a_zip_file_that_declares_another_size_is_refused(spot: Path, declared: int) -> None:
    archive = make_zip_bomb(spot)
    size, lie = (3_000_000).to_bytes(4, "little"), declared.to_bytes(4, "little")
    assert archive.read_bytes().count(size) == 2  # before the content and in the table at the end
    archive.write_bytes(archive.read_bytes().replace(size, lie))
    refusal(archive, CorruptFileError, "damaged")


def test_holes_of_a_sparse_file_are_counted(spot: Path) -> None:
    """GNU tar stores only nonzero segments: here none of 5 GB."""
    info, _ = entry("hole", kind=tarfile.GNUTYPE_SPARSE)
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[386:398] = header[398:410] = b"00000000000\0"  # one segment of no bytes
    header[483:495] = f"{5 * 10**9:011o}\0".encode()  # the size with its holes
    header[148:156] = b" " * 8
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    (spot / "x.tar").write_bytes(bytes(header) + bytes(1024))
    assert refusal(spot / "x.tar", UnsafeFileError, "unpacked size").got == 5 * 10**9


def test_an_archive_may_hold_a_hundred_times_its_size(spot: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MIN_LIMIT", 0)
    archive = zipped(spot / "x.zip", ("noise", os.urandom(10_000)), ("zeros", bytes(900_000)))
    assert archive.stat().st_size * 50 < 910_000
    unpack_safely(archive, spot / "out")
    monkeypatch.setattr(archives, "MAX_RATIO", 50)
    refusal(archive, UnsafeFileError, "unpacked size")


def test_a_full_disk_leaves_nothing(spot: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    archive = tar(spot / "x.tar", entry("a", b"x"))
    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", full)
        refusal(archive, WriteError, "No space left on device")


def test_too_many_members_are_refused(spot: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_MEMBERS", 5)
    unpack_safely(tar(spot / "5.tar", *(entry(f"{i}") for i in range(5))), spot / "5")
    refusal(tar(spot / "6.tar", *(entry(f"{i}") for i in range(6))), UnsafeFileError, "more than 5 members")
    refusal(zipped(spot / "6.zip", *((f"{i}", b"") for i in range(6))), UnsafeFileError, "more than 5 members")


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.95])
@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tar.bz2", ".tar.xz", ".zip"])
def test_a_truncated_archive_is_refused(spot: Path, suffix: str, share: float) -> None:
    contents = [(f"{i}", os.urandom(40_000)) for i in range(5)]
    if suffix == ".zip":
        archive = zipped(spot / "x.zip", *contents)
    else:
        archive = tar(spot / f"x{suffix}", *(entry(*pair) for pair in contents), mode=f"w:{suffix[5:]}")
    whole = archive.read_bytes()
    archive.write_bytes(whole[: int(len(whole) * share)])
    refusal(archive, CorruptFileError, "damaged or truncated .*Delete it, and download or copy it again")


def test_a_tar_file_cut_between_two_members_is_refused(spot: Path) -> None:
    archive = tar(spot / "x.tar", entry("a", b"x" * 512), entry("b", b"x" * 512))
    archive.write_bytes(archive.read_bytes()[:1024])
    refusal(archive, CorruptFileError, "no end")


def test_a_damaged_header_is_not_taken_for_the_end(spot: Path) -> None:
    archive = tar(spot / "x.tar", entry("a", b"x" * 512), entry("b", b"x" * 512))
    damaged = bytearray(archive.read_bytes())
    damaged[1024] ^= 1  # the name of the second member
    archive.write_bytes(damaged)
    refusal(archive, CorruptFileError, "a damaged header")


@pytest.mark.parametrize("suffix", [".tar.gz", ".zip"])
def test_a_wrong_checksum_is_noticed(spot: Path, suffix: str) -> None:
    if suffix == ".zip":
        archive = spot / "x.zip"
        with zipfile.ZipFile(archive, "w") as stored:
            stored.writestr("a", b"sunshine")
        archive.write_bytes(archive.read_bytes().replace(b"sunshine", b"moonlit!"))
    else:
        archive = tar(spot / "x.tar.gz", entry("a", b"x"), mode="w:gz")
        content = bytearray(archive.read_bytes())
        content[-8] ^= 1
        archive.write_bytes(content)
    refusal(archive, CorruptFileError, "CRC")


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.XHDTYPE])
def test_a_negative_size_does_not_lead_backwards(spot: Path, kind: bytes) -> None:
    info, _ = entry("a", kind=kind)
    info.size = -512
    archive = spot / "x.tar"
    archive.write_bytes(tarfile.TarInfo("first").tobuf() + info.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    refusal(archive, CorruptFileError, "'a' of -512 bytes")


def test_a_negative_size_among_the_attributes_is_refused(spot: Path) -> None:
    info, _ = entry("a")
    info.pax_headers = {"size": "-512"}
    refusal(tar(spot / "x.tar", entry("first"), (info, b"")), CorruptFileError, "'a' has a negative size")


def test_a_name_of_gigabytes_is_not_read(spot: Path) -> None:
    info, _ = entry("././@LongLink", kind=tarfile.GNUTYPE_LONGNAME)
    info.size = 5 * 10**9
    archive = spot / "x.tar.gz"
    with gzip.open(archive, "wb") as out:
        out.write(tarfile.TarInfo("first").tobuf() + info.tobuf(tarfile.GNU_FORMAT) + bytes(10_000))
    refusal(archive, CorruptFileError, "5,000,000,000 bytes")


def test_an_encrypted_zip_file_is_refused(spot: Path) -> None:
    archive = zipped(spot / "x.zip", ("a", b"x"))
    content = bytearray(archive.read_bytes())
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(content)
    refusal(archive, CorruptFileError, "encrypted")


@pytest.mark.parametrize("content", [b"", b"PK", b"hello" * 1000, b"\x1f\x8b\x08", b"\x00" * 100])
def test_a_file_that_is_not_an_archive_is_refused(spot: Path, content: bytes) -> None:
    (spot / "x.tar").write_bytes(content)
    refusal(spot / "x.tar", CorruptFileError, "not a tar or zip file")


@pytest.mark.parametrize("make", [tar, zipped])
def test_an_empty_archive_is_refused(spot: Path, make: Callable[[Path], Path]) -> None:
    refusal(make(spot / "x"), CorruptFileError, "no members")


def test_an_existing_dest_stays_as_it_is(spot: Path) -> None:
    archive = tar(spot / "x.tar", entry("a", b"x"))
    (spot / "out").mkdir()
    with pytest.raises(UsageError, match="out exists already"):
        unpack_safely(archive, spot / "out")
    assert list((spot / "out").iterdir()) == []
    (spot / "file").write_text("mine")
    with pytest.raises(UsageError, match="file exists already"):
        unpack_safely(archive, spot / "file")
    assert (spot / "file").read_text() == "mine"
    (spot / "dangling").symlink_to(spot / "nowhere")
    with pytest.raises(UsageError, match="dangling exists already"):
        unpack_safely(archive, spot / "dangling")


def test_an_interruption_leaves_nothing(spot: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tar(spot / "x.tar", entry("a", b"x"))

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "rename", interrupt)
    with pytest.raises(KeyboardInterrupt):
        unpack_safely(archive, spot / "out")
    assert list(spot.iterdir()) == [archive]
