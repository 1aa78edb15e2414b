"""Within an epoch nothing waits for the GPU: not in float32, not in bfloat16, and once a step in float16."""

import warnings
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch

from learnkit import Callback, Learner
from learnkit.callbacks import (
    EMA,
    CutMix,
    GradientAccumulation,
    GradientClipping,
    MixedPrecision,
    MixUp,
    OneCycle,
    Progress,
    TrainMetrics,
)
from tests.doubles import acting
from tests.gpu.networks import OnDevice

pytestmark = pytest.mark.gpu
Forbid = Callable[[bool], None]
CALLBACKS: dict[str, Callable[[], list[Callback]]] = {
    "none": lambda: [],
    "accumulation": lambda: [GradientAccumulation(12)],
    "clipping": lambda: [GradientClipping(0.5)],
    "cycle": lambda: [OneCycle(1e-2)],
    "ema": lambda: [EMA(0.9)],
    "mixup": lambda: [MixUp()],
    "train metrics": lambda: [TrainMetrics()],
}


def fit_without_waits(learn: Learner, forbid: Forbid, callbacks: list[Callback]) -> int:
    """Two epochs; from the second batch to the last of each, and in validations, waiting is an error.

    Returns:
        The number of batches for which it was.
    """
    n_valid, seen = len(learn.dls.valid_dl), [0, 0]

    def after_batch(state: Any) -> None:
        forbid(state.batch + 1 < state.n_batches)
        seen[0] += 1

    def after_validate_batch(state: Any) -> None:
        seen[1] += 1
        forbid(seen[1] % n_valid > 0)  # after the last one the results are read

    watch = acting(after_batch=after_batch, after_validate_batch=after_validate_batch, order=99)
    learn.fit(2, 1e-3, callbacks=[Progress("plain"), *callbacks, watch])
    return seen[0] + seen[1]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("callbacks", CALLBACKS.values(), ids=CALLBACKS)
def test_a_fit_on_tensors(
    callbacks: Any, precision: Any, no_waits: Forbid, device: torch.device, tensors: OnDevice
) -> None:
    learn = tensors(device, callbacks=MixedPrecision(precision))
    assert fit_without_waits(learn, no_waits, callbacks()) == 2 * (4 + 2)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("augment", [False, True, "strong"])
@pytest.mark.parametrize(
    "options", [{}, {"cache": "memory"}, {"cache": "device"}], ids=["files", "cache", "device cache"]
)
def test_a_fit_on_images(
    options: dict[str, Any], augment: Any, precision: Any, no_waits: Forbid, device: torch.device, images: OnDevice
) -> None:
    if augment == "strong" and options.get("cache") == "device":
        pytest.skip("refused: its crops are of single images, before they are kept")
    learn = images(device, augment=augment, callbacks=MixedPrecision(precision), **options)
    assert fit_without_waits(learn, no_waits, [CutMix()]) == 2 * (4 + 2)


def test_float16_waits_once_a_step(device: torch.device, tensors: OnDevice) -> None:
    if device.type != "cuda":
        pytest.skip("the CPU does not tell of waits: tests/test_device.py counts them there")
    learn = tensors(device, callbacks=MixedPrecision("fp16"))
    learn.fit(1, 1e-3, callbacks=Progress("plain"))
    waits: list[int] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")

        def count(state: Any) -> None:
            waits.append(sum("called a synchronizing" in str(one.message) for one in caught))
            torch.cuda.set_sync_debug_mode("warn" if state.batch + 1 < state.n_batches else "default")

        learn.fit(1, 1e-3, callbacks=[Progress("plain"), acting(after_batch=count, order=99)])
    assert [after - before for before, after in pairwise(waits)] == [1, 1, 1]


def test_predictions_wait_only_to_write_results(no_waits: Forbid, device: torch.device, tensors: OnDevice) -> None:
    learn = tensors(device)
    learn.get_preds()

    def forward(*args: Any) -> None:
        no_waits(True)

    learn.model.register_forward_pre_hook(forward)
    learn.model.register_forward_hook(lambda *args: no_waits(False))
    assert len(learn.get_preds()[0]) == 32
