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
from urllib.request import Request

import pytest

from learnkit.data.download import _SafeRedirects, data_home, download
from learnkit.errors import CorruptFileError, DownloadError, UsageError

BODY = bytes(range(256)) * 300
SHA256 = hashlib.sha256(BODY).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves one body under every name, as badly as it is told."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.body = BODY
        self.cut_after: int | None = None  # bytes of an answer, whatever was declared
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
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def cut(server: Server, folder: Path, after: int = 40_000) -> Path:
    """The part that a cut connection leaves."""
    server.cut_after = after
    with pytest.raises(DownloadError, match=r"cut after .* of 76,800 bytes; they are kept in .*\.part.*Call again"):
        download(server.url(), folder)
    server.cut_after = None
    server.asked.clear()
    part = folder / "data.bin.part"
    assert part.read_bytes() == BODY[:after]
    assert list(folder.iterdir()) == [part]
    return part


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


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


def test_the_query_is_no_part_of_the_name(server: Server, tmp_path: Path) -> None:
    assert download(server.url("v1.0_x-y.bin?raw=1#top"), str(tmp_path)) == tmp_path / "v1.0_x-y.bin"


def test_files_go_to_the_data_home(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = Path(os.environ["XDG_CACHE_HOME"])
    assert download(server.url()) == data_home() / "data.bin" == cache / "learnkit" / "data" / "data.bin"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert data_home() == Path(os.environ["HOME"]) / ".cache" / "learnkit" / "data"
    monkeypatch.setenv("LEARNKIT_HOME", str(tmp_path / "mine"))
    assert data_home() == tmp_path / "mine" / "data"


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
    with pytest.raises(
        DownloadError, match=f"got '{hashlib.sha256(b'evil').hexdigest()}', expected {SHA256}"
    ) as caught:
        download(server.url(), tmp_path, sha256=SHA256)
    assert isinstance(caught.value, OSError)
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
        ("ignored", ["bytes=40000-"]),
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
    with pytest.raises(DownloadError, match=r"expected at most 70,000 bytes. Pass a larger max_bytes\."):
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
def test_a_redirect_to_what_is_not_fetched_is_refused(server: Server, tmp_path: Path, target: str) -> None:
    server.redirect = target
    with pytest.raises(DownloadError, match=r"not allowed|not fetched|cannot be fetched"):
        download(server.url(), tmp_path)
    assert names(tmp_path) == []
    assert len(server.asked) == 1


def test_every_hop_is_checked(server: Server, tmp_path: Path) -> None:
    with Server() as second:
        thread = threading.Thread(target=second.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        second.redirect = "http://example.com/data.bin"
        server.redirect = second.url()
        with pytest.raises(DownloadError, match=r"redirects to 'http://example\.com/data\.bin'.*http is not fetched"):
            download(server.url(), tmp_path)
        second.shutdown()
        thread.join()
    assert (server.asked, second.asked) == ([None], [None])


def test_no_other_machine_may_redirect_to_this_one() -> None:
    request = Request("https://example.com/data.bin")
    with pytest.raises(DownloadError, match="it is on this machine"):
        _SafeRedirects().redirect_request(
            request, io.BytesIO(), 302, "Found", HTTPMessage(), "http://127.0.0.1:8080/data.bin"
        )


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
        None,
    ],
)
def test_an_address_that_is_not_fetched_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(UsageError, match=r"url: got .* expected an https address"):
        download(url, tmp_path / "new")
    assert names(tmp_path) == []


@pytest.mark.parametrize("name", ["", "..", ".hidden", "a%2f..%2fb", "a%00", "a:b", "x" * 101, "..\\x", "a;b"])
def test_a_name_that_is_no_plain_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"last part is no plain file name: got .* the first no dot"):
        download(f"https://example.com/{name}", tmp_path / "new")
    assert names(tmp_path) == []


@pytest.mark.parametrize("sha256", ["", "abc", "g" * 64, SHA256 + "0", 5])
def test_a_digest_that_is_none_is_refused(tmp_path: Path, sha256: str) -> None:
    with pytest.raises(UsageError, match=r"sha256: got .* expected 64 hex digits"):
        download("https://example.com/x.bin", tmp_path, sha256=sha256)


