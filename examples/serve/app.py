"""An image model as a web service: one process, one exported learner, limits on all that a client can send.

    pip install "learnkit" -r requirements.txt
    LEARNKIT_MODEL=model.lk uvicorn app:app --port 8000
    curl -F files=@cat.jpg -F files=@dog.jpg http://127.0.0.1:8000/predict

GET /health says that it runs, GET /model what it runs, POST /predict takes a form with files, or one image as the body.
README.md describes answers and settings.
"""

import asyncio
import base64
import hashlib
import io
import os
import tempfile
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import torch
from fastapi import FastAPI, HTTPException, Query, Request
from PIL import Image
from starlette.datastructures import UploadFile
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive

import learnkit
from learnkit import Classification, ImageDataBunch, LearnkitError, MultiLabel, Points, Regression, load_learner

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")  # those that learnkit reads
SPOOL_BYTES = 1 << 20  # of an upload that are held in memory; the rest is in a temporary file
WHILE_BUSY = {"Retry-After": "1"}


def setting(default: float, least: float) -> Any:
    return field(default=default, metadata={"least": least})


@dataclass(frozen=True)
class Settings:
    """What may be sent and used; each is read from LEARNKIT_SERVE_ and its name in capitals.

    Attributes:
        max_bytes: of the body of a request, all files together.
        max_pixels: of an image, which takes three bytes each while it is decoded.
        max_images: in a request.
        max_requests: to /predict that are read, wait or are answered at the same time; more are refused at once.
        workers: images that are predicted at the same time.
        timeout: seconds for reading a request, and as many for answering it.
    """

    max_bytes: int = setting(10_000_000, 1)
    max_pixels: int = setting(50_000_000, 1)
    max_images: int = setting(16, 1)
    max_requests: int = setting(256, 1)
    workers: int = setting(os.cpu_count() or 1, 1)
    timeout: float = setting(30.0, 0.1)

    @classmethod
    def from_environment(cls) -> "Settings":
        """The settings, defaults where a variable is not set.

        Raises:
            SystemExit: a variable that is no number, or a too small one.
        """
        return cls(**{one.name: cls._read(one.name, one.type, one.metadata["least"]) for one in fields(cls)
                      if f"LEARNKIT_SERVE_{one.name.upper()}" in os.environ})  # fmt: skip

    @staticmethod
    def _read(name: str, kind: Callable[[str], float], least: float) -> float:
        variable = f"LEARNKIT_SERVE_{name.upper()}"
        try:
            value = kind(os.environ[variable])
        except ValueError:
            value = float("nan")
        if not least <= value < float("inf"):
            raise SystemExit(f"{variable}: got {os.environ[variable]!r}, expected a number of at least {least}")
        return value


class Upload(NamedTuple):
    """One image of a request: its name, as the client gave it, and its bytes."""

    name: str
    file: BinaryIO


class Service:
    """The model and the threads it runs in.

    Args:
        file: what `learn.export` wrote.
        sha256: digest of the file, from a trusted source; None to take the file as it is.
        settings: the limits.

    Raises:
        LearnkitError: a file that cannot be loaded.
        SystemExit: a model that does not take images.
    """

    def __init__(self, file: Path, sha256: str | None, settings: Settings) -> None:
        learn = load_learner(file, sha256=sha256)
        if not isinstance(learn.dls, ImageDataBunch):
            raise SystemExit(f"{file}: its model does not take images")
        self.settings, self.dls, self.predictor = settings, learn.dls, learn.predictor()
        self.facts = {
            "task": type(self.predictor.task).__name__.lower(),
            "classes": list(self.dls.classes),
            "size": list(self.dls.preprocess.resize.size),
            "file": file.name,
            "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
            "learnkit": learnkit.__version__,
        }
        self.n_requests = 0
        Image.MAX_IMAGE_PIXELS = None  # Pillow would warn; the limit is `max_pixels`
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // settings.workers))  # as many as there are cores, in all
        self.threads = ThreadPoolExecutor(settings.workers)

    def predict(self, upload: Upload, top: int) -> dict[str, Any]:
        """The answer for one image; called in a thread.

        Raises:
            HTTPException: an image that is too large, or cannot be read.
        """
        try:
            width, height = stated_size(upload.file)
            if width * height > self.settings.max_pixels:
                most = f"expected at most {self.settings.max_pixels:,}"
                raise HTTPException(413, f"{upload.name}: {width} x {height} pixels, {most}")
            upload.file.seek(0)
            prediction = self.predictor.predict(upload.file.read())
        except LearnkitError as error:
            raise HTTPException(422, f"{upload.name}: {error.what}") from error
        except MemoryError as error:
            raise HTTPException(413, f"{upload.name}: the image does not fit into memory") from error
        return {"input": upload.name, **described(prediction, self.predictor.task, top)}


def stated_size(file: BinaryIO) -> tuple[int, int]:
    """Width and height by the header of an image, of which nothing is decoded; 0 for what is none."""
    try:
        with Image.open(file, formats=FORMATS) as image:
            return image.size
    except Exception:  # Pillow has many ways to report a damaged file; the prediction says what is wrong
        return 0, 0


