"""The README as other sites show it: pictures and links lead to the repository, and code stays as it is."""

import re
from pathlib import Path
from types import ModuleType

import pytest

from tests.doubles import script_module

ROOT = Path(__file__).parents[1]
URL = "https://example.org/us/learnkit"


@pytest.fixture(scope="module")
def setup() -> ModuleType:
    return script_module(ROOT / "setup.py")


def test_links_of_every_form(setup: ModuleType) -> None:
    text = (
        '![A plot](docs/a.png) <img src="docs/d.png" alt="d"> [a page](docs/b.md#part) '
        "[![linked](docs/c.png)](docs/c.md) [web](https://x.org) [up](#top)"
    )
    assert setup.absolute(text, URL, "v1") == (
        f'![A plot]({URL}/raw/v1/docs/a.png) <img src="{URL}/raw/v1/docs/d.png" alt="d"> '
        f"[a page]({URL}/blob/v1/docs/b.md#part) "
        f"[![linked]({URL}/raw/v1/docs/c.png)]({URL}/blob/v1/docs/c.md) [web](https://x.org) [up](#top)"
    )


def test_every_link_of_the_readme_is_absolute_and_names_a_file(setup: ModuleType) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    page = setup.page(URL)["long_description"]
    links = re.findall(r"""(?:\]\(|src=")([^)"]+)[)"]""", page)
    assert len(links) > 20
    places = [re.fullmatch(rf"{URL}/(raw|blob)/v\d+\.\d+\.\d+/([^#]+)(?:#.*)?", link) for link in links]
    assert [link for link, place in zip(links, places, strict=True) if place is None] == []
    assert [place[2] for place in places if place is not None and not (ROOT / place[2]).exists()] == []
    assert {Path(place[2]).suffix for place in places if place is not None and place[1] == "raw"} == {".png"}
    code = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
    assert code.findall(page) == code.findall(readme)
