"""Downloads, from a server in a thread: what is kept, what is continued, and what is refused."""

import gzip
import hashlib
import io
import os
import tarfile
import threading
from collections.abc import Iterator
from http.client import HTTPMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.request import Request

import pytest

from learnkit.data.download import _SafeRedirects, download
from learnkit.errors import CorruptFileError, DownloadError, UnsafeFileError, UsageError, WriteError
from tests.doubles import refused, serving

BODY = bytes(range(256)) * 300
SHA256 = hashlib.sha256(BODY).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves one body under every name, with the faults that its attributes request."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.body = BODY
        self.cut_after: int | None = None  # bytes of a response, whatever was declared
        self.redirect: str | None = None
        self.declares_length = True
        self.ranges = "right"  # or "ignored", "wrong", "refused", "shorter"
        self.status = 200
        self.asked: list[str | None] = []  # the Range of every request

    def url(self, name: str = "data.bin", host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.server_port}/some/{name}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server, asked = self.server, self.headers["Range"]
        server.asked.append(asked)
        if server.redirect and "moved" not in self.path:
            self.send_response(302)
            self.send_header("Location", server.redirect)
            self.end_headers()
            return
        first, status = 0, server.status
        if asked and server.ranges != "ignored":
            first, status = int(asked.removeprefix("bytes=").removesuffix("-")), 206
            if server.ranges == "refused" or first >= len(server.body):
                self.send_error(416)
                return
        content = server.body[first:]
        self.send_response(status)
        if status == 206:
            start = first - 1 if server.ranges == "wrong" else first
            end = len(server.body) - (2 if server.ranges == "shorter" else 1)
            self.send_header("Content-Range", f"bytes {start}-{end}/{len(server.body)}")
        if server.declares_length:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: server.cut_after])

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    running = Server()
    with serving(running, monkeypatch):
        yield running


def cut(server: Server, folder: Path, after: int = 40_000) -> Path:
    """The part left by a broken connection."""
    server.cut_after = after
    with pytest.raises(DownloadError, match=r"cut after .* of 76,800 bytes; they are kept in .*\.part.*Call again"):
        download(server.url(), folder)
    server.cut_after = None
    server.asked.clear()
    part = folder / "data.bin.part"
    assert part.read_bytes() == BODY[:after]
    assert names(folder) == [part.name]
    return part


def names(folder: Path) -> list[str]:
    """The files in a folder, without those that keep their addresses."""
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".url")