def described(prediction: Any, task: Any, top: int) -> dict[str, Any]:
    """A prediction as JSON: label, and for classes the `top` most likely ones with their probabilities."""
    label, index, outputs = prediction
    if isinstance(task, Classification | MultiLabel):
        order = outputs.argsort(descending=True, stable=True)[:top].tolist()
        best = [{"label": task.classes[number], "probability": float(outputs[number])} for number in order]
        if isinstance(task, Classification):
            return {"label": label, "probability": float(outputs[index]), "top": best}
        chosen = [float(outputs[number]) for number in index.nonzero().flatten().tolist()]
        return {"label": label, "probability": chosen, "top": best}
    if isinstance(task, Regression):
        return {"label": dict(zip(task.names, outputs.flatten().tolist(), strict=True))}
    if isinstance(task, Points):
        return {"label": {name: list(point) for name, point in zip(task.point_names, label, strict=True)}}
    file = io.BytesIO()
    Image.fromarray(label.astype(np.uint8)).save(file, "PNG")  # class numbers, as the model sees the image
    present = [task.classes[number] for number in np.unique(label)]
    return {"label": present, "mask": base64.b64encode(file.getvalue()).decode()}


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Load the model before the first request, and end the threads after the last one."""
    file = os.environ.get("LEARNKIT_MODEL")
    if not file:
        raise SystemExit("LEARNKIT_MODEL is not set: expected the path of what learn.export wrote")
    sha256 = os.environ.get("LEARNKIT_SHA256") or None
    app.state.service = Service(Path(file), sha256, Settings.from_environment())
    yield
    app.state.service.threads.shutdown(cancel_futures=True)


app = FastAPI(title="learnkit", version=learnkit.__version__, lifespan=lifespan)


@app.get("/health")
async def health() -> dict[str, str]:
    """Whether the service answers."""
    return {"status": "ok"}


@app.get("/model")
async def model(request: Request) -> dict[str, Any]:
    """What is predicted, from what, by which file."""
    facts: dict[str, Any] = request.app.state.service.facts
    return facts


BINARY = {"type": "string", "format": "binary"}
BODY = {
    "multipart/form-data": {
        "schema": {"type": "object", "required": ["files"], "properties": {"files": {"type": "array", "items": BINARY}}}
    },
    "image/*": {"schema": BINARY},
}


@app.post("/predict", openapi_extra={"requestBody": {"required": True, "content": BODY}})
async def predict(request: Request, top: int = Query(5, ge=1, le=1000)) -> dict[str, Any]:
    """The predictions for the files of a form, in their order, or for the one image that is the body."""
    service: Service = request.app.state.service
    if service.n_requests >= service.settings.max_requests:
        raise HTTPException(503, "too many requests at the same time", WHILE_BUSY)
    service.n_requests += 1
    try:
        async with AsyncExitStack() as stack:
            uploads = await read(request, service.settings, stack)
            return {"predictions": await answers(service, uploads, top)}
    finally:
        service.n_requests -= 1


async def answers(service: Service, uploads: list[Upload], top: int) -> list[dict[str, Any]]:
    """The answer for each image; the first one that is refused decides for all."""
    loop = asyncio.get_running_loop()
    futures = [loop.run_in_executor(service.threads, service.predict, upload, top) for upload in uploads]
    try:
        async with asyncio.timeout(service.settings.timeout):
            return [await future for future in futures]
    except TimeoutError as error:
        raise HTTPException(503, f"no answer within {service.settings.timeout:g} seconds", WHILE_BUSY) from error
    finally:
        for future in futures:
            future.cancel()  # one that has not begun never does
        await asyncio.gather(*futures, return_exceptions=True)


async def read(request: Request, settings: Settings, stack: AsyncExitStack) -> list[Upload]:
    """The images of a request, in files that close with `stack`.

    Raises:
        HTTPException: too much of anything, too slow, no images, or something else than a form or an image.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    limited = Request(request.scope, within(request, settings.max_bytes))
    try:
        async with asyncio.timeout(settings.timeout):
            if kind == "multipart/form-data":
                return await read_form(limited, settings.max_images, stack)
            if kind.startswith("image/") or kind == "application/octet-stream":
                return [await read_body(limited, stack)]
    except TimeoutError as error:
        raise HTTPException(408, f"the request did not arrive within {settings.timeout:g} seconds") from error
    except ClientDisconnect as error:
        raise HTTPException(400, "the client left before all was sent") from error
    raise HTTPException(415, f"got {kind or 'no content type'}, expected multipart/form-data or image/*")


async def read_form(request: Request, max_images: int, stack: AsyncExitStack) -> list[Upload]:
    form = await stack.enter_async_context(request.form(max_files=max_images, max_fields=1))
    files = [one for one in form.getlist("files") if isinstance(one, UploadFile)]
    if not files or len(files) < len(form.multi_items()):
        raise HTTPException(422, "expected a form with one or more files, each in the field 'files'")
    return [Upload(one.filename or "file", one.file) for one in files]


async def read_body(request: Request, stack: AsyncExitStack) -> Upload:
    file = stack.enter_context(tempfile.SpooledTemporaryFile(SPOOL_BYTES))  # noqa: SIM115
    async for chunk in request.stream():
        file.write(chunk)
    return Upload("body", file)  # type: ignore[arg-type]


def within(request: Request, max_bytes: int) -> Receive:
    """Receives as the request does, until it has more bytes than it may have.

    Raises:
        HTTPException: that; at once where the client says the number.
    """
    too_large = HTTPException(413, f"the request is too large, expected at most {max_bytes:,} bytes")
    stated = request.headers.get("content-length", "")
    if stated.isdecimal() and int(stated) > max_bytes:
        raise too_large
    n_left = max_bytes

    async def receive() -> Message:
        nonlocal n_left
        message = await request.receive()
        n_left -= len(message.get("body", b""))
        if n_left < 0:
            raise too_large
        return message

    return receive
