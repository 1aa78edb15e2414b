"""Answers as sets with a stated coverage, and what is none of these: fitted, kept, and never stale."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from learnkit import (
    ClassificationInterpretation,
    DataBunch,
    Learner,
    MultiLabelInterpretation,
    RegressionInterpretation,
    load_learner,
)
from learnkit.certainty.familiarity import MAX_ITEMS
from learnkit.data.tasks import MultiLabel, Regression
from learnkit.errors import DataError, LearnkitWarning, UsageError, VersionError, WrongTypeError
from learnkit.inference.sets import PredictionSet
from learnkit.learner.certainty import _evenly
from learnkit.persistence.lk import manifest
from tests.doubles import refused

N, D = 600, 8


def network(n_out: int = 3) -> nn.Sequential:
    return nn.Sequential(nn.Linear(D, 32), nn.ReLU(), nn.Linear(32, n_out))


def items(seed: int) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(N, D, generator=random)
    return x, (x[:, 0] > 0).long() + (x[:, 1] + torch.randn(N, generator=random) > 1).long()


def learner(task: Any = None, *, grouped: bool = True) -> Learner:
    """A little trained: three classes, two labels or two numbers of eight inputs."""
    torch.manual_seed(0)
    (x, y), (x_valid, y_valid) = items(0), items(1)
    options: dict[str, Any] = {"classes": ["a", "b", "c"]}
    if task is not None:
        options = {"task": task}
        y, y_valid = ((torch.stack([part > 0, part > 1], 1).float()) for part in (y, y_valid))
    dls = DataBunch.from_tensors(x, y, x_valid, y_valid, x_test=x, **options)
    model = network(dls.task.n_out)  # type: ignore[union-attr]
    learn = Learner(dls, model, seed=0, groups=[model[0], model[2]] if grouped else None)
    learn.fit(3, 1e-2)
    return learn


def test_sets_cover_new_items_and_are_those_of_the_probabilities() -> None:
    learn = learner()
    learn.fit_conformal(0.2)
    x, y = items(2)
    found = learn.predict_sets(x)
    covered = [learn.dls.classes[int(target)] in each.labels for target, each in zip(y, found, strict=True)]
    assert np.mean(covered) == pytest.approx(0.8, abs=0.06)
    assert np.mean([each.is_familiar for each in found]) == pytest.approx(0.95, abs=0.03)
    probs, targets = learn.get_preds()  # by hand: the 481st of 600 scores
    limit = np.sort(1 - probs.gather(1, targets[:, None])[:, 0].double().numpy())[480]
    for each in found[:50]:
        chosen = [c for c in each.probs.argsort(descending=True).tolist() if 1 - float(each.probs[c]) <= limit]
        assert each.labels == [learn.dls.classes[c] for c in chosen]
        assert each.is_familiar == (each.score >= 0)


def test_one_item_is_answered_as_many_and_as_predict() -> None:
    learn = learner()
    learn.fit_conformal()
    x = items(2)[0][:5]
    for item, each in zip(x, learn.predict_sets(x, bs=2), strict=True):
        labels, is_familiar, score, probs = one = learn.predict_set(item)
        assert isinstance(one, PredictionSet)
        assert (labels, is_familiar) == each[:2]
        assert score == pytest.approx(each.score, abs=1e-4)
        assert torch.allclose(probs, learn.predict(item).probs)
    assert not learn.model[2]._forward_pre_hooks


def test_foreign_items_are_not_familiar() -> None:
    """Items whose direction no training item has; how the model answers them is as sure as ever."""
    x, y = items(0)
    x[:, 4:] *= 0.01
    body = nn.Linear(D, D)
    model = nn.Sequential(body, nn.Linear(D, 3))
    learn = Learner(DataBunch.from_tensors(x, y, x[:300], y[:300], classes=["a", "b", "c"]), model, groups=[*model])
    with torch.no_grad():
        body.weight.copy_(torch.eye(D))
        body.bias.zero_()
    learn.fit_conformal()
    assert [each.is_familiar for each in learn.predict_sets(torch.eye(D)[4:])] == [False] * 4
    known = learn.predict_sets(items(2)[0] * torch.tensor([1.0] * 4 + [0.01] * 4))
    assert np.mean([each.is_familiar for each in known]) == pytest.approx(0.95, abs=0.04)


def test_familiarity_of_a_part_is_that_of_its_items() -> None:
    learn = learner()
    learn.fit_conformal()
    scores = learn.familiarity()
    assert scores.shape == (N,)
    assert float((scores >= 0).double().mean()) == pytest.approx(0.95, abs=0.003)
    assert scores[:3].tolist() == pytest.approx([each.score for each in learn.predict_sets(items(1)[0][:3])], abs=1e-4)


def test_labels_and_numbers() -> None:
    learn = learner(MultiLabel(("one", "two")))
    learn.fit_conformal()
    x, y = items(2)
    found = learn.predict_sets(x)
    has = (y > 0).tolist()
    assert np.mean(["one" in each.labels for each, is_true in zip(found, has, strict=True) if is_true]) > 0.85
    learn = learner(Regression(("width", "height")))
    learn.fit_conformal()
    each = learn.predict_set(x[0])
    radius = np.sort((learn.get_preds()[0] - learn.dls.valid_dl.tensors[1]).abs().double().numpy(), 0)[540]  # type: ignore[union-attr]
    value = learn.predict(x[0]).probs.double().numpy()
    assert np.array(each.labels) == pytest.approx(np.stack([value - radius, value + radius], 1), abs=1e-5)
    assert each.is_familiar is not None


def test_without_a_head_of_its_own_only_outputs_tell() -> None:
    learn = learner(grouped=False)
    learn.fit_conformal()
    assert learn.predict_set(items(1)[0][0]).is_familiar is not None
    numbers = learner(Regression(("a", "b")), grouped=False)
    numbers.fit_conformal()
    found = numbers.predict_set(items(1)[0][0])
    assert found.is_familiar is None
    assert np.isnan(found.score)
    with pytest.raises(UsageError, match="familiarity: nothing tells it"):
        numbers.familiarity()


def test_nothing_is_answered_before_it_is_fitted() -> None:
    learn = learner()
    for ask in (lambda: learn.predict_set(torch.zeros(D)), learn.familiarity, lambda: learn.predict_sets([])):
        with pytest.raises(UsageError, match=r"nothing says yet how sure.*Call learn.fit_conformal\(\) first"):
            ask()
    with pytest.raises(UsageError, match="nothing says yet"):
        learn.predictor().predict_set(torch.zeros(D))


def changes() -> dict[str, Any]:
    def touch(learn: Learner) -> None:
        with torch.no_grad():
            learn.model[0].weight.add_(1e-3)

    return {
        "fit": lambda learn: learn.fit(1),
        "fit_head": lambda learn: learn.fit_head(1),
        "temperature": lambda learn: setattr(learn, "temperature", 2.0),
        "calibrate": lambda learn: learn.calibrate(),
        "weights": touch,
        "model": lambda learn: setattr(learn, "model", network()),
    }


@pytest.mark.filterwarnings("ignore:the 2 layer groups were those of another model")
@pytest.mark.parametrize("change", changes())
def test_what_was_fitted_to_another_model_is_neither_used_nor_exported(change: str, tmp_path: Path) -> None:
    learn = learner()
    learn.fit_conformal()
    changes()[change](learn)
    with pytest.raises(UsageError, match=r"predict_set: fit_conformal was called for other weights or settings"):
        learn.predict_set(torch.zeros(D))
    with pytest.warns(LearnkitWarning, match="so the export does not hold it"):
        learn.export(tmp_path / "m.lk")
    learn.fit_conformal()
    learn.predict_set(torch.zeros(D))


def test_what_leaves_no_trace_leaves_it_valid(tmp_path: Path) -> None:
    learn = learner()
    learn.fit_conformal()
    before = learn.predict_set(torch.ones(D))
    learn.lr_find(num_it=5)
    learn.validate()
    learn.save("kept")
    learn.fit(1)
    learn.load("kept")
    after = learn.predict_set(torch.ones(D))  # the same weights again
    assert (after.labels, after.score) == (before.labels, before.score)


def test_predictors_answer_in_many_threads_and_keep_what_they_had() -> None:
    learn = learner()
    learn.fit_conformal()
    x = items(2)[0][:64]
    expected = learn.predict_sets(x)
    predictor = learn.predictor(bs=16)
    learn.fit(1)
    assert [each.labels for each in predictor.predict_sets(list(x))] == [each.labels for each in expected]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(predictor.predict_set, x))
    assert [each.score for each in found] == pytest.approx([each.score for each in expected], abs=1e-4)
    assert not found[0].probs.requires_grad


@pytest.mark.parametrize("task", [None, MultiLabel(("one", "two")), Regression(("a", "b"))])
@pytest.mark.parametrize("grouped", [True, False])
def test_exports_keep_it(task: Any, grouped: bool, tmp_path: Path) -> None:
    learn = learner(task, grouped=grouped)
    learn.fit_conformal()
    file = learn.export(tmp_path / "m.lk")
    assert file.read_bytes() == learn.export(tmp_path / "again.lk").read_bytes()
    loaded = load_learner(file, model=network(learn.dls.task.n_out))  # type: ignore[union-attr]
    x = items(2)[0][:20]
    for found, own in zip(loaded.predict_sets(x), learn.predict_sets(x), strict=True):
        assert (found.labels, found.is_familiar) == (own.labels, own.is_familiar)
        assert found.score == own.score or np.isnan(own.score)
    expected = [each.labels for each in learn.predict_sets(x)]
    assert [each.labels for each in loaded.predictor().predict_sets(x)] == expected
    assert loaded.export(tmp_path / "second.lk").read_bytes()  # what was loaded is exported again


def test_a_reader_that_does_not_know_the_tensors_refuses_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    learn, alone = learner(), learner(grouped=False)
    learn.fit_conformal()
    alone.fit_conformal()
    monkeypatch.setattr(manifest, "KNOWN_FEATURES", frozenset())  # an earlier learnkit
    with pytest.raises(VersionError, match="requires features that this learnkit lacks: certainty tensors"):
        load_learner(learn.export(tmp_path / "tensors.lk"), model=network())
    load_learner(alone.export(tmp_path / "numbers.lk"), model=network())  # right without it


@pytest.mark.slow
def test_exports_for_other_programs_hold_the_sets(tmp_path: Path) -> None:
    """The lines of docs/deploy.md."""
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    x = items(2)[0][:30]
    for method in ("lac", "raps"):
        learn = learner()
        learn.fit_conformal(0.2, method=method)
        file = learn.export(tmp_path / f"{method}.onnx", to="onnx")
        session = onnxruntime.InferenceSession(file)
        held = session.get_modelmeta().custom_metadata_map
        facts = {key: json.loads(held[key]) for key in ("classes", "sets")}
        assert json.loads(file.with_name(f"{method}.onnx.json").read_text())["sets"] == facts["sets"]
        [probabilities] = session.run(["output"], {"input": x.numpy()})
        found = [members(row, facts["sets"], facts["classes"]) for row in probabilities]
        assert found == [each.labels for each in learn.predict_sets(x)]
    raw = learn.export(tmp_path / "raw.onnx", to="onnx", activation=False)
    assert "sets" not in json.loads(raw.with_name("raw.onnx.json").read_text())


def members(probabilities: Any, sets: dict[str, Any], classes: list[str]) -> list[str]:
    """The set of one item, the most probable class first."""
    p = probabilities.astype(np.float64)
    order = np.argsort(-p, kind="stable")
    if sets["method"] == "lac":
        scores = 1 - p[order]
    else:
        places = np.arange(1, len(p) + 1)
        scores = np.cumsum(p[order]) - p[order] + sets["penalty"] * np.maximum(places - sets["n_free"], 0)
        scores[0] = 0
    return [classes[c] for c, score in zip(order, scores, strict=True) if score <= sets["threshold"]]


def test_what_cannot_be_fitted() -> None:
    learn = learner()
    with refused("fit_conformal: ds_type", got="Train", expected="a part that the model was not trained on"):
        learn.fit_conformal(ds_type="train")
    with pytest.raises(UsageError, match="ds_type: got 'Test', expected a part of the data that has labels"):
        learn.fit_conformal(ds_type="test")
    with pytest.raises(DataError, match="labeled items: got 600, expected at least 9999"):
        learn.fit_conformal(1e-4)
    with pytest.raises(UsageError, match="method: got 'aps'"):
        learn.fit_conformal(method="aps")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="method: got 'raps'"):
        learner(MultiLabel(("one", "two"))).fit_conformal(method="raps")
    with pytest.raises(UsageError, match="nothing says yet"):
        learn.predict_set(torch.zeros(D))


def test_masks_have_no_sets() -> None:
    from learnkit.data.segmentation import Segmentation

    x, y = torch.randn(64, 3, 6, 6), torch.randint(0, 2, (64, 6, 6))
    learn = Learner(DataBunch.from_tensors(x, y, x, y, task=Segmentation(["a", "b"])), nn.Conv2d(3, 2, 1), seed=0)
    with pytest.raises(WrongTypeError, match=r"fit_conformal: the task of the data.*Classification, MultiLabel or Reg"):
        learn.fit_conformal()


def test_rows_of_any_number_of_batches_are_taken_evenly() -> None:
    for n in (10, MAX_ITEMS, MAX_ITEMS + 1, 5 * MAX_ITEMS + 3):
        rows = torch.arange(float(n))[:, None]
        found = _evenly(rows.split(100))[:, 0]
        assert MAX_ITEMS // 2 <= len(found) <= MAX_ITEMS or len(found) == n
        assert len(set(found.diff().tolist())) == 1
        assert found[0] == 0
        assert found[-1] > n * 0.95 - 1


def test_interpretations_show_curves_and_what_is_unfamiliar() -> None:
    learn = learner()
    learn.fit_conformal()
    interp: ClassificationInterpretation = learn.interpret()
    table = interp.conformal_curve([0.1, 0.2], n_splits=5)
    assert table.columns.tolist() == ["alpha", "coverage", "deviation", "size", "empty"]
    assert table["coverage"].tolist() == pytest.approx([0.9, 0.8], abs=0.03)
    interp.plot_conformal("raps").canvas.draw()
    strange = interp.unfamiliar()
    assert strange.columns.tolist() == ["item", "path", "prediction", "target", "score"]
    scores = learn.familiarity()
    assert sorted(strange["item"]) == (scores < 0).nonzero()[:, 0].tolist()
    assert strange["score"].is_monotonic_increasing
    labels: MultiLabelInterpretation = learner(MultiLabel(("one", "two"))).interpret()
    assert labels.conformal_curve([0.1], n_splits=5)["coverage"].item() == pytest.approx(0.9, abs=0.04)
    labels.plot_conformal().canvas.draw()
    numbers: RegressionInterpretation = learner(Regression(("a", "b"))).interpret()
    rows = numbers.conformal_curve([0.1, 0.5], n_splits=5)
    assert rows[["name", "alpha"]].to_numpy().tolist() == [["a", 0.1], ["a", 0.5], ["b", 0.1], ["b", 0.5]]
    expected = np.quantile(numbers.residuals.abs()[:, 0].numpy(), 0.5)
    assert rows["width"][1] == pytest.approx(2 * expected, rel=0.1)
