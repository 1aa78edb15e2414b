"""The file that is written: its parts, its size, and names that cannot break out of it."""

import math
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
from learnkit.interpretation.report.content import (
    Certainty,
    Chart,
    Column,
    Coverage,
    Facts,
    Item,
    Line,
    Matrix,
    Number,
    Problems,
    Scored,
    Suspect,
    Table,
)
from learnkit.interpretation.report.look_alikes import Alike, Outlier, Pair, Place
from learnkit.interpretation.report.render import page_of, ranks
from learnkit.interpretation.report.thumbnails import Thumbnails

Interpret = Callable[..., ClassificationInterpretation]
VOID = {"img", "input", "link", "meta", "circle", "line", "path", "rect"}


class Outline(HTMLParser):
    """Tags with the names of their attributes, in order; titles are where long names are whole."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, tuple[str, ...]]] = []
        self.sources: list[str] = []
        self.open: list[str] = []
        self.ids: list[str] = []
        self.words: list[str] = []
        self.values: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, tuple(name for name, _ in attrs if name != "title")))
        self.sources += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "action")]
        self.ids += [value or "" for name, value in attrs if name == "id"]
        self.values += [value or "" for _, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def text_of(interp: Any) -> str:
    content = content_of(interp)
    return page_of(content, Thumbnails(content.image))


def sections(text: str) -> list[str]:
    return re.findall(r'<section id="(\w+)"', text)


def opened_parts(text: str) -> list[str]:
    """What each cell opens."""
    return re.findall(r"<div popover=.*?</figure>\s*</div></div>", text, re.DOTALL)


def test_hostile_names_add_no_tag_and_no_attribute(interpret: Interpret, hostile: tuple[str, ...]) -> None:
    plain = tuple(f"class {number}" for number in range(len(hostile)))
    pages = [
        Outline(text_of(interpret(80, names, lambda i, names=names: f"{names[i % len(names)]}-{i}")))
        for names in (plain, hostile)
    ]
    assert pages[0].tags == pages[1].tags
    assert all(source.startswith(("data:", "#")) for source in pages[1].sources)
    assert pages[1].open == []
    words, values = "".join(pages[1].words), "".join(pages[1].values)
    for name in (hostile[0], hostile[1], hostile[10], "line␊break␍␉␀␛[31mred␛[0m"):
        assert name in words
        assert name in values
    for control in "\x1b\x00\u202e\u2066\u2069\u2028":
        assert control not in words + values


def everywhere(text: str) -> ReportContent:
    """A report that shows a string in every place that can contain an external one."""
    item = Item(0, f"{text}/{text}", text, text, 1.0, ((text, 0.5),), False, overlay=np.zeros((2, 2, 3), np.uint8))
    table = Table(text, (Column(text), Column(text, is_share=True)), ((text, (1.0, 0.5)),), ((text, (1.0, 0.5)),), text)
    return ReportContent(
        title=text, subtitle=text, run=text, numbers=(Number(text, text, text),),
        settings=(Facts(text, ((text, text),)),),
        charts=(Chart(text, text, text, (Line(text, (0.0, 1.0), (0.0, 1.0), "dots"), Line("b", (0.0,), (0.0,)))),),
        history=table, matrix=Matrix((text, "b"), {(0, 0): 1, (0, 1): 1}, {(0, 0): (item,), (0, 1): (item,)}),
        top_losses=(replace(item, overlay_shows=text),), table=table,
        certainty=Certainty(
            (text,), text, text, (Coverage(text, (0.1,), (0.9,), (0.01,), (1.0,), (0.0,)),), table,
            Facts(text, ((text, text),)), (Scored(item, -1.0), Scored(item, -0.5)), 3, 9,
        ),
        alike=Alike(
            across=(Pair(Place(0, text, text, text), Place(0, text, text, text), 0.1, labels_differ=True),), n_across=2,
            within=(Pair(Place(0, text, text, text), Place(0, text, text, text), 0.1),), n_within=1,
            outliers=(Outlier(Place(0, text, text, text), 4.0),), n_outliers=1,
        ),
        problems=Problems((text,), (Suspect(item, text, text, 0.5),), ((text, text),), 2, table),
    )  # fmt: skip


def test_untrusted_text_is_never_markup_or_template(hostile: tuple[str, ...]) -> None:
    plain = Outline(page_of(everywhere("plain"), Thumbnails(None)))
    assert sum("plain" in word for word in plain.words) > 40
    for name in hostile:
        outline = Outline(page_of(everywhere(name), Thumbnails(None)))
        if name:
            assert [tag for tag, _ in outline.tags] == [tag for tag, _ in plain.tags]
            assert [names for _, names in outline.tags] == [names for _, names in plain.tags]
        assert outline.open == []
        assert all(source.startswith(("data:", "#")) for source in outline.sources)
        assert not set("".join([*outline.words, *outline.values])) & set("\x00\x1b\r\t\u202e\u2066\u2028")
    evaluated = page_of(everywhere("{{ 7 * 7 }}"), Thumbnails(None))
    assert "49" not in evaluated
    assert evaluated.count("{{ 7 * 7 }}") > 70


def test_a_name_keeps_its_direction_to_itself(interpret: Interpret, hostile: tuple[str, ...]) -> None:
    text = text_of(interpret(80, (*hostile, "שלום")))
    assert "\u202e" not in text  # what would turn a title or a label around is seen
    assert re.search("<bdi[^>]*>�gnp.exe</bdi>", text)
    body = re.sub(r'"[^"]*"', "", text)  # attributes are not laid out
    assert body.count("שלום") == len(re.findall("<bdi[^>]*>שלום</bdi>", body)) > 3


def test_a_file_name_that_is_not_unicode_can_be_written(interpret: Interpret, tmp_path: Path) -> None:
    name = b"caf\xe9.png".decode("utf-8", "surrogateescape")
    content = content_of(interpret(6, names=lambda i: name))
    assert "caf�.png" in write_report(tmp_path / "report.html", content).read_text()


def test_the_policy_lets_nothing_be_fetched_or_run(interpret: Interpret) -> None:
    text = text_of(interpret(12))
    policy = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    assert policy == [
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    ]
    tags = {tag for tag, _ in Outline(text).tags}
    assert not tags & {"script", "iframe", "object", "embed", "form", "base"}
    assert not any(name.startswith("on") for _, names in Outline(text).tags for name in names)
    style = text.partition("<style>")[2].partition("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style


def test_the_same_interpretation_is_written_as_the_same_bytes(interpret: Interpret, tmp_path: Path) -> None:
    first, second = (write_report(tmp_path / name, content_of(interpret(20))) for name in ("a.html", "b.html"))
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.slow
def test_a_thousand_photos_stay_below_five_megabytes(
    interpret: Interpret, photo: Callable[[int], Any], tmp_path: Path
) -> None:
    photos = [photo(number) for number in range(8)]
    interp = interpret(1000, tuple("abcdefghij"), image=lambda i: np.roll(photos[i % 8], i, axis=(0, 1)))
    file = write_report(tmp_path / "report.html", content_of(interp))
    size = file.stat().st_size
    assert size < 5_000_000
    text = file.read_text()
    opened = "".join(opened_parts(text))
    assert opened.count("<img ") == 1000
    assert 'width="112" height="112"' in opened


@pytest.mark.slow
@pytest.mark.skipif("REAL_DATA" not in os.environ, reason="REAL_DATA names no folder of photos")
def test_a_thousand_real_photos_stay_below_five_megabytes(interpret: Interpret, tmp_path: Path) -> None:
    files = sorted(Path(os.environ["REAL_DATA"]).rglob("*.jpg"))[:1000]

    def image(i: int) -> Any:
        return np.asarray(Image.open(files[i % len(files)]).convert("RGB").resize((224, 224)))

    file = write_report(tmp_path / "report.html", content_of(interpret(1000, tuple("abcdefghij"), image=image)))
    assert file.stat().st_size < 5_000_000
    assert file.read_text().count("<img ") >= 1000


@pytest.mark.slow
def test_images_give_way_before_the_page_grows(
    interpret: Interpret, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (100, 100, 3), dtype=np.uint8)
    content = content_of(interpret(60, image=lambda i: noise))
    full = write_report(tmp_path / "full.html", content).stat().st_size
    monkeypatch.setattr("learnkit.interpretation.report.render.MAX_PAGE", full // 2)
    assert write_report(tmp_path / "half.html", content).stat().st_size <= full // 2


def test_a_cell_states_how_many_of_its_items_it_shows(interpret: Interpret) -> None:
    text = text_of(interpret(1500, ("a", "b"), image=None))
    shown = re.findall(r"Showing (\d+) of ([\d,]+) items", text)
    assert sum(part.count("<figure>") for part in opened_parts(text)) == 1000
    assert shown
    assert all(int(some) < int(every.replace(",", "")) for some, every in shown)


def test_items_without_images_are_listed_by_name(interpret: Interpret) -> None:
    text = text_of(interpret(30, image=None))
    assert "<img " not in text
    assert "0007.png" in text


def test_an_image_that_is_gone_is_reported(interpret: Interpret) -> None:
    def image(i: int) -> Any:
        if i == 3:
            raise ImageError("gone.png: no such file")
        return np.zeros((8, 8, 3), np.uint8)

    text = text_of(interpret(12, image=image))
    assert "cannot be read" in text
    assert text.count("<img ") > 10


def test_images_of_one_pixel_are_shown(interpret: Interpret) -> None:
    text = text_of(interpret(12, image=lambda i: np.full((1, 1, 3), i, np.uint8)))
    assert 'width="1" height="1"' in text


@pytest.mark.parametrize("shape", [(1000, 1, 3), (1, 1000, 3)])
def test_images_that_are_lines_are_shown(interpret: Interpret, shape: tuple[int, int, int]) -> None:
    assert "<img " in text_of(interpret(6, image=lambda i: np.zeros(shape, np.uint8)))


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
    text = text_of(interpret(600, tuple(f"class {k}" for k in range(41)), image=None))
    assert 'class="matrix' not in text
    assert 'class="numbers pairs"' in text
    outline = Outline(text)
    assert len(outline.ids) == len(set(outline.ids))
    assert set(re.findall(r'popovertarget="([^"]+)"', text)) <= set(outline.ids)
    assert 'class="matrix' in text_of(interpret(600, tuple(f"class {k}" for k in range(40)), image=None))


def test_only_existing_content_has_a_section() -> None:
    empty = page_of(ReportContent("Nothing"), Thumbnails(None))
    assert sections(empty) == []
    assert "<h1>" in empty


def test_the_report_replaces_an_older_one_completely(interpret: Interpret, tmp_path: Path) -> None:
    file = tmp_path / "new" / "report.html"
    content = content_of(interpret(6))
    assert write_report(str(file), content) == file
    write_report(file, replace(content, title="Second"))
    assert "<title>Second</title>" in file.read_text()
    assert [path.name for path in file.parent.iterdir()] == ["report.html"]


def test_rows_carry_their_place_in_every_order() -> None:
    values = [0.5, math.nan, 0.9, 0.5]
    up, down = ranks(values)
    assert sorted(range(4), key=up.__getitem__) == [0, 3, 2, 1]
    assert sorted(range(4), key=down.__getitem__) == [2, 0, 3, 1]
    rows = tuple((f"class {i}", (value,)) for i, value in enumerate(values))
    page = page_of(ReportContent("a", table=Table("class", (Column("recall", 2, True),), rows)), Thumbnails(None))
    assert re.findall(r"--a1:(\d)", page) == [str(place) for place in up]
    assert re.findall(r"--d1:(\d)", page) == [str(place) for place in down]
    assert re.findall(r"--a0:(\d);--d0:(\d)", page) == [(str(i), str(3 - i)) for i in range(4)]
    assert page.count(" checked>") == 1
    assert re.findall(r"--v:([\d.]+)", page) == ["0.500", "0.900", "0.500"]


def test_the_style_sorts_by_every_column_that_has_arrows() -> None:
    columns = tuple(Column(f"c{k}") for k in range(12))
    page = page_of(ReportContent("a", table=Table("class", columns, (("a", (0.0,) * 12),))), Thumbnails(None))
    radios = set(re.findall(r'class="by-([ad]\d+)"', page))
    assert radios == {f"{key}{k}" for key in "ad" for k in range(9)}
    assert radios == set(re.findall(r"\.sortable:has\(\.by-(\w+):checked\) \.rows tr\{order:var\(--\1\)\}", page))


def test_long_names_keep_their_start_and_end_and_are_whole_in_the_title() -> None:
    name = "a" * 32 + "b" * 90 + "c" * 32
    page = page_of(ReportContent(name), Thumbnails(None))
    assert f'<bdi class="name" title="{name}">{"a" * 31}…{"c" * 32}</bdi>' in page
    assert '<bdi class="name">short</bdi>' in page_of(ReportContent("short"), Thumbnails(None))


@pytest.mark.parametrize(("n", "folded"), [(12, 0), (13, 1), (24, 12)])
def test_top_losses_after_the_twelfth_are_folded(n: int, folded: int) -> None:
    items = tuple(Item(i, f"{i}.png", "a", "b", 1.0) for i in range(n))
    page = page_of(ReportContent("a", top_losses=items), Thumbnails(None))
    first, _, rest = page.partition("<details>")
    assert (first.count("<figure"), rest.count("<figure")) == (12, folded)
    assert (f"<summary>{folded} more</summary>" in page) == bool(folded)
    assert re.findall(r">(\d+)\.png<", page) == [str(i) for i in range(n)]


def test_right_and_wrong_predictions_look_different() -> None:
    for is_right, expected in ((True, '<dl class="right">'), (False, '<dl class="wrong">'), (None, "<dl>")):
        item = Item(0, "a", "x", "y", 1.0, is_right=is_right)
        page = page_of(ReportContent("a", top_losses=(item,)), Thumbnails(None))
        assert expected in page
        assert page.index(">y<") < page.index(">x<")  # the actual class first, as everywhere


def test_probabilities_below_half_a_percent_are_left_out_of_small_captions() -> None:
    item = Item(0, "a.png", "x", "y", 1.0, (("kept", 0.005), ("dropped", 0.0049)))
    page = page_of(ReportContent("a", matrix=Matrix(("x", "y"), {(0, 1): 1}, {(0, 1): (item,)})), Thumbnails(None))
    assert "kept" in page
    assert "dropped" not in page


def test_numeric_class_names_are_introduced_in_sentences() -> None:
    item = Item(0, "a.png", "x", "y", 1.0)
    page = page_of(ReportContent("a", matrix=Matrix(("9", "cat"), {(0, 1): 1}, {(0, 1): (item,)})), Thumbnails(None))
    assert page.count('>class 9</bdi> taken for <bdi class="name">cat<') == 2
    assert "1 wrong: class 9 taken for cat; show them" in page
    assert page.count(">9</bdi></span></th>") == page.count('<th scope="row"><bdi class="name">9</bdi></th>') == 1


def test_cells_of_the_matrix_are_shaded_by_their_share() -> None:
    counts = {(0, 0): 75, (0, 1): 25, (1, 1): 4}
    page = page_of(ReportContent("a", matrix=Matrix(("x", "y"), counts, {})), Thumbnails(None))
    cells = re.findall(r'popovertarget="cell-(\d)-(\d)" class="(\w+)" style="--s:([\d.]+)"', page)
    assert cells == [("0", "0", "right", "0.87"), ("0", "1", "wrong", "0.50"), ("1", "1", "right", "1.00")]
    assert re.findall(r'class="sum">(\d+)<', page) == ["100", "4"]


def test_the_most_confused_pairs_come_first_and_eight_are_listed() -> None:
    counts = {(0, k): k for k in range(1, 11)}
    matrix = Matrix(tuple("abcdefghijk"), counts, {})
    page = page_of(ReportContent("a", matrix=matrix), Thumbnails(None))
    listed = page.partition('<div class="most">')[2].partition("</ol>")[0]
    assert re.findall(r"(\d+) of 55", listed) == ["10", "9", "8", "7", "6", "5", "4", "3"]


def test_files_left_out_are_listed_up_to_a_number() -> None:
    problems = Problems(skipped=(("a.png", "broken"),), n_skipped=1234)
    page = page_of(ReportContent("a", problems=problems), Thumbnails(None))
    assert "The first 1 of 1,234." in page
    assert "The first" not in page_of(ReportContent("a", problems=replace(problems, n_skipped=1)), Thumbnails(None))


def test_main_numbers_that_are_long_are_written_small() -> None:
    page = page_of(ReportContent("a", numbers=(Number("12345678", "a"), Number("123456789", "b"))), Thumbnails(None))
    assert re.findall(r'class="(value[^"]*)"', page) == ["value", "value long"]


def test_items_after_the_twelfth_are_folded_in_every_gallery() -> None:
    place = Place(0, "a.png", "x", "training")
    pairs = tuple(Pair(place, place, 0.1) for _ in range(13))
    strange = tuple(Outlier(place, 4.0) for _ in range(14))
    scored = tuple(Scored(Item(0, "a.png", "x", "y", 1.0), -1.0) for _ in range(15))
    content = ReportContent(
        "a",
        certainty=Certainty(unfamiliar=scored, n_unfamiliar=2000, n_items=5000),
        alike=Alike(across=pairs, n_across=4321, outliers=strange, n_outliers=14),
    )
    page = page_of(content, Thumbnails(None))
    assert re.findall(r"<summary>(\d+) more</summary>", page) == ["3", "1", "2"]
    assert "4,321 pairs, 13 of them shown" in page
    assert "14 items</p>" in page
    assert "2,000 of 5,000 items" in page
    assert "15 are shown" in page
    assert page.count("None were found.") == 1  # within a split


def test_no_unfamiliar_item_is_said_and_nothing_that_tells_it_is_left_out() -> None:
    assert "0 of 5 items" in page_of(
        ReportContent("a", certainty=Certainty(n_unfamiliar=0, n_items=5)), Thumbnails(None)
    )
    assert "Unfamiliar" not in page_of(ReportContent("a", certainty=Certainty(notes=("a",))), Thumbnails(None))
