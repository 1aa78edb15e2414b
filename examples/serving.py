"""A model in files, and behind HTTP
=================================

A trained network as ``.lk`` and as ONNX; the service of ``examples/serve`` started with the first, asked over HTTP, and
onnxruntime with the second: all give the answer of ``learn.predict``::

    pip install "learnkit[examples,onnx]" -r examples/serve/requirements.txt
    python examples/serving.py --out demo
"""

# %%
import argparse
import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from digits import write_digits  # next to this file
from PIL import Image

from learnkit import ImageDataBunch, cnn_learner, load_learner

SERVICE = Path(__file__).resolve().parent / "serve"

# %%
# A service of its own process
# ----------------------------
# ``--port 0`` takes a free port, which uvicorn names in its log. A container does the same: see the page on serving.


@contextmanager
def service(model: Path, log: Path) -> Iterator[str]:
    """The address of a service of this export, which ends with the block.

    Raises:
        RuntimeError: it did not start within five minutes.
    """
    command = [sys.executable, "-m", "uvicorn", "app:app", "--host", "127.0.0.1", "--port", "0"]
    environment = {**os.environ, "LEARNKIT_MODEL": str(model)}
    with (
        log.open("w") as file,
        subprocess.Popen(command, cwd=SERVICE, env=environment, stdout=file, stderr=file) as process,
    ):
        try:
            yield address_in(log, process)
        finally:
            process.terminate()


def address_in(log: Path, process: "subprocess.Popen[bytes]", seconds: int = 300) -> str:
    """Where the service says that it listens."""
    for _ in range(10 * seconds):
        if found := re.search(r"running on (http://[\d.:]+)", log.read_text()):
            return found[1]
        if process.poll() is not None:
            break
        time.sleep(0.1)
    raise RuntimeError(f"the service did not start: {log.read_text()}")


# %%
# A question
# ----------
# The bytes of a picture as the body of a POST; the answer is JSON.


def ask(url: str, picture: Path) -> dict[str, Any]:
    """The answer for one picture."""
    request = urllib.request.Request(f"{url}/predict?top=3", picture.read_bytes(), {"Content-Type": "image/png"})
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)["predictions"][0]  # type: ignore[no-any-return]


def main() -> None:
    """Run the job; `--tiny` makes it a smoke test."""
    parser = argparse.ArgumentParser(description="Export a model, serve it, and ask it.")
    parser.add_argument("--out", type=Path, default=Path("demo"), help="where data, models and the log go")
    parser.add_argument("--tiny", action="store_true", help="few batches: does it run?")
    args = parser.parse_args()
    out: Path = args.out.resolve()
    dls = ImageDataBunch.from_folder(write_digits(out / "digits"), valid_pct=0.2, size=32, bs=32, seed=0, augment=False)
    learn = cnn_learner(dls, "shufflenet_v2_x0_5", pretrained=False, metrics="accuracy", path=out, seed=0)
    learn.fit_one_cycle(1 if args.tiny else 3, 1e-2, limit_batches=5 if args.tiny else None)

    # %%
    # Two files
    # ---------
    # The export for learnkit holds weights, classes and preprocessing. The ONNX file takes the pixels of a picture at
    # any size, resizes and normalizes them inside, and holds the classes in its metadata.
    model = learn.export(out / "digits.lk")
    loaded = load_learner(model)
    session = onnxruntime.InferenceSession(learn.export(out / "digits.onnx", to="onnx", preprocessing="full"))
    classes = json.loads(session.get_modelmeta().custom_metadata_map["classes"])

    # %%
    # The same answers
    # ----------------
    pictures = [Path(file) for file in dls.samples.query("split == 'valid'")["input"].iloc[::200]]
    worst = dict.fromkeys(("load_learner", "HTTP", "onnxruntime"), 0.0)
    with service(model, out / "service.log") as url:
        print(f"the service answers at {url}: {json.load(urllib.request.urlopen(f'{url}/model'))['classes']}")
        for picture in pictures:
            label, index, probs = learn.predict(picture)
            p = float(probs[index])
            answer = ask(url, picture)
            again = loaded.predict(picture)
            [[ours]] = [session.run(["output"], {"input": np.asarray(Image.open(picture).convert("RGB"))[None]})[0]]
            assert {answer["label"], again.label, classes[ours.argmax()]} == {label}
            for way, other in zip(worst, (again.probs[index], answer["probability"], ours[index]), strict=True):
                worst[way] = max(worst[way], abs(float(other) - p))
            print(f"{picture.name}: {label} ({p:.1%}); the service's top 3: {answer['top']}")
    for way, difference in worst.items():
        print(f"{way}: the same labels, probabilities within {difference:.1e}")


if __name__ == "__main__":
    main()

# sphinx_gallery_thumbnail_path = "questions/images/serve-it.png"
