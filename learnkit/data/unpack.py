"""Unpacking archives from untrusted sources: files and folders only, all below one folder, within limits."""

import os
import re
import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple

from learnkit.atomic_files import write_error
from learnkit.errors import CorruptFileError, LearnkitError, UnsafeFileError, UsageError
from learnkit.types import PathLike

__all__ = ["ARCHIVE_SUFFIXES", "unpack_safely"]

ARCHIVE_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip")
MAX_RATIO = 100  # unpacked bytes per byte of the archive
MIN_LIMIT = 10**9  # unpacked bytes that an archive of any size may have
MAX_MEMBERS = 2_000_000

CHUNK = 2**20
_MAX_RECORD = 2**20  # bytes of a tar file's record of a long name or of attributes
_MAX_PADDING = 100 * CHUNK  # bytes read after the end of a tar file
_UNSAFE_NAME = re.compile(r"$|/|[A-Za-z]:|.*[\0\\]|(.*/)?\.\.(/|$)", re.DOTALL)


class _Member(NamedTuple):
    name: str
    is_folder: bool
    size: int  # as declared
    open: Callable[[], Any]


class _Refused(Exception):
    """The reason an archive is not trusted."""


def unpack_safely(archive: PathLike, dest: PathLike, *, max_bytes: int | None = None) -> Path:
    """Unpack a tar file (plain, gz, bz2 or xz) or a zip file into a new folder; on any error, no folder is left.

    The format is read from the content, not from the name. Members are written one by one into a temporary folder next
    to `dest`, which is renamed at the end. Names and contents are kept; owners, modes and dates are not. If everything
    is in one folder of the name of `dest`, that folder becomes `dest`: pets.tar with pets/cat.png becomes dest/cat.png.

    Args:
        archive: the file.
        dest: the folder to create; its parent exists.
        max_bytes: limit of the unpacked size, declared or written; None for 100 times the archive, or 1 GB if that is
            more.

    Raises:
        UsageError: `dest` exists.
        UnsafeFileError: a link or a device; a name that points outside `dest` or occurs twice; more than 2 million
            members; more content than the limit.
        CorruptFileError: a damaged, truncated, empty or encrypted file, or not an archive.
        WriteError: the disk is full, or writing is not allowed.
    """
    archive, dest = Path(archive), Path(dest)
    if os.path.lexists(dest):
        raise UsageError(f"dest: {dest} exists already", fix="Move it away, or pass another folder.")
    limit = max(MIN_LIMIT, MAX_RATIO * archive.stat().st_size) if max_bytes is None else max_bytes
    with tempfile.TemporaryDirectory(prefix=f".{dest.name[:100]}.", dir=dest.absolute().parent) as temporary:
        root = Path(temporary, "content")
        root.mkdir()  # the temporary folder itself is private
        try:
            with open(archive, "rb") as file, closing(_members(file, root)) as members:
                _write_all(members, root, archive, limit)
        except (LearnkitError, MemoryError):
            raise
        except (_Refused, tarfile.FilterError) as error:
            raise UnsafeFileError(f"{archive}: {error}", fix="Nothing was unpacked. Do not trust it.") from error
        except Exception as error:  # the readers have many ways to report damage; errors of the disk have a number
            if isinstance(error, OSError) and error.errno is not None:
                raise write_error(dest, 0, error) from error
            reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(":")
            raise CorruptFileError(
                f"{archive} is not a tar or zip file, or is damaged or truncated ({reason})",
                fix="Delete it, and download or copy it again.",
            ) from error
        entries = list(root.iterdir())
        is_wrapped = len(entries) == 1 and entries[0].name == dest.name and entries[0].is_dir()
        os.rename(entries[0] if is_wrapped else root, dest)
    return dest


def _write_all(members: Iterator[_Member], root: Path, archive: Path, limit: int) -> None:
    count = n_bytes = 0

    def check_total(total: int) -> None:
        if total > limit:
            raise UnsafeFileError(
                f"{archive}: unpacked size", got=total, expected=f"at most {limit:,} bytes",
                fix="The default limit is 100 times the archive, or 1 GB if that is more; if you trust it, pass a "
                "larger max_unpacked= to download.",
            )  # fmt: skip

    for member in members:
        count += 1
        if count > MAX_MEMBERS:
            raise _Refused(f"it has more than {MAX_MEMBERS:,} members")
        check_total(n_bytes + member.size)
        target = root / member.name
        try:
            if member.is_folder:
                target.mkdir(parents=True, exist_ok=True)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            out = target.open("xb")
        except (FileExistsError, NotADirectoryError) as error:
            raise _Refused(f"{member.name!r} occurs twice, or as a file and as a folder") from error
        with out, member.open() as source:
            while chunk := source.read(CHUNK):
                n_bytes += len(chunk)
                check_total(n_bytes)
                out.write(chunk)
            if out.tell() != member.size:
                raise EOFError(f"{member.name!r} is truncated")
    if not count:
        raise EOFError("no members")


def _members(file: IO[bytes], root: Path) -> Generator[_Member, None, None]:
    is_zip = file.read(2) == b"PK"
    file.seek(0)
    return _zip_members(file) if is_zip else _tar_members(file, root)


def _tar_members(file: IO[bytes], root: Path) -> Generator[_Member, None, None]:
    with tarfile.open(fileobj=file, tarinfo=_Header) as tar:
        while (header := tar.next()) is not None:
            tar.members.clear()  # type: ignore[attr-defined]  # all headers together may not fit into memory
            if header.size < 0:
                raise tarfile.ReadError(f"{header.name!r} has a negative size")
            name = _checked_name(header.name)
            if header.issym() or header.islnk():
                raise _Refused(f"{name!r} is a link")
            tarfile.data_filter(header, str(root))  # refuses devices, and what points outside the folder
            yield _Member(name, header.isdir(), header.size, partial(tar.extractfile, header))
        assert tar.fileobj is not None
        tar.fileobj.seek(tar.offset)  # to tarfile, a damaged header or a missing one is the end as well
        if tar.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError("a damaged header, or no end")
        for _ in range(_MAX_PADDING // CHUNK):  # up to where compressed data has its checksum
            if not tar.fileobj.read(CHUNK):
                break


class _Header(tarfile.TarInfo):
    """A tar header whose size can be trusted: tarfile seeks backwards by a negative one, and reads records whole."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_Header":
        header = super().frombuf(buf, encoding, errors)
        is_record = header.type in (b"L", b"K", b"x", b"g", b"X")  # of a long name, or of attributes
        if header.size < 0 or (is_record and header.size > _MAX_RECORD):
            raise tarfile.ReadError(f"{header.name!r} of {header.size:,} bytes")
        return header


def _zip_members(file: IO[bytes]) -> Generator[_Member, None, None]:
    with zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            name = _checked_name(info.orig_filename)  # filename is cut at a NUL
            kind = stat.S_IFMT(info.external_attr >> 16)  # as Unix writes it, whatever the declared system
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _Refused(f"{name!r} is a link or a device")
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise _Refused(f"{name!r} is compressed by a method that cannot be read in pieces")
            yield _Member(name, name.endswith("/"), info.file_size, partial(archive.open, info))


def _checked_name(name: str) -> str:
    if _UNSAFE_NAME.match(name):
        raise _Refused(f"it has a member named {name!r}, which may point outside the folder")
    return name
