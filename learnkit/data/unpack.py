"""Unpacking archives that somebody else made: files and folders only, all below one folder, within limits."""

import os
import re
import shutil
import stat
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from lzma import LZMAError
from pathlib import Path
from typing import IO, TypeVar

from learnkit.errors import CorruptFileError, LearnkitError, MissingFileError, UnsafeFileError, UsageError
from learnkit.types import PathLike

__all__ = ["ARCHIVE_SUFFIXES", "unpack_safely"]

ARCHIVE_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip")
ALWAYS_ALLOWED = 4 * 10**9  # bytes an archive of any size may hold
MAX_RATIO = 100  # bytes out for one byte in, where that is more
LEFT_FREE = 10**9  # bytes of the disk that stay free
MAX_MEMBERS = 2_000_000

CHUNK = 2**20
_MAX_EXTENSION = 2**20  # bytes of a tar header's long name or attributes, which are read into memory
_MAX_TRAIL = 100 * CHUNK  # bytes read after the end of a tar file, where its compression keeps the checksum
_EXTENSIONS = (
    tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE,
)  # fmt: skip
# What the readers raise on damage; only reading is done where these are caught.
_DAMAGE = (
    tarfile.TarError, zipfile.BadZipFile, zlib.error, LZMAError, struct.error, EOFError, OSError, ValueError,
    RuntimeError, IndexError, KeyError,
)  # fmt: skip

T = TypeVar("T")


@dataclass(frozen=True)
class _Member:
    name: str
    kind: str  # "file", "folder", or what is refused
    size: int  # bytes it is declared to hold
    open: Callable[[], IO[bytes]]


def unpack_safely(archive: PathLike, dest: PathLike) -> Path:
    """Unpack a tar file (plain, gz, bz2, xz) or a zip file into a new folder; on any error there is no such folder.

    What the archive is, is read off its content, not off its name. Its members are written one by one into a fresh
    folder beside `dest`, which is renamed at the end. Only names and contents are kept: the files are ordinary new
    ones, with no owner, mode or date of the archive. Where all is in one folder of the name of `dest`, that folder
    becomes `dest`: pets.tar with pets/cat.png gives dest/cat.png.

    Args:
        archive: the file.
        dest: the folder to make; the folder above it is there already.

    Returns:
        `dest`.

    Raises:
        UsageError: `dest` is there already, or the disk has no room for the content.
        MissingFileError: no such archive, or no folder above `dest`.
        UnsafeFileError: a link or a device; a name that leads out of `dest`, or is there twice; more than 2 million
            members; more content than 4 GB and than 100 times the archive.
        CorruptFileError: damaged, cut short, empty, encrypted, or no archive.
    """
    archive, dest = Path(archive), Path(dest)
    if not archive.is_file():
        raise MissingFileError(f"no file {archive}", fix="Check the path.")
    if os.path.lexists(dest):
        raise UsageError(f"dest: {dest} is there already", fix="Move it away, or pass a folder that is not there.")
    parent = dest.absolute().parent
    if not parent.is_dir():
        raise MissingFileError(f"no folder {parent} to unpack {archive} in", fix="Make it first.")
    size = archive.stat().st_size
    with (
        archive.open("rb") as file,
        tempfile.TemporaryDirectory(prefix=f".{dest.name[:100]}.", dir=parent) as temporary,
    ):
        content = Path(os.path.realpath(temporary), "content")
        content.mkdir()  # unlike the temporary folder not private, so that dest is not
        with closing(_members(file)) as members:
            _write_all(archive, members, size, content)
        entries = list(content.iterdir())
        is_wrapped = len(entries) == 1 and entries[0].name == dest.name and entries[0].is_dir()
        os.rename(entries[0] if is_wrapped else content, dest)
    return dest


def _write_all(archive: Path, members: Iterator[_Member], size: int, root: Path) -> None:
    allowed = max(ALWAYS_ALLOWED, MAX_RATIO * size)
    free = shutil.disk_usage(root).free - LEFT_FREE
    count = declared = written = 0

    def check_total(total: int) -> None:
        if total > allowed:
            raise UnsafeFileError(
                f"{archive} of {size:,} bytes", got=total, expected=f"at most {allowed:,} bytes of content",
                fix="Unpack it yourself if you know what is in it.",
            )  # fmt: skip
        if total > free:
            raise UsageError(
                f"dest: no room for {archive}, which holds {total:,} bytes or more; {max(free, 0):,} may be used",
                fix=f"Free some disk; {LEFT_FREE:,} bytes are left unused.",
            )

    while (member := _read(archive, lambda: next(members, None))) is not None:
        count += 1
        declared += member.size
        if count > MAX_MEMBERS:
            raise UnsafeFileError(f"{archive} has more than {MAX_MEMBERS:,} members", fix="Unpack it yourself.")
        target = _target(archive, root, member)
        check_total(declared)
        try:
            if member.kind == "folder":
                target.mkdir(parents=True, exist_ok=True)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            out = target.open("xb")
        except (FileExistsError, NotADirectoryError) as error:
            raise _refused(archive, f"has {member.name!r} twice, or as a file and as a folder") from error
        with out, _read(archive, member.open) as source:
            while chunk := _read(archive, lambda source=source: source.read(CHUNK)):  # type: ignore[misc]
                written += len(chunk)
                check_total(written)
                out.write(chunk)
            if out.tell() != member.size:
                raise _damaged(archive, f"{member.name!r} is cut short")
    if count == 0:
        raise CorruptFileError(f"{archive} is an archive of nothing", fix="Delete it, and fetch or copy it again.")


