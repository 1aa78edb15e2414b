"""The service, started as its Dockerfile starts it, answers real requests, and refuses what it should."""

import asyncio
import base64
import hashlib
import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from learnkit import (
    Classification,
    ImageDataBunch,
    Learner,
    MultiLabel,
    Points,
    Regression,
    Segmentation,
    cnn_learner,
    load_learner,
)
from tests.doubles import script_module

httpx = pytest.importorskip("httpx", reason="httpx is not installed")
pytest.importorskip("fastapi", reason="fastapi is not installed")
pytest.importorskip("uvicorn", reason="uvicorn is not installed")

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "examples" / "serve"
DOCKERFILE = (FOLDER / "Dockerfile").read_text(encoding="utf-8")
COLORS = {"blue": (40, 60, 200), "green": (50, 190, 60), "red": (210, 50, 40)}


def instructions(name: str) -> list[str]:
    """What follows each instruction of this name in the Dockerfile."""
    return [line.removeprefix(name).strip() for line in DOCKERFILE.splitlines() if line.startswith(f"{name} ")]


@dataclass
class Server:
    """A running service."""

    process: "subprocess.Popen[bytes]"
    log: Path
    url: str

    def get(self, path: str) -> Any:
        return httpx.get(self.url + path, trust_env=False, timeout=30)

    def post(self, **options: Any) -> Any:
        return httpx.post(f"{self.url}/predict", trust_env=False, timeout=60, **options)

    def predict(self, *files: bytes, name: str = "a.png") -> Any:
        return self.post(files=[("files", (name, file)) for file in files])

    def peak(self) -> float:
        """The most memory it ever had, in MB."""
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{self.process.pid}/status").read_text())
        assert found
        return int(found[1]) / 1000


@contextmanager
def running(model: Path, log: Path, **settings: object) -> Iterator[Server]:
    """The command of the Dockerfile, on a free port of this machine only."""
    (command,) = instructions("CMD")
    program, *arguments = json.loads(command)
    arguments[arguments.index("--host") + 1] = "127.0.0.1"
    arguments[arguments.index("--port") + 1] = "0"
    upper = {f"LEARNKIT_SERVE_{name.upper()}": str(value) for name, value in settings.items()}
    environment = {**os.environ, **upper, "LEARNKIT_MODEL": str(model), "OMP_NUM_THREADS": "1"}
    with (
        log.open("wb") as file,
        subprocess.Popen(
            [sys.executable, "-m", program, *arguments], cwd=FOLDER, env=environment, stderr=file, stdout=file
        ) as process,
    ):
        try:
            for _ in range(600):
                address = re.search(r"running on (http://[\d.:]+)", log.read_text())
                if address or process.poll() is not None:
                    break
                time.sleep(0.1)
            assert address, log.read_text()
            yield Server(process, log, address[1])
        finally:
            process.kill()


def picture(color: tuple[int, int, int], seed: int = 0, size: tuple[int, int] = (40, 56)) -> Image.Image:
    """One color with noise; height and width."""
    noise = np.random.default_rng(seed).normal(color, 30, (*size, 3))
    return Image.fromarray(np.clip(noise, 0, 255).astype(np.uint8))


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    for split, n in (("train", 8), ("valid", 2)):
        for name, color in COLORS.items():
            (folder / split / name).mkdir(parents=True)
            for i in range(n):
                picture(color, i).save(folder / split / name / f"{i}.png")
    dls = ImageDataBunch.from_folder(folder, size=32, bs=24, num_workers=0, device="cpu")
    torch.manual_seed(0)
    learn = cnn_learner(dls, "shufflenet_v2_x0_5", pretrained=False, seed=0)
    norms = [layer for layer in learn.model.modules() if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d)]
    momenta = [layer.momentum for layer in norms]
    for layer in norms:  # as after a long training: another image is another answer
        layer.momentum = 1.0
    with torch.no_grad():
        learn.model.train()(dls.one_batch()[0])
    for layer, momentum in zip(norms, momenta, strict=True):
        layer.momentum = momentum
    return learn.export(folder / "colors.lk")


