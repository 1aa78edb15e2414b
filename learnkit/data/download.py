"""Fetching a file over https once: resumed where it was cut, checked, and unpacked where it is an archive."""

import os
import re
import urllib.request
from collections.abc import Mapping
from http.client import HTTPException, HTTPMessage, HTTPResponse
from pathlib import Path
from typing import IO
from urllib.error import HTTPError
from urllib.parse import urlsplit

from learnkit.atomic_files import sha256_of
from learnkit.data.home import home
from learnkit.data.unpack import ARCHIVE_SUFFIXES, unpack_safely
from learnkit.errors import DownloadError, UsageError
from learnkit.types import PathLike

__all__ = ["data_home", "download"]

CHUNK = 2**20
TIMEOUT = 60  # seconds without a byte
_LOCAL = {"127.0.0.1", "localhost"}
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")


def data_home() -> Path:
    """Where downloads go: the folder data of `home()`."""
    return home() / "data"


def download(
    url: str,
    dest: PathLike | None = None,
    *,
    sha256: str | None = None,
    unpack: bool = True,
    max_bytes: int = 20 * 2**30,
) -> Path:
    """Fetch a file, unless it is there already, and unpack it if it is an archive, unless that is done already.

    The bytes go to NAME.part beside the file, which gets its name when it is whole and checked. A part that an earlier
    call left is continued; only `sha256` shows whether the server still has the same file. One process at a time may
    fetch a file.

    Args:
        url: https only; http is for a server on this machine. Its last part is the name of the file.
        dest: the folder to put the file in; it is made. Left out, `data_home()`.
        sha256: what the content must hash to, 64 hex digits. Without it, a file that is there is taken as it is.
        unpack: a .tar, .tar.gz, .tgz, .tar.bz2, .tar.xz or .zip file becomes a folder beside it, of the same name
            without the suffix. Once the folder is there, the archive may be deleted.
        max_bytes: refuse a larger file.

    Returns:
        the folder of an unpacked archive; the file otherwise.

    Raises:
        UsageError: a URL that is not fetched, a name that is no plain file name, a wrong `sha256` or `max_bytes`; or a
            folder that was unpacked from an archive other than that of `sha256`.
        DownloadError: no connection, an error of the server, a redirect to what is not https, a file that is too large,
            cut short, or has the wrong sha256.
        UnsafeFileError, CorruptFileError: an archive that `unpack_safely` refuses.
    """
    name = _checked_name(url)
    digest = _checked_digest(sha256)
    if isinstance(max_bytes, bool) or not isinstance(max_bytes, int) or max_bytes <= 0:
        raise UsageError("max_bytes", got=max_bytes, expected="a positive int")
    folder = data_home() if dest is None else Path(dest)
    file = folder / name
    suffix = next((end for end in ARCHIVE_SUFFIXES if name.lower().endswith(end)), "")
    unpacked = folder / name[: -len(suffix)] if unpack and suffix else None
    if unpacked is not None and unpacked.is_dir() and not file.exists():
        return unpacked
    if file.is_dir():
        raise UsageError(f"{file} is a folder, and the file of {url} would have this name", fix="Pass another dest.")
    is_other = digest is not None and file.exists() and sha256_of(file) != digest
    if is_other or not file.exists():
        if is_other and unpacked is not None and unpacked.is_dir():
            raise UsageError(
                f"{unpacked} is there, but {file}, which it was unpacked from, does not have the given sha256",
                fix="Move both away and call again.",
            )
        folder.mkdir(parents=True, exist_ok=True)
        _fetch(url, file, digest, max_bytes)
    if unpacked is None or unpacked.is_dir():
        return unpacked or file
    return unpack_safely(file, unpacked)


def _checked_name(url: str) -> str:
    if reason := _refusal(url):
        raise UsageError("url", got=url, expected=f"an https address ({reason})")
    name = urlsplit(url).path.rpartition("/")[2]
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"url {url!r}: its last part is no plain file name",
            got=name, expected="1 to 100 of A-Z a-z 0-9 . _ -, the first no dot", fix="Fetch the file by hand.",
        )  # fmt: skip
    return name


