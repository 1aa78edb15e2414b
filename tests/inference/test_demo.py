"""The demo: what it shows for every task, what it refuses, and its page over HTTP and in a real browser."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from learnkit import (
    Classification,
    ImageDataBunch,
    Learner,
    MultiLabel,
    Points,
    Regression,
)
from learnkit.inference.demo import shown
from learnkit.inference.predictor import Prediction
from learnkit.plots.points import PREDICTED
from tests.doubles import linear_learner, refused

needs_gradio = pytest.mark.skipif(importlib.util.find_spec("gradio") is None, reason="gradio is not installed")
HOSTILE = "<img src=x onerror=alert(1)>"
SIDE = 48


class MeanColor(nn.Module):
    """Outputs that depend on the mean color of the image alone."""

    def __init__(self, n_out: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Linear(3, n_out)

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.net(x.mean((2, 3)))
        return outputs


class Halves(nn.Module):
    """The first class above, the second one below."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(5.0))

    def forward(self, x: Tensor) -> Tensor:
        below = torch.linspace(-1, 1, x.shape[2], device=x.device)[:, None].expand(len(x), 1, *x.shape[2:])
        return torch.cat([-below, below], 1) * self.scale


def learners(folder: Path) -> dict[str, Learner]:
    """One for each task, on the same images."""
    names = [f"images/{n}.png" for n in range(8)]
    for part in ("images", "masks"):
        (folder / part).mkdir()
    numbers = np.random.default_rng(0)
    for name in names:
        pixels = np.kron(numbers.integers(0, 256, (4, 6, 3)), np.ones((12, 12, 1))).astype(np.uint8)
        Image.fromarray(pixels).save(folder / name)
        Image.fromarray((np.arange(SIDE)[:, None] >= 24).repeat(72, 1).astype(np.uint8)).save(
            folder / name.replace("images", "masks")
        )
    options: dict[str, Any] = {"size": SIDE, "bs": 4, "num_workers": 0, "device": "cpu", "valid_pct": 0.5}
    tables = {
        "classes": (["cat", HOSTILE] * 4, {}),
        "labels": (["sea;sky", "sky"] * 4, {"label_delim": ";", "task": MultiLabel(("sea", "sky"), 0.3)}),
        "numbers": ([1.5, 2.5] * 4, {"task": Regression(("age",))}),
        "points": ([(10.0, 20.0, 30.0, 5.0)] * 8, {"task": Points(["nose", "ear"], swaps=())}),
    }
    made = {}
    for task, (labels, own) in tables.items():
        table = pd.DataFrame({"input": names, "target": labels})
        dls = ImageDataBunch.from_df(folder, table, fn_col="input", label_col="target", **options, **own)
        made[task] = Learner(dls, MeanColor(4 if task == "points" else dls.c or 1), seed=0)
    masks = ImageDataBunch.from_folder_masks(
        folder, masks=lambda file: folder / "masks" / Path(file).name, codes=["sky", "ground"], **options
    )
    return {**made, "masks": Learner(masks, Halves(), seed=0)}