@pytest.fixture(scope="module")
def learn(model: Path) -> Learner:
    """What the answers are compared with."""
    return load_learner(model, device="cpu")


@pytest.fixture(scope="module")
def server(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(model, tmp_path_factory.mktemp("log") / "log.txt", max_pixels=1_000_000, max_images=4) as server:
        yield server


def agrees(answer: dict[str, Any], learn: Learner, item: Any) -> bool:
    """Whether this is the prediction for the image, all probabilities included."""
    label, _, probs = learn.predict(item)
    top = {one["label"]: one["probability"] for one in answer["top"]}
    order = sorted(top.values(), reverse=True)
    expected = dict(zip(learn.dls.classes, probs.tolist(), strict=True))
    is_equal = top == pytest.approx(expected, abs=1e-6) and list(top.values()) == order
    return is_equal and answer["label"] == label and answer["probability"] == order[0]


def refusal(response: Any, status: int) -> str:
    """The reason in one sentence, which tells nothing of the machine."""
    assert response.status_code == status, response.text
    detail: str = response.json()["detail"]
    assert "\n" not in detail
    assert not re.search(r"Traceback|/(home|root|tmp|work|usr)\b|\.py", detail)
    return detail


@pytest.mark.slow
def test_what_it_says_of_itself(server: Server, model: Path) -> None:
    assert server.get("/health").json() == {"status": "ok"}
    facts = server.get("/model").json()
    assert facts["sha256"] == hashlib.sha256(model.read_bytes()).hexdigest()
    assert {name: facts[name] for name in ("task", "classes", "size", "file")} == {
        "task": "classification", "classes": ["blue", "green", "red"], "size": [32, 32], "file": "colors.lk",
    }  # fmt: skip
    body = server.get("/openapi.json").json()["paths"]["/predict"]["post"]["requestBody"]["content"]
    assert body.keys() == {"multipart/form-data", "image/*"}


def test_answers_are_those_of_predict_in_their_order(server: Server, learn: Learner) -> None:
    files = [encoded(picture(COLORS[name], 100 + n)) for n, name in enumerate(["red", "blue", "green", "blue"])]
    answers = server.post(files=[("files", (f"{n}.png", file)) for n, file in enumerate(files)]).json()["predictions"]
    assert [answer["input"] for answer in answers] == ["0.png", "1.png", "2.png", "3.png"]
    assert all(agrees(answer, learn, file) for answer, file in zip(answers, files, strict=True))
    assert len({answer["probability"] for answer in answers}) == 4


def test_an_image_as_the_body_and_the_best_classes(server: Server, learn: Learner) -> None:
    file = encoded(picture(COLORS["green"], 5), "JPEG")
    for kind in ("image/jpeg", "application/octet-stream"):
        (answer,) = server.post(content=file, headers={"content-type": kind}).json()["predictions"]
        assert answer["input"] == "body"
        assert agrees(answer, learn, file)
    short = server.post(content=file, headers={"content-type": "image/jpeg"}, params={"top": 1}).json()
    assert short["predictions"][0]["top"] == answer["top"][:1]
    assert server.post(content=file, headers={"content-type": "image/jpeg"}, params={"top": 0}).status_code == 422


def test_unusual_images_are_answered_as_by_predict(server: Server, learn: Learner) -> None:
    image = picture(COLORS["red"], 3)
    exif = Image.Exif()
    exif[0x0112] = 6  # rotated by a quarter
    deep = Image.fromarray(np.linspace(0, 65535, 40 * 56).reshape(40, 56).astype(np.uint16))
    frames = [picture(color, 9).quantize(64) for color in COLORS.values()]
    for file in (
        encoded(image.convert("CMYK"), "JPEG"), encoded(image, "JPEG", exif=exif), encoded(deep),
        encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]), encoded(image.convert("RGBA"), "WEBP"),
    ):  # fmt: skip
        (answer,) = server.predict(file).json()["predictions"]
        assert agrees(answer, learn, file)


