"""JPEG decoders side by side: one file after the other on one thread, to RGB pixels in memory."""

import importlib.util
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.harness import Case, compare, options, report
from benchmarks.pipeline import write_photos
from learnkit.data.image.read import open_image

PILLOW = "Pillow"


def decoders() -> dict[str, Callable[[Path], Any]]:
    """Those that are installed, each from a path to an array or tensor."""

    def with_pillow(file: Path) -> Any:
        with Image.open(file) as image:
            return np.asarray(image.convert("RGB"))

    found: dict[str, Callable[[Path], Any]] = {
        PILLOW: with_pillow,
        "learnkit's open_image": lambda file: np.asarray(open_image(file)),
    }
    if importlib.util.find_spec("torchvision"):
        from torchvision import io

        found["torchvision.io.decode_jpeg"] = lambda file: io.decode_jpeg(
            io.read_file(str(file)), mode=io.ImageReadMode.RGB
        )
    if importlib.util.find_spec("simplejpeg"):
        import simplejpeg

        found["simplejpeg"] = lambda file: simplejpeg.decode_jpeg(file.read_bytes(), "RGB")
    if importlib.util.find_spec("cv2"):
        import cv2

        cv2.setNumThreads(1)
        found["OpenCV"] = lambda file: cv2.imdecode(np.fromfile(file, np.uint8), cv2.IMREAD_COLOR_RGB)
    if importlib.util.find_spec("torchcodec"):
        try:
            from torchcodec import decoders as codec

            found["torchcodec.decode_jpeg"] = lambda file: codec.decode_jpeg(str(file), mode=codec.ImageReadMode.RGB)
        except (ImportError, RuntimeError, OSError):  # it needs an FFmpeg
            pass
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table and write it to results/."""
    args = options(__doc__, {"n": 4, "rounds": 1}, arguments, n=200, rounds=7)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        write_photos(Path(folder), args.n)
        files = sorted(Path(folder).rglob("*.jpg"))

        def case(decode: Callable[[Path], Any]) -> Case:
            return lambda: lambda: len([decode(file).shape for file in files])

        cases = {name: case(decode) for name, decode in {**decoders(), "A/A control": decoders()[PILLOW]}.items()}
        rows = compare(cases, rounds=args.rounds)
        report("JPEG to RGB pixels", rows, PILLOW, name="decoders", unit="ms per image", scale=1000 / args.n)


if __name__ == "__main__":
    main()
