"""Run the code of pages, and keep the pictures that it writes: how a page is written is in docs/README.md.

python docs/run_pages.py docs/questions/classes-from-a-csv.md
python docs/run_pages.py --pictures docs/questions/*.md
"""

import argparse
import contextlib
import glob
import os
import re
import shlex
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

DOCS = Path(__file__).parent
BLOCK = re.compile(
    r"<!-- hidden\n(?P<hidden>.*?)^-->"
    r"|(?:^<!-- (?P<mark>first|not run|tested|needs)(?:: (?P<what>[^\n]*))? -->\n+)?"
    r"^```(?P<kind>\w+)\n(?P<code>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
PICTURE = re.compile(r"\]\(images/([\w-]+\.png)\)")
WIDEST = 900  # pixels


class Block(NamedTuple):
    """Code of a page.

    Attributes:
        kind: "python" or "sh".
        code: its lines.
        line: the line of the page before its first.
        mark: "first", "not run", "tested", "needs", or "" for none.
        what: what the mark says after a colon: of "needs", the package without which the block does not run.
    """

    kind: str
    code: str
    line: int
    mark: str = ""
    what: str = ""

    @property
    def is_run(self) -> bool:
        """Whether it runs here."""
        if self.mark == "needs":
            return find_spec(self.what) is not None
        return self.mark not in ("not run", "tested")


def blocks(text: str) -> list[Block]:
    """The code of a page in the order in which it runs: what is marked as first, then from top to bottom."""
    found = []
    for match in BLOCK.finditer(text):
        hidden = match["hidden"] is not None
        start = match.start("hidden" if hidden else "code")
        kind = "python" if hidden else match["kind"].replace("bash", "sh")
        if kind in ("python", "sh"):
            code = match["hidden"] if hidden else match["code"]
            found.append(Block(kind, code, text.count("\n", 0, start), match["mark"] or "", match["what"] or ""))
    return sorted(found, key=lambda block: block.mark != "first")


def commands(code: str) -> Iterator[list[str]]:
    """The arguments of each `learnkit` command of a shell block; other lines are left to the reader."""
    for line in code.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] == ["learnkit"]:
            yield [word for part in words[1:] for word in (sorted(glob.glob(part)) if "*" in part else [part])]


def run(page: Path, *, with_commands: bool = True, with_needs: bool = True) -> dict[str, Any]:
    """Run a page in the working directory, in this process; the names it leaves.

    Args:
        page: its file.
        with_commands: run its `learnkit` commands too.
        with_needs: run the blocks that need another package too, where it is installed.

    Raises:
        RuntimeError: a command that failed.
    """
    names: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks(page.read_text(encoding="utf-8")):
        if not block.is_run or (block.mark == "needs" and not with_needs):
            continue
        if block.kind == "python":
            exec(compile("\n" * block.line + block.code, str(page), "exec"), names)
        elif with_commands:
            for words in commands(block.code):
                run_command(words, f"{page.name}:{block.line}")
    return names


def run_command(words: list[str], place: str) -> None:
    """Run `learnkit WORDS` in this process."""
    from learnkit.cli.main import main

    code = main(words)
    if code:
        raise RuntimeError(f"{place}: learnkit {shlex.join(words)}: exit code {code}")


def pictures(page: Path) -> list[str]:
    """The names of the pictures of a page that its code writes."""
    return list(dict.fromkeys(PICTURE.findall(page.read_text(encoding="utf-8"))))


def keep(picture: Path, place: Path) -> None:
    """Write a picture in few colors, so that it is small."""
    place.parent.mkdir(exist_ok=True)
    with Image.open(picture) as image:
        image = image.convert("RGB")
        image.thumbnail((WIDEST, 10 * WIDEST), Image.Resampling.LANCZOS)
        image.quantize(96, dither=Image.Dither.NONE).save(place, optimize=True)


def main() -> None:
    """Run each page in an empty folder of its own."""
    parser = argparse.ArgumentParser(description="Run the code of pages.")
    parser.add_argument("pages", type=Path, nargs="+")
    parser.add_argument("--pictures", action="store_true", help="keep the pictures that the pages show")
    args = parser.parse_args()
    os.environ.setdefault("MPLBACKEND", "Agg")
    os.environ.setdefault("LEARNKIT_PROGRESS", "plain")
    for page in [page.resolve() for page in args.pages]:
        print(f"-- {page.relative_to(DOCS.parent)}", flush=True)
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            run(page)
            for name in pictures(page) if args.pictures else ():
                keep(Path(name), page.parent / "images" / name)


if __name__ == "__main__":
    main()
