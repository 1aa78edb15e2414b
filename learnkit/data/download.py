"""Fetching a file over https once: resumed where it stopped, verified, and unpacked if it is an archive."""

import os
import re
import urllib.request
from http.client import HTTPException, HTTPMessage, HTTPResponse
from pathlib import Path
from typing import IO
from urllib.error import HTTPError
from urllib.parse import urlsplit

from learnkit.atomic_files import make_folder, sha256_of, write_atomically
from learnkit.checks import check_int
from learnkit.data.home import home
from learnkit.data.unpack import ARCHIVE_SUFFIXES, unpack_safely
from learnkit.errors import DownloadError, UsageError
from learnkit.types import PathLike

__all__ = ["address_of", "check_address", "download", "fetch", "origin"]

CHUNK = 2**20
TIMEOUT = 60  # seconds without a byte
_ADDRESS = re.compile(r"(https://[A-Za-z0-9.-]+|http://(127\.0\.0\.1|localhost))(:[0-9]{1,5})?([/?#][!-~]*)?")
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")


def download(
    url: str,
    dest: PathLike | None = None,
    *,
    sha256: str | None = None,
    unpack: bool = True,
    max_bytes: int = 20 * 2**30,
    max_unpacked: int | None = None,
) -> Path:
    """Fetch a file unless it exists, and unpack it if it is an archive unless that is done already.

    The bytes go to NAME.part until they are complete and checked. A part that an earlier call left is continued; only
    `sha256` shows whether the server still has the same file. One process at a time may fetch a file.

    Args:
        url: https only; http is for a server on this machine. Its last part is the name of the file.
        dest: the folder to put the file in, created if needed; None for data in the cache folder, which is
            `LEARNKIT_HOME`, or learnkit below `XDG_CACHE_HOME` or ~/.cache.
        sha256: the hash of the content, 64 hex digits. Without it, an existing file is not verified.
        unpack: whether a .tar, .tar.gz, .tgz, .tar.bz2, .tar.xz or .zip file becomes a folder next to it, of the same
            name without the suffix. Once the folder exists, the archive may be deleted.
        max_bytes: refuse a larger file.
        max_unpacked: refuse an archive whose content is larger, in bytes; None for 100 times the size of the archive,
            or 1 GB if that is more.

    Returns:
        the folder of an unpacked archive; the file otherwise.

    Raises:
        UsageError: an argument that cannot work, a folder unpacked from an archive whose hash is not `sha256`, or a
            file of this name that was fetched from another address.
        DownloadError: no connection, an error of the server, a redirect away from https, a file that is too large,
            truncated, or has the wrong sha256.
        UnsafeFileError, CorruptFileError: an archive that `unpack_safely` refuses.
        WriteError: the folder cannot be created, or the disk is full.
    """
    name = _file_name(url)
    if sha256 is not None and not (isinstance(sha256, str) and re.fullmatch("[0-9a-fA-F]{64}", sha256)):
        raise UsageError("sha256", got=sha256, expected="64 hex digits, or None")
    check_int("max_bytes", max_bytes, 1)
    if max_unpacked is not None:
        check_int("max_unpacked", max_unpacked, 1, expected="a number of bytes, 1 or more, or None")
    digest = sha256 and sha256.lower()
    folder = home() / "data" if dest is None else Path(dest)
    file = folder / name
    suffix = next((end for end in ARCHIVE_SUFFIXES if name.lower().endswith(end)), "")
    unpacked = folder / name[: -len(suffix)] if unpack and suffix else None
    _check_origin(url, file, digest, unpacked)
    if unpacked is not None and unpacked.is_dir() and not file.exists():
        return unpacked
    if file.is_dir():
        raise UsageError(
            f"{file} is a folder, and the file of {url} would have this name", fix="Pass a different dest."
        )
    is_other = digest is not None and file.exists() and sha256_of(file) != digest
    if is_other and unpacked is not None and unpacked.is_dir():
        raise UsageError(
            f"{unpacked} exists, but {file}, which it was unpacked from, does not have the given sha256",
            fix="Move both away and call again.",
        )
    if is_other or not file.exists():
        make_folder(folder)
        part = file.with_name(f"{name}.part")
        if address_of(part) not in (None, url):  # what an interrupted call left of another file
            part.unlink(missing_ok=True)
        write_atomically(origin(part), lambda out: out.write(url.encode()))
        fetch(url, file, digest, max_bytes)
        os.replace(origin(part), origin(file))
    if unpacked is None or unpacked.is_dir():
        return unpacked or file
    return unpack_safely(file, unpacked, max_bytes=max_unpacked)


