"""SegmentationInterpretation against scikit-learn, torchmetrics and hand computation."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import sklearn.metrics
import torch
import torchmetrics.functional.classification as reference
from torch import Tensor, nn
from torch.nn import functional as F

from learnkit import DataBunch, DatasetType, Learner
from learnkit.data.segmentation import Segmentation
from learnkit.data.tasks import Classification
from learnkit.errors import WrongTypeError
from learnkit.interpretation.item_source import ItemSource
from learnkit.interpretation.segmentation import SegmentationInterpretation
from tests.doubles import refused

SHAPES = "preds and targets: the shapes"
CODES = ("sky", "road", "car", "bike")


def interpretation(ignored: int | None = None, n: int = 5, n_classes: int = 4) -> SegmentationInterpretation:
    """Random masks (n, 6, 8); without class 3 if only 3 classes are drawn."""
    random = torch.Generator().manual_seed(0)
    preds, targets = (torch.randint(0, n_classes, (n, 6, 8), generator=random).to(torch.uint8) for _ in range(2))
    if ignored is not None:
        targets[:, :2, :3] = ignored
    images = np.random.default_rng(0).integers(0, 256, (n, 6, 8, 3), dtype=np.uint8)
    losses = torch.rand(n, generator=random)
    return SegmentationInterpretation(
        preds, targets, losses, CODES, ignored, ItemSource(lambda i: images[i], lambda i: f"{i}.png")
    )


@pytest.mark.parametrize("ignored", [None, 255, 2])
def test_the_confusion_matrix_is_that_of_scikit_learn(ignored: int | None) -> None:
    interp = interpretation(ignored)
    counted = interp.targets != (999 if ignored is None else ignored)
    expected = sklearn.metrics.confusion_matrix(interp.targets[counted], interp.preds[counted], labels=range(4))
    assert interp.confusion_matrix().tolist() == expected.tolist()
    assert interp.confusion_matrix().dtype == torch.int64


@pytest.mark.parametrize("ignored", [None, 255])
def test_iou_and_the_others_are_those_of_scikit_learn(ignored: int | None) -> None:
    interp = interpretation(ignored)
    counted = interp.targets != (999 if ignored is None else ignored)
    y, p = interp.targets[counted].numpy(), interp.preds[counted].numpy()
    table = interp.iou()
    assert list(table.index) == [*CODES, "mean"]
    assert list(table.columns) == ["iou", "dice", "precision", "recall", "pixels"]
    scores = {"iou": "jaccard", "dice": "f1", "precision": "precision", "recall": "recall"}
    for column, score in scores.items():
        score_of = getattr(sklearn.metrics, f"{score}_score")
        assert table[column].tolist()[:4] == pytest.approx(score_of(y, p, average=None).tolist())
        assert table[column]["mean"] == pytest.approx(score_of(y, p, average="macro"))
    assert table["pixels"].tolist() == [*np.bincount(y, minlength=4).tolist(), len(y)]


def test_an_ignored_class_is_not_measured() -> None:
    interp = interpretation(ignored=2)
    table = interp.iou()
    assert table.loc["car", ["iou", "dice", "precision", "recall"]].isna().all()
    expected = reference.multiclass_jaccard_index(
        interp.preds.long(), interp.targets.long(), 4, average="macro", ignore_index=2
    )
    assert table["iou"]["mean"] == pytest.approx(expected.item())


def test_a_class_that_does_not_occur_has_no_iou() -> None:
    table = interpretation(n_classes=3).iou()
    assert math.isnan(table["iou"]["bike"])
    assert table["iou"]["mean"] == pytest.approx(np.mean(table["iou"].tolist()[:3]))
    assert table["pixels"]["bike"] == 0


def test_a_class_that_is_only_predicted_has_an_iou_of_0() -> None:
    preds, targets = torch.tensor([[[0, 1]]], dtype=torch.uint8), torch.zeros(1, 1, 2, dtype=torch.uint8)
    table = SegmentationInterpretation(preds, targets, torch.zeros(1), ("a", "b")).iou()
    assert table["iou"].tolist() == [0.5, 0, 0.25]
    assert (table["precision"]["b"], math.isnan(table["recall"]["b"])) == (0, True)


def test_most_confused_classes_are_counted_in_pixels() -> None:
    preds = torch.tensor([[[0, 1, 1, 1], [2, 2, 0, 0]]], dtype=torch.uint8)
    targets = torch.tensor([[[0, 0, 0, 1], [1, 1, 1, 255]]], dtype=torch.uint8)
    interp = SegmentationInterpretation(preds, targets, torch.zeros(1), ("a", "b", "c"), 255)
    assert interp.most_confused() == [("a", "b", 2), ("b", "c", 2), ("b", "a", 1)]
    assert interp.most_confused(min_val=2) == [("a", "b", 2), ("b", "c", 2)]


def test_the_table_of_top_losses_has_accuracy_and_worst_class() -> None:
    preds = torch.tensor([[[0, 0, 1, 1]], [[0, 0, 0, 0]], [[1, 1, 1, 1]]], dtype=torch.uint8)
    targets = torch.tensor([[[0, 0, 0, 1]], [[0, 0, 0, 0]], [[255, 255, 255, 255]]], dtype=torch.uint8)
    interp = SegmentationInterpretation(
        preds,
        targets,
        torch.tensor([0.5, 0.1, 0.0]),
        ("sky", "road"),
        255,
        source=ItemSource(name=lambda i: f"{i}.png"),
    )
    table = interp.top_losses_table()
    assert list(table.columns) == [
        *("item", "path", "prediction", "target", "loss", "pixel_accuracy", "worst_class", "worst_iou")
    ]
    first, second, third = table.to_dict("records")
    assert (first["item"], first["path"], first["prediction"], first["target"]) == (
        0,
        "0.png",
        "sky, road",
        "sky, road",
    )
    assert (first["pixel_accuracy"], first["worst_class"], first["worst_iou"]) == (0.75, "road", 0.5)
    assert (second["pixel_accuracy"], second["worst_class"], second["worst_iou"]) == (1, "sky", 1)
    assert (third["target"], third["worst_class"], math.isnan(third["pixel_accuracy"])) == ("", "", True)
    assert interp.top_losses_table(1)["item"].tolist() == [0]
    assert interp.top_losses_table(1, largest=False)["item"].tolist() == [2]


def test_top_losses_are_drawn_as_image_target_prediction_and_errors() -> None:
    interp = interpretation(ignored=255)
    figure = interp.plot_top_losses(2)
    assert len(figure.axes) == 8
    _, indices = interp.top_losses(2)
    for row, i in enumerate(indices.tolist()):
        assert interp.source.image is not None
        axes = figure.axes[4 * row : 4 * row + 4]
        assert np.array_equal(axes[0].get_images()[0].get_array(), interp.source.image(i))
        assert [ax.get_title() for ax in axes[1:3]] == ["target", "prediction"]
        assert axes[0].get_title() == f"loss {interp.losses[i]:.3g}"
    assert len(interp.plot_top_losses(99).axes) == 20
    assert len(interp.plot_errors(3).axes) == 4
    figure.canvas.draw()


@pytest.mark.parametrize("k", [0, -1, 2.5, True])
def test_a_wrong_number_of_images_is_refused(k: object) -> None:
    with refused("k", got=k):
        interpretation().plot_top_losses(k)  # type: ignore[arg-type]


def test_an_unknown_item_or_one_without_image_is_refused() -> None:
    with refused("i", got=5):
        interpretation().plot_errors(5)
    masks = torch.zeros(1, 2, 2, dtype=torch.uint8)
    with refused("plot_top_losses: these items have no images"):
        SegmentationInterpretation(masks, masks, torch.zeros(1), ("a",)).plot_top_losses(1)


@pytest.mark.parametrize(
    ("preds", "targets", "losses", "what", "got"),
    [
        (torch.zeros(2, 3, 3), torch.zeros(2, 3, 4), torch.zeros(2), SHAPES, ((2, 3, 3), (2, 3, 4))),
        (torch.zeros(2, 3), torch.zeros(2, 3), torch.zeros(2), SHAPES, ((2, 3), (2, 3))),
        (torch.zeros(2, 3, 3), torch.zeros(2, 3, 3), torch.zeros(3), "losses: the shape", (3,)),
        (torch.zeros(1, 2, 2), torch.full((1, 2, 2), 4), torch.zeros(1), "targets", 4),
        (torch.full((1, 2, 2), 255), torch.zeros(1, 2, 2), torch.zeros(1), "preds", 255),
    ],
)
def test_inconsistent_numbers_are_refused(
    preds: Tensor, targets: Tensor, losses: Tensor, what: str, got: object
) -> None:
    with refused(what, got=got):
        SegmentationInterpretation(preds.byte(), targets.byte(), losses, CODES, 255)


def test_class_indices_of_another_type_are_refused() -> None:
    masks = torch.zeros(1, 2, 2, dtype=torch.int64)
    with refused("preds: the type", got=torch.int64):
        SegmentationInterpretation(masks, masks, torch.zeros(1), CODES)


@pytest.fixture
def learn() -> Learner:
    random = torch.Generator().manual_seed(0)
    x = torch.rand(10, 3, 6, 8, generator=random)
    y = torch.randint(0, 3, (10, 6, 8), generator=random)
    y[:, 0] = 255
    task = Segmentation(("a", "b", "c"), ignore_index=255)
    dls = DataBunch.from_tensors(x, y, x[:7], y[:7], x[:3], bs=3, task=task, device="cpu")
    torch.manual_seed(0)
    return Learner(dls, nn.Conv2d(3, 3, 1), seed=0)


def test_it_is_made_of_a_learners_predictions(learn: Learner) -> None:
    interp = SegmentationInterpretation.from_learner(learn)
    probs, targets, losses = learn.get_preds(with_loss=True)
    assert torch.equal(interp.preds, probs.argmax(1).byte())
    assert torch.equal(interp.targets.long(), targets.long())
    assert torch.equal(interp.losses, losses)
    by_pixel = F.nll_loss(probs.log(), targets.long(), ignore_index=255, reduction="none")
    torch.testing.assert_close(interp.losses, by_pixel[:, 1:].mean((1, 2)))
    assert (interp.classes, interp.ignored) == (("a", "b", "c"), 255)
    assert {interp.preds.dtype, interp.targets.dtype} == {torch.uint8}
    training = SegmentationInterpretation.from_learner(learn, DatasetType.Train)
    assert (len(training.losses), training.source.part, interp.source.part) == (10, "training set", "validation set")
    assert int(interp.confusion_matrix().sum()) == 7 * 5 * 8
    assert "mean IoU" in interp.main_numbers()
    assert "pixel accuracy" in interp._repr_html_()


def test_probabilities_never_leave_a_batch(learn: Learner) -> None:
    largest = 0

    class Counting(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            nonlocal largest
            largest = max(largest, len(x))
            return torch.cat([x, x], dim=1)[:, :3]

    learn.model = Counting()
    interp = SegmentationInterpretation.from_learner(learn)
    assert largest == 3
    kept = [value for value in vars(interp).values() if isinstance(value, Tensor)]
    assert sum(tensor.numel() * tensor.element_size() for tensor in kept) == 2 * 7 * 6 * 8 + 7 * 4


def test_a_set_without_labels_is_refused(learn: Learner) -> None:
    with refused("ds_type", got="Test"):
        SegmentationInterpretation.from_learner(learn, DatasetType.Test)


def test_data_of_another_task_is_refused(learn: Learner) -> None:
    learn.dls.task = Classification(("a", "b"))
    with refused("SegmentationInterpretation: the task of the data", WrongTypeError, got="Classification"):
        SegmentationInterpretation.from_learner(learn)


def test_it_writes_a_report(tmp_path: Path, learn: Learner) -> None:
    interp = dataclasses.replace(
        SegmentationInterpretation.from_learner(learn), source=ItemSource(lambda i: np.full((6, 8, 3), i, np.uint8))
    )
    page = interp.report(tmp_path / "report.html")
    assert "IoU" in Path(page).read_text(encoding="utf-8")


def test_a_class_may_be_named_mean() -> None:
    interp = interpretation()
    renamed = dataclasses.replace(interp, classes=("mean", *CODES[1:]))
    assert renamed.iou().to_numpy().tolist() == interp.iou().to_numpy().tolist()
    assert renamed.main_numbers() == interp.main_numbers()


def test_nothing_is_counted_for_a_fully_ignored_mask() -> None:
    interp = interpretation(ignored=255)
    interp.targets[0] = 255
    assert interp.plot_errors(0).axes[3].get_title() == "all ignored"
    assert interp.confusion_matrix().sum() == 4 * (6 * 8 - 6)
