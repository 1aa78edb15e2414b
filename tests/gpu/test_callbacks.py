"""Every callback runs on a GPU, and gives what it gives on the CPU."""

import pytest
import torch
from torch import nn

from learnkit import DataBunch, Learner
from tests.doubles import Blobs
from tests.gpu.networks import small_net
from tests.test_every_callback import EVERY_CALLBACK, WithStates, loss_of_output

pytestmark = pytest.mark.gpu
RANDOM_OR_HALF = {"MixedPrecision"}  # not the same numbers on two devices


def learner(blobs: Blobs, name: str, where: torch.device | str) -> Learner:
    x_train, y_train, x_valid, y_valid = blobs
    pixels = x_train[:, :, None, None], y_train, x_valid[:, :, None, None], y_valid  # CutMix needs images
    options = {}
    model: nn.Module = nn.Sequential(nn.Flatten(), *small_net())
    if name in ("RNNRegularizer", "MicroBatches"):  # these need hidden states, and no batch norm
        torch.manual_seed(0)
        layers = nn.Flatten(), nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2)
        model = WithStates(*layers) if name == "RNNRegularizer" else nn.Sequential(*layers)
        options = {"loss_func": loss_of_output} if name == "RNNRegularizer" else {}
    dls = DataBunch.from_tensors(*pixels, bs=16, device=where)
    return Learner(dls, model, metrics="accuracy", seed=0, **options)


@pytest.mark.parametrize("name", [name for name in EVERY_CALLBACK if name != "Recorder"])
def test_a_fit_with_it(name: str, device: torch.device, blobs: Blobs) -> None:
    learners = [learner(blobs, name, where) for where in (device, "cpu")]
    for learn in learners:
        learn.fit(2, 1e-2, callbacks=EVERY_CALLBACK[name]())
        learn.fit(1, 1e-2, callbacks=EVERY_CALLBACK[name]())
    there, here = learners
    assert all(parameter.device == device for parameter in there.model.parameters())
    close = 0.1 if name in RANDOM_OR_HALF else 1e-3
    assert there.recorder.losses == pytest.approx(here.recorder.losses, abs=close)
    assert there.validate() == pytest.approx(here.validate(), abs=close)