def tar_gz(**files: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("sha256", [None, SHA256, SHA256.upper()])
def test_a_file_is_fetched(server: Server, tmp_path: Path, sha256: str | None, host: str) -> None:
    file = download(server.url(host=host), tmp_path / "a" / "b", sha256=sha256)
    assert file == tmp_path / "a" / "b" / "data.bin"
    assert file.read_bytes() == BODY
    assert names(file.parent) == ["data.bin"]


def test_the_query_is_not_part_of_the_name(server: Server, tmp_path: Path) -> None:
    assert download(server.url("v1.0_x-y.bin?raw=1#top"), str(tmp_path)) == tmp_path / "v1.0_x-y.bin"


def test_files_go_to_the_cache_folder(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert download(server.url()) == Path(os.environ["XDG_CACHE_HOME"]) / "learnkit" / "data" / "data.bin"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert download(server.url()) == Path(os.environ["HOME"]) / ".cache" / "learnkit" / "data" / "data.bin"
    monkeypatch.setenv("LEARNKIT_HOME", str(tmp_path / "mine"))
    assert download(server.url()) == tmp_path / "mine" / "data" / "data.bin"


@pytest.mark.parametrize("sha256", [None, SHA256])
def test_a_file_is_not_fetched_twice(server: Server, tmp_path: Path, sha256: str | None) -> None:
    download(server.url(), tmp_path)
    assert download(server.url(), tmp_path, sha256=sha256) == tmp_path / "data.bin"
    assert len(server.asked) == 1


def test_a_file_with_another_sha256_is_fetched_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "data.bin").write_bytes(b"old")
    assert download(server.url(), tmp_path, sha256=SHA256).read_bytes() == BODY
    assert names(tmp_path) == ["data.bin"]


def test_wrong_bytes_are_deleted_and_the_old_file_stays(server: Server, tmp_path: Path) -> None:
    (tmp_path / "data.bin").write_bytes(b"old")
    server.body = b"evil"
    got = hashlib.sha256(b"evil").hexdigest()
    with refused(f"{server.url()}: sha256 of the content", DownloadError, got=got, expected=SHA256):
        download(server.url(), tmp_path, sha256=SHA256)
    assert names(tmp_path) == ["data.bin"]
    assert (tmp_path / "data.bin").read_bytes() == b"old"


def test_a_cut_download_is_continued(server: Server, tmp_path: Path) -> None:
    cut(server, tmp_path, after=38_400)
    assert download(server.url(), tmp_path, sha256=SHA256).read_bytes() == BODY
    assert server.asked == ["bytes=38400-"]
    assert names(tmp_path) == ["data.bin"]


def test_a_download_cut_twice_is_continued_twice(server: Server, tmp_path: Path) -> None:
    cut(server, tmp_path, after=30_000)
    server.cut_after = 30_000
    with pytest.raises(DownloadError, match="cut after 60,000 of 76,800 bytes"):
        download(server.url(), tmp_path)
    assert download(server.url(), tmp_path).read_bytes() == BODY
    assert server.asked == ["bytes=30000-", "bytes=60000-"]


@pytest.mark.parametrize(
    ("ranges", "asked"),
    [
        ("ignored", ["bytes=40000-", None]),
        ("wrong", ["bytes=40000-", None]),
        ("shorter", ["bytes=40000-", None]),
        ("refused", ["bytes=40000-", None]),
    ],
)
def test_a_server_that_cannot_continue_starts_again(
    server: Server, tmp_path: Path, ranges: str, asked: list[str | None]
) -> None:
    cut(server, tmp_path)
    server.ranges = ranges
    assert download(server.url(), tmp_path).read_bytes() == BODY
    assert server.asked == asked


@pytest.mark.parametrize("part", [BODY, BODY + b"more"])
def test_a_part_with_nothing_left_to_fetch_is_fetched_again(server: Server, tmp_path: Path, part: bytes) -> None:
    (tmp_path / "data.bin.part").write_bytes(part)
    assert download(server.url(), tmp_path, sha256=SHA256).read_bytes() == BODY


def test_a_part_of_another_file_is_noticed_by_its_sha256(server: Server, tmp_path: Path) -> None:
    (tmp_path / "data.bin.part").write_bytes(b"x" * 1000)
    with pytest.raises(DownloadError, match=r"sha256 .* It was deleted\. Call again"):
        download(server.url(), tmp_path, sha256=SHA256)
    assert download(server.url(), tmp_path, sha256=SHA256).read_bytes() == BODY


def test_a_link_in_place_of_the_part_is_not_followed(server: Server, tmp_path: Path) -> None:
    mine = tmp_path / "mine.txt"
    mine.write_text("mine")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "data.bin.part").symlink_to(mine)
    assert download(server.url(), tmp_path / "in").read_bytes() == BODY
    assert mine.read_text() == "mine"


@pytest.mark.parametrize(("declares_length", "asked_twice"), [(True, False), (False, False), (True, True)])
def test_a_file_that_is_too_large_is_refused(
    server: Server, tmp_path: Path, declares_length: bool, asked_twice: bool
) -> None:
    if asked_twice:
        cut(server, tmp_path)
    server.declares_length = declares_length
    with refused(
        f"{server.url()}: size of the file",
        DownloadError,
        got=len(BODY),
        expected="at most 70,000 bytes",
        fix="Pass a larger max_bytes.",
    ):
        download(server.url(), tmp_path, max_bytes=70_000)
    assert names(tmp_path) == (["data.bin.part"] if asked_twice else [])
    assert download(server.url(), tmp_path, max_bytes=len(BODY)).read_bytes() == BODY


@pytest.mark.parametrize(
    "target",
    [
        "file:///etc/passwd",
        "http://example.com/data.bin",
        "ftp://example.com/data.bin",
        "data:,hello",
        "https://user:word@example.com/data.bin",
        "http://127.0.0.1@example.com/data.bin",
        "http://[broken/data.bin",
    ],
)
def test_a_redirect_to_an_unsupported_address_is_refused(server: Server, tmp_path: Path, target: str) -> None:
    server.redirect = target
    with pytest.raises(DownloadError, match=r"not allowed|expected an https address|cannot be fetched"):
        download(server.url(), tmp_path)
    assert names(tmp_path) == []
    assert len(server.asked) == 1


