"""Curves and heat maps of models with a probability for each class."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import sklearn.metrics
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

from learnkit import ClassificationInterpretation, DatasetType, ImageDataBunch, Learner
from learnkit.errors import ImageError
from tests.doubles import refused


def interpretation(n: int = 40) -> ClassificationInterpretation:
    random = torch.Generator().manual_seed(0)
    logits, targets = torch.randn(n, 3, generator=random), torch.randint(0, 3, (n,), generator=random)
    losses = F.cross_entropy(logits, targets, reduction="none")
    return ClassificationInterpretation(logits.softmax(1), targets, losses, ("a", "b", "c"))


def test_curves_are_those_of_scikit_learn() -> None:
    interp = interpretation()
    roc, pr = interp.roc_curves(), interp.pr_curves()
    assert tuple(roc) == tuple(pr) == ("a", "b", "c")
    for c, name in enumerate("abc"):
        is_there, scores = interp.targets == c, interp.probs[:, c]
        assert roc[name].area == pytest.approx(sklearn.metrics.roc_auc_score(is_there, scores))
        assert pr[name].area == pytest.approx(sklearn.metrics.average_precision_score(is_there, scores))


def test_every_curve_of_a_few_classes_is_drawn_with_its_area() -> None:
    interp = interpretation()
    axes = interp.plot_roc().axes[0]
    chance, *lines = axes.get_lines()
    assert chance.get_label() == "chance"
    for line, (name, curve) in zip(lines, interp.roc_curves().items(), strict=True):
        assert line.get_label() == f"{name} (AUC {curve.area:.3f})"
        assert np.array_equal(line.get_xydata(), np.stack([curve.fpr, curve.tpr], 1))
    pr = interp.pr_curves()["b"]
    line = interp.plot_pr().axes[0].get_lines()[1]
    assert line.get_label() == f"b (AP {pr.area:.3f})"
    assert np.array_equal(line.get_xydata(), np.stack([pr.recall, pr.precision], 1)[::-1])


def test_many_classes_are_drawn_as_their_mean_and_the_worst() -> None:
    random = torch.Generator().manual_seed(0)
    targets = torch.arange(30).repeat(5)
    logits = torch.randn(150, 31, generator=random)
    logits[torch.arange(150), targets] += 2
    names = tuple(f"class {c}" for c in range(31))  # the last has no items
    interp = ClassificationInterpretation(logits.softmax(1), targets, torch.zeros(150), names)
    areas = {name: curve.area for name, curve in interp.roc_curves().items() if not np.isnan(curve.area)}
    figure = interp.plot_roc()
    axes = figure.axes[0]
    _, mean, *worst = (line.get_label() for line in axes.get_lines())
    assert mean == f"mean of 30 classes (AUC {sum(areas.values()) / 30:.3f})"
    assert worst == [f"{name} (AUC {areas[name]:.3f})" for name in sorted(areas, key=areas.__getitem__)[:5]]
    assert figure.get_suptitle().endswith("left out, without items or without others: 1 of 31, class 30")


def test_a_long_curve_is_thinned_and_keeps_its_ends() -> None:
    random = torch.Generator().manual_seed(0)
    probs = torch.rand(20_000, 2, generator=random)
    interp = ClassificationInterpretation(probs, (probs[:, 1] > 0.5).long(), torch.zeros(20_000), ("a", "b"))
    points = interp.plot_roc().axes[0].get_lines()[2].get_xydata()
    assert len(points) < 1100
    assert (points[0].tolist(), points[-1].tolist()) == ([0, 0], [1, 1])


def test_a_heat_map_is_of_the_size_of_the_input(class_folder: Path) -> None:
    dls = ImageDataBunch.from_folder(class_folder, size=16, bs=5, num_workers=0)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    interp = ClassificationInterpretation.from_learner(Learner(dls, net, seed=0))
    heat = interp.grad_cam(2, class_index=1)
    assert (heat.shape, heat.dtype) == ((16, 16), np.float32)
    assert 0 <= heat.min() <= heat.max() <= 1
    plain, hot = interp.plot_grad_cam(2, class_index=1).axes
    assert np.array_equal(plain.get_images()[0].get_array(), dls.image(DatasetType.Valid, 2))
    assert hot.get_title() == f"green, p {interp.probs[2, 1]:.2f}"
    with refused("i", got=12):
        interp.grad_cam(12)


def test_a_long_name_does_not_hide_the_probability(class_folder: Path) -> None:
    dls = ImageDataBunch.from_folder(class_folder, size=16, bs=5, num_workers=0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    interp = ClassificationInterpretation.from_learner(Learner(dls, net, seed=0))
    names = tuple(f"{name} with a very long and winding name, of the genus Homo sapiens" for name in "abc")
    interp = replace(interp, classes=names)
    hot = interp.plot_grad_cam(2, class_index=1).axes[1]
    assert hot.get_title().split("\n")[-1] == f"p {interp.probs[2, 1]:.2f}"


def test_a_new_image_has_a_heat_map_too(class_folder: Path) -> None:
    dls = ImageDataBunch.from_folder(class_folder, size=16, bs=5, num_workers=0)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    learn = Learner(dls, net, seed=0)
    interp = ClassificationInterpretation.from_learner(learn)
    file = dls.samples.query("split == 'valid'")["input"].iloc[2]
    for new in (file, Path(file), Image.open(file)):
        np.testing.assert_allclose(interp.grad_cam(new, class_index=1), interp.grad_cam(2, class_index=1), atol=1e-5)
        plain, hot = interp.plot_grad_cam(new).axes
        assert np.array_equal(plain.get_images()[0].get_array(), dls.image(DatasetType.Valid, 2))
        label, _, probs = learn.predict(new)
        assert hot.get_title() == f"{label}, p {probs.max():.2f}"
    with pytest.raises(ImageError):
        interp.grad_cam("missing.png")


def test_without_a_model_there_is_no_heat_map() -> None:
    with refused("grad_cam: no model here"):
        interpretation().grad_cam(0)


@pytest.mark.slow
def test_a_thousand_classes_are_counted_and_drawn() -> None:
    random = torch.Generator().manual_seed(0)
    probs, targets = torch.rand(1000, 1000, generator=random), torch.arange(1000)
    interp = ClassificationInterpretation(probs, targets, torch.zeros(1000), tuple(f"class {c}" for c in range(1000)))
    interp.plot_confusion_matrix().canvas.draw()
    assert len(interp.classification_report()) == 1003
    interp.plot_roc().canvas.draw()


@pytest.mark.parametrize(("n", "text"), [(10, ""), (11, ", … (11 of 12)")])
def test_more_than_ten_classes_without_items_are_counted(n: int, text: str) -> None:
    names = tuple(f"c{i}" for i in range(n + 1))
    interp = ClassificationInterpretation(torch.full((1, n + 1), 1 / (n + 1)), torch.tensor([0]), torch.ones(1), names)
    assert interp.main_numbers()["classes without items"] == ", ".join(names[1:11]) + text
