"""A GPU that runs out of memory: the error, and micro-batches that find a size that fits."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from learnkit import DataBunch, Learner
from learnkit.callbacks import MicroBatches, PeakMemory
from learnkit.device_memory import empty_cache, peak_memory, reset_peak_memory
from learnkit.errors import LearnkitWarning, OutOfMemoryError
from learnkit.learner import batch_size

pytestmark = pytest.mark.gpu
ROOM = 4  # items that fit


class Hungry(nn.Module):
    """For each item in training it takes a share of the memory that is free; on the CPU it only says so."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(2, 2)
        self.item_bytes = 0

    def forward(self, x: Tensor) -> Any:
        if self.training and x.is_cuda:
            if not self.item_bytes:
                empty_cache(x.device)
                self.item_bytes = torch.cuda.mem_get_info(x.device)[0] // (ROOM + 1)
            torch.empty(len(x), self.item_bytes, dtype=torch.uint8, device=x.device)
        elif self.training and len(x) > ROOM and not x.is_meta:
            raise torch.OutOfMemoryError("out of memory, as a GPU says")
        return self.layer(x)


def hungry(device: torch.device, bs: Any = 16) -> Learner:
    x, y = torch.randn(32, 2, generator=torch.Generator().manual_seed(0)), torch.arange(32) % 2
    return Learner(DataBunch.from_tensors(x, y, x, y, bs=bs, device=device), Hungry(), seed=0, opt_func="sgd", wd=0)


def test_a_batch_that_does_not_fit_is_named(device: torch.device) -> None:
    learn = hungry(device)
    with pytest.raises(OutOfMemoryError, match="a batch of 16 items"):
        learn.fit(1)
    learn.validate()  # the learner can be used


def test_micro_batches_find_what_fits_and_the_step_is_the_same(device: torch.device) -> None:
    learn, plain = hungry(device), hungry(torch.device("cpu"))
    plain.model.eval()
    plain.model.train = lambda mode=True: plain.model  # type: ignore[method-assign]  # it never takes memory
    with pytest.warns(LearnkitWarning, match="does not fit into memory; continuing with micro-batches of"):
        learn.fit(1, 0.1, callbacks=MicroBatches())
    plain.fit(1, 0.1)
    assert learn.recorder.losses == pytest.approx(plain.recorder.losses, abs=1e-5)
    torch.testing.assert_close(learn.model.layer.weight.cpu(), plain.model.layer.weight, atol=1e-5, rtol=1e-5)  # type: ignore[union-attr]


def test_the_largest_batch_that_fits_is_found_and_nothing_is_left_of_the_search(
    device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_size, "is_an_error", lambda device: True)  # on the CPU, too
    auto, given = hungry(device, "auto"), hungry(device, 2)
    auto.fit(1, 0.1)
    given.fit(1, 0.1)
    assert auto.dls.batch_size == 2  # with 4 there would be room for 5
    assert auto.recorder.losses == given.recorder.losses
    assert torch.equal(auto.model.layer.weight, given.model.layer.weight)  # type: ignore[arg-type, union-attr]


def test_the_peak_is_measured(device: torch.device) -> None:
    reset_peak_memory(device)
    block = torch.empty(1 << 20, dtype=torch.uint8, device=device)
    peak = peak_memory(device)
    assert (peak is None) == (device.type == "cpu")
    assert peak is None or peak >= block.nbytes
    x, y = torch.randn(8, 2), torch.arange(8) % 2
    learn = Learner(DataBunch.from_tensors(x, y, x, y, bs=4, device=device), nn.Linear(2, 2), seed=0)
    learn.fit(1, callbacks=PeakMemory())
    assert len(learn.history) == 1
