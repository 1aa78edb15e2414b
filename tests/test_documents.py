"""README and docs: what is generated is up to date, links lead somewhere, walks through the code are as drawn."""

import re
import traceback
from pathlib import Path
from types import ModuleType

import pytest
from torch import Tensor, nn

from learnkit import Learner
from learnkit.cli.main import COMMANDS, main
from tests.doubles import Blobs, linear_learner, script_module

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def floors() -> ModuleType:
    return script_module(DOCS / "draw_floors.py")


def test_every_package_is_drawn_above_what_it_imports(floors: ModuleType) -> None:
    imports = floors.graph()
    level = {name: n for n, row in enumerate(floors.floors(imports)) for name in row}
    assert level.keys() == imports.keys()
    assert all(level[name] > level[other] for name, others in imports.items() for other in others)
    assert imports["training"] >= {"device", "errors", "metrics"}  # read by eye


def test_a_line_implied_by_a_longer_path_is_left_out(floors: ModuleType) -> None:
    assert floors.direct({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == {"a": {"b"}, "b": {"c"}, "c": set()}


def test_the_diagram_shows_all_packages(floors: ModuleType) -> None:
    drawn = set(re.findall(r'font-weight="600">(\w+)<', floors.DIAGRAM.read_text(encoding="utf-8")))
    assert drawn == set(floors.units()), "run python docs/draw_floors.py"


@pytest.fixture(scope="module")
def options() -> ModuleType:
    return script_module(DOCS / "list_options.py")


def test_the_options_of_the_command_line_are_up_to_date(options: ModuleType) -> None:
    page = options.PAGE.read_text(encoding="utf-8")
    assert [name for _, name, _ in options.MARKED.findall(page)] == list(COMMANDS)
    assert page == options.written(page), "run python docs/list_options.py"


@pytest.mark.parametrize("name", COMMANDS)
def test_help_names_every_option_of_the_page_and_no_other(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    page = (DOCS / "command-line.md").read_text(encoding="utf-8")
    part = page.partition(f"<!-- options of {name}: ")[2].partition("<!-- end -->")[0]
    listed = re.findall(
        r"`(--[a-z][a-z-]*)`", "\n".join(re.sub(r"[|] [^|]* [|]$", "", line) for line in part.splitlines())
    )
    with pytest.raises(SystemExit):
        main([name, "--help"])
    helped = set(re.findall(r"^  (?:-h, )?(--[a-z-]+)(?:.*?, (--no-[a-z-]+))?", capsys.readouterr().out, re.MULTILINE))
    flags = {flag for pair in helped for flag in pair if flag} - {"--help"}
    assert set(listed) <= flags
    assert {positive(flag, flags) for flag in listed} == {positive(flag, flags) for flag in flags}


def positive(flag: str, flags: set[str]) -> str:
    """A switch as it is typed if it is on."""
    on = f"--{flag.removeprefix('--no-')}"
    return on if flag.startswith("--no-") and on in flags else flag


PAGES = [*sorted(DOCS.rglob("*.md")), ROOT / "README.md"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_between_documents_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)#:]+)(?:#[\w-]+)?\)", text) + re.findall(r'src="([^":]+)"', text)
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_the_files_that_the_architecture_page_walks_through_exist() -> None:
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    files = set(re.findall(r"\b((?:\w+/)+\w+\.py)\b", text))
    assert len(files) > 15
    places = (ROOT / "learnkit", ROOT)
    assert [file for file in sorted(files) if not any((place / file).is_file() for place in places)] == []


def test_the_architecture_page_finds_the_methods_of_a_learner_where_they_are() -> None:
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)\.py` \| (.*) \|$", text, re.MULTILINE)
    classes = {kind.__name__: kind for kind in Learner.__mro__}
    assert {(name, f"learnkit.learner.{file}") for name, file, _ in rows} == {
        (name, kind.__module__) for name, kind in classes.items() if kind.__module__.startswith("learnkit.")
    }
    named = [(name, method) for name, _, methods in rows for method in re.findall(r"`(\w+)`", methods)]
    assert [pair for pair in named if pair[1] not in vars(classes[pair[0]])] == []


class Traced(nn.Linear):
    """Notes the learnkit functions above its first forward pass in training, as (file, name)."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training and not hasattr(self, "frames"):
            above = [(Path(frame.filename), frame.name) for frame in traceback.extract_stack()]
            own = [(file, name) for file, name in above if file.is_relative_to(ROOT / "learnkit")]
            self.frames = [(file.relative_to(ROOT).as_posix(), name) for file, name in own]
        return super().forward(x)


def test_the_frames_from_fit_to_the_model_are_those_of_the_page(blobs: Blobs) -> None:
    model = Traced(2, 2)
    linear_learner(blobs, model).fit(1)
    frames = [frame for frame in model.frames if frame[0] != "learnkit/arguments.py"]  # told below the diagram
    diagram = (DOCS / "how-a-fit-runs.md").read_text(encoding="utf-8").split("```")[1]
    drawn = re.findall(r"^(?:[ └─]*)([\w.]+)  ", diagram, re.MULTILINE)
    assert [name.rpartition(".")[2] for name in drawn] == [name for _, name in frames]
    files = list(dict.fromkeys(file for file, _ in frames))
    assert re.findall(r"learnkit/\S+", diagram) == files
    words = dict(enumerate(["three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"], 3))
    claim = f"{words[len(frames)]} frames in {words[len(files)]} files"
    assert claim in (ROOT / "README.md").read_text(encoding="utf-8")
