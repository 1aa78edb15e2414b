"""Certainty of models of several outputs that an `activation=` combines, wherever it is kept."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from learnkit import DataBunch, Learner, MultiLabel, Regression, load_learner
from learnkit.certainty.conformal import fit_class_sets, fit_intervals, fit_label_sets
from learnkit.certainty.fitted import FittedCertainty
from learnkit.errors import UsageError
from tests.doubles import slow

N, D = 300, 6
TASKS = ["classes", "labels", "numbers"]


class TwoHeads(nn.Module):
    def __init__(self, n_out: int) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(12, n_out), nn.Linear(12, n_out)

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        return {"a": self.a(features), "b": self.b(features), "n": torch.ones((), dtype=torch.int64)}


class Heads(nn.Module):
    """Two heads on one body, as a dict, with an output that is of no item."""

    def __init__(self, n_out: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(D, 12), nn.ReLU())
        self.heads = TwoHeads(n_out)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return self.heads(self.body(x))  # type: ignore[no-any-return]


def mean_of_softmax(outputs: Any) -> Tensor:
    return (outputs["a"].softmax(1) + outputs["b"].softmax(1)) / 2


def mean_of_sigmoid(outputs: Any) -> Tensor:
    return (outputs["a"].sigmoid() + outputs["b"].sigmoid()) / 2


def mean(outputs: Any) -> Tensor:
    return (outputs["a"] + outputs["b"]) / 2


ACTIVATIONS = {"classes": mean_of_softmax, "labels": mean_of_sigmoid, "numbers": mean}


def learner(kind: str, *, grouped: bool = True) -> tuple[Learner, Tensor]:
    torch.manual_seed(0)
    x = torch.randn(2 * N, D)
    two = torch.stack([x[:, 0] > 0, x[:, 1] > 0.5], 1)
    y, task = two.sum(1), None
    loss: Any = nn.functional.cross_entropy
    if kind == "labels":
        y, task, loss = two.float(), MultiLabel(("p", "q")), nn.functional.binary_cross_entropy_with_logits
    elif kind == "numbers":
        y, task, loss = x[:, :2] * 2, Regression(("p", "q")), nn.functional.mse_loss
    options: dict[str, Any] = {"classes": ["r", "s", "t"]} if task is None else {"task": task}
    dls = DataBunch.from_tensors(x[:N], y[:N], x[N:], y[N:], bs=50, device="cpu", **options)

    def of_both(outputs: Any, targets: Tensor) -> Tensor:
        return loss(outputs["a"], targets) + loss(outputs["b"], targets)  # type: ignore[no-any-return]

    model = Heads(3 if task is None else 2)
    groups = [model.body, model.heads] if grouped else None
    learn = Learner(dls, model, loss_func=of_both, activation=ACTIVATIONS[kind], groups=groups, seed=0)
    learn.fit(3, 1e-2)
    return learn, x[:40]


def fitted(learn: Learner) -> FittedCertainty:
    assert learn.certainty is not None
    return learn.certainty


@pytest.mark.parametrize("kind", TASKS)
@pytest.mark.parametrize("grouped", [True, False])
def test_sets_are_those_of_the_predictions(kind: str, grouped: bool) -> None:
    learn, x = learner(kind, grouped=grouped)
    learn.temperature = 1.5
    learn.fit_conformal(0.2)
    preds, targets = learn.get_preds()
    found = fitted(learn)
    fit: Any = {"classes": fit_class_sets, "labels": fit_label_sets, "numbers": fit_intervals}[kind]
    assert found.conformal == fit(preds, targets, 0.2)
    assert (found.familiarity is None) == (not grouped)
    answers = learn.predict_sets(x)
    torch.testing.assert_close(torch.stack([one.probs for one in answers]), learn.activate(learn.model.eval()(x)))
    if kind == "classes":
        sizes = [int((1 - one.probs.double() <= found.conformal.threshold).sum()) for one in answers]  # type: ignore[union-attr]
        assert [len(one.labels) for one in answers] == sizes
    assert [one.is_familiar for one in answers] == ([one.score >= 0 for one in answers] if grouped else [None] * 40)


def test_familiarity_is_that_of_the_features_alone() -> None:
    learn, x = learner("classes")
    learn.fit_conformal(0.2)
    familiar = fitted(learn).familiarity
    assert familiar is not None
    assert familiar.energy_kind is None
    assert familiar.subspace is not None
    features = learn.model.eval().body(x)
    expected = familiar.distance_scale(-familiar.subspace.distance(features)) - familiar.threshold  # type: ignore[misc]
    torch.testing.assert_close(learn.familiarity([(x,)]), expected)
    valid = learn.familiarity("valid")
    assert (valid.dtype, valid.shape) == (torch.float64, (N,))
    assert (valid >= 0).double().mean() == pytest.approx(0.95, abs=0.01)
    assert [one.score for one in learn.predict_sets(x)] == pytest.approx(expected.tolist(), abs=1e-6)
    assert min(learn.familiarity([(50 * torch.randn(8, D),)])) < min(expected)


@pytest.mark.parametrize("kind", ["classes", slow("labels"), slow("numbers")])
def test_sets_are_kept_in_every_form(kind: str, tmp_path: Path) -> None:
    learn, x = learner(kind)
    learn.fit_conformal(0.2)
    expected = learn.predict_sets(x)
    file = learn.export(tmp_path / "a.lk")
    loaded = load_learner(file, model=Heads(3 if kind == "classes" else 2), activation=ACTIVATIONS[kind], device="cpu")
    for answering in (learn.predictor(), loaded, loaded.predictor()):
        for one, other in zip(answering.predict_sets(x), expected, strict=True):
            assert (one.labels, one.is_familiar) == (other.labels, other.is_familiar)
            assert one.score == pytest.approx(other.score, abs=1e-6)
    scores = np.array([one.score for one in expected])
    session = onnxruntime.InferenceSession(str(learn.export(tmp_path / "a", to="onnx")))
    np.testing.assert_allclose(session.run(["familiarity"], {"input": x.numpy()})[0], scores, atol=1e-3)
    output, familiarity = torch.export.load(learn.export(tmp_path / "a", to="pt2")).module()(x)
    torch.testing.assert_close(output, torch.stack([one.probs for one in expected]))
    np.testing.assert_allclose(familiarity.numpy(), scores, atol=1e-3)
    assert json.loads((tmp_path / "a.onnx.json").read_text())["sets"]["kind"] == (
        "intervals" if kind == "numbers" else kind
    )


def test_one_temperature_for_several_outputs_is_refused_with_advice_that_works() -> None:
    learn, _ = learner("classes")
    with pytest.raises(UsageError, match=r"a dict of a, b, n\. .* Learner\(\.\.\., output=lambda outputs: \.\.\.\)"):
        learn.calibrate()

    def combined(outputs: Any) -> Tensor:
        return mean_of_softmax(outputs).log()  # its softmax is the mean again

    other = Learner(learn.dls, learn.model, loss_func=learn.loss_func, output=combined)
    torch.testing.assert_close(other.get_preds()[0], learn.get_preds()[0])
    raw, targets = other.get_preds(activ=nn.Identity())
    losses = [nn.functional.cross_entropy(raw / t, targets) for t in (other.calibrate(), 0.8, 0.9, 1.1, 1.2)]
    assert min(losses) == losses[0]
    other.fit_conformal(0.2)
    assert fitted(other).familiarity.energy_kind == "softmax"  # type: ignore[union-attr]


def squares(raw: Tensor) -> Tensor:
    return raw.square() / raw.square().sum(1, keepdim=True)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"loss_func": nn.NLLLoss()}, r"made by exp\. .*without log_softmax"),
        ({"activation": squares}, r"made by squares\. Leave out activation="),
    ],
)
def test_predictions_that_are_no_softmax_have_no_temperature(options: Any, says: str) -> None:
    learn, _ = learner("classes")
    model = nn.Sequential(nn.Linear(D, 3), nn.LogSoftmax(1))
    other = Learner(learn.dls, model, **options)
    with pytest.raises(UsageError, match=f"calibrate: it takes predictions that are the softmax .*{says}"):
        other.calibrate()
    assert other.temperature == 1


def test_log_probabilities_have_no_temperature_but_1() -> None:
    learn, _ = learner("classes")
    other = Learner(learn.dls, nn.Sequential(nn.Linear(D, 3), nn.LogSoftmax(1)), loss_func=nn.NLLLoss())
    other.temperature = 1
    with pytest.raises(UsageError, match=r"temperature: .*: got 1\.5, expected 1"):
        other.temperature = 1.5
    assert other.temperature == 1
    torch.testing.assert_close(other.get_preds()[0].sum(1), torch.ones(N))
