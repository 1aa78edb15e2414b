"""Batches that do not fit in memory, one of the inputs in docs/reliability.md."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from learnkit import Learner

Make = Callable[..., Learner]
Refusal = Callable[..., AbstractContextManager[Any]]


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nSee the documentation"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:118] . DefaultCPUAllocator: can't allocate memory: you tried"),
        MemoryError(),
    ],
)
def test_out_of_memory(error: Exception, learner: Make, refused: Refusal) -> None:
    class Large(nn.Linear):
        fails = True

        def forward(self, x: Tensor) -> Tensor:
            if x.device.type != "meta" and self.fails:
                raise error
            return super().forward(x)

    learn = learner(Large(2, 2))
    with refused(MemoryError, "a batch of 4 items of shape (2,)", "epoch 0 batch 0", "bs=2") as caught:
        learn.fit(1)
    assert caught.value.__cause__ is error
    learn.model.fails = False  # type: ignore[assignment]
    learn.fit(1)


def test_out_of_memory_is_not_confused_with_other_model_errors(learner: Make) -> None:
    class Broken(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            if x.device.type != "meta":
                raise RuntimeError("mine")
            return super().forward(x)

    with pytest.raises(RuntimeError, match=r"^mine\nThe model's input, batch 0 of the training loader: "):
        learner(Broken(2, 2)).fit(1)
