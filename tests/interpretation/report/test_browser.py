"""The page in a real browser: cells open, sorting sorts, nothing is requested, and hostile names stay text."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from learnkit.interpretation.report import content_of, write_report
from learnkit.interpretation.report.content import Facts, Item, Scored
from learnkit.interpretation.report.look_alikes import Alike, Outlier, Pair, Place


@pytest.fixture(scope="module")
def file(interpret: Callable[..., Any], report: Callable[[Any], Path]) -> Path:
    return report(interpret())


class Visit:
    """A page, its log and its requests."""

    def __init__(self, browser: Any, file: Path, **options: Any) -> None:
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.logged: list[str] = []
        self.requested: list[str] = []
        self.page.on("console", lambda message: self.logged.append(message.text))
        self.page.on("pageerror", lambda error: self.logged.append(str(error)))
        self.page.on("dialog", self.dismiss)
        self.page.on("request", lambda request: self.requested.append(request.url))
        self.page.goto(file.as_uri())

    def dismiss(self, dialog: Any) -> None:
        self.logged.append(dialog.message)
        dialog.dismiss()


@pytest.fixture
def visit(browser: Any) -> Iterator[Callable[..., Visit]]:
    visits: list[Visit] = []

    def go(file: Path, **options: Any) -> Visit:
        visits.append(Visit(browser, file, **options))
        return visits[-1]

    yield go
    for made in visits:
        made.context.close()


def opened_images(page: Any) -> list[int]:
    """The widths of the images in what is open."""
    page.wait_for_function(
        "[...document.querySelectorAll('[popover]:popover-open img')].every(image => image.complete)"
    )
    widths: list[int] = page.evaluate(
        "[...document.querySelectorAll('[popover]:popover-open img')].map(image => image.naturalWidth)"
    )
    return widths


@pytest.mark.slow
def test_every_cell_opens_its_images(visit: Callable[..., Visit], file: Path, interpret: Callable[..., Any]) -> None:
    page = visit(file).page
    counts = interpret().confusion_matrix()
    buttons = page.locator(".matrix button")
    assert buttons.count() == int((counts > 0).sum()) > 3
    for row, column in counts.nonzero().tolist():
        button = page.locator(f".matrix button[popovertarget=cell-{row}-{column}]")
        assert button.inner_text() == str(int(counts[row, column]))
        button.click()
        assert page.locator(f"#cell-{row}-{column}").is_visible()
        widths = opened_images(page)
        assert len(widths) == counts[row, column]
        assert all(width == 32 for width in widths)
        page.get_by_role("button", name="Close").click()
        assert page.locator("[popover]:popover-open").count() == 0


def test_the_pairs_next_to_the_matrix_open_the_same_images(visit: Callable[..., Visit], file: Path) -> None:
    page = visit(file).page
    button = page.locator(".most button").first
    target = button.get_attribute("popovertarget")
    button.click()
    assert page.locator(f"#{target}").is_visible()
    assert " taken for " in page.locator(f"#{target} h3").inner_text()


@pytest.mark.slow
def test_cells_open_and_close_by_the_keyboard(visit: Callable[..., Visit], file: Path) -> None:
    page = visit(file).page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.matches('.matrix button')"):
            break
    target = page.evaluate("document.activeElement.getAttribute('popovertarget')")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    assert page.locator(f"#{target}").is_visible()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Close"
    page.keyboard.press("Escape")
    assert not page.locator(f"#{target}").is_visible()
    assert page.evaluate("document.activeElement.getAttribute('popovertarget')") == target


@pytest.mark.slow
def test_the_matrix_can_be_skipped(visit: Callable[..., Visit], file: Path) -> None:
    page = visit(file).page
    page.locator("section .skip").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert not page.evaluate("document.activeElement.matches('.matrix button, .most button')")


def rows_in_order(page: Any) -> list[list[str]]:
    """The cells of the rows in their visible order."""
    found: list[list[str]] = page.evaluate(
        """[...document.querySelectorAll('.sortable .rows tr')]
        .sort((a, b) => a.getBoundingClientRect().y - b.getBoundingClientRect().y)
        .map(row => [...row.children].map(cell => cell.innerText))"""
    )
    return found


@pytest.mark.slow
def test_the_table_is_sorted_by_every_column(visit: Callable[..., Visit], file: Path) -> None:
    page = visit(file).page
    assert [row[0] for row in rows_in_order(page)] == ["ant", "bee", "cat"]
    page.check(".by-d0")
    assert [row[0] for row in rows_in_order(page)] == ["cat", "bee", "ant"]
    for column in range(1, 5):
        page.check(f".by-a{column}")
        values = [float(row[column]) for row in rows_in_order(page)]
        assert values == sorted(values)
        page.check(f".by-d{column}")
        values = [float(row[column]) for row in rows_in_order(page)]
        assert values == sorted(values, reverse=True)
    assert page.locator(".sortable tfoot tr").last.bounding_box()["y"] > page.locator(".rows").bounding_box()["y"]


@pytest.mark.slow
def test_the_table_is_sorted_by_the_keyboard(visit: Callable[..., Visit], file: Path) -> None:
    page = visit(file).page
    page.locator(".by-a0").focus()
    page.keyboard.press("ArrowRight")
    assert page.locator(".by-d0").is_checked()
    assert [row[0] for row in rows_in_order(page)] == ["cat", "bee", "ant"]
    assert page.evaluate("getComputedStyle(document.activeElement.parentElement).outlineStyle") == "solid"


def test_nothing_is_requested_and_nothing_is_logged(visit: Callable[..., Visit], file: Path) -> None:
    seen = visit(file)
    for details in seen.page.locator("details").all():
        details.locator("summary").click()
    assert [url for url in seen.requested if not url.startswith("data:")] == [file.as_uri()]
    assert seen.logged == []
    assert seen.page.locator("script").count() == 0


def test_a_script_put_into_the_page_would_not_run(visit: Callable[..., Visit], file: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.html"
    attack = "<script>alert(1)</script><img src='https://example.invalid/x.png'><img src=x onerror='alert(2)'>"
    broken.write_text(file.read_text().replace("</main>", f"{attack}</main>"))
    seen = visit(broken)
    seen.page.wait_for_load_state()
    assert seen.logged
    assert all("Content Security Policy" in line for line in seen.logged)


@pytest.mark.slow
def test_hostile_names_are_text(
    visit: Callable[..., Visit], interpret: Callable[..., Any], report: Callable[[Any], Path], hostile: tuple[str, ...]
) -> None:
    seen = visit(report(interpret(80, hostile, lambda i: f"folder/{hostile[i % len(hostile)]}")))
    page = seen.page
    for button in page.locator(".matrix button").all()[:4]:
        button.click()
        page.keyboard.press("Escape")
    assert seen.logged == []
    assert (
        page.evaluate("document.querySelectorAll('script, img[src=x], iframe, [onerror], [onmouseover]').length") == 0
    )
    names = page.locator(".sortable .rows tr > :first-child").all_inner_texts()
    assert names[0] == hostile[0]
    assert names[1] == hostile[1]
    assert names[7] == "(empty)"
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize("width", [400, 700, 1400])
def test_the_page_never_scrolls_sideways(visit: Callable[..., Visit], file: Path, width: int) -> None:
    page = visit(file, viewport={"width": width, "height": 800}).page
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.locator(".matrix button").first.click()
    box = page.locator("[popover]:popover-open").bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= width


def contrast(page: Any, selector: str) -> float:
    """The contrast of an element's text on its background, by WCAG 2; colors are read back from a canvas."""
    ratio: float = page.evaluate(
        """selector => {
            const seen = (colors) => {
                const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
                for (const color of colors) { canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1); }
                const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3)
                    .map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
                return 0.2126 * r + 0.7152 * g + 0.0722 * b;
            };
            const element = document.querySelector(selector), behind = [];
            for (let at = element; at; at = at.parentElement) behind.unshift(getComputedStyle(at).backgroundColor);
            const [a, b] = [seen([...behind, getComputedStyle(element).color]), seen(behind)].sort((x, y) => y - x);
            return (a + 0.05) / (b + 0.05);
        }""",
        selector,
    )
    return ratio


