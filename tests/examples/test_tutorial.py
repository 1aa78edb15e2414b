"""The tutorial's page is its script, run; what renders it runs cells as a notebook does."""

from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest
from matplotlib.figure import Figure

from tests.doubles import script_module

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def render() -> ModuleType:
    return script_module(ROOT / "examples" / "render_tutorial.py")


@pytest.mark.parametrize("name", ["tutorial", "better_model"])
def test_the_page_shows_the_current_cells(render: ModuleType, name: str) -> None:
    page = (ROOT / "docs" / "tutorials" / f"{name}.md").read_text(encoding="utf-8")
    position = 0
    for is_text, body in render.cells((ROOT / "examples" / f"{name}.py").read_text(encoding="utf-8")):
        wanted = body if is_text else f"```python\n{body}\n```"
        found = page.find(wanted, position)
        assert found >= 0, f"not in the page, or not in its place: {body[:60]!r}. Run examples/render_tutorial.py."
        position = found + len(wanted)


@pytest.mark.parametrize("name", ["tutorial", "better_model"])
def test_every_figure_of_the_page_is_there(name: str) -> None:
    docs = ROOT / "docs" / "tutorials"
    page = (docs / f"{name}.md").read_text(encoding="utf-8")
    linked = [part.split(")")[0] for part in page.split("](images/")[1:]]
    assert len(linked) >= 5
    assert all((docs / "images" / name).stat().st_size > 1000 for name in linked)


def test_cells_are_markdown_and_code(render: ModuleType) -> None:
    source = "# %% [markdown]\n# # Title\n#\n# a `# %%` b\n\n# %%\nx = 1\nx + 1\n"
    assert render.cells(source) == [(True, "# Title\n\na `# %%` b"), (False, "x = 1\nx + 1")]


def test_a_cell_shows_what_it_prints_and_its_last_value(render: ModuleType) -> None:
    names: dict[str, object] = {}
    assert render.run("x = 3\nprint('hello')\nx + 1", names) == ("hello\n", 4)
    assert render.run("y = x", names) == ("", None)
    assert names["y"] == 3


def test_values_become_markdown(render: ModuleType, tmp_path: Path) -> None:
    table = pd.DataFrame({"n": [1, 2], "p": [0.5, 1.0]}, index=["a", "b"])
    assert (
        render.shown(table, tmp_path / "x.png") == "|  | n | p |\n| --- | --- | --- |\n| a | 1 | 0.5 |\n| b | 2 | 1.0 |"
    )
    assert render.shown(("cat", 1), tmp_path / "x.png") == "```text\n('cat', 1)\n```"
    assert render.shown(Figure(), tmp_path / "04.png") == f"![04](images/{tmp_path.name}/04.png)"
    assert (tmp_path / "04.png").exists()
