"""The images that items name: their order, and what is refused at once."""

import sys
from pathlib import Path

import pytest

from learnkit.cli.inputs import Input, inputs_of
from learnkit.errors import DataError, MissingFileError, UsageError


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """photos/{a/1.jpg, a/b/2.png, 3.jpg, notes.txt}; only the names matter."""
    for name in ("a/1.jpg", "a/b/2.png", "3.jpg", "notes.txt"):
        file = tmp_path / "photos" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    return tmp_path / "photos"


def paths(*items: str) -> list[str]:
    return [one.path for one in inputs_of(items, null=False)]


def test_items_keep_their_order_and_what_a_folder_holds_is_sorted(photos: Path) -> None:
    assert paths("photos/3.jpg", "photos", "photos/notes.txt") == [
        "photos/3.jpg", "photos/3.jpg", "photos/a/1.jpg", "photos/a/b/2.png", "photos/notes.txt",
    ]  # fmt: skip


def test_images_of_a_folder_are_named_relative_to_it(photos: Path) -> None:
    assert list(inputs_of(["photos/a", "photos/3.jpg"], null=False)) == [
        Input("photos/a/1.jpg", "1.jpg"), Input("photos/a/b/2.png", "b/2.png"), Input("photos/3.jpg", "3.jpg"),
    ]  # fmt: skip


def test_patterns_find_files_and_folders(photos: Path) -> None:
    assert paths("photos/*.jpg") == ["photos/3.jpg"]
    assert paths("photos/**/*.png") == ["photos/a/b/2.png"]
    assert paths("photos/[a]") == ["photos/a/1.jpg", "photos/a/b/2.png"]


def test_a_file_whose_name_looks_like_a_pattern_is_itself(photos: Path) -> None:
    (photos / "x[1].jpg").touch()
    assert paths("photos/x[1].jpg") == ["photos/x[1].jpg"]


@pytest.mark.parametrize(
    ("item", "error"),
    [
        ("photos/none.jpg", MissingFileError),
        ("photos/*.gif", MissingFileError),
        ("empty", DataError),
        ("https://example.org/a.jpg", UsageError),
        ("s3://bucket/*.jpg", UsageError),
    ],
)
def test_what_is_not_there_is_an_error_before_the_first_image(photos: Path, item: str, error: type[Exception]) -> None:
    Path("empty").mkdir()
    with pytest.raises(error, match=item.replace("*", "\\*")):
        inputs_of(["photos/3.jpg", item], null=False)


def test_names_of_stdin_take_the_place_of_the_dash(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("names").write_bytes(b"b \xff.jpg\r\n\nsub/c.jpg")
    with Path("names").open() as names:
        monkeypatch.setattr(sys, "stdin", names)
        found = list(inputs_of(["photos/3.jpg", "-", "photos/a/1.jpg"], null=False))
    assert [one.path for one in found] == ["photos/3.jpg", "b \udcff.jpg", "sub/c.jpg", "photos/a/1.jpg"]
    assert found[2].name == "c.jpg"


def test_a_url_on_stdin_is_refused(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("names").write_bytes(b"a.jpg\0http://example.org/b.jpg")
    with Path("names").open() as names:
        monkeypatch.setattr(sys, "stdin", names)
        with pytest.raises(UsageError, match="is a URL"):
            list(inputs_of(["-"], null=True))


NOTHING = {"nothing": b"", "empty lines": b"\n\r\n\n", "one line break": b"\n"}


@pytest.mark.parametrize("null", [False, True])
@pytest.mark.parametrize("content", NOTHING)
def test_stdin_without_a_name_is_an_error(
    photos: Path, monkeypatch: pytest.MonkeyPatch, content: str, null: bool
) -> None:
    Path("names").write_bytes(NOTHING[content].replace(b"\r\n", b"\n").replace(b"\n", b"\0" if null else b"\n"))
    with Path("names").open() as names:
        monkeypatch.setattr(sys, "stdin", names)
        with pytest.raises(DataError, match="no names on stdin, so there is nothing to predict"):
            list(inputs_of(["-"], null=null))


def test_with_other_items_stdin_may_be_empty(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("names").touch()
    with Path("names").open() as names:
        monkeypatch.setattr(sys, "stdin", names)
        assert [one.path for one in inputs_of(["-", "photos/3.jpg"], null=False)] == ["photos/3.jpg"]


def test_a_closed_stdin_is_refused(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)  # as Python sets it after `<&-`
    with pytest.raises(UsageError, match="stdin is closed"):
        list(inputs_of(["-"], null=False))


def test_stdin_that_cannot_be_read_is_refused(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Path("names").open("w") as names:  # for writing only
        monkeypatch.setattr(sys, "stdin", names)
        with pytest.raises(UsageError, match="stdin cannot be read"):
            list(inputs_of(["-"], null=False))
