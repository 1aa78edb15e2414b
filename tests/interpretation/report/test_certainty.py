"""Coverage, what fit_conformal has fitted, and unfamiliar items on the page."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from learnkit import ClassificationInterpretation, DataBunch, Learner
from learnkit.data.tasks import MultiLabel, Regression
from learnkit.interpretation import MultiLabelInterpretation, RegressionInterpretation
from learnkit.interpretation.item_source import ItemSource
from learnkit.interpretation.report import certainty as module
from learnkit.interpretation.report import content_of
from learnkit.interpretation.report.certainty import certainty_of
from learnkit.interpretation.report.content import Certainty
from learnkit.interpretation.report.render import page_of
from learnkit.interpretation.report.thumbnails import Thumbnails

N = 120


def shown(interp: Any, learn: Learner | None = None) -> Certainty:
    found = certainty_of(interp, learn)
    assert found is not None
    return found


def text_of(interp: Any, learn: Learner | None = None) -> str:
    content = content_of(interp, learn=learn)
    return page_of(content, Thumbnails(content.image))


def labels(n: int = N, c: int = 3) -> MultiLabelInterpretation:
    random = torch.Generator().manual_seed(0)
    targets = (torch.rand(n, c, generator=random) > 0.5).float()
    probs = (0.3 * torch.rand(n, c, generator=random) + 0.6 * targets).clamp(0, 1)
    return MultiLabelInterpretation(probs, targets, torch.ones(n), tuple(f"label {k}" for k in range(c)))


def numbers(n: int = N, k: int = 2) -> RegressionInterpretation:
    targets = torch.randn(n, k, generator=torch.Generator().manual_seed(0))
    off = torch.rand(n, k, generator=torch.Generator().manual_seed(1)) * torch.arange(1, k + 1)
    return RegressionInterpretation(targets + off, targets, torch.ones(n), tuple(f"number {i}" for i in range(k)))


def nearest_class(n: int = N) -> Learner:
    """Three clouds; the outputs are negative squared distances from their centers."""
    random = torch.Generator().manual_seed(0)
    centers = 3 * torch.eye(3)
    y = torch.arange(n) % 3
    x = centers[y] + torch.randn(n, 3, generator=random)
    dls = DataBunch.from_tensors(x, y, x + 0.5, y, bs=n)
    learn = Learner(dls, nn.Sequential(nn.Identity(), nn.Linear(3, 3)), seed=0)
    with torch.no_grad():
        learn.model[1].weight.copy_(centers)  # type: ignore[index, union-attr]
        learn.model[1].bias.fill_(-4.5)  # type: ignore[index, union-attr]
    return learn


def test_the_curve_of_classes_is_near_what_it_states(interpret: Callable[..., Any]) -> None:
    found = shown(interpret(600, image=None))
    (curve,) = found.coverage
    for alpha, measured, off in zip(curve.alphas, curve.measured, curve.deviation, strict=True):
        assert measured == pytest.approx(1 - alpha, abs=3 * (alpha * (1 - alpha) / 300) ** 0.5)
        assert off < 0.1
    assert list(curve.sizes) == sorted(curve.sizes, reverse=True)
    at = curve.alphas.index(0.1)
    assert f"At alpha 0.1, {curve.measured[at]:.1%}" in found.how
    assert f"with {curve.sizes[at]:.2f} classes in a set" in found.how
    assert "another source" in found.how
    assert found.notes == ()  # without a learner there is nothing to fit


def test_the_numbers_of_the_curve_are_in_a_table(interpret: Callable[..., Any]) -> None:
    interp = interpret(80, image=None)
    text = text_of(interp)
    section = text.partition('<section id="certainty"')[2].partition("</section>")[0]
    expected = interp.conformal_curve()
    rows = re.findall(r'<tr><th scope="row"><bdi class="name">([^<]+)</bdi></th>(.*?)</tr>', section)
    assert [float(alpha) for alpha, _ in rows] == expected["alpha"].tolist()
    cells = [re.findall(r"<td>([^<]+)</td>", cells) for _, cells in rows]
    assert [row[1] for row in cells] == [f"{value:.3f}" for value in expected["coverage"]]
    assert section.count("<svg") == 2
    assert "dashed line" in section


@pytest.mark.parametrize(("n", "has_curve"), [(39, False), (40, True)])
def test_few_items_have_no_curve(interpret: Callable[..., Any], n: int, has_curve: bool) -> None:
    assert (certainty_of(interpret(n, image=None), None) is not None) == has_curve


def test_items_of_the_training_set_have_no_curve(interpret: Callable[..., Any]) -> None:
    interp = replace(interpret(80, image=None), source=ItemSource(part="training set"))
    assert certainty_of(interp, None) is None


@pytest.mark.parametrize("c", [1, 2])
def test_one_class_and_nan_have_no_curve(c: int) -> None:
    probs = torch.full((50, c), 1.0 if c == 1 else float("nan"))
    classes = tuple("ab"[:c])
    interp = ClassificationInterpretation(probs, torch.zeros(50, dtype=torch.int64), torch.ones(50), classes)
    assert certainty_of(interp, None) is None


def test_labels_have_a_curve_of_labels() -> None:
    found = shown(labels())
    assert found.size == "labels in a set"
    assert found.coverage[0].empty
    assert "true label" in found.how
    assert 'id="certainty"' in text_of(labels())


def test_numbers_have_a_curve_each_and_a_width_in_their_own_unit() -> None:
    interp = numbers()
    interp.targets[:100, 1] = torch.nan  # twenty are left
    (only,) = shown(interp).coverage
    assert only.name == "number 0"
    both = shown(numbers())
    assert [curve.name for curve in both.coverage] == ["number 0", "number 1"]
    assert [chart.title for chart in both.size_charts] == ["Width, number 0", "Width, number 1"]
    widths = [curve.sizes[curve.alphas.index(0.1)] for curve in both.coverage]
    assert widths == pytest.approx([1.8, 3.6], rel=0.1)  # errors are even in [0, 1] and [0, 2]; nine tenths of 2 x 1
    assert len(shown(numbers(60, 9)).coverage) == 6
    assert "Shown are 6 of 9 numbers." in shown(numbers(60, 9)).how


def test_thousands_of_classes_are_measured_on_a_part_of_the_items(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_NUMBERS", 5000)
    c = 50
    targets = torch.arange(1000) % c
    probs = torch.nn.functional.one_hot(targets, c).float() * 0.5 + 0.01
    interp = ClassificationInterpretation(probs, targets, torch.ones(1000), tuple(map(str, range(c))))
    sizes: list[int] = []
    measure = ClassificationInterpretation.conformal_curve

    def counted(self: Any, *args: Any, **options: Any) -> Any:
        sizes.append(len(self.losses))
        return measure(self, *args, **options)

    monkeypatch.setattr(ClassificationInterpretation, "conformal_curve", counted)
    assert "a random 100 of the 1,000 items" in shown(interp).how
    assert sizes == [100]


def test_thousands_of_labels_have_no_curve(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_THRESHOLDS", 6)
    assert certainty_of(labels(c=4), None) is None
    assert "4 times" in shown(labels(c=3)).how  # two splits, both halves in turn


def test_what_is_fitted_is_told(interpret: Callable[..., Any]) -> None:
    learn = nearest_class()
    interp = learn.interpret()
    before = shown(interp, learn)
    assert before.fitted is None
    assert "learn.fit_conformal()" in before.notes[0]
    learn.fit_conformal(0.2, method="raps")
    found = shown(learn.interpret(), learn)
    assert found.notes == ()
    assert found.fitted is not None
    facts = dict(found.fitted.rows)
    assert facts["alpha"].startswith("0.2: a set misses the true class")
    assert facts["method"].startswith("RAPS")
    assert facts["fitted on"] == f"{N} items"
    assert "energy" in facts["familiarity"]
    sets = learn.predict_sets(learn.dls.valid_dl.tensors[0])  # type: ignore[union-attr]
    truths = learn.dls.valid_dl.tensors[1].tolist()  # type: ignore[union-attr]
    held = sum(learn.dls.classes[truth] in one.labels for one, truth in zip(sets, truths, strict=True))
    size = sum(len(one.labels) for one in sets) / N
    assert facts["on these items"].startswith(f"{100 * held / N:.1f}% held, {size:.2f} classes in a set, 0.0% of them")
    assert "At alpha 0.2" in found.how
    with torch.no_grad():
        learn.model[1].bias.add_(1.0)  # type: ignore[index, union-attr]
    assert shown(learn.interpret(), learn).fitted is None  # not for this model


def test_unfamiliar_items_are_shown_by_their_scores() -> None:
    learn = nearest_class()
    learn.fit_conformal()
    found = shown(learn.interpret(), learn)
    scores = learn.familiarity()
    order = scores.argsort(stable=True)
    assert found.n_unfamiliar == int((scores < 0).sum()) > 0
    assert [one.item.number for one in found.unfamiliar] == order[: found.n_unfamiliar].tolist()
    assert [one.score for one in found.unfamiliar] == scores[order[: found.n_unfamiliar]].tolist()
    text = text_of(learn.interpret(), learn)
    assert f"{found.n_unfamiliar} of {N} items" in text
    assert "Unfamiliar items</h3>" in text


def test_a_report_without_a_fit_predicts_only_once(monkeypatch: pytest.MonkeyPatch) -> None:
    learn = nearest_class()
    monkeypatch.setattr(Learner, "familiarity", None)
    assert shown(learn.interpret(), learn).n_unfamiliar is None


def test_the_items_of_another_learner_are_not_called_unfamiliar(interpret: Callable[..., Any]) -> None:
    fitted = nearest_class()
    fitted.fit_conformal()
    assert shown(nearest_class().interpret(), fitted).n_unfamiliar is None
    others = labels()
    assert "on these items" not in dict(shown(others, fitted).fitted.rows)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("task", "y", "expected"),
    [
        (MultiLabel(("a", "b")), torch.eye(2).repeat(40, 1), ("a true label is missed", "labels in a set")),
        (Regression(("a", "b")), torch.ones(80, 2), ("an interval misses its number", "a ± ")),
    ],
)
def test_labels_and_numbers_tell_what_is_fitted(task: Any, y: Tensor, expected: tuple[str, str]) -> None:
    x = torch.randn(80, 3, generator=torch.Generator().manual_seed(0))
    learn = Learner(DataBunch.from_tensors(x, y, x, y, bs=80, task=task), nn.Linear(3, 2), seed=0)
    learn.fit_conformal()
    facts = dict(shown(learn.interpret(), learn).fitted.rows)  # type: ignore[union-attr]
    assert expected[0] in facts["alpha"]
    assert expected[1] in facts["on these items"]
    if isinstance(task, Regression):
        assert facts["familiarity"].startswith("nothing tells it")


def test_masks_have_no_sets(interpret: Callable[..., Any], tmp_path: Path) -> None:
    from learnkit.interpretation import SegmentationInterpretation

    masks = torch.zeros(50, 4, 4, dtype=torch.uint8)
    assert certainty_of(SegmentationInterpretation(masks, masks, torch.ones(50), ("a", "b"), None), None) is None
