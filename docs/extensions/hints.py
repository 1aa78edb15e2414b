"""What the code of a page needs, said where its reader looks: the data of a page, and files beside an example."""

import re
from pathlib import Path

from sphinx.application import Sphinx

PAGES = ("questions/", "coming-from/")
EXAMPLES = Path(__file__).parents[2] / "examples"


def data_first(text: str) -> str:
    """A page with, after its first paragraph, a link to the block of its data, if there is one."""
    heading = re.search(r"^## (The (data .*)of this page)$", text, re.MULTILINE)
    if not heading:
        return text
    top, answer, rest = text.split("\n\n", 2)
    anchor = heading[1].lower().replace(" ", "-")
    return f"{top}\n\n{answer}\n\nTo paste its blocks, run [the {heading[2]}of this page](#{anchor}) first.\n\n{rest}"


def neighbors(name: str) -> list[str]:
    """The other examples that an example imports, directly or not, without suffix."""
    found: list[str] = []
    waiting = [name]
    while waiting:
        code = (EXAMPLES / f"{waiting.pop()}.py").read_text(encoding="utf-8")
        for other in re.findall(r"^(?:from|import) (\w+)", code, re.MULTILINE):
            if other != name and other not in found and (EXAMPLES / f"{other}.py").exists():
                found.append(other)
                waiting.append(other)
    return found


def with_neighbors(text: str, name: str) -> str:
    """A page of the gallery that offers, above its own downloads, the files that must lie beside the script."""
    footer = f".. _sphx_glr_download_gallery_{name}.py:"
    if footer not in text or not (others := neighbors(name)):
        return text
    links = " and ".join(f":download:`{other}.py`" for other in others)
    return text.replace(footer, f"It imports {links}, to be put into the same folder.\n\n{footer}")


def add(app: Sphinx, docname: str, content: list[str]) -> None:
    """Say it while a page is read."""
    if docname.startswith(PAGES):
        content[0] = data_first(content[0])
    elif docname.startswith("gallery/"):
        content[0] = with_neighbors(content[0], docname.removeprefix("gallery/"))


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("source-read", add)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