def test_every_hop_is_checked(server: Server, tmp_path: Path) -> None:
    with Server() as second:
        thread = threading.Thread(target=second.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        second.redirect = "http://example.com/data.bin"
        server.redirect = second.url()
        with refused(f"{second.url()}: redirect", DownloadError, got="http://example.com/data.bin"):
            download(server.url(), tmp_path)
        second.shutdown()
        thread.join()
    assert (server.asked, second.asked) == ([None], [None])


def redirected(target: str) -> Request | None:
    request = Request("https://example.com/data.bin")
    return _SafeRedirects().redirect_request(request, io.BytesIO(), 302, "Found", HTTPMessage(), target)


def test_another_machine_may_not_redirect_to_this_one() -> None:
    with refused("https://example.com/data.bin: redirect", DownloadError, got="http://127.0.0.1:8080/data.bin"):
        redirected("http://127.0.0.1:8080/data.bin")
    followed = redirected("https://cdn.example.com:8443/data.bin")
    assert followed is not None
    assert followed.full_url == "https://cdn.example.com:8443/data.bin"


def test_a_good_redirect_keeps_the_name_and_the_range(server: Server, tmp_path: Path) -> None:
    cut(server, tmp_path)
    server.redirect = server.url("moved")
    assert download(server.url(), tmp_path) == tmp_path / "data.bin"
    assert (tmp_path / "data.bin").read_bytes() == BODY
    assert server.asked == ["bytes=40000-", "bytes=40000-"]


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/x.bin",
        "file:///etc/passwd",
        "ftp://example.com/x.bin",
        "/etc/passwd",
        "https:///x.bin",
        "https://user:word@example.com/x.bin",
        "https://example.com:port/x.bin",
        "https://exa mple.com/x.bin",
        "https://example.com/x.bin\r\nHost: y",
        "http://127.0.0.1.example.com/x.bin",
        "http://127x0.0.1/x.bin",
        "https://example.com\\@localhost/x.bin",
        "https://example.com/\u00e9.bin",
        "xhttps://example.com/x.bin",
        "https://example.com",
        None,
    ],
)
def test_an_unsupported_address_is_refused(tmp_path: Path, url: str) -> None:
    with refused("url" if url != "https://example.com" else f"url {url!r}: its last part is not a plain file name"):
        download(url, tmp_path / "new")
    assert names(tmp_path) == []


@pytest.mark.parametrize("name", ["", "..", ".hidden", "a%2f..%2fb", "a%00", "a:b", "x" * 101, "..\\x", "a;b"])
def test_a_name_that_is_not_a_plain_file_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"last part is not a plain file name: got .* not starting with a dot"):
        download(f"https://example.com/{name}", tmp_path / "new")
    assert names(tmp_path) == []


@pytest.mark.parametrize("sha256", ["", "abc", "g" * 64, SHA256 + "0", 5])
def test_an_invalid_sha256_is_refused(tmp_path: Path, sha256: str) -> None:
    with refused("sha256", got=sha256):
        download("https://example.com/x.bin", tmp_path, sha256=sha256)


@pytest.mark.parametrize("name", ["max_bytes", "max_unpacked"])
@pytest.mark.parametrize("limit", [0, -1, 1.5, True, "9"])
def test_an_invalid_limit_is_refused(tmp_path: Path, name: str, limit: Any) -> None:
    with refused(name, got=limit):
        download("https://example.com/x.bin", tmp_path, **{name: limit})


def test_without_a_connection_the_error_names_where_to_put_the_file(server: Server, tmp_path: Path) -> None:
    with Server() as gone:
        url = gone.url()
    with pytest.raises(DownloadError, match=f"{url} cannot be fetched .*refused.*by hand and put it at .*data.bin"):
        download(url, tmp_path)
    assert names(tmp_path) == []


def test_an_error_of_the_server_is_reported(server: Server, tmp_path: Path) -> None:
    server.status = 404
    with pytest.raises(DownloadError, match=r"cannot be fetched \(HTTP Error 404"):
        download(server.url(), tmp_path)
    server.status = 203
    with refused(f"{server.url()}: status of the server", DownloadError, got=203, expected="200"):
        download(server.url(), tmp_path)
    assert names(tmp_path) == []


