"""MultiLabelInterpretation against scikit-learn and hand computation."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics
import torch
from torch import Tensor, nn

from learnkit import DataBunch, DatasetType, ImageDataBunch, Learner
from learnkit.data.tasks import Classification, MultiLabel
from learnkit.errors import WrongTypeError
from learnkit.interpretation.for_task import interpretation_for
from learnkit.interpretation.item_source import ItemSource
from learnkit.interpretation.multilabel import MultiLabelInterpretation
from tests.doubles import refused

NAMES = ("a", "b", "c", "d")


def interpretation(n: int = 60, threshold: float | tuple[float, ...] = 0.5, seed: int = 0) -> MultiLabelInterpretation:
    """Class c is never predicted; d is in no item; some items have no class."""
    random = torch.Generator().manual_seed(seed)
    targets = (torch.rand(n, 4, generator=random) < torch.tensor([0.6, 0.3, 0.3, 0.0])).float()
    probs = torch.rand(n, 4, generator=random) * torch.tensor([1.0, 1.0, 0.05, 0.6])
    return MultiLabelInterpretation(probs, targets, torch.rand(n, generator=random), NAMES, threshold)


def expected_report(interp: MultiLabelInterpretation) -> pd.DataFrame:
    return pd.DataFrame(
        sklearn.metrics.classification_report(
            interp.targets.int(), interp.preds.int(), target_names=NAMES, output_dict=True, zero_division=np.nan
        )
    ).T


@pytest.mark.parametrize("threshold", [0.5, (0.9, 0.1, 0.01, 0.999)])
@pytest.mark.parametrize("seed", range(3))
def test_the_report_is_that_of_scikit_learn(threshold: Any, seed: int) -> None:
    interp = interpretation(threshold=threshold, seed=seed)
    pd.testing.assert_frame_equal(interp.classification_report(), expected_report(interp), check_dtype=False)


def test_the_counts_are_those_of_scikit_learn() -> None:
    interp = interpretation()
    expected = sklearn.metrics.multilabel_confusion_matrix(interp.targets, interp.preds)
    table = interp.confusion_table()
    assert table[["tn", "fp", "fn", "tp"]].to_numpy().tolist() == expected.reshape(4, 4).tolist()
    assert (table.sum(axis=1) == 60).all()


def test_missed_classes_are_paired_with_spurious_ones_of_the_same_item() -> None:
    truth = torch.tensor([[1, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 0]]).float()
    chosen = torch.tensor([[0, 1, 0], [0, 1, 1], [0, 1, 0], [1, 0, 0], [0, 0, 1]]).float()
    interp = MultiLabelInterpretation(chosen, truth, torch.zeros(5), ("a", "b", "c"))
    assert interp.most_confused() == [("a", "b", 2), ("a", "c", 1)]
    assert interp.most_confused(min_val=2) == [("a", "b", 2)]


def test_the_table_of_top_losses_has_missed_and_spurious_classes() -> None:
    truth = torch.tensor([[1.0, 0.0], [0.0, 0.0], [1.0, 1.0]])
    probs = torch.tensor([[0.25, 0.75], [0.125, 0.25], [1.0, 0.0]])
    losses = torch.tensor([3.0, 1.0, 2.0])
    interp = MultiLabelInterpretation(probs, truth, losses, ("a", "b"), source=ItemSource(name=lambda i: f"{i}.png"))
    assert interp.top_losses_table().to_dict("records") == [
        {
            "item": item, "path": f"{item}.png", "prediction": prediction, "target": target, "loss": loss,
            "missed": missed, "spurious": spurious, "probabilities": probs[item].tolist(),
        }
        for item, prediction, target, loss, missed, spurious in [
            (0, ("b",), ("a",), 3.0, ("a",), ("b",)),
            (2, ("a",), ("a", "b"), 2.0, ("b",), ()),
            (1, (), (), 1.0, (), ()),
        ]
    ]  # fmt: skip


def test_names_of_many_classes_are_those_that_are_chosen() -> None:
    names = tuple(f"class {c}" for c in range(70))
    chosen = torch.rand(30, 70, generator=torch.Generator().manual_seed(1)) < 0.1
    interp = MultiLabelInterpretation(chosen.float(), torch.zeros(30, 70), torch.arange(30.0), names)
    table = interp.top_losses_table(largest=False)
    for row, prediction in enumerate(table["prediction"]):
        assert prediction == tuple(
            name for name, is_chosen in zip(names, chosen[row].tolist(), strict=True) if is_chosen
        )


def test_curves_are_those_of_scikit_learn_and_nan_without_items() -> None:
    interp = interpretation()
    roc, pr = interp.roc_curves(), interp.pr_curves()
    assert tuple(roc) == tuple(pr) == NAMES
    for c, name in enumerate("abc"):
        truth, scores = interp.targets[:, c], interp.probs[:, c]
        assert roc[name].area == pytest.approx(sklearn.metrics.roc_auc_score(truth, scores))
        assert pr[name].area == pytest.approx(sklearn.metrics.average_precision_score(truth, scores))
    assert np.isnan(roc["d"].area)
    assert np.isnan(pr["d"].area)


def test_fitted_thresholds_raise_the_score_and_leave_a_class_without_items_alone() -> None:
    interp = interpretation(threshold=(0.5, 0.5, 0.5, 0.25))
    threshold = interp.fit_thresholds()
    assert threshold[3] == 0.25
    before, after = (
        one.classification_report()["f1-score"] for one in (interp, dataclasses.replace(interp, threshold=threshold))
    )
    assert (after[["a", "b", "c"]] >= before[["a", "b", "c"]]).all()
    assert after["c"] > before["c"]
    assert interp.fit_thresholds("f0.1") != threshold


@pytest.mark.parametrize(
    ("changes", "what", "got"),
    [
        ({"probs": torch.zeros(2, 3)}, "probs: the shape", (2, 3)),
        ({"losses": torch.zeros(3)}, "losses: the shape", (3,)),
        ({"targets": torch.zeros(2)}, "targets: the shape", (2,)),
        ({"targets": torch.tensor([[0.0, 1.0], [0.5, 0.0]])}, "targets", 0.5),
        ({"threshold": (0.5,)}, "threshold", (0.5,)),
        ({"threshold": 1.0}, "threshold", 1.0),
    ],
)
def test_inconsistent_numbers_are_refused(changes: dict[str, Any], what: str, got: object) -> None:
    given: dict[str, Any] = {"probs": torch.zeros(2, 2), "targets": torch.zeros(2, 2), "losses": torch.zeros(2)}
    with refused(what, got=got):
        MultiLabelInterpretation(**given | {"classes": ("a", "b")} | changes)


@pytest.fixture
def learn(class_folder: Path) -> Learner:
    rows = [
        {"name": str(file.relative_to(class_folder)), "valid": file.parents[1].name == "valid",
         "tags": [file.parent.name, *(["zero"] if file.stem == "0" else [])]}
        for file in sorted(class_folder.rglob("*.png"))
    ]  # fmt: skip
    table = pd.DataFrame(rows)
    dls = ImageDataBunch.from_df(
        class_folder, table, fn_col="name", label_col="tags", valid_col="valid", size=16, bs=5, num_workers=0,
        task=MultiLabel(("blue", "green", "red", "zero"), (0.2, 0.3, 0.4, 0.9)),
    )  # fmt: skip
    torch.manual_seed(0)
    return Learner(dls, nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 4)), seed=0)


def test_it_is_made_of_a_learners_predictions(learn: Learner) -> None:
    interp = interpretation_for(learn)
    assert isinstance(interp, MultiLabelInterpretation)
    probs, targets, losses = learn.get_preds(with_loss=True)
    assert torch.equal(interp.probs, probs)
    assert torch.equal(interp.targets, targets)
    assert torch.equal(interp.losses, losses)
    assert interp.threshold == (0.2, 0.3, 0.4, 0.9)
    label, chosen, _ = learn.predict(interp.source.name(3) if interp.source.name else "")
    assert interp.preds[3].tolist() == chosen.tolist()
    row = interp.top_losses_table().set_index("item").loc[3]
    assert list(row["prediction"]) == label


def test_everything_can_be_drawn(learn: Learner) -> None:
    interp = MultiLabelInterpretation.from_learner(learn)
    assert len(interp.plot_top_losses(3).axes) == 3
    for figure, curves in ((interp.plot_roc(), interp.roc_curves()), (interp.plot_pr(), interp.pr_curves())):
        lines = {line.get_label().rsplit(" (", 1)[0]: line.get_xydata() for line in figure.axes[0].get_lines()}
        known = {name: curve for name, curve in curves.items() if not np.isnan(curve.area)}
        assert set(lines) - {"chance"} == set(known) != set()
        for name, curve in known.items():
            points = [curve.fpr, curve.tpr] if hasattr(curve, "fpr") else [curve.recall[::-1], curve.precision[::-1]]
            assert np.array_equal(lines[name], np.stack(points, 1))
        figure.canvas.draw()


def test_titles_have_actual_missed_and_spurious_classes() -> None:
    truth, chosen = torch.tensor([[1, 1, 0], [0, 0, 0]]).float(), torch.tensor([[1, 0, 1], [0, 0, 0]]).float()
    interp = MultiLabelInterpretation(
        chosen,
        truth,
        torch.tensor([2.0, 1.0]),
        ("a", "b", "c"),
        source=ItemSource(lambda i: np.zeros((4, 4, 3), np.uint8)),
    )
    wrong, right = interp.plot_top_losses(2).axes
    assert wrong.get_title() == "a, b\nmissed b\nspurious c\nloss 2.00"
    assert right.get_title() == "(none)\nloss 1.00"
    assert (wrong.title.get_color(), right.title.get_color()) == ("#B3471B", "#0072B2")


def test_bars_count_found_missed_and_spurious_classes() -> None:
    interp = interpretation()
    axes, table = interp.plot_confusion().axes[0], interp.confusion_table()
    widths = [[bar.get_width() for bar in bars] for bars in axes.containers]
    assert widths == [table["tp"].tolist(), table["fn"].tolist(), (-table["fp"]).tolist()]


def test_for_many_classes_those_with_the_most_mistakes_are_drawn() -> None:
    truth = torch.zeros(40, 40)
    chosen = torch.tril(torch.ones(40, 40))  # class c is spurious 40 - c times
    interp = MultiLabelInterpretation(chosen, truth, torch.zeros(40), tuple(map(str, range(40))))
    axes = interp.plot_confusion().axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == [str(c) for c in range(30)]


def test_a_notebook_shows_the_main_numbers_escaped() -> None:
    truth = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    interp = MultiLabelInterpretation(truth.flip(1), truth, torch.zeros(2), ("<b>", "x"))
    html = interp._repr_html_()
    assert "&lt;b&gt; missed, x spurious: 1" in html
    assert "<b>" not in html
    assert "0.0000" in html


def test_a_class_without_items_is_named() -> None:
    assert interpretation().main_numbers()["classes without items"] == "d"


def test_other_tasks_and_sets_without_labels_are_refused() -> None:
    x, y = torch.ones(4, 2), torch.tensor([[1.0, 0.0]] * 4)
    dls = DataBunch.from_tensors(x, y, x, y, x_test=x, bs=2, task=MultiLabel(("a", "b")))
    with refused("ds_type", got="Test"):
        MultiLabelInterpretation.from_learner(Learner(dls, nn.Linear(2, 2)), DatasetType.Test)
    numbers = torch.tensor([0, 1, 0, 1])
    single = DataBunch.from_tensors(x, numbers, x, numbers, bs=2, task=Classification(("a", "b")))
    with refused("MultiLabelInterpretation: the task of the data", WrongTypeError, got="Classification"):
        MultiLabelInterpretation.from_learner(Learner(single, nn.Linear(2, 2)))


def test_many_items_are_counted_and_drawn_quickly() -> None:
    random = torch.Generator().manual_seed(0)
    probs = torch.rand(30_000, 10, generator=random)
    truth: Tensor = (torch.rand(30_000, 10, generator=random) < probs).float()
    names = tuple(map(str, range(10)))
    interp = MultiLabelInterpretation(probs, truth, probs.mean(1), names)
    assert len(interp.top_losses_table()) == 30_000
    assert interp.classification_report()["support"]["micro avg"] == int(truth.sum())
    interp.plot_roc().canvas.draw()


def test_a_class_may_have_the_name_of_a_row_of_the_report() -> None:
    interp = interpretation()
    names = ("micro avg", "macro avg", *interp.classes[2:])
    renamed = dataclasses.replace(interp, classes=names).main_numbers()
    assert {name: renamed[name] for name in ("F1, micro", "F1, macro")} == {
        name: interp.main_numbers()[name] for name in ("F1, micro", "F1, macro")
    }


def test_the_sizes_of_its_sets_count_labels() -> None:
    figure = interpretation(80).plot_conformal()
    assert "labels in a set" in [axes.get_ylabel() for axes in figure.axes]
