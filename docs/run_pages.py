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
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
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
            yield [word for part in words[1:] for word in sorted(glob.glob(part)) or [part]]


def run(page: Path, *, with_needs: bool = True) -> dict[str, Any]:
    """Run a page in the working directory, in this process; the names it leaves.

    A question runs with the networks that it names, a guide with small ones in their place.

    Args:
        page: its file.
        with_needs: run the blocks that need another package too, where it is installed.

    Raises:
        RuntimeError: a command that failed.
    """
    names: dict[str, Any] = {"__name__": "__main__", "__file__": str(page), "draw_images": draw_images}
    try:
        is_question = page.parent == DOCS / "questions"
        with contextlib.nullcontext() if is_question else small_networks(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"bs=\d+ is more than")  # of a handful of images
            for block in blocks(page.read_text(encoding="utf-8")):
                if not block.is_run or (block.mark == "needs" and not with_needs):
                    continue
                if block.kind == "python":
                    exec(compile("\n" * block.line + block.code, str(page), "exec"), names)
                else:
                    for words in commands(block.code):
                        run_command(words, f"{page.name}:{block.line}")
    finally:
        mock.patch.stopall()  # what hidden blocks replaced
    return names


@contextlib.contextmanager
def small_networks() -> Iterator[None]:
    """Three layers in place of a ResNet, and random weights in place of published ones: seconds, and no network."""
    from learnkit.models import backbone, spec

    find, read = backbone.find_backbone, backbone._state

    def found(arch: Any, cut: Any, in_chans: int, size: Any) -> backbone.Backbone:
        name = getattr(arch, "name", arch)
        if name not in ("resnet18", "resnet34"):
            return find(arch, cut, in_chans, size)
        body = three_layers()
        return backbone.Backbone(body, body, [body[5]], name, image_size=size)

    def state(network: backbone.Backbone, in_chans: int, weights: Any) -> Any:
        is_published = isinstance(weights, str) and weights == "DEFAULT"
        return network.module.state_dict() if is_published else read(network, in_chans, weights)

    with mock.patch.object(spec, "find_backbone", found), mock.patch.object(backbone, "_state", state):
        yield


def three_layers() -> Any:
    """A body with the eight parts of a ResNet's, at a hundredth of its cost."""
    from torch import nn

    def layer(inputs: int, outputs: int, stride: int) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(inputs, outputs, 2 * stride - 1, stride, stride - 1), nn.BatchNorm2d(outputs), nn.ReLU()
        )

    parts: list[nn.Module] = [nn.Identity() for _ in range(8)]
    parts[0], parts[5], parts[6] = layer(3, 8, 4), layer(8, 16, 2), layer(16, 32, 2)
    return nn.Sequential(*parts)


def draw_images(folder: str, classes: tuple[str, ...] = ("cat", "dog"), n: int = 10, size: int = 64) -> None:
    """Write FOLDER/CLASS/0.jpg, …: `n` noisy images of each class, each class of another gray."""
    for number, name in enumerate(classes):
        place = Path(folder, name)
        place.mkdir(parents=True, exist_ok=True)
        for i in range(n):
            pixels = np.random.default_rng(i).normal(40 + 180 * number / len(classes), 20, (size, size, 3))
            Image.fromarray(np.clip(pixels, 0, 255).astype("uint8")).save(place / f"{i}.jpg")


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
