"""Unpacking: what comes out, and that nothing comes out of an archive that is hostile or damaged."""

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
from learnkit.errors import CorruptFileError, LearnkitError, MissingFileError, UnsafeFileError, UsageError

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


def refusal(archive: Path, error: type[LearnkitError], match: str) -> None:
    """The archive is refused, no folder is made, and nothing is written, here or two folders up."""
    dest = archive.parent / "in" / "dest"
    dest.parent.mkdir()
    top = archive.parent.parent
    before = sorted(top.rglob("*"))
    with pytest.raises(error, match=match):
        unpack_safely(archive, dest)
    assert sorted(top.rglob("*")) == before


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
def test_a_folder_beside_others_keeps_its_name(spot: Path, other: str) -> None:
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
    "dots": ("leads out", [entry("fine.txt", b"x"), entry("../../evil.txt", b"x")]),
    "dots within": ("leads out", [entry("a/../../evil.txt", b"x")]),
    "dots that stay inside": ("leads out", [entry("a/../b", b"x")]),
    "absolute": ("leads out", [entry("/tmp/learnkit-evil.txt", b"x")]),
    "drive": ("leads out", [entry("C:/evil.txt", b"x")]),
    "backslash": ("named", [entry("..\\..\\evil.txt", b"x")]),
    "through a link": (
        "symbolic link",
        [entry("link", kind=tarfile.SYMTYPE, link="../.."), entry("link/evil.txt", b"x")],
    ),
    "hard link": ("hard link", [entry("a", b"x"), entry("b", kind=tarfile.LNKTYPE, link="../../outside.txt")]),
    "pipe": ("pipe", [entry("pipe", kind=tarfile.FIFOTYPE)]),
    "character device": ("device", [entry("null", kind=tarfile.CHRTYPE)]),
    "block device": ("device", [entry("disk", kind=tarfile.BLKTYPE)]),
    "file twice": ("'a' twice", [entry("a", b"1"), entry("a", b"2")]),
    "file, then below it": ("'a/b' twice, or as a file and as a folder", [entry("a", b"1"), entry("a/b", b"2")]),
    "folder, then file": ("'a' twice, or as a file and as a folder", [entry("a/b", b"2"), entry("a", b"1")]),
    "file, then folder": ("'a' twice", [entry("a", b"2"), entry("a", kind=tarfile.DIRTYPE)]),
    "file for the root": ("leads out", [entry(".", b"x")]),
}


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
    refusal(tar(spot / "x.tar", (info, content)), UnsafeFileError, "named 'evil")


def special(name: str, mode: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = (mode | 0o777) << 16
    return info


ZIP_ATTACKS: dict[str, tuple[str, list[tuple[str | zipfile.ZipInfo, bytes]]]] = {
    "dots": ("leads out", [("fine.txt", b"x"), ("../../evil.txt", b"x")]),
    "absolute": ("leads out", [("/tmp/learnkit-evil.txt", b"x")]),
    "drive": ("leads out", [("C:evil.txt", b"x")]),
    "backslash": ("named", [("..\\..\\evil.txt", b"x")]),
    "link": ("symbolic link", [(special("link", stat.S_IFLNK), b"../.."), ("link/evil.txt", b"x")]),
    "device": ("device", [(special("null", stat.S_IFCHR), b"")]),
}


@pytest.mark.parametrize("attack", ZIP_ATTACKS)
def test_a_hostile_zip_file_is_refused(spot: Path, attack: str) -> None:
    match, entries = ZIP_ATTACKS[attack]
    refusal(zipped(spot / "x.zip", *entries), UnsafeFileError, match)
    assert not Path("/tmp/learnkit-evil.txt").exists()


def test_a_name_twice_in_a_zip_file_is_refused(spot: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        archive = zipped(spot / "x.zip", ("a", b"1"), ("a", b"2"))
    refusal(archive, UnsafeFileError, "'a' twice")


def test_a_nul_in_a_name_of_a_zip_file_is_refused(spot: Path) -> None:
    archive = zipped(spot / "x.zip", ("evil?.png", b"x"))
    archive.write_bytes(archive.read_bytes().replace(b"evil?", b"evil\0"))
    refusal(archive, UnsafeFileError, "named 'evil")


def make_zip_bomb(path: Path) -> Path:
    return zipped(path / "x.zip", ("zeros", bytes(3_000_000)))


def make_tar_bomb(path: Path) -> Path:
    return tar(path / "x.tar.gz", entry("zeros", bytes(3_000_000)), mode="w:gz")


def make_bomb_of_parts(path: Path) -> Path:
    return zipped(path / "x.zip", *((f"{i}", bytes(300_000)) for i in range(10)))


@pytest.mark.parametrize("make", [make_zip_bomb, make_tar_bomb, make_bomb_of_parts])
def test_a_bomb_is_refused(spot: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], Path]) -> None:
    monkeypatch.setattr(archives, "ALWAYS_ALLOWED", 1_000_000)
    archive = make(spot)
    assert archive.stat().st_size < 10_000  # so that 100 times as much is less
    refusal(archive, UnsafeFileError, "expected at most 1,000,000 bytes")


