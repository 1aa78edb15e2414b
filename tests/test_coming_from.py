"""The pages for those who come from another library: the names in their tables exist, here and there."""

import ast
import importlib.metadata
import inspect
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision.transforms.v2

import learnkit
from learnkit import DataBunch, Learner
from tests.doubles import script_module

PAGES = Path(__file__).parents[1] / "docs" / "coming-from"
GUIDES = sorted(page for page in PAGES.glob("*.md") if page.name != "index.md")
# The package whose source has the names of a page, and how its version begins.
PEERS = {
    "fastai-v1": ("fastai", "1."),
    "fastai-v2": ("fastai", "2."),
    "keras": ("keras", "3."),
    "lightning": ("lightning", "2."),
    "timm-train": ("timm", "1."),
    "ultralytics-classify": ("ultralytics", "8."),
}
LOOP = PAGES / "pytorch-loop.md"
NAME = re.compile(r"(?<![\w.\"/'-])[A-Za-z_][\w.]*")


def spans(text: str, *, ours: bool) -> list[str]:
    """What is in backticks in the last column of the tables, or in the others."""
    rows = [line.strip().strip("|").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    cells = [cell for row in rows for cell in (row[-1:] if ours else row[:-1])]
    return [span for cell in cells for span in re.findall(r"`([^`]+)`", cell)]


def resolved(name: str, roots: dict[str, Any]) -> Any:
    """The object of a dotted name.

    Raises:
        AttributeError: there is none.
    """
    first, *rest = name.split(".")
    found = roots[first]
    for part in rest:
        found = getattr(found, part)
    return found


def mistakes(span: str, roots: dict[str, Any]) -> Iterator[str]:
    """Names of a span that do not exist, and keywords that their functions do not take."""
    for name in NAME.findall(span):
        if name.partition(".")[0] in roots and not name.endswith("."):
            try:
                resolved(name, roots)
            except AttributeError:
                yield name
                return
    try:
        calls = [node for node in ast.walk(ast.parse(span, mode="eval")) if isinstance(node, ast.Call)]
    except SyntaxError:  # a part of a line
        return
    for call in calls:
        name = ast.unparse(call.func)
        if re.fullmatch(r"[\w.]+", name) and name.partition(".")[0] in roots:
            known = keywords(resolved(name, roots))
            yield from (f"{name}({one.arg}=)" for one in call.keywords if known and one.arg not in known)


def keywords(function: Any) -> set[str]:
    """What a function takes by name; nothing if that cannot be told."""
    taken = inspect.signature(function).parameters
    named = set(taken)
    for parameter in taken.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            options = getattr(parameter.annotation, "__args__", [None])[0]  # of Unpack
            if not hasattr(options, "__annotations__"):
                return set()
            named |= set(options.__annotations__)
    return named


@pytest.fixture(scope="module")
def roots() -> dict[str, Any]:
    x, y = torch.zeros(4, 2), torch.tensor([0, 1, 0, 1])
    dls = DataBunch.from_tensors(x, y, x, y, bs=2)
    public = {name: getattr(learnkit, name) for name in dir(learnkit)}
    return {**public, "dls": dls, "learn": Learner(dls, torch.nn.Linear(2, 2))}


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.stem)
def test_the_names_that_users_are_sent_to_exist(page: Path, roots: dict[str, Any]) -> None:
    found = spans(page.read_text(encoding="utf-8"), ours=True)
    assert len(found) > 25
    assert [mistake for span in found for mistake in mistakes(span, roots)] == []


@pytest.mark.parametrize(
    ("span", "mistake"),
    [
        ("learn.fit_one_cicle(5)", "learn.fit_one_cicle"),
        ("callbacks.EarlyStop", "callbacks.EarlyStop"),
        ("learn.fit(5, epoch=3)", "learn.fit(epoch=)"),
        ("learn.fit_one_cycle(5, validate_evry=3)", "learn.fit_one_cycle(validate_evry=)"),
        ("Learner(dls, model, loss=f)", "Learner(loss=)"),
    ],
)
def test_a_name_that_does_not_exist_is_noticed(span: str, mistake: str, roots: dict[str, Any]) -> None:
    assert list(mistakes(span, roots)) == [mistake]


def test_what_exists_passes(roots: dict[str, Any]) -> None:
    for span in ("learn.fit_one_cycle(5, validate_every=3)", "learn.recorder.plot_lr()", 'x.Learn(a="callbacks.No")'):
        assert list(mistakes(span, roots)) == []


@pytest.mark.parametrize("stem", PEERS)
def test_the_names_of_the_other_library_are_in_its_source(stem: str) -> None:
    package, version = PEERS[stem]
    spec = find_spec(package)
    if spec is None or not importlib.metadata.version(package).startswith(version):
        pytest.skip(f"{package} {version} is not installed")
    source = {word for folder in spec.submodule_search_locations or () for word in words_of_package(Path(folder))}
    found = spans((PAGES / f"{stem}.md").read_text(encoding="utf-8"), ours=False)
    names = [re.sub(r'"[^"]*"', "", span) for span in found if not span.startswith("--")]
    used = {word for name in names for word in re.findall(r"[A-Za-z_]\w{2,}", name)}
    assert sorted(used - source) == []


def words_of_package(folder: Path) -> set[str]:
    """All names and words in the source of a package."""
    texts = (file.read_text(encoding="utf-8", errors="replace") for file in folder.rglob("*.py"))
    return {word for text in texts for word in re.findall(r"[A-Za-z_]\w{2,}", text)}


def test_the_names_of_torch_exist() -> None:
    found = spans(LOOP.read_text(encoding="utf-8"), ours=False)
    names = [name for span in found for name in NAME.findall(span) if name.startswith(("torch.", "torchvision."))]
    assert len(names) > 25
    for name in names:
        resolved(name, {"torch": torch, "torchvision": torchvision})


def test_each_page_has_a_script_of_both_and_its_parts() -> None:
    pages = script_module(PAGES.parent / "run_pages.py")
    for page in GUIDES:
        text = page.read_text(encoding="utf-8")
        blocks = pages.blocks(text)
        assert [block for block in blocks if block.mark == "" and "import" in block.code and "learnkit" in block.code]
        for part in ("differences to know first", "## Names", "## Bring your weights", "## The data of this page"):
            assert part in text, page.name
        assert re.search(r"Run with [a-z]+ \d", text), page.name
