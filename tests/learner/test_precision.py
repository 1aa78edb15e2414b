"""The precision of a learner: the same in training, validation and every prediction; files stay in float32."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from learnkit import ClassificationInterpretation, DataBunch, ImageDataBunch, Learner, load_learner
from learnkit.callbacks import MixedPrecision
from tests.doubles import Blobs, linear_learner


def wide() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 64), nn.Tanh(), nn.Dropout(0.1), nn.Linear(64, 2))


def dtypes_of(model: nn.Module) -> set[torch.dtype]:
    """Those of the outputs from now on."""
    seen: set[torch.dtype] = set()
    model.register_forward_hook(lambda module, inputs, output: seen.add(output.dtype))
    return seen


@pytest.mark.parametrize("how", ["to", "callback", "added"])
@pytest.mark.parametrize(("precision", "dtype"), [("bf16", torch.bfloat16), ("fp16", torch.float16)])
def test_validate_repeats_the_recorded_loss_and_metrics(
    precision: Any, dtype: torch.dtype, how: str, blobs: Blobs
) -> None:
    learn = linear_learner(
        blobs, wide(), metrics=F.cross_entropy, callbacks=MixedPrecision(precision) if how == "callback" else ()
    )
    if how == "to":
        learn = learn.to_bf16() if precision == "bf16" else learn.to_fp16()
    if how == "added":
        learn.add_cb(MixedPrecision(precision))
    learn.fit(2, 1e-2)
    recorded = learn.recorder.rows[-1]
    seen = dtypes_of(learn.model)
    assert learn.validate() == [recorded["valid_loss"], recorded["cross_entropy"]]
    assert seen == {dtype}
    full = learn.to_fp32().remove_cb(MixedPrecision).validate()
    assert full[0] == pytest.approx(recorded["valid_loss"], rel=0.05)
    assert full[0] != recorded["valid_loss"]


def test_every_prediction_runs_in_the_precision_of_the_learner(blobs: Blobs) -> None:
    learn, x = linear_learner(blobs, wide()).to_bf16(), blobs[2][0]
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        learn.model.eval()
        expected = learn.model(blobs[2][:16]).float().softmax(1)
    preds = learn.get_preds()[0]
    assert preds.dtype == torch.float32
    assert torch.equal(preds[:16], expected)
    assert torch.equal(next(learn.predict_iter())[0], expected)
    alone = learn.get_preds([(blobs[2][:1],)])[0][0]
    for prediction in (learn.predict(x), learn.predict_many([x])[0], learn.predictor().predict(x)):
        assert torch.equal(prediction.probs, alone)
        assert prediction.probs.dtype == torch.float32
    seen = dtypes_of(learn.model)
    learn.mc_dropout(n=2)
    interp = ClassificationInterpretation.from_learner(learn)
    learn.lr_find(num_it=4)
    assert seen == {torch.bfloat16}
    assert torch.equal(interp.probs, preds)


def test_test_time_augmentation_runs_in_the_precision_of_the_learner(class_folder: Path) -> None:
    dls = ImageDataBunch.from_folder(class_folder, size=16, bs=8)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    learn = Learner(dls, model, seed=0).to_bf16()
    seen = dtypes_of(model)
    learn.tta(n=2)
    assert seen == {torch.bfloat16}


def test_the_precision_of_one_fit_is_that_fit_alone(blobs: Blobs) -> None:
    learn = linear_learner(blobs, wide())
    learn.fit(1, callbacks=MixedPrecision("bf16"))
    seen = dtypes_of(learn.model)
    learn.validate(), learn.get_preds()
    assert seen == {torch.float32}


def test_files_hold_float32_and_a_loaded_learner_starts_in_it(blobs: Blobs, tmp_path: Path) -> None:
    learn = linear_learner(blobs, path=tmp_path).to_bf16()
    learn.fit(1)
    loaded = load_learner(learn.export(tmp_path / "model"), model=nn.Linear(2, 2))
    for name, tensor in loaded.model.state_dict().items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, learn.model.state_dict()[name])
    saved: dict[str, Tensor] = torch.load(learn.save("weights", with_opt=False), weights_only=True)
    assert {tensor.dtype for tensor in saved.values()} == {torch.float32}
    seen = dtypes_of(loaded.model)
    loaded.predict(blobs[2][0])
    assert seen == {torch.float32}


def test_no_accelerator_is_asked_for_where_data_is_on_the_cpu(monkeypatch: pytest.MonkeyPatch, blobs: Blobs) -> None:
    def asked(*args: Any, **options: Any) -> Any:
        raise AssertionError("a device was asked for")

    monkeypatch.setattr("learnkit.accelerators.default_device", asked)
    monkeypatch.setattr("learnkit.device.default_device", asked)
    monkeypatch.setattr(torch.cuda, "_lazy_init", asked)  # what makes a context on the first GPU
    learn = Learner(DataBunch.from_tensors(*blobs, device="cpu"), nn.Linear(2, 2), callbacks=MixedPrecision("auto"))
    learn.lr_find(num_it=2)
    learn.fit(1)
    assert learn.validate() == [learn.recorder.rows[-1]["valid_loss"]]
    learn.predict(blobs[2][0])
