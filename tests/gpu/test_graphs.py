"""Networks compiled with mode="reduce-overhead" run as CUDA graphs: their outputs are in memory that is used again."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from learnkit import Callback, Learner
from learnkit.callbacks import EMA, MixUp
from tests.doubles import Blobs
from tests.gpu.networks import OnDevice, small_net

pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("ignore")]  # torch's compiler warns of what it will change
CLOSE: dict[str, float] = {"atol": 1e-4, "rtol": 1e-4}


def mode_on(device: torch.device) -> dict[str, str]:
    return {"mode": "reduce-overhead"} if device.type == "cuda" else {"backend": "aot_eager"}


def compiled(tensors: OnDevice, device: torch.device) -> tuple[Learner, Learner]:
    """A learner whose model is compiled, and the same one whose is not."""
    return tensors(device).compile(**mode_on(device)), tensors(device)


@pytest.mark.parametrize("callbacks", [lambda: [], lambda: [EMA(0.9)], lambda: [MixUp()]])
def test_training(callbacks: Callable[[], list[Callback]], device: torch.device, tensors: OnDevice) -> None:
    graphed, plain = compiled(tensors, device)
    for learn in (graphed, plain):
        learn.fit(3, 1e-2, callbacks=callbacks())
    assert graphed.recorder.losses == pytest.approx(plain.recorder.losses, abs=1e-4)
    assert graphed.validate() == pytest.approx(plain.validate(), abs=1e-4)


@pytest.mark.parametrize("activation", [None, nn.Identity()])
def test_predictions(activation: nn.Module | None, device: torch.device, tensors: OnDevice, blobs: Blobs) -> None:
    graphed, plain = compiled(tensors, device)
    for _ in range(3):  # the first calls record
        torch.testing.assert_close(
            graphed.get_preds(activ=activation)[0], plain.get_preds(activ=activation)[0], **CLOSE
        )
    ours = torch.cat([preds for preds, _ in list(graphed.predict_iter(activ=activation))])
    torch.testing.assert_close(ours, plain.get_preds(activ=activation)[0], **CLOSE)
    predictor = graphed.predictor()
    found = torch.stack([predictor.predict(x).probs for x in blobs[2]])
    torch.testing.assert_close(found, plain.get_preds()[0], **CLOSE)
    found = torch.stack([prediction.probs for prediction in graphed.predict_many(list(blobs[2]), bs=4)])
    torch.testing.assert_close(found, plain.get_preds()[0], **CLOSE)


def test_half_precision(device: torch.device, tensors: OnDevice) -> None:
    graphed, plain = compiled(tensors, device)
    for learn in (graphed.to_bf16(), plain.to_bf16()):
        learn.fit(2, 1e-3)
    assert graphed.recorder.losses == pytest.approx(plain.recorder.losses, abs=0.02)
    assert graphed.validate()[0] == pytest.approx(graphed.recorder.rows[-1]["valid_loss"], abs=1e-6)


def test_freezing_compiles_again(device: torch.device, tensors: OnDevice) -> None:
    model = small_net()
    graphed = tensors(device, model, groups=[model[:2], model[2:]]).compile(**mode_on(device))
    graphed.fit(1, 1e-3)
    before = model[0].weight.detach().clone()
    graphed.freeze()
    graphed.fit(1, 1e-2)
    assert torch.equal(model[0].weight, before)
