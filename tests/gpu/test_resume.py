"""A fit on a GPU that is interrupted at a batch goes on to the weights of one that was not."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from learnkit import Learner
from learnkit.callbacks import EMA, MixedPrecision, OneCycle
from learnkit.errors import LearnkitWarning
from tests.doubles import acting, raising
from tests.gpu.networks import OnDevice

pytestmark = pytest.mark.gpu


def with_dropout() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 2))


def fit(learn: Learner, *more: Any, **options: Any) -> None:
    learn.fit(3, 1e-2, callbacks=[OneCycle(1e-2), EMA(0.8), *more], checkpoint_every=1, **options)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_an_interrupted_fit_goes_on(precision: Any, device: torch.device, tensors: OnDevice, tmp_path: Path) -> None:
    def made(folder: str) -> Learner:
        return tensors(device, with_dropout(), callbacks=MixedPrecision(precision), path=tmp_path / folder)

    whole = made("whole")
    fit(whole)
    with pytest.raises(KeyboardInterrupt):
        fit(made("cut"), acting(before_batch=raising(KeyboardInterrupt(), epoch=1, batch=2)))
    resumed = made("cut")
    fit(resumed, acting(), resume="auto")
    assert resumed.recorder.losses == pytest.approx(whole.recorder.losses, abs=1e-6)
    for name, tensor in whole.model.state_dict().items():
        torch.testing.assert_close(resumed.model.state_dict()[name], tensor, atol=1e-6, rtol=1e-6)
        assert resumed.model.state_dict()[name].device == device


def test_a_checkpoint_of_one_device_goes_on_on_another(device: torch.device, tensors: OnDevice, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        fit(tensors(device, path=tmp_path), acting(before_batch=raising(KeyboardInterrupt(), epoch=1, batch=2)))
    resumed, whole = tensors("cpu", path=tmp_path), tensors("cpu", path=tmp_path / "whole")
    says = pytest.warns(LearnkitWarning, match=f"device: {device.type} there, cpu here")
    with nullcontext() if device.type == "cpu" else says:
        fit(resumed, acting(), resume="auto")
    fit(whole)
    assert resumed.validate() == pytest.approx(whole.validate(), abs=1e-4)
