"""What builds the site: the pages of the reference, names in docstrings, stored inventories, and the lists of twins.

The site itself is built by `make docs`, where every warning is an error.
"""

import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch

import learnkit
from tests.doubles import script_module

pytest.importorskip("sphinx", reason="Sphinx is not installed: pip install .[docs]")
pytest.importorskip("sphinx_design", reason="sphinx-design is not installed: pip install .[docs]")
nodes = pytest.importorskip("docutils.nodes", reason="docutils is not installed: pip install .[docs]")
new_document = pytest.importorskip("docutils.utils").new_document
EXTENSIONS = Path(__file__).parents[1] / "docs" / "extensions"


@pytest.fixture(scope="module")
def reference() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(EXTENSIONS)
        yield script_module(EXTENSIONS / "reference.py")


@pytest.fixture(scope="module")
def docstrings() -> ModuleType:
    return script_module(EXTENSIONS / "docstrings.py")


@pytest.fixture(scope="module")
def hints() -> ModuleType:
    return script_module(EXTENSIONS / "hints.py")


@pytest.fixture(scope="module")
def twins() -> ModuleType:
    return script_module(EXTENSIONS / "twins.py")


def test_every_public_name_is_described_once(reference: ModuleType) -> None:
    text = "".join(reference.pages().values())
    described = re.findall(r"^\.\. (?:autoclass|autofunction|py:data):: ([\w.]+)$", text, re.MULTILINE)
    assert len(described) == len(set(described))
    public = {
        f"{space.__name__}.{name}"
        for space in (learnkit, *learnkit._NAMESPACES)
        for name in space.__all__
        if name not in learnkit.models.ARCHITECTURES and (space is learnkit or name not in learnkit.__all__)
    }
    keywords = "learnkit.data.options.ImageSettings"  # on the page of ImageDataBunch
    assert set(described) == public | {keywords}
    assert keywords in reference.pages()["learnkit.ImageDataBunch"]
    assert all(f"``{name}``" in reference.pages()["networks"] for name in learnkit.models.ARCHITECTURES)


def test_the_index_of_the_reference_lists_all_namespaces(reference: ModuleType) -> None:
    page = (reference.FOLDER / "index.md").read_text(encoding="utf-8")
    listed = re.findall(r"^(learnkit[\w.]*)$", page, re.MULTILINE)
    assert listed == ["learnkit", *sorted(space.__name__ for space in learnkit._NAMESPACES)]


@pytest.mark.parametrize(
    ("path", "public"),
    [
        ("learnkit.learner.learner.Learner", "learnkit.Learner"),
        ("learnkit.data.augment.geometry.Flip", "learnkit.transforms.Flip"),
        (f"{torch.nn.Linear.__module__}.Linear", "torch.nn.Linear"),
        ("torch.Tensor", "torch.Tensor"),
        ("no.such.Name", "no.such.Name"),
    ],
)
def test_names_are_linked_by_their_shortest_path(docstrings: ModuleType, path: str, public: str) -> None:
    assert docstrings.shortest(path) == public


def test_only_bases_with_a_page_are_named(docstrings: ModuleType) -> None:
    assert docstrings.public_bases(learnkit.Learner) == []
    assert docstrings.public_bases(learnkit.errors.UsageError) == [learnkit.LearnkitError, ValueError]
    assert docstrings.public_bases(learnkit.callbacks.OneCycle) == [learnkit.Callback]


def test_methods_are_told_from_other_attributes(docstrings: ModuleType) -> None:
    assert docstrings.is_method("learnkit.Learner.fit")
    assert not docstrings.is_method("learnkit.Learner.no_such")
    assert not docstrings.is_method("torch.nn.Linear.forward")


def test_stored_inventories_are_those_of_sphinx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inventories = script_module(EXTENSIONS / "inventories.py")
    monkeypatch.setattr(inventories, "MADE", tmp_path)
    for site, file in inventories.mapping(online=False).values():
        head, body = Path(file).read_bytes().split(b"zlib.\n")
        assert head.startswith(b"# Sphinx inventory version 2\n")
        assert all(re.fullmatch(r"\S+ py:\w+ 1 \S+#\$ -", line) for line in zlib.decompress(body).decode().splitlines())
        assert site.startswith("https://")
    assert all(file is None for _, file in inventories.mapping(online=True).values())


