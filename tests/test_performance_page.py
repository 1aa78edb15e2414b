"""Every table of docs/performance.md is a CSV file too, with the commit and the machine of each row."""

import csv
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.doubles import script_module

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return script_module(DOCS / "write_figures.py")


def rows_of(file: Path) -> list[list[str]]:
    with file.open(encoding="utf-8", newline="") as opened:
        return list(csv.reader(opened))


def test_files_hold_what_the_page_shows(script: ModuleType) -> None:
    text = (DOCS / "performance.md").read_text(encoding="utf-8")
    tables = list(script.tables(text))
    assert len(tables) >= 15
    assert {file.stem for file in (DOCS / "figures").iterdir()} == {table.name for table in tables}
    for table in tables:
        link = script.LINK.match(text, table.end)
        assert link is not None, f"python docs/write_figures.py: {table.name}"
        assert link[1] == table.name
        header, *rows = rows_of(DOCS / "figures" / f"{table.name}.csv")
        assert header[-2:] == ["commit", "machine"]
        assert [tuple(row[:-2]) for row in rows] == table.rows, "python docs/write_figures.py"
        assert all(re.fullmatch(r"[0-9a-f]{12}", row[-2]) and "cores" in row[-1] for row in rows)


PAGE = """# Speed

## The loop

| | seconds | of *b* |
|---|---|---|
| [a](#a) | 1 | **2** |
| b | 3 | 1 |

After it.

## The loop

| x |
|---|
| 1 |
"""


def test_a_row_that_stays_keeps_its_origin_and_a_new_one_gets_that_of_now(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    shutil.copy(DOCS / "write_figures.py", docs)
    (docs / "performance.md").write_text(PAGE, encoding="utf-8")
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git[:3], "init", "-q"], check=True)

    def commit_and_write(machine: str) -> str:
        subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", machine], check=True)
        command = [sys.executable, str(docs / "write_figures.py"), "--machine", machine]
        subprocess.run(command, cwd=tmp_path, check=True)
        head = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True)
        return head.stdout.strip()

    first = commit_and_write("one, 2 cores")
    page = (docs / "performance.md").read_text(encoding="utf-8")
    assert re.findall(r"\| ([\w ]+) \|\n\n\[CSV\]\(figures/([\w-]+).csv\)\n", page) == [
        ("1", "the-loop"),
        ("1", "the-loop-2"),
    ]
    assert re.sub(r"\n\[CSV\].*\n", "", page) == PAGE
    (docs / "performance.md").write_text(page.replace("| b | 3 |", "| b | 2.5 |"), encoding="utf-8")
    second = commit_and_write("two, 4 cores")
    assert rows_of(docs / "figures" / "the-loop.csv") == [
        ["case", "seconds", "of *b*", "commit", "machine"],
        ["a", "1", "**2**", first, "one, 2 cores"],
        ["b", "2.5", "1", second, "two, 4 cores"],
    ]
    assert (docs / "performance.md").read_text(encoding="utf-8").count("[CSV]") == 2
    (docs / "performance.md").write_text(page.partition("\n## The loop\n\n| x")[0], encoding="utf-8")
    commit_and_write("three, 4 cores")
    assert [file.name for file in (docs / "figures").iterdir()] == ["the-loop.csv"]