def test_a_file_in_place_of_the_folder_is_refused(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(WriteError, match="file could not be written"):
        download(server.url(), tmp_path / "file")
    server.body = tar_gz(cat=b"meow")
    (tmp_path / "pets").write_text("mine")
    with pytest.raises(UsageError, match="pets exists already"):
        download(server.url("pets.tgz"), tmp_path)
    assert (tmp_path / "file").read_text() == (tmp_path / "pets").read_text() == "mine"


def test_a_folder_of_the_name_of_the_file_is_refused(server: Server, tmp_path: Path) -> None:
    (tmp_path / "data.bin").mkdir()
    with pytest.raises(UsageError, match=r"data\.bin is a folder"):
        download(server.url(), tmp_path)


def test_an_archive_is_unpacked_once(server: Server, tmp_path: Path) -> None:
    server.body = tar_gz(cat=b"purr")
    folder = download(server.url("pets.v1.TAR.gz"), tmp_path)
    assert folder == tmp_path / "pets.v1"
    assert (folder / "cat").read_bytes() == b"purr"
    (folder / "cat").write_bytes(b"mine")
    assert download(server.url("pets.v1.TAR.gz"), tmp_path) == folder
    (tmp_path / "pets.v1.TAR.gz").unlink()
    assert download(server.url("pets.v1.TAR.gz"), tmp_path) == folder
    assert (folder / "cat").read_bytes() == b"mine"
    assert len(server.asked) == 1


def test_an_archive_may_stay_packed(server: Server, tmp_path: Path) -> None:
    server.body = tar_gz(cat=b"purr")
    assert download(server.url("pets.tgz"), tmp_path, unpack=False) == tmp_path / "pets.tgz"
    assert names(tmp_path) == ["pets.tgz"]
    assert download(server.url("pets.tgz"), tmp_path) == tmp_path / "pets"
    assert len(server.asked) == 1


def test_a_compressed_file_that_is_not_an_archive_stays_a_file(server: Server, tmp_path: Path) -> None:
    server.body = gzip.compress(b"text")
    assert download(server.url("notes.txt.gz"), tmp_path).read_bytes() == server.body


def test_a_damaged_archive_leaves_no_folder(server: Server, tmp_path: Path) -> None:
    server.body = tar_gz(cat=os.urandom(5000))[:2000]
    with pytest.raises(CorruptFileError, match=r"pets\.tgz is .*truncated"):
        download(server.url("pets.tgz"), tmp_path)
    assert names(tmp_path) == ["pets.tgz"]


def test_the_unpacked_size_is_limited(server: Server, tmp_path: Path) -> None:
    server.body = tar_gz(cat=bytes(5000))
    with pytest.raises(UnsafeFileError, match=r"pets\.tgz: unpacked size") as caught:
        download(server.url("pets.tgz"), tmp_path, max_unpacked=4999)
    assert (caught.value.got, caught.value.expected) == (5000, "at most 4,999 bytes")
    assert names(tmp_path) == ["pets.tgz"]
    assert download(server.url("pets.tgz"), tmp_path, max_unpacked=5000) == tmp_path / "pets"


def test_the_folder_of_another_archive_is_not_taken_for_the_new_one(server: Server, tmp_path: Path) -> None:
    server.body = tar_gz(cat=b"purr")
    download(server.url("pets.tgz"), tmp_path)
    server.body = tar_gz(cat=b"meow")
    sha256 = hashlib.sha256(server.body).hexdigest()
    with pytest.raises(UsageError, match=r"pets exists, but .*pets\.tgz.* Move both away"):
        download(server.url("pets.tgz"), tmp_path, sha256=sha256)
    (tmp_path / "pets").rename(tmp_path / "old")
    folder = download(server.url("pets.tgz"), tmp_path, sha256=sha256)
    assert (folder / "cat").read_bytes() == b"meow"


def test_a_file_of_the_same_name_from_another_address_is_refused(server: Server, tmp_path: Path) -> None:
    first = download(server.url(), tmp_path)
    other = server.url().replace("/some/", "/other/")
    with pytest.raises(UsageError, match=r"data\.bin is that of .*/some/data\.bin, not of .*/other/data\.bin"):
        download(other, tmp_path)
    assert download(server.url(), tmp_path) == first
    assert download(other, tmp_path / "other") == tmp_path / "other" / "data.bin"
    assert download(other, tmp_path, sha256=SHA256) == first  # the same content


def test_an_archive_of_the_same_name_from_another_address_is_refused(server: Server, tmp_path: Path) -> None:
    server.body = tar_gz(a=b"1")
    download(server.url("set.tar.gz"), tmp_path)
    (tmp_path / "set.tar.gz").unlink()
    with pytest.raises(UsageError, match="another dest"):
        download(server.url("set.tar.gz").replace("/some/", "/other/"), tmp_path)


def test_a_part_of_another_address_is_not_continued(server: Server, tmp_path: Path) -> None:
    cut(server, tmp_path)
    file = download(server.url().replace("/some/", "/other/"), tmp_path)
    assert file.read_bytes() == BODY
    assert server.asked == [None]  # from its beginning