def test_twins_are_listed_with_their_first_sentence(twins: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "questions").mkdir()
    for name in ("questions/why", "data"):
        (tmp_path / f"{name}.html").touch()
        (tmp_path / f"{name}.md").write_text(
            f"<a id='x'></a>\n\n# {name}?\n\nBases: object\n\n```python\nx = 1\n```\n\nBecause\nof it.\n\nMore.\n"
        )
    twins.write_lists(tmp_path)
    lists = (tmp_path / "llms.txt").read_text()
    assert "## Questions\n\n- [questions/why?](questions/why.md): Because of it.\n" in lists
    assert (tmp_path / "llms-full.txt").read_text().count("More.") == 2
    (tmp_path / "alone.html").touch()
    with pytest.raises(SystemExit, match=r"alone\.md"):
        twins.write_lists(tmp_path)


def test_twins_are_listed_as_their_index_links_them(twins: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "tutorials").mkdir()
    pages = {"index": "# I\n\n* [Z](zoo.md)\n* [A](ape.md)\n", "ape": "# A\n", "bat": "# B\n", "zoo": "# Z\n"}
    for name, text in pages.items():
        (tmp_path / f"tutorials/{name}.html").touch()
        (tmp_path / f"tutorials/{name}.md").write_text(text)
    twins.write_lists(tmp_path)
    assert re.findall(r"tutorials/(\w+)", (tmp_path / "llms.txt").read_text()) == ["index", "zoo", "ape", "bat"]


def test_pages_with_data_at_their_end_say_so_at_their_top(hints: ModuleType) -> None:
    page = "# Why?\n\nBecause.\n\n```python\nx\n```\n\n## The data and the network of this page\n\nHere.\n"
    link = "[the data and the network of this page](#the-data-and-the-network-of-this-page)"
    assert f"Because.\n\nTo paste its blocks, run {link} first.\n\n```python" in hints.data_first(page)
    assert hints.data_first("# Why?\n\nBecause.\n\nMore.\n") == "# Why?\n\nBecause.\n\nMore.\n"


def test_pages_of_examples_offer_the_files_they_import(hints: ModuleType) -> None:
    assert hints.neighbors("digits") == []
    assert hints.neighbors("training_functions") == ["digits", "losses_for_masks"]
    assert hints.neighbors("embeddings") == ["digits", "label_cleaning"]
    footer = ".. _sphx_glr_download_gallery_stream.py:\n"
    assert hints.with_neighbors(f"Text\n\n{footer}", "stream") == (
        f"Text\n\nIt imports :download:`digits.py`, to be put into the same folder.\n\n{footer}"
    )
    assert hints.with_neighbors("A list\n", "index") == "A list\n"


def test_twins_have_the_pictures_of_the_site_and_nothing_hidden(twins: ModuleType) -> None:
    doctree = new_document("page")
    picture, link = nodes.image(uri="questions/images/why.png"), nodes.reference("", "below", refid="below")
    raw = [nodes.raw("", text, format="html") for text in ("<!-- hidden\nx = 1\n-->", "<details>\n<!-- first -->")]
    doctree += [nodes.comment("", "hidden"), picture, nodes.paragraph("", "", link), *raw]
    images = {"questions/images/why.png": (set(), "why1.png")}
    app = SimpleNamespace(builder=SimpleNamespace(name="html"), env=SimpleNamespace(images=images))
    twins.of_reader(app, doctree, "questions/why")
    assert len(doctree.children) == 5
    app.builder.name = "markdown"
    twins.of_reader(app, doctree, "questions/why")
    assert [node.astext() for node in doctree.children] == ["", "below", "<details>\n"]
    assert picture["uri"] == "../_images/why1.png"
    assert link["refuri"] == "#below"
    twins.of_reader(app, doctree, "gallery/why")
    assert len(doctree.children) == 2, "frames of the gallery are not kept"