@pytest.mark.parametrize("declared", [10, 10**12])
def test_what_is_declared_and_what_comes_out_are_both_counted(
    spot: Path, monkeypatch: pytest.MonkeyPatch, declared: int
) -> None:
    archive = make_zip_bomb(spot)
    monkeypatch.setattr(archives, "ALWAYS_ALLOWED", 1_000_000)
    real = archives._zip_members

    def misstated(file: object) -> object:
        for member in real(file):  # type: ignore[arg-type]
            yield archives._Member(member.name, member.kind, declared, member.open)

    monkeypatch.setattr(archives, "_zip_members", misstated)
    got = declared if declared > 1_000_000 else archives.CHUNK  # refused before, or after, the first bytes are written
    refusal(archive, UnsafeFileError, f"got {got}, expected at most 1,000,000 bytes")


@pytest.mark.parametrize("declared", [10, 3_000_001])
def test_a_zip_file_that_declares_another_size_is_refused(spot: Path, declared: int) -> None:
    archive = make_zip_bomb(spot)
    size, lie = (3_000_000).to_bytes(4, "little"), declared.to_bytes(4, "little")
    assert archive.read_bytes().count(size) == 2  # before the content and in the table at the end
    archive.write_bytes(archive.read_bytes().replace(size, lie))
    refusal(archive, CorruptFileError, "damaged")


def test_an_archive_may_hold_a_hundred_times_its_size(spot: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "ALWAYS_ALLOWED", 0)
    archive = zipped(spot / "x.zip", ("noise", os.urandom(10_000)), ("zeros", bytes(900_000)))
    assert archive.stat().st_size * 50 < 910_000
    unpack_safely(archive, spot / "out")
    monkeypatch.setattr(archives, "MAX_RATIO", 50)
    refusal(archive, UnsafeFileError, "bytes of content")


def test_the_disk_is_not_filled(spot: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "LEFT_FREE", 10**18)
    refusal(tar(spot / "x.tar", entry("a", b"x")), UsageError, "no room for .* 0 may be used. Free some disk")


def test_too_many_members_are_refused(spot: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_MEMBERS", 5)
    unpack_safely(tar(spot / "5.tar", *(entry(f"{i}") for i in range(5))), spot / "5")
    refusal(tar(spot / "6.tar", *(entry(f"{i}") for i in range(6))), UnsafeFileError, "more than 5 members")


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
    refusal(archive, CorruptFileError, "damaged or cut short .*Delete it, and fetch or copy it again")


def test_a_tar_file_cut_between_two_members_is_refused(spot: Path) -> None:
    archive = tar(spot / "x.tar", entry("a", b"x" * 512), entry("b", b"x" * 512))
    archive.write_bytes(archive.read_bytes()[:1024])
    refusal(archive, CorruptFileError, "it has no end")


def test_a_damaged_header_is_not_taken_for_the_end(spot: Path) -> None:
    archive = tar(spot / "x.tar", entry("a", b"x" * 512), entry("b", b"x" * 512))
    damaged = bytearray(archive.read_bytes())
    damaged[1024] ^= 1  # the name of the second member
    archive.write_bytes(damaged)
    refusal(archive, CorruptFileError, "bad header")


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
def test_what_is_no_archive_is_refused(spot: Path, content: bytes) -> None:
    (spot / "x.tar").write_bytes(content)
    refusal(spot / "x.tar", CorruptFileError, "no tar or zip file")


@pytest.mark.parametrize("make", [tar, zipped])
def test_an_archive_of_nothing_is_refused(spot: Path, make: Callable[[Path], Path]) -> None:
    refusal(make(spot / "x"), CorruptFileError, "archive of nothing")


def test_a_folder_that_is_there_stays_as_it_is(spot: Path) -> None:
    archive = tar(spot / "x.tar", entry("a", b"x"))
    (spot / "out").mkdir()
    with pytest.raises(UsageError, match="out is there already"):
        unpack_safely(archive, spot / "out")
    assert list((spot / "out").iterdir()) == []
    (spot / "dangling").symlink_to(spot / "nowhere")
    with pytest.raises(UsageError, match="is there already"):
        unpack_safely(archive, spot / "dangling")


def test_what_is_not_there_is_named(spot: Path) -> None:
    with pytest.raises(MissingFileError, match=r"no file .*x\.tar"):
        unpack_safely(spot / "x.tar", spot / "out")
    archive = tar(spot / "x.tar", entry("a", b"x"))
    with pytest.raises(MissingFileError, match=r"no folder .*nowhere to unpack"):
        unpack_safely(archive, spot / "nowhere" / "out")


def test_an_interruption_leaves_nothing(spot: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tar(spot / "x.tar", entry("a", b"x"))

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "rename", interrupt)
    with pytest.raises(KeyboardInterrupt):
        unpack_safely(archive, spot / "out")
    assert list(spot.iterdir()) == [archive]