def check_address(url: str) -> str:
    """An address that `download` fetches.

    Raises:
        UsageError: not https (or http to this machine), or other than printable ASCII characters.
    """
    if not isinstance(url, str) or not _ADDRESS.fullmatch(url):
        raise UsageError("url", got=url, expected="an https address of printable ASCII characters, without a password")
    return url


def origin(file: Path) -> Path:
    """Where the address of a fetched file is kept."""
    return file.with_name(f".{file.name}.url")


def _check_origin(url: str, file: Path, digest: str | None, unpacked: Path | None) -> None:
    """Refuse a file of the same name from another address, unless its hash shows which it is."""
    known = address_of(file)
    is_there = file.exists() or (unpacked is not None and unpacked.exists())
    if is_there and known not in (None, url) and digest is None:
        raise UsageError(
            f"{file} is that of {known}, not of {url}", fix="Pass another dest, or the sha256 of the file."
        )


def address_of(file: Path) -> str | None:
    """The address a file or a part was fetched from; None if that is not known."""
    kept = origin(file)
    return kept.read_text("utf-8", "replace") if kept.is_file() else None


def _file_name(url: str) -> str:
    name = urlsplit(check_address(url)).path.rpartition("/")[2]
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"url {url!r}: its last part is not a plain file name",
            got=name, expected="1 to 100 of A-Z a-z 0-9 . _ -, not starting with a dot", fix="Download it by hand.",
        )  # fmt: skip
    return name


def fetch(url: str, file: Path, digest: str | None, max_bytes: int) -> None:
    """Fetch an address into a file, which is there only when it is complete and has this sha256.

    Raises:
        DownloadError: see `download`.
    """
    part = file.with_name(f"{file.name}.part")
    if part.is_symlink():
        part.unlink()  # never write through a foreign link
    try:
        _stream(url, part, max_bytes)
    except DownloadError:
        raise
    except (OSError, HTTPException, ValueError) as error:  # ValueError: a redirect to an invalid address
        if isinstance(error, HTTPError):
            error.close()
        raise DownloadError(
            f"{url} cannot be fetched ({error})",
            fix=f"Call again (what was received is kept), or download it by hand and put it at {file}.",
        ) from error
    if digest is not None and (found := sha256_of(part)) != digest:
        part.unlink()
        raise DownloadError(
            f"{url}: sha256 of the content", got=found, expected=digest,
            fix="It was deleted. Call again; if that does not help, the server has a different file.",
        )  # fmt: skip
    os.replace(part, file)


def _stream(url: str, part: Path, max_bytes: int) -> None:
    """Fetch the missing bytes of the part."""
    response, have, total = _open(url, part.stat().st_size if part.exists() else 0)
    with response:
        if total is not None and total > max_bytes:
            raise _too_large(url, total, max_bytes)
        with part.open("ab" if have else "wb") as out:
            while chunk := response.read(CHUNK):
                have += len(chunk)
                if have > max_bytes:
                    part.unlink()
                    raise _too_large(url, have, max_bytes)
                out.write(chunk)
    if total is not None and have != total:
        raise DownloadError(
            f"{url}: the connection was cut after {have:,} of {total:,} bytes; they are kept in {part}",
            fix="Call again to continue.",
        )


def _open(url: str, have: int) -> tuple[HTTPResponse, int, int | None]:
    """The response, how many bytes of the file come before it, and the size of the file if it is known."""
    if have:
        try:
            response = _request(url, {"Range": f"bytes={have}-"})
        except HTTPError as error:
            if error.code != 416:  # no bytes after these
                raise
            error.close()
        else:
            span = re.fullmatch(rf"bytes {have}-(\d+)/(\d+)", response.headers.get("Content-Range", ""))
            if response.status == 206 and span and int(span[1]) + 1 == int(span[2]):
                return response, have, int(span[2])
            response.close()
    response = _request(url, {})
    if response.status != 200:
        response.close()
        raise DownloadError(f"{url}: status of the server", got=response.status, expected="200")
    return response, 0, response.length


def _request(url: str, headers: dict[str, str]) -> HTTPResponse:
    headers = {"User-Agent": "learnkit", **headers}
    opener = urllib.request.build_opener(_SafeRedirects)
    response = opener.open(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)
    assert isinstance(response, HTTPResponse)  # neither a file nor ftp
    return response


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to what `download` accepts itself, and none from https to http on this machine."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        if not _ADDRESS.fullmatch(newurl) or (req.type == "https" and not newurl.startswith("https:")):
            fp.close()
            raise DownloadError(f"{req.full_url}: redirect", got=newurl, expected="an https address")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _too_large(url: str, size: int, max_bytes: int) -> DownloadError:
    return DownloadError(
        f"{url}: size of the file", got=size, expected=f"at most {max_bytes:,} bytes", fix="Pass a larger max_bytes."
    )