def test_what_is_no_image_is_refused_with_the_reason(server: Server) -> None:
    whole = encoded(picture(COLORS["red"], 3))
    for bad in (whole[: len(whole) // 2], b"", b"dear server", b"GIF89a", b"<svg xmlns='http://www.w3.org/2000/svg'/>"):
        reason = refusal(server.predict(bad, name="cat.jpg"), 422)
        assert reason.startswith("cat.jpg: the given bytes cannot be read as an image (")
    nan = encoded(Image.fromarray(np.full((8, 8), np.nan, dtype=np.float32)), "TIFF")
    assert refusal(server.predict(nan), 422)
    reason = refusal(server.post(files=[("files", ("a.png", whole)), ("files", ("b.png", whole[:99]))]), 422)
    assert reason.startswith("b.png: ")
    assert server.predict(whole).status_code == 200


@pytest.mark.slow
def test_huge_images_are_refused_before_they_are_decoded(server: Server) -> None:
    server.predict(encoded(picture((0, 0, 0))))
    before = server.peak()
    for width, height in ((9000, 9000), (14_000, 13_000)):
        bomb = encoded(Image.new("1", (width, height)))
        assert len(bomb) < 30_000
        reason = refusal(server.predict(bomb, name="bomb.png"), 413)
        assert reason == f"bomb.png: {width} x {height} pixels, expected at most 1,000,000"
    assert server.peak() < before + 8


def test_what_is_no_request_for_a_prediction_is_refused(server: Server) -> None:
    file = encoded(picture((0, 0, 0)))
    assert "field 'files'" in refusal(server.post(files={"image": ("a.png", file)}), 422)
    assert "field 'files'" in refusal(server.post(files={"files": ("a.png", file)}, data={"files": "text"}), 422)
    assert refusal(server.predict(*[file] * 5), 400) == "Too many files. Maximum number of files is 4."
    assert "got no content type" in refusal(server.post(), 415)
    assert "got application/json" in refusal(server.post(json={"files": []}), 415)
    assert refusal(server.post(content=b"x", headers={"content-type": "multipart/form-data"}), 400)
    broken = {"content-type": "multipart/form-data; boundary=x"}
    assert refusal(server.post(content=b"no boundary", headers=broken), 400)
    assert refusal(server.get("/predict"), 405)
    assert refusal(server.get("/../../etc/passwd"), 404)


def chunks(n_bytes: int) -> Iterator[bytes]:
    """A body whose length is not said before it."""
    for _ in range(n_bytes // 100_000):
        yield b"x" * 100_000


@pytest.mark.slow
def test_bodies_of_50_mb_are_refused_and_take_no_memory(server: Server) -> None:
    server.predict(encoded(picture((0, 0, 0))))
    before = server.peak()
    head = b'--b\r\ncontent-disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
    kinds = ("image/png", "multipart/form-data; boundary=b")
    for kind in kinds:
        start = head if kind.startswith("m") else b""
        with_length = server.post(content=start + b"x" * 50_000_000, headers={"content-type": kind})
        without = server.post(content=(part for part in (start, *chunks(50_000_000))), headers={"content-type": kind})
        for response in (with_length, without):
            assert refusal(response, 413) == "the request is too large, expected at most 10,000,000 bytes"
    assert server.peak() < before + 8


@pytest.mark.slow
def test_many_large_requests_at_once_do_not_add_up(server: Server) -> None:
    """Bodies of just less than the limit wait in files."""
    before = server.peak()
    body = encoded(picture((0, 0, 0))) + bytes(9_000_000)

    async def post_all() -> list[int]:
        async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
            sent = [
                client.post(f"{server.url}/predict", content=body, headers={"content-type": "image/png"})
                for _ in range(20)
            ]
            return [response.status_code for response in await asyncio.gather(*sent)]

    assert asyncio.run(post_all()) == [200] * 20
    assert server.peak() < before + 100  # of 180 MB


@pytest.mark.slow
def test_200_requests_at_the_same_time(model: Path, learn: Learner, tmp_path: Path) -> None:
    colors = np.random.default_rng(0).integers(0, 256, (200, 3)).tolist()
    files = [encoded(picture(tuple(color), n, (300, 400)), "JPEG") for n, color in enumerate(colors)]
    waits: list[float] = []

    async def ask(client: Any, url: str, n: int) -> Any:
        response = await client.post(f"{url}/predict", files={"files": (f"{n}.jpg", files[n])})
        return response.json()["predictions"][0]

    async def ask_all(url: str) -> list[Any]:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(trust_env=False, timeout=120, limits=limits) as client:
            asked = asyncio.gather(*(ask(client, url, n) for n in range(200)))
            while not asked.done():
                start = time.perf_counter()
                assert (await client.get(f"{url}/health")).status_code == 200
                waits.append(time.perf_counter() - start)
                await asyncio.sleep(0.05)
            return await asked

    with running(model, tmp_path / "log.txt", timeout=120) as server:
        server.predict(files[0])
        before = server.peak()
        answers = asyncio.run(ask_all(server.url))
        assert server.peak() < before + 100
    assert [answer["input"] for answer in answers] == [f"{n}.jpg" for n in range(200)]
    assert all(agrees(answer, learn, file) for answer, file in zip(answers, files, strict=True))
    assert len({round(answer["probability"], 4) for answer in answers}) > 120
    assert len(waits) > 3
    assert np.median(waits) < 1


@pytest.mark.slow
def test_a_signal_lets_requests_finish(model: Path, learn: Learner, tmp_path: Path) -> None:
    file = encoded(picture(COLORS["red"], 1, (1500, 2000)), "JPEG")

    async def ask_and_stop(server: Server) -> list[Any]:
        async with httpx.AsyncClient(trust_env=False, timeout=120) as client:
            asked = [
                asyncio.create_task(client.post(f"{server.url}/predict", files={"files": file})) for _ in range(30)
            ]
            await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
            server.process.send_signal(signal.SIGTERM)
            return await asyncio.gather(*asked)

    with running(model, tmp_path / "log.txt", timeout=120) as server:
        responses = asyncio.run(ask_and_stop(server))
        assert server.process.wait(60) in (0, -signal.SIGTERM)
        assert "Finished server process" in server.log.read_text()
    assert [response.status_code for response in responses] == [200] * 30
    assert all(agrees(response.json()["predictions"][0], learn, file) for response in responses)


@pytest.mark.slow
def test_what_takes_too_long_or_is_too_much_at_once(model: Path, tmp_path: Path) -> None:
    file = encoded(Image.new("RGB", (6000, 4000)))  # a fraction of a second each

    async def ask_all(url: str) -> list[Any]:
        async with httpx.AsyncClient(trust_env=False, timeout=120) as client:
            return await asyncio.gather(
                *(client.post(f"{url}/predict", content=file, headers={"content-type": "image/png"}) for _ in range(40))
            )

    def slowly() -> Iterator[bytes]:
        for _ in range(20):
            time.sleep(0.1)
            yield b"x"

    with running(model, tmp_path / "log.txt", timeout=0.8, max_requests=30, workers=1) as server:
        slow = server.post(content=slowly(), headers={"content-type": "image/png"})
        assert refusal(slow, 408) == "the request did not arrive within 0.8 seconds"
        responses = asyncio.run(ask_all(server.url))
        assert {response.status_code for response in responses} <= {200, 503}
        refused = [response for response in responses if response.status_code == 503]
        reasons = {refusal(response, 503) for response in refused}
        assert reasons == {"too many requests at the same time", "no answer within 0.8 seconds"}
        assert all("retry-after" in response.headers for response in refused)
        assert server.get("/health").status_code == 200


@pytest.fixture(scope="module")
def app() -> Any:
    return script_module(FOLDER / "app.py")


def described(app: Any, task: Any, outputs: list[Any]) -> Any:
    """The answer for these activated outputs of a model."""
    activated = torch.tensor(outputs)
    answer = app.described((*task.decode(activated), activated), task, 2)
    return json.loads(json.dumps(answer))


def test_the_answer_for_every_task(app: Any) -> None:
    answer = described(app, Classification(("a", "b", "c")), [0.125, 0.625, 0.25])
    best = [{"label": "b", "probability": 0.625}, {"label": "c", "probability": 0.25}]
    assert answer == {"label": "b", "probability": 0.625, "top": best}
    answer = described(app, MultiLabel(("a", "b", "c"), 0.2), [0.75, 0.125, 0.25])
    best = [{"label": "a", "probability": 0.75}, {"label": "c", "probability": 0.25}]
    assert answer == {"label": ["a", "c"], "probability": [0.75, 0.25], "top": best}
    assert described(app, Regression(("x", "y")), [1.5, -2.0]) == {"label": {"x": 1.5, "y": -2.0}}
    assert described(app, Points(("tip",)), [[0.5, -0.25]]) == {"label": {"tip": [0.5, -0.25]}}


def test_a_mask_is_an_image_of_class_numbers(app: Any) -> None:
    scores = np.zeros((3, 4, 5), dtype=np.float32)
    scores[0], scores[2, 1, 2:] = 0.4, 0.6
    answer = described(app, Segmentation(["sky", "sea", "boat"]), scores.tolist())
    assert answer["label"] == ["sky", "boat"]
    mask = np.asarray(Image.open(io.BytesIO(base64.b64decode(answer["mask"]))))
    assert mask.shape == (4, 5)
    assert np.argwhere(mask == 2).tolist() == [[1, 2], [1, 3], [1, 4]]
    assert (mask == 0).sum() == 17


def refused_start(folder: Path, **environment: str) -> str:
    command = [sys.executable, "-m", "uvicorn", "app:app", "--port", "0"]
    done = subprocess.run(
        command, cwd=FOLDER, env={**os.environ, **environment}, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode != 0
    return done.stderr


@pytest.mark.slow
def test_a_service_that_cannot_work_does_not_start(model: Path, tmp_path: Path) -> None:
    assert "LEARNKIT_MODEL is not set" in refused_start(tmp_path)
    assert "no file" in refused_start(tmp_path, LEARNKIT_MODEL=str(tmp_path / "gone.lk"))
    other = {"LEARNKIT_MODEL": str(model), "LEARNKIT_SHA256": "0" * 64}
    assert "sha256" in refused_start(tmp_path, **other)
    limit = {"LEARNKIT_MODEL": str(model), "LEARNKIT_SERVE_WORKERS": "none"}
    assert "LEARNKIT_SERVE_WORKERS: got 'none', expected a number of at least 1" in refused_start(tmp_path, **limit)


def test_the_dockerfile_copies_files_that_exist_and_starts_this_service() -> None:
    ignored = (FOLDER / "Dockerfile.dockerignore").read_text(encoding="utf-8").split()
    kept = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    assert ignored[0] == "*"
    sources = {source for line in instructions("COPY") for source in shlex.split(line)[:-1]}
    assert sources == kept
    assert all((ROOT / source).exists() for source in sources)
    order = [line.split()[0] for line in DOCKERFILE.splitlines() if line and line[0].isupper()]
    assert order[0] == "FROM"
    assert order.index("USER") < order.index("CMD")
    assert instructions("USER") == ["serve"]
    (check,) = instructions("HEALTHCHECK")
    program = json.loads(check.partition("CMD ")[2])[2]
    compile(program, "HEALTHCHECK", "exec")
    assert "http://127.0.0.1:8000/health" in program
    assert instructions("EXPOSE") == ["8000"]
    (command,) = instructions("CMD")
    assert json.loads(command)[:2] == ["uvicorn", "app:app"]  # `running` runs all of it
