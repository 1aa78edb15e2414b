"""A file that resizes inside, compared with the library: whole images in, the library's predictions expected."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from learnkit.errors import ExportError, UsageError, warn
from learnkit.persistence.deploy.capture import largest_gap, largest_output
from learnkit.persistence.deploy.real_data import RealData
from learnkit.persistence.spec import ExportSpec

__all__ = ["N_IMAGES", "check_resizing", "made_images"]

N_IMAGES = 32  # of the validation set, evenly spaced
TOLERANCE = 0.02  # of a probability; of the largest output if that is above 1
Run = Callable[[Tensor], Tensor]


def check_resizing(spec: ExportSpec, run: Run, reference: Run, data: RealData | None) -> dict[str, Any]:
    """Compare outputs for whole images with those for images that the library has read and resized.

    Args:
        spec: how the library reads and resizes.
        run: the export: uint8 (N, H, W, C) of any size -> outputs (N, ...).
        reference: outputs for uint8 (N, H, W, C) at the size of the model.
        data: images of its validation set are compared; made ones if there are none.

    Returns:
        Which and how many images of which sizes; the largest difference of an output, `max_abs_diff`; and that to
        `learn.predict`, which reads large JPEG files at a smaller scale, `max_abs_diff_of_predict`: above the
        tolerance it is a warning.

    Raises:
        UsageError: a reader whose images are not uint8.
        ExportError: outputs that differ.
    """
    preprocess = spec.preprocess
    assert preprocess is not None  # by check_inputs
    images = [] if data is None else data.images(N_IMAGES)
    of = "validation set" if images else "made images"
    images = images or made_images(preprocess.resize.size, preprocess.channels)
    in_full = replace(preprocess, full_decode=True)
    gap = gap_of_predict = largest = 0.0
    sizes: set[tuple[int, int]] = set()
    for source in images:
        pixels = preprocess.whole(source)
        if pixels.dtype != np.uint8:
            raise UsageError(
                'preprocessing="full" takes images of 8 bits; the pixels of this data', got=str(pixels.dtype),
                fix="Export without it, and feed what the model sees.",
            )  # fmt: skip
        sizes.add(pixels.shape[:2])
        with torch.no_grad():
            found = run(_batch(pixels))
            expected = reference(_batch(in_full.decode(source)[0]))
            predicted = reference(_batch(preprocess.decode(source)[0]))
        gap = max(gap, largest_gap(found, expected))
        gap_of_predict = max(gap_of_predict, largest_gap(found, predicted))
        largest = max(largest, largest_output(expected))
    allowed = TOLERANCE * max(1.0, largest)
    if not gap <= allowed:
        raise ExportError(
            "difference between the outputs of the exported model for whole images and those of the library",
            got=float(f"{gap:.3g}"), expected=f"at most {allowed:.3g}",
            fix="Export with preprocessing=True, and resize outside. Nothing was written.",
        )  # fmt: skip
    if gap_of_predict > allowed:
        warn(
            f"outputs for large JPEG files read whole differ by up to {gap_of_predict:.3g} from those of "
            "learn.predict, which reads them at a smaller scale; full_decode=True of the data makes both equal"
        )
    return {
        "of": of,
        "images": len(images),
        "sizes": sorted(map(list, sizes)),
        "max_abs_diff": gap,
        "max_abs_diff_of_predict": gap_of_predict,
        "tolerance": TOLERANCE,
    }


def made_images(size: tuple[int, int], channels: int) -> list["np.ndarray[Any, Any]"]:
    """Images (H, W, C) of several sizes around the size of the model: always the same shades with noise."""
    high, wide = size
    numbers = np.random.default_rng(0)
    made = []
    for height, width in ((high, wide), (2 * high, 3 * wide), (high // 2 + 1, wide // 3 + 1), (3 * high, wide // 2 + 1),
                          (high // 4 + 1, 2 * wide), (1, 1)):  # fmt: skip
        shade = np.linspace(0, 200, height)[:, None, None] * np.linspace(1, 0, width)[None, :, None]
        made.append((shade + numbers.integers(0, 56, (height, width, channels))).astype(np.uint8))
    return made


def _batch(pixels: "np.ndarray[Any, Any]") -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(pixels)[None].copy())