def serve_pages(folder: str) -> None:
    """Run in a process of its own: print where each page is, until stdin ends."""
    pages = {name: learn.demo() for name, learn in learners(Path(folder)).items()}
    urls = {name: page.launch(prevent_thread_lock=True, quiet=True)[1] for name, page in pages.items()}
    print(json.dumps(urls), flush=True)
    sys.stdin.read()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Learner]]:
    folder = tmp_path_factory.mktemp("demo")
    return folder, learners(folder)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The address of each page: the same learners, in a process of their own."""
    folder = tmp_path_factory.mktemp("pages")
    code = f"from tests.inference.test_demo import serve_pages; serve_pages({str(folder)!r})"
    environment = {**os.environ, "GRADIO_TEMP_DIR": str(folder / "gradio"), "OMP_NUM_THREADS": "1"}
    environment.pop("GRADIO_ANALYTICS_ENABLED", None)
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True
    ) as process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())
        process.terminate()


def test_what_is_shown_of_each_task() -> None:
    def of(task: Any, outputs: Any) -> list[Any]:
        activated = torch.tensor(outputs)
        preprocess: Any = None
        return shown(Prediction(*task.decode(activated), activated), task, preprocess, "unused")

    assert of(Classification(("a", "b")), [0.25, 0.75]) == [{"a": 0.25, "b": 0.75}]
    assert of(MultiLabel(("a", "b", "c"), 0.2), [0.75, 0.125, 0.25]) == ["a; c", {"a": 0.75, "b": 0.125, "c": 0.25}]
    assert of(MultiLabel(("a", "b")), [0.25, 0.125])[0] == "(none)"
    assert of(Regression(("x", "y")), [1.23456789, -2.0]) == [[["x", 1.2346], ["y", -2.0]]]


def test_masks_lie_over_what_the_model_sees(made: tuple[Path, dict[str, Learner]]) -> None:
    folder, learn = made[0], made[1]["masks"]
    item = folder / "images" / "0.png"
    ((image, layers),) = shown(learn.predict(item), learn.dls.task, learn.dls.preprocess, item)
    np.testing.assert_array_equal(image, np.asarray(Image.open(item))[:, 12:60])  # cropped to a square
    assert [name for _, name in layers] == ["sky", "ground"]
    below = np.arange(SIDE)[:, None].repeat(SIDE, 1) >= 24
    np.testing.assert_array_equal(layers[0][0], ~below)
    np.testing.assert_array_equal(layers[1][0], below)


def test_points_are_drawn_and_in_pixels_of_the_image(made: tuple[Path, dict[str, Learner]]) -> None:
    folder, learn = made[0], made[1]["points"]
    item = folder / "images" / "0.png"
    prediction = learn.predict(item)
    image, rows = shown(prediction, learn.dls.task, learn.dls.preprocess, item)
    assert [row[0] for row in rows] == ["nose", "ear"]
    np.testing.assert_allclose([row[1:] for row in rows], prediction.label, rtol=1e-4)
    times = image.shape[0] // SIDE
    for _, x, y in rows:  # the crop begins at column 12
        row, column = round((y + 0.5) * times - 0.5), round((x - 12 + 0.5) * times - 0.5)
        assert tuple(image[row, column]) == PREDICTED


def test_what_cannot_be_shown_is_refused(blobs: Any, made: tuple[Path, dict[str, Learner]]) -> None:
    with refused("demo: the data has no images"):
        linear_learner(blobs).demo()
    with refused("n", got=-1):
        made[1]["classes"].demo(n=-1)


def test_without_gradio_the_error_says_what_to_install(
    made: tuple[Path, dict[str, Learner]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    with refused("this needs the package gradio", fix='Install it: pip install "learnkit[demo]".'):
        made[1]["classes"].demo()


def asked(url: str, file: bytes, name: str) -> tuple[str, Any]:
    """The event and the data with which a page answers an upload, over HTTP."""
    httpx = pytest.importorskip("httpx", reason="httpx is not installed")
    with httpx.Client(base_url=f"{url}gradio_api", trust_env=False, timeout=60) as client:
        (path,) = client.post("/upload", files={"files": (name, file)}).json()
        image = {"path": path, "orig_name": name, "meta": {"_type": "gradio.FileData"}}
        event = client.post("/call/predict", json={"data": [image]}).json()["event_id"]
        answer = client.get(f"/call/predict/{event}").text
    found = re.fullmatch(r"event: (\w+)\ndata: (.*)\n\n", answer)
    assert found, answer
    return found[1], json.loads(found[2])


@needs_gradio
@pytest.mark.slow
def test_pages_answer_as_predict_does(pages: dict[str, str], made: tuple[Path, dict[str, Learner]]) -> None:
    folder, of_task = made
    file = folder / "images" / "3.png"
    event, (label,) = asked(pages["classes"], file.read_bytes(), "3.png")
    expected = of_task["classes"].predict(file)
    assert event == "complete"
    assert label["label"] == expected.label
    found = {one["label"]: one["confidence"] for one in label["confidences"]}
    assert found == pytest.approx(
        dict(zip(["<img src=x onerror=alert(1)>", "cat"], expected.probs.tolist(), strict=True))
    )
    _, (text, _) = asked(pages["labels"], file.read_bytes(), "3.png")
    assert text == of_task["labels"].dls.task.text(of_task["labels"].predict(file).index)
    _, (rows,) = asked(pages["numbers"], file.read_bytes(), "3.png")
    assert rows["data"] == [["age", pytest.approx(of_task["numbers"].predict(file).label[0], rel=1e-4)]]
    _, (_, rows) = asked(pages["points"], file.read_bytes(), "3.png")
    assert np.array(rows["data"])[:, 0].tolist() == ["nose", "ear"]
    _, (masks,) = asked(pages["masks"], file.read_bytes(), "3.png")
    assert [one["label"] for one in masks["annotations"]] == ["sky", "ground"]


@needs_gradio
@pytest.mark.slow
def test_nothing_is_reported(pages: dict[str, str]) -> None:
    httpx = pytest.importorskip("httpx", reason="httpx is not installed")
    assert all(not httpx.get(f"{url}config", trust_env=False).json()["analytics_enabled"] for url in pages.values())


@needs_gradio
@pytest.mark.slow
@pytest.mark.parametrize("content", [b"", b"text", b"\x89PNG\r\n\x1a\n1234"])
def test_a_bad_image_is_one_sentence(pages: dict[str, str], content: bytes) -> None:
    event, data = asked(pages["classes"], content, "bad <b>.png")
    assert event == "error"
    assert re.search(r"bad.*\.png cannot be read as an image \(", data["error"])
    assert not re.search(r"<|/|\.py", data["error"])


class Visit:
    """A page, and what it asked for."""

    def __init__(self, browser: Any, url: str) -> None:
        self.page = browser.new_page(viewport={"width": 1100, "height": 900})
        self.page.set_default_timeout(60_000)
        self.hosts: set[str | None] = set()
        self.dialogs: list[str] = []
        self.page.on("request", lambda request: self.hosts.add(urlsplit(request.url).hostname))
        self.page.on("dialog", self.dismiss)
        self.page.goto(url)
        self.page.wait_for_selector("input[type=file]", state="attached")

    def dismiss(self, dialog: Any) -> None:
        self.dialogs.append(dialog.message)
        dialog.dismiss()

    def close(self) -> None:
        self.page.close()
        assert self.hosts - {None} == {"127.0.0.1"}  # None: data in the page itself
        assert self.dialogs == []


@needs_gradio
@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "text"),
    [("classes", "cat"), ("labels", "sea"), ("numbers", "age"), ("points", "nose"), ("masks", "ground")],
)
def test_an_image_is_answered_in_a_browser(
    task: str, text: str, pages: dict[str, str], made: tuple[Path, dict[str, Learner]], browser: Any, tmp_path: Path
) -> None:
    visit = Visit(browser, pages[task])
    answers = visit.page.get_by_text(text, exact=True).locator("visible=true")
    n_before = answers.count()
    visit.page.set_input_files("input[type=file]", made[0] / "images" / "3.png")
    answers.nth(n_before).wait_for()
    visit.page.wait_for_timeout(500)
    visit.page.screenshot(path=tmp_path / f"{task}.png")
    visit.close()


@needs_gradio
@pytest.mark.slow
def test_examples_and_bad_images_in_a_browser(pages: dict[str, str], browser: Any, tmp_path: Path) -> None:
    visit = Visit(browser, pages["classes"])
    examples = visit.page.locator("button.gallery-item")
    assert examples.count() == 4
    examples.first.click()
    visit.page.get_by_text("cat", exact=True).first.wait_for()
    visit.close()
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"text")
    visit = Visit(browser, pages["classes"])
    visit.page.set_input_files("input[type=file]", bad)
    visit.page.get_by_text(re.compile(r"bad\.png cannot be read as an image \(")).first.wait_for()
    visit.page.screenshot(path=tmp_path / "bad.screen.png")
    visit.close()
