"""Temperature and thresholds: fitted after training, used by predictions, kept by exports."""

from pathlib import Path

import pytest
import torch
from sklearn.metrics import f1_score
from torch import Tensor, nn

from learnkit import (
    ClassificationInterpretation,
    DataBunch,
    Learner,
    MultiLabelInterpretation,
    RegressionInterpretation,
    load_learner,
)
from learnkit.data.tasks import MultiLabel, Regression
from learnkit.errors import WrongTypeError
from tests.doubles import refused


def too_certain() -> Learner:
    """A model whose raw outputs are four times too large: labels are drawn from softmax(x)."""
    random = torch.Generator().manual_seed(0)
    x = torch.randn(4000, 3, generator=random) * 1.5
    y = torch.multinomial(x.softmax(1), 1, generator=random)[:, 0]
    learn = Learner(DataBunch.from_tensors(x, y, x, y, classes=["a", "b", "c"]), nn.Linear(3, 3, bias=False), seed=0)
    with torch.no_grad():
        learn.model.weight.copy_(torch.eye(3) * 4)
    return learn


def labeled(n: int = 400) -> Learner:
    """Probabilities that are right in their order, but all below one half for the second label."""
    random = torch.Generator().manual_seed(0)
    x = torch.randn(n, 2, generator=random)
    y = (x + 0.3 * torch.randn(n, 2, generator=random) > 0).float()
    dls = DataBunch.from_tensors(x, y, x, y, task=MultiLabel(("up", "down")))
    learn = Learner(dls, nn.Linear(2, 2), seed=0)
    with torch.no_grad():
        learn.model.weight.copy_(torch.eye(2) * 0.8)
        learn.model.bias.copy_(torch.tensor([0.0, -3.0]))
    return learn


def test_calibrate_finds_the_temperature_and_keeps_every_prediction() -> None:
    learn = too_certain()
    before, _ = learn.get_preds()
    ece = learn.interpret().calibration().ece
    losses = learn.validate()
    assert learn.calibrate() == learn.temperature == pytest.approx(4, rel=0.1)
    after, _ = learn.get_preds()
    assert torch.equal(before.argmax(1), after.argmax(1))
    assert learn.interpret().calibration().ece < 0.03 < ece
    assert learn.validate() == losses


def test_calibrate_is_for_one_class_per_item() -> None:
    learn = labeled()
    with refused("calibrate: the task of the data", WrongTypeError, got=learn.dls.task, expected="Classification"):
        learn.calibrate()


def f1(learn: Learner, preds: Tensor, targets: Tensor) -> list[float]:
    assert isinstance(learn.dls.task, MultiLabel)
    chosen = torch.stack([learn.dls.task.decode(row)[1] for row in preds])
    return [float(score) for score in f1_score(targets.numpy(), chosen.numpy(), average=None, zero_division=0)]


def test_fitted_thresholds_improve_f1_and_are_used_by_predict() -> None:
    learn = labeled()
    preds, targets = learn.get_preds()
    before = f1(learn, preds, targets)
    thresholds = learn.fit_thresholds()
    after = f1(learn, preds, targets)
    assert all(new >= old for new, old in zip(after, before, strict=True))
    assert after[1] > before[1] + 0.3
    item = torch.tensor([-3.0, 3.0])
    assert thresholds[1] < learn.predict(item)[2][1] < 0.5
    assert learn.predict(item)[0] == ["down"]


def test_exports_keep_temperature_and_thresholds(tmp_path: Path) -> None:
    certain, several = too_certain(), labeled()
    certain.calibrate()
    several.fit_thresholds()
    for learn, item in ((certain, torch.tensor([0.1, 0.2, 0.3])), (several, torch.tensor([-3.0, 3.0]))):
        n = learn.dls.c
        loaded = load_learner(learn.export(tmp_path / f"{n}.lk"), model=nn.Linear(n, n, bias=n == 2))
        label, _, probs = learn.predict(item)
        assert loaded.predict(item)[0] == label
        assert torch.equal(loaded.predict(item)[2], probs)
    assert loaded.dls.task == several.dls.task


def test_interpret_fits_the_task(tmp_path: Path) -> None:
    x, y = torch.randn(10, 2), torch.randn(10, 1)
    numbers = Learner(DataBunch.from_tensors(x, y, x, y, task=Regression(), bs=5), nn.Linear(2, 1), seed=0)
    kinds = {
        ClassificationInterpretation: too_certain(),
        MultiLabelInterpretation: labeled(),
        RegressionInterpretation: numbers,
    }
    for kind, learn in kinds.items():
        assert isinstance(learn.interpret(), kind)
        page = learn.report(tmp_path / f"{kind.__name__}.html")
        assert "<h1" in page.read_text(encoding="utf-8")