def _refusal(url: str) -> str:
    """Why this address is not fetched; empty if it is."""
    if not isinstance(url, str) or re.search(r"[^!-~]", url):
        return "a str of printable ASCII characters"
    try:
        parts = urlsplit(url)
        _ = parts.port  # read when asked for
    except ValueError as error:
        return str(error)
    if not parts.hostname or "@" in parts.netloc or "\\" in parts.netloc:
        return "with a host, and no password in it"
    if parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOCAL):
        return ""
    return f"{parts.scheme or 'no scheme'} is not fetched"


def _checked_digest(sha256: str | None) -> str | None:
    if sha256 is not None and not (isinstance(sha256, str) and re.fullmatch("[0-9a-fA-F]{64}", sha256)):
        raise UsageError("sha256", got=sha256, expected="64 hex digits, or None")
    return sha256.lower() if sha256 else None


def _fetch(url: str, file: Path, digest: str | None, max_bytes: int) -> None:
    part = file.with_name(f"{file.name}.part")
    if part.is_symlink():
        part.unlink()  # nothing is written where somebody else's link leads
    try:
        _stream(url, part, max_bytes)
    except DownloadError:
        raise
    except (OSError, HTTPException, ValueError) as error:  # ValueError: a redirect to what is no address
        if isinstance(error, HTTPError):
            error.close()
        raise DownloadError(
            f"{url} cannot be fetched ({error})",
            fix=f"Call again (what has come is kept), or fetch it by hand and put it at {file}.",
        ) from error
    if digest is not None and (found := sha256_of(part)) != digest:
        part.unlink()
        raise DownloadError(
            f"{url}: sha256 of the content", got=found, expected=digest,
            fix="It was deleted. Call again; if that does not help, the file on the server is another one.",
        )  # fmt: skip
    os.replace(part, file)


def _stream(url: str, part: Path, max_bytes: int) -> None:
    """Fetch what the part lacks."""
    have = part.stat().st_size if part.exists() else 0
    response, total = _answer(url, have)
    with response:
        if total is None:  # from the start
            have, total = 0, response.length
        if total is not None and total > max_bytes:
            raise _too_large(url, total, max_bytes)
        with part.open("ab" if have else "wb") as out:
            while chunk := response.read(CHUNK):
                have += len(chunk)
                if have > max_bytes:
                    break
                out.write(chunk)
    if have > max_bytes:
        part.unlink()
        raise _too_large(url, have, max_bytes)
    if total is not None and have != total:
        raise DownloadError(
            f"{url}: the connection was cut after {have:,} of {total:,} bytes; they are kept in {part}",
            fix="Call again to continue.",
        )


def _answer(url: str, have: int) -> tuple[HTTPResponse, int | None]:
    """The response, and the size of the whole file where it goes on after the first `have` bytes."""
    if have:
        try:
            response = _ask(url, {"Range": f"bytes={have}-"})
        except HTTPError as error:
            if error.code != 416:  # there is nothing after these bytes
                raise
            error.close()
        else:
            span = re.fullmatch(rf"bytes {have}-(\d+)/(\d+)", response.headers.get("Content-Range", ""))
            if response.status == 206 and span and int(span[1]) + 1 == int(span[2]):
                return response, int(span[2])
            if response.status == 200:
                return response, None
            response.close()
    response = _ask(url, {})
    if response.status != 200:
        response.close()
        raise DownloadError(f"{url}: the server answered with status {response.status}", expected="200")
    return response, None


def _ask(url: str, headers: Mapping[str, str]) -> HTTPResponse:
    proxies = urllib.request.ProxyHandler({} if _is_local(url) else None)
    opener = urllib.request.build_opener(proxies, _SafeRedirects)
    plain = {"User-Agent": "learnkit", "Accept-Encoding": "identity"}
    response = opener.open(urllib.request.Request(url, headers={**plain, **headers}), timeout=TIMEOUT)
    assert isinstance(response, HTTPResponse)  # neither a file nor ftp
    return response


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Goes on only to what `download` would take itself, and from no other machine to this one."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        reason = _refusal(newurl)
        if not reason and _is_local(newurl) and not _is_local(req.full_url):
            reason = "it is on this machine"
        if reason:
            fp.close()
            raise DownloadError(f"{req.full_url} redirects to {newurl!r}, which is not fetched: {reason}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _is_local(url: str) -> bool:
    return urlsplit(url).hostname in _LOCAL


def _too_large(url: str, size: int, max_bytes: int) -> DownloadError:
    return DownloadError(
        f"{url}: size of the file", got=size, expected=f"at most {max_bytes:,} bytes", fix="Pass a larger max_bytes."
    )