@pytest.mark.parametrize("max_bytes", [0, -1, 1.5, True, None])
def test_a_size_that_is_none_is_refused(tmp_path: Path, max_bytes: int) -> None:
    with pytest.raises(UsageError, match=r"max_bytes: got .* expected a positive int"):
        download("https://example.com/x.bin", tmp_path, max_bytes=max_bytes)


def test_without_a_connection_the_error_says_where_to_put_the_file(server: Server, tmp_path: Path) -> None:
    with Server() as gone:
        url = gone.url()
    with pytest.raises(DownloadError, match=f"{url} cannot be fetched .*refused.*by hand and put it at .*data.bin"):
        download(url, tmp_path)
    assert names(tmp_path) == []


def test_an_error_of_the_server_is_told(server: Server, tmp_path: Path) -> None:
    server.status = 404
    with pytest.raises(DownloadError, match=r"cannot be fetched \(HTTP Error 404"):
        download(server.url(), tmp_path)
    server.status = 203
    with pytest.raises(DownloadError, match="status 203: expected 200"):
        download(server.url(), tmp_path)
    assert names(tmp_path) == []


def test_a_folder_of_the_name_of_the_file_is_refused(server: Server, tmp_path: Path) -> None:
    (tmp_path / "data.bin").mkdir()
    with pytest.raises(UsageError, match=r"data\.bin is a folder"):
        download(server.url(), tmp_path)


def test_an_archive_is_unpacked_once(server: Server, tmp_path: Path) -> None:
    server.body = tar_gz(cat=b"miau")
    folder = download(server.url("pets.v1.TAR.gz"), tmp_path)
    assert folder == tmp_path / "pets.v1"
    assert (folder / "cat").read_bytes() == b"miau"
    (folder / "cat").write_bytes(b"mine")
    assert download(server.url("pets.v1.TAR.gz"), tmp_path) == folder
    (tmp_path / "pets.v1.TAR.gz").unlink()
    assert download(server.url("pets.v1.TAR.gz"), tmp_path) == folder
    assert (folder / "cat").read_bytes() == b"mine"
    assert len(server.asked) == 1


def test_an_archive_may_stay_packed(server: Server, tmp_path: Path) -> None:
    server.body = tar_gz(cat=b"miau")
    assert download(server.url("pets.tgz"), tmp_path, unpack=False) == tmp_path / "pets.tgz"
    assert names(tmp_path) == ["pets.tgz"]
    assert download(server.url("pets.tgz"), tmp_path) == tmp_path / "pets"
    assert len(server.asked) == 1


def test_what_is_compressed_but_no_archive_stays_a_file(server: Server, tmp_path: Path) -> None:
    server.body = gzip.compress(b"text")
    assert download(server.url("notes.txt.gz"), tmp_path).read_bytes() == server.body


def test_a_damaged_archive_leaves_no_folder(server: Server, tmp_path: Path) -> None:
    server.body = tar_gz(cat=os.urandom(5000))[:2000]
    with pytest.raises(CorruptFileError, match=r"pets\.tgz is .*cut short"):
        download(server.url("pets.tgz"), tmp_path)
    assert names(tmp_path) == ["pets.tgz"]


def test_the_folder_of_another_archive_is_not_taken_for_the_new_one(server: Server, tmp_path: Path) -> None:
    server.body = tar_gz(cat=b"miau")
    download(server.url("pets.tgz"), tmp_path)
    server.body = tar_gz(cat=b"meow")
    sha256 = hashlib.sha256(server.body).hexdigest()
    with pytest.raises(UsageError, match=r"pets is there, but .*pets\.tgz.* Move both away"):
        download(server.url("pets.tgz"), tmp_path, sha256=sha256)
    (tmp_path / "pets").rename(tmp_path / "old")
    folder = download(server.url("pets.tgz"), tmp_path, sha256=sha256)
    assert (folder / "cat").read_bytes() == b"meow"
