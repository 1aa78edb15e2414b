"""For programs that read: each page links to its Markdown twin, and llms.txt lists the twins, llms-full.txt holds them.

The twins are written by Sphinx's builder "markdown" into the folder of the site; this file, run on it, lists them:

    python docs/extensions/twins.py build/docs
"""

import posixpath
import re
import sys
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx_design.shared import PassthroughTextElement

SUMMARY = (
    "Train an image classifier in five lines, in plain PyTorch, at the speed of the loop you would write yourself."
)
SECTIONS = {
    "tutorials": "Tutorials",
    "questions": "Questions",
    ".": "Guides",
    "coming-from": "Coming from another library",
    "gallery": "Examples",
    "reference": "API reference",
}
LONGEST = 200  # characters of a description


def link(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    """Name the twin in the head of a page."""
    if doctree is not None:
        twin = f"{pagename.rpartition('/')[2]}.md"
        context["metatags"] += f'\n<link rel="alternate" type="text/markdown" title="Markdown" href="{twin}">'


def described(text: str) -> tuple[str, str]:
    """The title of a twin, and the beginning of its first paragraph."""
    title = re.search(r"^# (.+)$", text, re.MULTILINE)
    rest = re.sub(r"^```.*?^```$", "", text[title.end() :] if title else text, flags=re.DOTALL | re.MULTILINE)
    paragraph = re.search(r"^(?!#|<|>|\||!\[|\* |- |\d+\. |Bases:|\s).+(?:\n\S.*)*", rest, re.MULTILINE)
    words = " ".join(paragraph[0].split()) if paragraph else ""
    short = words if len(words) <= LONGEST else words[:LONGEST].rpartition(" ")[0] + " …"
    return (title[1] if title else ""), short


def in_order(folder: Path, twins: list[Path]) -> list[Path]:
    """The twins of a folder: its index, those that the index links, in its order, and the others by name."""
    index = folder / "index.md"
    links = re.findall(r"\]\(([\w.-]+\.md)\)", index.read_text(encoding="utf-8")) if index in twins else []
    rank = {"index.md": -1} | {name: place for place, name in reversed(list(enumerate(links)))}
    return sorted(twins, key=lambda twin: (rank.get(twin.name, len(links)), twin.name))


def write_lists(site: Path) -> None:
    """Write llms.txt and llms-full.txt into the folder of the site.

    Raises:
        SystemExit: a page without a twin.
    """
    made = sorted(page.with_suffix(".md") for page in site.rglob("*.html"))
    twins = [twin for twin in made if twin.stem not in ("genindex", "py-modindex", "search")]
    missing = [str(twin.relative_to(site)) for twin in twins if not twin.exists()]
    if missing:
        sys.exit(f"pages without a Markdown twin: {', '.join(missing)}")
    lines, texts = [f"# learnkit\n\n> {SUMMARY}\n"], []
    for folder, title in SECTIONS.items():
        lines.append(f"\n## {title}\n\n")
        for twin in in_order(site / folder, [twin for twin in twins if twin.parent == site / folder]):
            text = twin.read_text(encoding="utf-8")
            name, words = described(text)
            says = f": {words}" if words else ""
            lines.append(f"- [{name or twin.stem}]({twin.relative_to(site).as_posix()}){says}\n")
            texts.append(text)
    (site / "llms.txt").write_text("".join(lines), encoding="utf-8")
    (site / "llms-full.txt").write_text("\n\n".join(texts), encoding="utf-8")


def of_reader(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Of a twin: the site's pictures, links within the page, no comments, and no frames of thumbnails."""
    if app.builder.name != "markdown":
        return
    for image in doctree.findall(nodes.image):
        if image["uri"] in app.env.images:
            picture = f"_images/{app.env.images[image['uri']][1]}"
            image["uri"] = posixpath.relpath(picture, posixpath.dirname(docname) or ".")
    for reference in doctree.findall(nodes.reference):
        if "refid" in reference and "refuri" not in reference:
            reference["refuri"] = f"#{reference['refid']}"
    for node in [*doctree.findall(nodes.comment), *doctree.findall(nodes.raw)]:
        is_shown = isinstance(node, nodes.raw) and not docname.startswith("gallery/")
        text = re.sub(r"<!--.*?-->\n?", "", node.astext(), flags=re.DOTALL) if is_shown else ""
        node.parent.replace(node, [nodes.raw(text, text, format="html")] if text.strip() else [])


def pass_on(translator: Any, node: Any) -> None:
    """Of an element that is nothing in Markdown, only the text is written."""


def end_line(translator: Any, node: Any) -> None:
    """What follows is a paragraph of its own."""
    translator.ensure_eol(2)


def setup(app: Sphinx) -> dict[str, bool]:
    """Link each page to its twin, and tell the builder of twins what it does not know."""
    app.registry.add_translation_handlers(nodes.abbreviation, markdown=(pass_on, pass_on))
    app.registry.add_translation_handlers(PassthroughTextElement, markdown=(pass_on, end_line))
    app.connect("doctree-resolved", of_reader)
    app.connect("html-page-context", link)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


if __name__ == "__main__":
    write_lists(Path(sys.argv[1]))
