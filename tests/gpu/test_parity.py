"""In float32 a GPU computes what the CPU does, to 1e-5."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from learnkit import DataBunch, Learner, Regression, load_learner
from learnkit.callbacks import CutMix, GradientAccumulation, GradientClipping, MixedPrecision, MixUp
from learnkit.device import Compute
from tests.doubles import Blobs
from tests.gpu.networks import OnDevice, small_cnn

pytestmark = pytest.mark.gpu
CLOSE: dict[str, float] = {"atol": 1e-5, "rtol": 1e-5}


def assert_same(ours: Learner, theirs: Learner, **close: float) -> None:
    """The same losses, results and weights."""
    close = close or CLOSE
    assert ours.recorder.losses == pytest.approx(theirs.recorder.losses, abs=close["atol"], rel=close["rtol"])
    for own, other in zip(ours.recorder.rows, theirs.recorder.rows, strict=True):
        assert {**own, "time": 0} == pytest.approx({**other, "time": 0}, abs=close["atol"], rel=close["rtol"])
    for name, tensor in theirs.model.state_dict().items():
        torch.testing.assert_close(ours.model.state_dict()[name].cpu(), tensor.cpu(), **close)


@pytest.mark.parametrize("callbacks", [[], [GradientAccumulation(32)], [GradientClipping(0.1)], [MixUp()]])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_fit(optimizer: str, callbacks: Any, device: torch.device, tensors: OnDevice) -> None:
    there, here = (tensors(where, opt_func=optimizer) for where in (device, "cpu"))
    assert next(there.model.parameters()).device == device
    for learn in (there, here):
        learn.fit(2, 1e-2 if optimizer == "sgd" else 1e-3, callbacks=callbacks)
    assert_same(there, here)


@pytest.mark.parametrize("augment", [False, True, "strong"])
@pytest.mark.parametrize(
    "options", [{}, {"cache": "memory"}, {"cache": "device"}, {"num_workers": 1}],
    ids=["files", "cache", "device cache", "worker"],
)  # fmt: skip
def test_images_and_their_augmentation(
    augment: Any, options: dict[str, Any], device: torch.device, images: OnDevice
) -> None:
    if augment == "strong" and options.get("cache") == "device":
        pytest.skip("refused: its crops are of single images, before they are kept")
    there, here = (images(where, augment=augment, **options) for where in (device, "cpu"))
    for (x, y), (x_here, y_here) in zip(there.dls.train_dl, here.dls.train_dl, strict=True):
        assert x.device == y.device == device
        torch.testing.assert_close(x.cpu(), x_here, atol=1e-4, rtol=1e-4)
        assert torch.equal(y.cpu(), y_here)
    for learn in (there, here):
        learn.fit(2, 1e-3, callbacks=CutMix())
    assert_same(there, here, atol=1e-3, rtol=1e-3)


def test_predictions(device: torch.device, images: OnDevice) -> None:
    there, here = images(device), images("cpu")
    item = there.dls.valid_ds.inputs[0]
    for ours, theirs in zip(there.get_preds(with_loss=True), here.get_preds(with_loss=True), strict=True):
        assert ours.device.type == "cpu"
        torch.testing.assert_close(ours, theirs, **CLOSE)
    torch.testing.assert_close(there.tta(n=2)[0], here.tta(n=2)[0], atol=1e-4, rtol=1e-4)
    for ask in (Learner.predict, lambda learn, one: learn.predictor().predict(one)):
        ours, theirs = ask(there, item), ask(here, item)
        assert ours.label == theirs.label
        torch.testing.assert_close(ours.probs, theirs.probs, **CLOSE)
    batches = [preds for preds, _ in there.predict_iter()]
    torch.testing.assert_close(torch.cat(batches), here.get_preds()[0], **CLOSE)
    assert there.validate() == pytest.approx(here.validate(), abs=1e-5)


def test_a_regression_and_batches_of_a_loader_of_torch(device: torch.device, blobs: Blobs) -> None:
    x = blobs[0]
    set_of = torch.utils.data.TensorDataset(x, x.sum(1, keepdim=True))
    learners = []
    for where in (device, torch.device("cpu")):
        loader = torch.utils.data.DataLoader(set_of, batch_size=16)
        dls = DataBunch.from_loaders(loader, loader, task=Regression(["sum"]), device=where)
        torch.manual_seed(0)
        learners.append(Learner(dls, nn.Linear(2, 1), metrics="mae", seed=0))
        learners[-1].fit(2, 1e-2)
    assert_same(*learners)


def test_an_export_moves_between_devices(
    device: torch.device, images: OnDevice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn = images(device)
    learn.fit(1, 1e-3)
    file, item = learn.export(tmp_path / "model"), learn.dls.valid_ds.inputs[0]
    for where in (device, torch.device("cpu")):
        monkeypatch.setenv("LEARNKIT_DEVICE", str(where))
        loaded = load_learner(file, model=small_cnn())
        assert next(loaded.model.parameters()).device == loaded.dls.device == where
        torch.testing.assert_close(loaded.predict(item).probs, learn.predict(item).probs, **CLOSE)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_is_close_and_validates_as_recorded(
    precision: Any, device: torch.device, tensors: OnDevice
) -> None:
    full, half = tensors(device), tensors(device, callbacks=MixedPrecision(precision))
    torch.testing.assert_close(half.get_preds()[0], full.get_preds()[0], atol=0.02, rtol=0.05)
    half.fit(2, 1e-3)
    assert half.validate()[0] == half.recorder.rows[-1]["valid_loss"]


def test_the_best_precision_of_the_device_is_chosen(device: torch.device) -> None:
    compute = Compute(device)
    compute.use("auto")
    has_bf16 = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
    assert compute.precision == ("fp32" if device.type == "cpu" else "bf16" if has_bf16 else "fp16")


def test_the_generator_of_the_device_is_seeded_by_the_fit_and_restored(device: torch.device, tensors: OnDevice) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3, device=device)
    losses = []
    for seed in (1, 2):  # of the caller, who does not matter to the fit
        torch.manual_seed(0)
        learn = tensors(device, nn.Sequential(nn.Linear(2, 8), nn.Dropout(0.5), nn.Linear(8, 2)))
        torch.manual_seed(seed)
        learn.fit(1, 1e-3)
        losses.append(learn.recorder.losses)
        torch.manual_seed(5)
        learn.fit(1, 1e-3)
        learn.mc_dropout(n=3)
        assert torch.equal(torch.rand(3, device=device), expected), "the caller's generator has moved"
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)
