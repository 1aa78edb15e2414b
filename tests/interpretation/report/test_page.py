"""The file that is written: its parts, its size, and names that cannot break out of it."""

import os
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from learnkit import ClassificationInterpretation
from learnkit.errors import ImageError
from learnkit.interpretation.report import ReportContent, content_of, write_report
from learnkit.interpretation.report.page import page_of
from learnkit.interpretation.report.thumbnails import Thumbnails

Interpret = Callable[..., ClassificationInterpretation]


class Outline(HTMLParser):
    """Tags with the names of their attributes, in order; titles are where long names are whole."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, tuple[str, ...]]] = []
        self.sources: list[str] = []
        self.open: list[str] = []
        self.ids: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, tuple(name for name, _ in attrs if name != "title")))
        self.sources += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "action")]
        self.ids += [value or "" for name, value in attrs if name == "id"]

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def text_of(interp: Any) -> str:
    content = content_of(interp)
    return page_of(content, Thumbnails(content.picture))


def sections(text: str) -> list[str]:
    return re.findall(r'<section id="(\w+)"', text)


def test_hostile_names_add_no_tag_and_no_attribute(interpret: Interpret, hostile: tuple[str, ...]) -> None:
    plain = tuple(f"class {number}" for number in range(len(hostile)))
    pages = [
        Outline(text_of(interpret(80, names, lambda i, names=names: f"{names[i % len(names)]}-{i}")))
        for names in (plain, hostile)
    ]
    assert pages[0].tags == pages[1].tags
    assert all(source.startswith(("data:", "#")) for source in pages[1].sources)
    words = "".join(pages[1].words)
    assert hostile[0] in words
    assert hostile[1] in words
    assert "\x1b" not in words
    assert "\x00" not in words
    assert "line␊break␍␉␀␛[31mred␛[0m" in words


def test_a_name_keeps_its_direction_to_itself(interpret: Interpret, hostile: tuple[str, ...]) -> None:
    text = text_of(interpret(80, (*hostile, "שלום")))
    assert "\u202e" not in text  # what would turn a title or a label around is seen
    assert re.search("<bdi[^>]*>�gnp.exe</bdi>", text)
    body = re.sub(r'"[^"]*"', "", text)  # attributes are not laid out
    assert body.count("שלום") == len(re.findall("<bdi[^>]*>שלום</bdi>", body)) > 3


def test_a_file_name_that_is_no_unicode_can_be_written(interpret: Interpret, tmp_path: Path) -> None:
    name = b"caf\xe9.png".decode("utf-8", "surrogateescape")
    content = content_of(interpret(6, names=lambda i: name))
    assert "caf�.png" in write_report(tmp_path / "report.html", content).read_text()


def test_the_policy_lets_nothing_be_fetched_or_run(interpret: Interpret) -> None:
    text = text_of(interpret(12))
    policy = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    assert policy == [
        "default-src &#x27;none&#x27;; img-src data:; style-src &#x27;unsafe-inline&#x27;; "
        "base-uri &#x27;none&#x27;; form-action &#x27;none&#x27;"
    ]
    tags = {tag for tag, _ in Outline(text).tags}
    assert not tags & {"script", "iframe", "object", "embed", "form", "base"}
    assert not any(name.startswith("on") for _, names in Outline(text).tags for name in names)
    style = text.partition("<style>")[2].partition("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style


def test_the_same_interpretation_gives_the_same_bytes(interpret: Interpret, tmp_path: Path) -> None:
    first, second = (write_report(tmp_path / name, content_of(interpret(20))) for name in ("a.html", "b.html"))
    assert first.read_bytes() == second.read_bytes()


def test_a_thousand_photos_stay_below_five_megabytes(
    interpret: Interpret, photo: Callable[[int], Any], tmp_path: Path
) -> None:
    photos = [photo(number) for number in range(8)]
    interp = interpret(1000, tuple("abcdefghij"), picture=lambda i: np.roll(photos[i % 8], i, axis=(0, 1)))
    file = write_report(tmp_path / "report.html", content_of(interp))
    size = file.stat().st_size
    assert size < 5_000_000
    text = file.read_text()
    opened = "".join(re.findall(r"<div popover=.*?</figure></div></div>", text))
    assert opened.count("<img ") == 1000
    assert 'width="112" height="112"' in opened


@pytest.mark.slow
@pytest.mark.skipif("REAL_DATA" not in os.environ, reason="REAL_DATA names no folder of photos")
def test_a_thousand_real_photos_stay_below_five_megabytes(interpret: Interpret, tmp_path: Path) -> None:
    files = sorted(Path(os.environ["REAL_DATA"]).rglob("*.jpg"))[:1000]

    def picture(i: int) -> Any:
        return np.asarray(Image.open(files[i % len(files)]).convert("RGB").resize((224, 224)))

    file = write_report(tmp_path / "report.html", content_of(interpret(1000, tuple("abcdefghij"), picture=picture)))
    assert file.stat().st_size < 5_000_000
    assert file.read_text().count("<img ") >= 1000


def test_pictures_give_way_before_the_page_grows(
    interpret: Interpret, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (100, 100, 3), dtype=np.uint8)
    content = content_of(interpret(60, picture=lambda i: noise))
    full = write_report(tmp_path / "full.html", content).stat().st_size
    monkeypatch.setattr("learnkit.interpretation.report.page.LARGEST_PAGE", full // 2)
    assert write_report(tmp_path / "half.html", content).stat().st_size <= full // 2


def test_a_cell_says_how_many_of_its_items_it_shows(interpret: Interpret) -> None:
    text = text_of(interpret(1500, ("a", "b"), picture=None))
    shown = re.findall(r"Showing (\d+) of ([\d,]+) items", text)
    opened = re.findall(r"<div popover=.*?</figure></div></div>", text)
    assert sum(part.count("<figure>") for part in opened) == 1000
    assert shown
    assert all(int(some) < int(every.replace(",", "")) for some, every in shown)


def test_items_without_pictures_are_listed_by_name(interpret: Interpret) -> None:
    text = text_of(interpret(30, picture=None))
    assert "<img " not in text
    assert "0007.png" in text


def test_a_picture_that_is_gone_is_said_so(interpret: Interpret) -> None:
    def picture(i: int) -> Any:
        if i == 3:
            raise ImageError("gone.png: no such file")
        return np.zeros((8, 8, 3), np.uint8)

    text = text_of(interpret(12, picture=picture))
    assert "cannot be read" in text
    assert text.count("<img ") > 10


def test_pictures_of_one_pixel_are_shown(interpret: Interpret) -> None:
    text = text_of(interpret(12, picture=lambda i: np.full((1, 1, 3), i, np.uint8)))
    assert 'width="1" height="1"' in text


@pytest.mark.parametrize("shape", [(1000, 1, 3), (1, 1000, 3)])
def test_pictures_that_are_lines_are_shown(interpret: Interpret, shape: tuple[int, int, int]) -> None:
    assert "<img " in text_of(interpret(6, picture=lambda i: np.zeros(shape, np.uint8)))


def scored(probs: Tensor, targets: list[int], losses: list[float], classes: tuple[str, ...]) -> Any:
    return ClassificationInterpretation(probs, torch.tensor(targets), torch.tensor(losses), classes)


def test_losses_that_are_nan_come_first_and_are_dashes() -> None:
    text = text_of(scored(torch.eye(2)[[0, 1, 0]], [0, 1, 1], [0.1, float("nan"), 2.0], ("a", "b")))
    losses = re.findall(r"loss (\S+?)</span>", text.partition('id="losses"')[2].partition("</section>")[0])
    assert losses == ["–", "2", "0.1"]


def test_probabilities_that_are_nan_leave_out_what_needs_them() -> None:
    text = text_of(scored(torch.full((2, 2), float("nan")), [0, 1], [float("nan")] * 2, ("a", "b")))
    assert "calibration" not in sections(text)
    assert "matrix" in sections(text)


def test_one_class_and_no_mistake() -> None:
    text = text_of(scored(torch.ones(3, 1), [0, 0, 0], [0.0, 0.0, 0.0], ("only",)))
    assert "100.0%" in text
    assert "No class was taken for another." in text
    assert "calibration" not in sections(text)


def test_a_class_without_items_has_dashes() -> None:
    text = text_of(scored(torch.eye(3)[[0, 1]], [0, 1], [0.0, 0.0], ("a", "b", "never")))
    rows = re.findall(r'<tr role="row" style[^>]*>(.*?)</tr>', text)
    assert "never" in rows[2]
    assert re.findall(r">([^<>]+)</td>", rows[2])[:2] == ["–", "–"]


def test_many_classes_are_listed_as_pairs(interpret: Interpret) -> None:
    text = text_of(interpret(600, tuple(f"class {k}" for k in range(41)), picture=None))
    assert 'class="matrix' not in text
    assert 'class="numbers pairs"' in text
    outline = Outline(text)
    assert len(outline.ids) == len(set(outline.ids))
    assert set(re.findall(r'popovertarget="([^"]+)"', text)) <= set(outline.ids)
    assert 'class="matrix' in text_of(interpret(600, tuple(f"class {k}" for k in range(40)), picture=None))


def test_only_what_there_is_has_a_section() -> None:
    empty = page_of(ReportContent("Nothing"), Thumbnails(None))
    assert sections(empty) == []
    assert "<h1>" in empty


def test_the_report_replaces_an_older_one_whole(interpret: Interpret, tmp_path: Path) -> None:
    file = tmp_path / "new" / "report.html"
    content = content_of(interpret(6))
    assert write_report(str(file), content) == file
    write_report(file, replace(content, title="Second"))
    assert "<title>Second</title>" in file.read_text()
    assert [path.name for path in file.parent.iterdir()] == ["report.html"]