def _target(archive: Path, root: Path, member: _Member) -> Path:
    """Where the member goes: below `root`, whatever its name."""
    name = member.name
    if member.kind not in {"file", "folder"}:
        raise _refused(archive, f"holds {name!r}, a {member.kind}; only files and folders are unpacked")
    is_folder = member.kind == "folder"
    if "\0" in name or "\\" in name or not name or (name.endswith("/") and not is_folder):
        raise _refused(archive, f"has a member named {name!r}")
    if name.startswith("/") or re.match("[A-Za-z]:", name) or ".." in name.split("/"):
        raise _refused(archive, f"has a member {name!r}, which leads out of the folder")
    target = os.path.realpath(root / name)
    if os.path.commonpath([root, target]) != str(root) or (target == str(root) and not is_folder):
        raise _refused(archive, f"has a member {name!r}, which leads out of the folder")
    return Path(target)


def _members(file: IO[bytes]) -> Generator[_Member, None, None]:
    is_zip = file.read(2) == b"PK"
    file.seek(0)
    return _zip_members(file) if is_zip else _tar_members(file)


def _tar_members(file: IO[bytes]) -> Generator[_Member, None, None]:
    with tarfile.open(fileobj=file, mode="r:*", tarinfo=_Header) as tar:
        while (header := tar.next()) is not None:
            tar.members.clear()  # type: ignore[attr-defined]  # all headers at once may not fit into memory
            if header.size < 0:
                raise tarfile.ReadError(f"{header.name!r} has a negative size")
            kind = "folder" if header.isdir() else "file" if header.isreg() else _TAR_KINDS.get(header.type, "device")
            size = header.size if kind == "file" else 0
            yield _Member(header.name, kind, size, lambda header=header: _content(tar, header))  # type: ignore[misc]
        for _ in range(_MAX_TRAIL // CHUNK):
            if not tar.fileobj or not tar.fileobj.read(CHUNK):
                break


_TAR_KINDS = {tarfile.SYMTYPE: "symbolic link", tarfile.LNKTYPE: "hard link", tarfile.FIFOTYPE: "pipe"}


def _content(tar: tarfile.TarFile, header: tarfile.TarInfo) -> IO[bytes]:
    content = tar.extractfile(header)
    if content is None:
        raise tarfile.ReadError(f"{header.name!r} has no content")
    return content


class _Header(tarfile.TarInfo):
    """A tar header that is sound: tarfile takes a broken one for the end, and reads long names of any size."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_Header":
        if len(buf) != tarfile.BLOCKSIZE:
            raise tarfile.ReadError("it has no end")
        try:
            header = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if not any(buf):
                raise  # the block of zeros that says that this is the end
            raise tarfile.ReadError(f"bad header: {error}") from error
        if header.size < 0 or (header.type in _EXTENSIONS and header.size > _MAX_EXTENSION):
            raise tarfile.ReadError(f"{header.name!r} of {header.size:,} bytes")
        return header


def _zip_members(file: IO[bytes]) -> Generator[_Member, None, None]:
    with zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            name = info.orig_filename  # filename is cut at a NUL
            mode = stat.S_IFMT(info.external_attr >> 16)  # as Unix writes it, whatever system is said to have done so
            kind = "folder" if name.endswith("/") else "file"
            if mode not in (0, stat.S_IFREG, stat.S_IFDIR):
                kind = "symbolic link" if mode == stat.S_IFLNK else "device"
            yield _Member(name, kind, info.file_size, lambda info=info: archive.open(info))  # type: ignore[misc]


def _read(archive: Path, step: Callable[[], T]) -> T:
    """What one step of reading gives; its failure means that the archive is damaged."""
    try:
        return step()
    except LearnkitError:
        raise
    except _DAMAGE as error:
        raise _damaged(archive, str(error).partition("\n")[0].rstrip(":")) from error


def _damaged(archive: Path, why: str) -> CorruptFileError:
    return CorruptFileError(
        f"{archive} is no tar or zip file, damaged or cut short ({why})", fix="Delete it, and fetch or copy it again."
    )


def _refused(archive: Path, why: str) -> UnsafeFileError:
    return UnsafeFileError(f"{archive} {why}", fix="Nothing was unpacked. Do not trust this archive.")