TEXTS = (
    "h1", ".subtitle", ".how", "nav a", ".tiles dt", ".tiles .note", ".matrix .right", ".matrix .wrong",
    ".matrix thead .corner", ".most .soft", ".gallery dt", ".gallery dl.wrong div:last-child dd", ".under",
    ".chance span",    ".sortable tfoot td", ".arrows label:has(:checked)", ".arrows label", "summary", "footer",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_light_and_dark(visit: Callable[..., Visit], file: Path, scheme: str) -> None:
    page = visit(file, color_scheme=scheme).page
    strongest = "document.querySelectorAll('.matrix button').forEach(cell => cell.style.setProperty('--s', 1))"
    page.evaluate(strongest)  # as if a whole class is taken for another
    low = {text: round(contrast(page, text), 2) for text in TEXTS}
    assert {text: ratio for text, ratio in low.items() if ratio < 4.5} == {}


@pytest.mark.slow
def test_dark_mode_is_dark(visit: Callable[..., Visit], file: Path) -> None:
    backgrounds = {}
    for scheme in ("light", "dark"):
        page = visit(file, color_scheme=scheme).page
        backgrounds[scheme] = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert backgrounds == {"light": "rgb(246, 247, 248)", "dark": "rgb(21, 23, 27)"}


@pytest.mark.slow
def test_everything_has_a_name(visit: Callable[..., Visit], file: Path) -> None:
    page = visit(file).page
    assert page.locator("html").get_attribute("lang") == "en"
    assert page.locator("img:not([alt]), img[alt='']").count() == 0
    assert page.evaluate("[...document.querySelectorAll('svg')].every(svg => svg.getAttribute('aria-label'))")
    assert page.evaluate(
        "[...document.querySelectorAll('button')].every(button => button.textContent.trim() || button.ariaLabel)"
    )
    assert page.evaluate("[...document.querySelectorAll('input')].every(input => input.ariaLabel)")
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map(element => element.id)")
    assert len(set(ids)) == len(ids)
    targets = page.evaluate(
        "[...document.querySelectorAll('[popovertarget], nav a')]"
        ".map(element => element.getAttribute('popovertarget') ?? element.hash.slice(1))"
    )
    assert set(targets) <= set(ids)


def test_headings_skip_no_level(visit: Callable[..., Visit], file: Path) -> None:
    page = visit(file).page
    levels = page.evaluate("[...document.querySelectorAll('h1, h2, h3, h4')].map(heading => +heading.tagName[1])")
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


@pytest.mark.slow
def test_a_table_wider_than_the_page_fades_until_it_is_scrolled_to_its_end(
    visit: Callable[..., Visit], file: Path, interpret: Callable[..., Any], report: Callable[[Any], Path]
) -> None:
    wide = report(interpret(60, tuple(f"class {c}" for c in range(15))))
    page = visit(wide, viewport={"width": 400, "height": 800}).page
    fade = "element => parseFloat(getComputedStyle(element).getPropertyValue('--fade'))"
    matrix = page.locator(".scroll:has(.matrix)")
    assert matrix.evaluate("element => element.scrollWidth > element.clientWidth")
    assert matrix.evaluate(fade) > 30
    matrix.evaluate("element => element.scrollTo(element.scrollWidth, 0)")
    page.wait_for_function(
        "parseFloat(getComputedStyle(document.querySelector('.scroll')).getPropertyValue('--fade')) < 1"
    )
    narrow = visit(file, viewport={"width": 1400, "height": 800}).page.locator(".scroll:has(.matrix)")
    assert narrow.evaluate(fade) == 0


@pytest.mark.slow
def test_the_legend_has_the_colors_of_the_cells(
    visit: Callable[..., Visit], interpret: Callable[..., Any], report: Callable[[Any], Path]
) -> None:
    page = visit(report(interpret(60))).page
    color = "element => getComputedStyle(element).backgroundColor"
    swatches = page.locator(".swatch[style]")
    assert swatches.count() == 10  # what the two colors mean, and both at four shares
    for number in range(10):
        swatch = swatches.nth(number)
        kind = "right" if "right" in swatch.get_attribute("class") else "wrong"
        cell = page.locator(f".matrix .{kind}").first
        cell.evaluate("(cell, style) => cell.setAttribute('style', style)", swatch.get_attribute("style"))
        assert cell.evaluate(color) == swatch.evaluate(color)
    shares = page.locator(".legend .entry:has(.swatch + .swatch)").all_inner_texts()
    shades = [
        float(text)
        for text in page.evaluate(
            "[...document.querySelectorAll('.legend .swatch + .swatch')].map(s => s.style.getPropertyValue('--s'))"
        )
    ]
    assert [round(shade**2 * 100) for shade in shades] == [int(share.strip("%")) for share in shares]


@pytest.mark.slow
def test_numbers_are_above_their_bars(visit: Callable[..., Visit], file: Path) -> None:
    page = visit(file).page
    for selector in (".share", ".chance"):
        height = page.evaluate(
            f"parseFloat(getComputedStyle(document.querySelector('{selector}')).backgroundSize.split(' ').pop())"
        )
        assert 1 <= height <= 5


@pytest.fixture(scope="module")
def full(interpret: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with sets, unfamiliar items, near-duplicates and outliers; names are long."""
    content = content_of(interpret(80))
    assert content.certainty is not None
    name, label = f"{'w' * 60}/{'v' * 60}.png", "a label of many words that goes on " * 2
    place = Place(0, name, label, "validation")
    strange = tuple(Scored(Item(k, name, label, label, 1.0), -1.5) for k in range(15))
    facts = Facts("Fitted by fit_conformal", (("alpha", "0.1"), ("on these items", "w" * 90)))
    made = replace(
        content,
        certainty=replace(content.certainty, fitted=facts, unfamiliar=strange, n_unfamiliar=15, n_items=80),
        alike=Alike(
            across=tuple(Pair(place, place, 0.01, labels_differ=True) for _ in range(3)), n_across=3,
            outliers=(Outlier(place, 5.0),), n_outliers=1,
        ),
        image=lambda i: np.full((90, 120, 3), 10 * (i % 20), np.uint8),
    )  # fmt: skip
    return write_report(tmp_path_factory.mktemp("full") / "report.html", made)


@pytest.mark.slow
@pytest.mark.parametrize("width", [400, 1400])
def test_certainty_and_look_alikes_fit_into_the_page(visit: Callable[..., Visit], full: Path, width: int) -> None:
    seen = visit(full, viewport={"width": width, "height": 800})
    page = seen.page
    for details in page.locator("#certainty details, #alike details").all():
        details.locator("summary").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    outside = page.evaluate(
        """[...document.querySelectorAll('#certainty .card *, #alike .card *, .suspects figure *')].filter(element => {
            if (element.matches('svg *') && !element.matches('text')) return false;
            const box = element.getBoundingClientRect();
            const around = element.closest('.card, figure').getBoundingClientRect();
            return box.right > around.right + 1 || box.left < around.left - 1;
        }).map(element => element.outerHTML.slice(0, 80))"""
    )
    assert outside == []
    covered = page.evaluate(
        """[...document.querySelectorAll('.suspects dt')].filter(term => {
            const range = document.createRange(); range.selectNodeContents(term);
            return range.getBoundingClientRect().right > term.nextElementSibling.getBoundingClientRect().left - 2;
        }).map(term => term.textContent)"""
    )
    assert covered == []
    assert seen.logged == []


@pytest.mark.slow
def test_the_new_sections_are_reached_and_named(visit: Callable[..., Visit], full: Path) -> None:
    page = visit(full).page
    links = page.locator("nav a").all_inner_texts()
    assert "How sure it is" in links
    assert "Near-duplicates and outliers" in links
    charts = page.locator("#certainty svg").all()
    assert len(charts) == 2
    assert all(chart.get_attribute("aria-label") for chart in charts)
    page.locator("#certainty summary").first.click()
    assert page.locator("#certainty table").first.is_visible()
    assert page.locator("#alike img").count() == 7
    assert page.locator("#alike img").first.get_attribute("alt").startswith("validation, labeled a label")


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_certainty_and_look_alikes_can_be_read(visit: Callable[..., Visit], full: Path, scheme: str) -> None:
    page = visit(full, color_scheme=scheme).page
    texts = (".part", ".differs", ".found", ".fitted dt", ".fitted dd", ".suspects dt", "#certainty .legend")
    assert {text for text in texts if contrast(page, text) < 4.5} == set()
    opacity = "selector => getComputedStyle(document.querySelector(selector)).opacity"
    assert {page.evaluate(opacity, text) for text in texts} == {"1"}
