"""ClassificationInterpretation against scikit-learn and hand computation."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from learnkit import ClassificationInterpretation, DataBunch, DatasetType, ImageDataBunch, Learner
from learnkit.data.tasks import Classification
from learnkit.interpretation.item_source import ItemSource
from tests.doubles import refused


def interpretation(n: int = 40) -> ClassificationInterpretation:
    random = torch.Generator().manual_seed(0)
    logits, targets = torch.randn(n, 3, generator=random), torch.randint(0, 3, (n,), generator=random)
    losses = F.cross_entropy(logits, targets, reduction="none")
    return ClassificationInterpretation(logits.softmax(1), targets, losses, ("a", "b", "c"))


def test_the_confusion_matrix_is_that_of_scikit_learn() -> None:
    interp = interpretation()
    expected = sklearn.metrics.confusion_matrix(interp.targets, interp.preds, labels=[0, 1, 2])
    assert interp.confusion_matrix().tolist() == expected.tolist()
    assert interp.confusion_matrix().sum(1).tolist() == torch.bincount(interp.targets).tolist()


def test_a_class_without_items_has_an_empty_row() -> None:
    interp = ClassificationInterpretation(torch.eye(3)[:2], torch.tensor([0, 0]), torch.zeros(2), ("a", "b", "c"))
    assert interp.confusion_matrix().tolist() == [[1, 1, 0], [0, 0, 0], [0, 0, 0]]
    interp.plot_confusion_matrix(normalize=True).canvas.draw()


def test_most_confused_pairs_come_first_and_ties_in_class_order() -> None:
    counts = {(0, 1): 2, (1, 0): 3, (2, 0): 2, (1, 1): 9, (2, 1): 1}
    pairs = torch.tensor([pair for pair, times in counts.items() for _ in range(times)])
    interp = ClassificationInterpretation(
        torch.eye(3)[pairs[:, 1]], pairs[:, 0], torch.zeros(len(pairs)), ("a", "b", "c")
    )
    assert interp.most_confused() == [("b", "a", 3), ("a", "b", 2), ("c", "a", 2), ("c", "b", 1)]
    assert interp.most_confused(min_val=3) == [("b", "a", 3)]


def test_top_losses_are_sorted() -> None:
    interp = interpretation()
    losses, indices = interp.top_losses(5)
    expected = sorted(interp.losses.tolist(), reverse=True)[:5]
    assert losses.tolist() == expected
    assert interp.losses[indices].tolist() == expected
    assert interp.top_losses(3, largest=False)[0].tolist() == sorted(interp.losses.tolist())[:3]
    assert len(interp.top_losses()[0]) == 40


@pytest.mark.parametrize("k", [0, -1, 41, 2.5, True])
def test_a_wrong_number_of_losses_is_refused(k: object) -> None:
    with refused("k", got=k):
        interpretation().top_losses(k)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("probs", "targets", "losses", "what", "got"),
    [
        (torch.eye(4)[:2], torch.tensor([0, 1]), torch.zeros(2), "probs: the shape", (2, 4)),
        (torch.eye(3), torch.tensor([0, 1]), torch.zeros(2), "probs: the shape", (3, 3)),
        (torch.eye(3), torch.tensor([0, 1, 2]), torch.zeros(3, 1), "losses: the shape", (3, 1)),
        (torch.eye(3), torch.tensor([0, 1, 3]), torch.zeros(3), "targets", 3),
        (torch.eye(3), torch.tensor([0, -100, 1]), torch.zeros(3), "targets", -100),
        (torch.eye(3), torch.eye(3), torch.zeros(3), "targets", (torch.float32, (3, 3))),
    ],
)
def test_inconsistent_numbers_are_refused(
    probs: Tensor, targets: Tensor, losses: Tensor, what: str, got: object
) -> None:
    with refused(what, got=got):
        ClassificationInterpretation(probs, targets, losses, ("a", "b", "c"))


def test_without_images_the_losses_cannot_be_drawn() -> None:
    with refused("plot_top_losses: these items have no images"):
        interpretation().plot_top_losses(4)


@pytest.fixture
def learn(class_folder: Path) -> Learner:
    dls = ImageDataBunch.from_folder(class_folder, size=16, bs=5, num_workers=0)
    torch.manual_seed(0)
    return Learner(dls, nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 3)), seed=0)


def test_it_is_made_of_a_learners_predictions(learn: Learner) -> None:
    interp = learn.interpret()
    probs, targets, _ = learn.get_preds(with_loss=True)
    assert torch.equal(interp.probs, probs)
    assert torch.equal(interp.targets, targets)
    torch.testing.assert_close(interp.losses, -probs.gather(1, targets[:, None])[:, 0].log())
    assert interp.classes == ("blue", "green", "red")
    assert len(learn.interpret(DatasetType.Train).targets) == 24


def test_the_model_runs_once(learn: Learner) -> None:
    interp = learn.interpret()
    calls: list[int] = []
    learn.model.register_forward_pre_hook(lambda module, x: calls.append(1))
    interp.confusion_matrix()
    interp.plot_confusion_matrix()
    interp.plot_top_losses(4)
    interp.most_confused()
    assert calls == []


def test_the_images_of_the_top_losses_are_those_of_their_items(learn: Learner) -> None:
    interp = learn.interpret()
    figure = interp.plot_top_losses(4)
    for axes, loss, i in zip(figure.axes, *(part.tolist() for part in interp.top_losses(4)), strict=True):
        assert np.array_equal(axes.get_images()[0].get_array(), learn.dls.image(DatasetType.Valid, i))
        actual, predicted = interp.classes[interp.targets[i]], interp.classes[interp.preds[i]]
        p = interp.probs[i, interp.targets[i]].item()
        assert axes.get_title() == f"{actual} / {predicted}\nloss {loss:.2f}, p {p:.2f}"
        assert interp.source.name is not None
        assert f"/valid/{actual}/" in interp.source.name(i)


def test_interpreting_reads_the_set_once(learn: Learner) -> None:
    seen: list[int] = []
    learn.model.register_forward_pre_hook(lambda module, x: seen.append(len(x[0])))
    learn.interpret()
    assert sum(seen) == 12


@pytest.mark.parametrize("k", [0, -1, 99.5, True, "4"])
def test_a_wrong_number_of_images_is_refused(learn: Learner, k: object) -> None:
    with refused("k", got=k, expected="an integer, 1 or more"):
        learn.interpret().plot_top_losses(k)  # type: ignore[arg-type]


def test_an_item_predicted_right_is_marked_by_its_color() -> None:
    interp = ClassificationInterpretation(
        torch.tensor([[0.9, 0.1], [0.8, 0.2]]),
        torch.tensor([0, 1]),
        torch.tensor([0.1, 1.6]),
        ("cat", "dog"),
        source=ItemSource(lambda i: np.full((4, 4, 3), i, np.uint8)),
    )
    wrong, right = interp.plot_top_losses(2).axes
    assert wrong.get_title() == "dog / cat\nloss 1.60, p 0.20"
    assert right.get_title() == "cat / cat\nloss 0.10, p 0.90"
    assert (wrong.title.get_color(), right.title.get_color()) == ("#B3471B", "#0072B2")


@pytest.mark.parametrize(
    "about",
    [" with a very long and winding name, of the genus Homo sapiens", "_german_shorthaired_pointer_of_the_sea"],
)
def test_long_names_hide_neither_class(about: str) -> None:
    interp = ClassificationInterpretation(
        torch.tensor([[0.9, 0.1]]), torch.tensor([1]), torch.tensor([2.3]), (f"one{about}", f"two{about}"),
        source=ItemSource(lambda i: np.zeros((4, 4, 3), np.uint8)),
    )  # fmt: skip
    lines = interp.plot_top_losses(1).axes[0].get_title().split("\n")
    assert [line[:3] for line in lines if line[:3] in ("one", "two")] == ["two", "one"]
    assert lines[-1] == "loss 2.30, p 0.10"


def test_more_images_than_items_shows_them_all(learn: Learner) -> None:
    assert len(learn.interpret().plot_top_losses(99).axes) == 12


def test_labels_of_one_byte_are_counted_correctly() -> None:
    class Data:
        task, classes = Classification(tuple(f"class {i}" for i in range(30))), [f"class {i}" for i in range(30)]

    class Standin:
        dls, model, output = Data(), nn.Identity(), None

        def get_preds(self, ds_type: DatasetType, with_loss: bool) -> tuple[Tensor, Tensor, Tensor]:
            return torch.eye(30), torch.arange(30, dtype=torch.uint8), torch.zeros(30)

    assert torch.equal(ClassificationInterpretation.from_learner(Standin()).confusion_matrix(), torch.eye(30).long())


def test_a_set_without_labels_is_refused(blobs: tuple[Tensor, ...]) -> None:
    learn = Learner(DataBunch.from_tensors(*blobs, x_test=blobs[0], bs=16), nn.Linear(2, 2))
    with refused("ds_type", got="Test"):
        learn.interpret(DatasetType.Test)


def test_a_normalized_row_is_the_shares_of_its_class() -> None:
    interp = ClassificationInterpretation(
        torch.eye(3)[[0, 1, 1]], torch.tensor([0, 0, 1]), torch.zeros(3), ("a", "b", "c")
    )
    shares = interp.confusion_matrix(normalize=True)
    assert shares[:2].tolist() == [[0.5, 0.5, 0], [0, 1, 0]]
    assert shares[2].isnan().all()


def interpretation_of(targets: list[int], preds: list[int]) -> ClassificationInterpretation:
    probs = torch.eye(4)[preds]
    return ClassificationInterpretation(probs, torch.tensor(targets), torch.zeros(len(targets)), ("a", "b", "c", "d"))


RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("targets", "preds"),
    [
        (RANDOM.integers(0, 4, 60).tolist(), RANDOM.integers(0, 4, 60).tolist()),
        (RANDOM.integers(0, 3, 60).tolist(), RANDOM.integers(0, 4, 60).tolist()),  # d has no items
        (RANDOM.integers(0, 4, 60).tolist(), RANDOM.integers(1, 3, 60).tolist()),  # a and d are never predicted
        (RANDOM.integers(0, 2, 60).tolist(), RANDOM.integers(1, 3, 60).tolist()),  # d neither
        ([2], [2]),
    ],
)
def test_the_report_is_that_of_scikit_learn(targets: list[int], preds: list[int]) -> None:
    table = interpretation_of(targets, preds).classification_report()
    expected = sklearn.metrics.classification_report(
        targets, preds, labels=range(4), target_names=list("abcd"), output_dict=True, zero_division=np.nan
    )
    accuracy = expected.pop("accuracy")
    assert table.index.tolist() == ["a", "b", "c", "d", "accuracy", "macro avg", "weighted avg"]
    pd.testing.assert_frame_equal(table.drop(index="accuracy"), pd.DataFrame(expected).T, check_dtype=False)
    assert table.loc["accuracy"].tolist() == pytest.approx([accuracy] * 3 + [len(targets)])


def test_precision_is_nan_if_all_items_are_wrong_and_of_one_class() -> None:
    table = interpretation_of([0, 0], [1, 1]).classification_report()
    assert table.loc["a"].tolist()[1:] == [0, 0, 2]
    assert np.isnan(table["precision"]["a"])
    expected = sklearn.metrics.classification_report([0, 0], [1, 1], output_dict=True, zero_division=np.nan)
    assert table["precision"]["weighted avg"] == expected["weighted avg"]["precision"] == 0


def test_ten_of_many_classes_without_items_are_listed() -> None:
    names = tuple(f"c{number}" for number in range(1000))
    interp = ClassificationInterpretation(torch.full((1, 1000), 1e-3), torch.tensor([0]), torch.ones(1), names)
    expected = ", ".join([*names[1:11], "… (999 of 1000)"])
    assert interp.main_numbers()["classes without items"] == expected


def test_an_interpretation_without_items_is_refused() -> None:
    with refused("ClassificationInterpretation: no items to interpret"):
        ClassificationInterpretation(torch.ones(0, 2), torch.ones(0, dtype=torch.int64), torch.ones(0), ("a", "b"))


def test_the_table_of_the_top_losses_holds_the_probabilities() -> None:
    probs = torch.tensor([[0.75, 0.25], [0.5, 0.5], [0.125, 0.875]])
    interp = ClassificationInterpretation(probs, torch.tensor([1, 0, 1]), torch.tensor([3.0, 2.0, 1.0]), ("a", "b"))
    assert interp.top_losses_table(2).to_dict("records") == [
        {"item": 0, "path": "0", "prediction": "a", "target": "b", "loss": 3.0, "p_prediction": 0.75, "p_target": 0.25,
         "probabilities": [0.75, 0.25]},
        {"item": 1, "path": "1", "prediction": "a", "target": "a", "loss": 2.0, "p_prediction": 0.5, "p_target": 0.5,
         "probabilities": [0.5, 0.5]},
    ]  # fmt: skip


def test_calibration_and_label_issues_are_asked_of_these_predictions() -> None:
    probs = torch.tensor([[0.75, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.25]])
    interp = ClassificationInterpretation(
        probs,
        torch.tensor([0, 0, 1, 1]),
        torch.zeros(4),
        ("a", "b"),
        source=ItemSource(name=lambda i: f"{i}.png"),
    )
    assert interp.calibration(n_bins=1).ece == 0  # 0.75 sure, three of four right
    interp.plot_calibration().canvas.draw()
    first = interp.label_issues().iloc[0]
    assert (first["item"], first["path"], first["label"], first["suggestion"]) == (3, "3.png", "b", "a")


def test_a_notebook_shows_the_main_numbers_escaped() -> None:
    interp = ClassificationInterpretation(
        torch.eye(3)[[1, 1]], torch.tensor([0, 1]), torch.zeros(2), ("<script>", "b", "c")
    )
    html = interp._repr_html_()
    assert "0.5000" in html
    assert "&lt;script&gt; taken for b: 1" in html
    assert "<script>" not in html
    assert interp.main_numbers()["classes without items"] == "c"
