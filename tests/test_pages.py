"""The code of the pages runs: how, says docs/README.md."""

import re
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import matplotlib.pyplot as plt
import pytest
from PIL import Image

from learnkit import ImageDataBunch, cnn_learner
from tests.doubles import script_module

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
QUESTIONS = sorted(page for page in (DOCS / "questions").glob("*.md") if page.name != "index.md")
GUIDES = [page for page in [*sorted(DOCS.rglob("*.md")), ROOT / "README.md"] if page not in QUESTIONS]

# Pages that run with the default tests; `make pages` runs all.
QUICK = ("docs/how-a-fit-runs.md", "docs/resume.md")


@pytest.fixture(scope="module")
def pages() -> ModuleType:
    return script_module(DOCS / "run_pages.py")


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize(
    "page",
    [pytest.param(page, id=page.stem, marks=() if page.stem in QUICK else pytest.mark.slow) for page in QUESTIONS],
)
def test_the_answer_to_a_question_runs_and_draws_its_picture(pages: ModuleType, page: Path, tmp_path: Path) -> None:
    pages.run(page)
    plt.close("all")
    shown = pages.pictures(page)
    assert shown, "a question has a picture"
    assert [name for name in shown if not (tmp_path / name).exists()] == []


@pytest.mark.parametrize("page", QUESTIONS, ids=lambda page: page.stem)
def test_a_question_has_its_parts(pages: ModuleType, page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert re.match(r"# .+\?\n", text), "its title is the question"
    assert {block.kind for block in pages.blocks(text)} == {"python", "sh"}
    assert [part for part in ("## From the command line", "## Asked next") if part not in text] == []
    for name in pages.pictures(page):
        file = page.parent / "images" / name
        assert file.exists(), "run make pictures"
        assert file.stat().st_size < 60_000


@pytest.mark.usefixtures("tmp_path")
@pytest.mark.parametrize(
    "page",
    [pytest.param(page, id=name_of(page), marks=() if name_of(page) in QUICK else pytest.mark.slow) for page in GUIDES],
)
def test_the_code_of_a_guide_runs(pages: ModuleType, page: Path) -> None:
    pages.run(page, with_needs=False)
    plt.close("all")


def needs_of(page: Path) -> list[str]:
    text = page.read_text(encoding="utf-8")
    return sorted(set(re.findall(r"^<!-- needs: (.+) -->$", text, re.MULTILINE)))


@pytest.mark.slow
@pytest.mark.usefixtures("tmp_path")
@pytest.mark.filterwarnings("default")  # of other libraries
@pytest.mark.parametrize("page", [page for page in GUIDES if needs_of(page)], ids=name_of)
def test_what_needs_another_package_runs_where_it_is_installed(pages: ModuleType, page: Path) -> None:
    missing = [package for package in needs_of(page) if find_spec(package) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    pages.run(page)
    plt.close("all")


def test_quick_pages_exist() -> None:
    assert {*QUICK} <= {page.stem for page in QUESTIONS} | {name_of(page) for page in GUIDES}


def test_code_that_another_test_runs_is_found_there_by_its_name() -> None:
    texts = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "tests" / "examples").glob("test_*_page*.py"))
    names = [name for page in GUIDES for name in re.findall(r"<!-- tested: (.*?) -->\n```", page.read_text("utf-8"))]
    assert len(names) == 4
    assert [name for name in names if name not in texts] == []


def test_pages_get_a_small_network_and_no_published_weights(pages: ModuleType, tmp_path: Path) -> None:
    pages.draw_images(str(tmp_path / "pets"))
    dls = ImageDataBunch.from_folder(tmp_path / "pets", valid_pct=0.2, size=32, bs=16)
    with pages.small_networks():
        learn = cnn_learner(dls, "resnet18")
    assert sum(p.numel() for p in learn.model[0].parameters()) < 10_000
    assert len(learn.groups) == 3


PAGE = """# Title

```python
x = data + 1
```

<!-- hidden
y = x
-->
<!-- not run: it needs a network -->
```python
fetch()
```

```sh
pip install learnkit
learnkit env --format \\
  json  # all of it
```

```text
no code
```

<!-- first -->
```python
data = 1
```
"""


def test_blocks_run_in_order_what_is_marked_as_first_before(pages: ModuleType) -> None:
    found = pages.blocks(PAGE)
    assert [(block.kind, block.mark) for block in found] == [
        ("python", "first"), ("python", ""), ("python", ""), ("python", "not run"), ("sh", ""),
    ]  # fmt: skip
    assert [PAGE.splitlines()[block.line] for block in found] == [
        "data = 1", "x = data + 1", "y = x", "fetch()", "pip install learnkit",
    ]  # fmt: skip
    assert list(pages.commands(found[-1].code)) == [["env", "--format", "json"]]


def test_a_block_that_needs_a_package_runs_only_where_it_can_be_imported(pages: ModuleType, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    block = "<!-- needs: {} -->\n```python\n{} = 1\n```\n\n"
    page.write_text(block.format("torch", "here") + block.format("no_such_package", "there"), encoding="utf-8")
    assert [block.what for block in pages.blocks(page.read_text(encoding="utf-8"))] == ["torch", "no_such_package"]
    assert {"here", "there"} & set(pages.run(page)) == {"here"}
    assert {"here", "there"} & set(pages.run(page, with_needs=False)) == set()


def test_an_error_names_the_line_of_the_page(pages: ModuleType, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE.replace("y = x", "y = z"), encoding="utf-8")
    with pytest.raises(NameError) as raised:
        pages.run(page)
    assert (raised.traceback[-1].path.name, raised.traceback[-1].lineno + 1) == ("page.md", 8)


def test_names_of_files_are_expanded_and_a_failed_command_is_an_error(pages: ModuleType, tmp_path: Path) -> None:
    for name in ("b.txt", "a.txt"):
        (tmp_path / name).touch()
    assert list(pages.commands("learnkit verify *.txt")) == [["verify", "a.txt", "b.txt"]]
    with pytest.raises(RuntimeError, match="exit code 2"):
        pages.run_command(["verify", "no such folder"], "page")


def test_a_pattern_without_a_file_stays_as_it_is(pages: ModuleType) -> None:
    assert list(pages.commands("learnkit predict model.lk 'photos/**/*.jpg'")) == [
        ["predict", "model.lk", "photos/**/*.jpg"]
    ]


def test_a_picture_is_kept_small(pages: ModuleType, tmp_path: Path) -> None:
    Image.effect_noise((1800, 400), 90).save(tmp_path / "large.png")
    pages.keep(tmp_path / "large.png", tmp_path / "images" / "small.png")
    with Image.open(tmp_path / "images" / "small.png") as kept:
        assert kept.size == (900, 200)
        assert kept.mode == "P"
