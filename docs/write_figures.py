"""Write the tables of docs/performance.md as CSV files, with the commit and the machine of each row.

    python docs/write_figures.py
    python docs/write_figures.py --machine "Apple M4, 10 cores"

A row that is in its file already keeps its commit and machine; one that is new or has changed gets those of now: the
commit that is checked out, which is the one that was measured.
"""

import argparse
import csv
import io
import os
import platform
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

DOCS = Path(__file__).parent
PAGE = DOCS / "performance.md"
FOLDER = DOCS / "figures"
ORIGIN = ("commit", "machine")
TABLE = re.compile(r"(?:^\|.*\|\n)+", re.MULTILINE)
LINK = re.compile(r"\n\[CSV\]\(figures/([\w-]+)\.csv\)\n")


class Table(NamedTuple):
    """A table of a page.

    Attributes:
        name: that of its file, after the section it is in.
        header: its columns.
        rows: its cells.
        end: where it ends in the text.
    """

    name: str
    header: tuple[str, ...]
    rows: list[tuple[str, ...]]
    end: int


def cells(line: str) -> tuple[str, ...]:
    """The cells of a line of a table, as text without links."""
    plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", line.strip().strip("|"))
    return tuple(map(str.strip, plain.split("|")))


def tables(text: str) -> Iterator[Table]:
    """The tables of a page in their order."""
    seen: dict[str, int] = {}
    for match in TABLE.finditer(text):
        heading = re.findall(r"^##+ (.+)$", text[: match.start()], re.MULTILINE)[-1]
        slug = re.sub(r"[^a-z0-9]+", "-", heading.lower()).strip("-")
        seen[slug] = seen.get(slug, 0) + 1
        header, _, *rows = map(cells, match[0].splitlines())
        yield Table(slug if seen[slug] == 1 else f"{slug}-{seen[slug]}", header, rows, match.end())


def read(file: Path) -> dict[tuple[str, ...], tuple[str, ...]]:
    """The origin of each row of a file."""
    if not file.exists():
        return {}
    with file.open(encoding="utf-8", newline="") as opened:
        _, *rows = csv.reader(opened)
    return {tuple(row[:-2]): tuple(row[-2:]) for row in rows}


def as_csv(table: Table, known: dict[tuple[str, ...], tuple[str, ...]], now: tuple[str, ...]) -> str:
    """The text of a table's file."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow((*(name or "case" for name in table.header), *ORIGIN))
    writer.writerows((*row, *known.get(row, now)) for row in table.rows)
    return text.getvalue()


def main() -> None:
    """Write the files, and a link below each table."""
    parser = argparse.ArgumentParser(description="Write the tables of docs/performance.md as CSV files.")
    here = f"{os.cpu_count()} cores, {platform.machine()}, no GPU"
    parser.add_argument("--machine", default=here, help="of rows that are new or have changed")
    args = parser.parse_args()
    head = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True)
    now = head.stdout.strip(), args.machine
    FOLDER.mkdir(exist_ok=True)
    text = PAGE.read_text(encoding="utf-8")
    found = list(tables(text))
    for table in reversed(found):
        file = FOLDER / f"{table.name}.csv"
        file.write_text(as_csv(table, read(file), now), encoding="utf-8")
        if LINK.match(text, table.end) is None:
            text = f"{text[: table.end]}\n[CSV](figures/{table.name}.csv)\n{text[table.end :]}"
    PAGE.write_text(text, encoding="utf-8")
    for file in set(FOLDER.glob("*.csv")) - {FOLDER / f"{table.name}.csv" for table in found}:
        file.unlink()


if __name__ == "__main__":
    main()
