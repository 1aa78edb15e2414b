"""Images from a list of addresses: kept, named by their content, or listed with what went wrong."""

import io
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

from learnkit import download_images, get_image_files
from learnkit.errors import MissingFileError, UsageError
from tests.doubles import refused, serving


def encoded(kind: str, value: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (20, 20), (value, 0, 0)).save(out, kind)
    return out.getvalue()


FILES = {
    "/a/image.jpg": encoded("PNG", 10),  # under a name that is wrong
    "/b/image.jpg": encoded("JPEG", 200),
    "/noname": encoded("GIF", 30),
    "/page.jpg": b"<html>not an image</html>",
    "/cut.png": encoded("PNG", 40)[:60],
}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        content = FILES.get(self.path)
        if content is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def base(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    with serving(server, monkeypatch):
        yield f"http://127.0.0.1:{server.server_port}"


def test_images_are_kept_and_failures_listed(base: str, tmp_path: Path) -> None:
    urls = [f"{base}{path}" for path in (*FILES, "/missing.jpg")] + ["ftp://example.com/a.jpg"]
    table = download_images(urls, tmp_path / "cats", num_threads=3)
    assert table["url"].tolist() == urls
    found = [None if path is None else path.name for path in table["path"]]
    assert found == ["00000000.png", "00000001.jpg", "00000002.gif", None, None, None, None]
    assert [error == "" for error in table["error"]] == [True] * 3 + [False] * 4
    assert "404" in table["error"][5]
    assert "https" in table["error"][6]
    assert [file.name for file in get_image_files(tmp_path)] == ["00000000.png", "00000001.jpg", "00000002.gif"]
    others = [file.name for file in (tmp_path / "cats").iterdir() if not file.name.endswith(".url")]
    assert sorted(others) == ["00000000.png", "00000001.jpg", "00000002.gif"]  # nothing else is left
    assert table["path"][0].read_bytes() == FILES["/a/image.jpg"]
    assert table["path"][1].read_bytes() == FILES["/b/image.jpg"]


def test_what_is_there_is_not_fetched_again(base: str, tmp_path: Path) -> None:
    first = download_images([f"{base}/a/image.jpg"], tmp_path)
    again = download_images([f"{base}/a/image.jpg"], tmp_path)
    assert again.equals(first)
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(FILES, "/a/image.jpg", b"")  # nothing is asked of the server
        assert download_images([f"{base}/a/image.jpg"], tmp_path).equals(first)


def test_a_file_of_another_address_is_not_taken_for_this_one(base: str, tmp_path: Path) -> None:
    download_images([f"{base}/a/image.jpg"], tmp_path)
    other = download_images([f"{base}/b/image.jpg"], tmp_path)
    assert other["path"][0] is None
    assert f"00000000.png is that of {base}/a/image.jpg" in other["error"][0]
    again = download_images([f"{base}/b/image.jpg"], tmp_path, names=["b.jpg"])
    assert again["path"][0] == tmp_path / "b.jpg"
    assert again["path"][0].read_bytes() == FILES["/b/image.jpg"]


def test_addresses_that_are_no_list_are_refused(base: str, tmp_path: Path) -> None:
    listed = tmp_path / "urls.txt"
    listed.write_text(f"\ufeff{base}/a/image.jpg\n\n", encoding="utf-8")
    assert download_images(listed, tmp_path / "cats")["error"].tolist() == [""]
    for wrong in (tmp_path / "none.txt", tmp_path):
        with pytest.raises(MissingFileError, match=r"no file .* of addresses"):
            download_images(wrong, tmp_path)
    for table in (pd.DataFrame({"url": [base]}), None, 3):
        with pytest.raises(UsageError, match=r"urls: got .*expected a list of addresses"):
            download_images(table, tmp_path)  # type: ignore[arg-type]


def test_files_have_the_names_that_are_given(base: str, tmp_path: Path) -> None:
    table = download_images([f"{base}/a/image.jpg", f"{base}/b/image.jpg"], tmp_path, names=["x", "y"], max_pics=1)
    assert table["path"].tolist() == [tmp_path / "x.png"]


def test_a_text_file_holds_one_address_a_line(base: str, tmp_path: Path) -> None:
    (tmp_path / "urls.txt").write_text(f"{base}/a/image.jpg\n\n{base}/b/image.jpg \n")
    assert download_images(tmp_path / "urls.txt", tmp_path / "out")["error"].tolist() == ["", ""]


@pytest.mark.parametrize("names", [["a"], ["a", "a"], ["a", "../b"], ["a", ".b"], ["a", ""], ["a", "b/c"]])
def test_names_that_cannot_be_those_of_files_are_refused(names: list[str], tmp_path: Path) -> None:
    with refused("names"):
        download_images(["https://example.com/1", "https://example.com/2"], tmp_path / "out", names=names)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["num_threads", "max_bytes", "max_pics"])
@pytest.mark.parametrize("value", [0, 1.5])
def test_numbers_are_checked(name: str, value: Any, tmp_path: Path) -> None:
    with refused(name, got=value):
        download_images(["https://example.com/1"], tmp_path, **{name: value})


def test_one_address_as_text_is_refused(tmp_path: Path) -> None:
    with refused("urls"):
        download_images("https://example.com/1.jpg", tmp_path)
