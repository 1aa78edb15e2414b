"""Class weights: scikit-learn's, in the loss of the task."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor, nn
from torch.nn import functional as F

from learnkit import DataBunch, ImageDataBunch, Learner, LearnkitWarning, cnn_learner
from learnkit.data.segmentation import Segmentation
from learnkit.data.tasks import Classification, MultiLabel, Regression
from learnkit.errors import UsageError
from tests.doubles import refused


def bunch(y: Tensor, **options: Any) -> DataBunch:
    x = torch.rand(len(y), 3)
    return DataBunch.from_tensors(x, y, x, y, bs=8, **options)


def test_balanced_weights_are_those_of_scikit_learn() -> None:
    y = torch.tensor([0] * 30 + [1] * 9 + [2])
    learn = Learner(bunch(y), nn.Linear(3, 3), class_weights="balanced")
    expected = compute_class_weight("balanced", classes=np.arange(3), y=y.numpy())
    assert isinstance(learn.loss_func, nn.CrossEntropyLoss)
    torch.testing.assert_close(learn.loss_func.weight, torch.tensor(expected).float())
    learn.fit(1)


def test_of_several_labels_negatives_over_positives() -> None:
    y = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [0.0, 1.0]] * 4)
    learn = Learner(bunch(y, task=MultiLabel(("a", "b"))), nn.Linear(3, 2), class_weights="balanced")
    assert isinstance(learn.loss_func, nn.BCEWithLogitsLoss)
    torch.testing.assert_close(learn.loss_func.pos_weight, torch.tensor([3.0, 1 / 3]))


def test_images_have_them_through_a_factory_too(class_folder: Path) -> None:
    for number in range(6):
        (class_folder / "train" / "red" / f"{number}.png").unlink()
    dls = ImageDataBunch.from_folder(class_folder, size=32, bs=8)
    learn = cnn_learner(dls, "resnet18", pretrained=False, class_weights="balanced")
    torch.testing.assert_close(learn.loss_func.weight, torch.tensor([18 / 24, 18 / 24, 3.0]))  # type: ignore[union-attr]


def test_custom_weights_go_into_the_loss() -> None:
    learn = Learner(bunch(torch.arange(16) % 2), nn.Linear(3, 2), class_weights=[1, 5])
    assert learn.loss_func.weight.tolist() == [1, 5]  # type: ignore[union-attr]


def test_balanced_weights_with_a_sampler_warn(class_folder: Path) -> None:
    dls = ImageDataBunch.from_folder(class_folder, size=32, bs=8, sampler="balanced")
    with pytest.warns(LearnkitWarning, match="rare classes are weighted twice"):
        cnn_learner(dls, "resnet18", pretrained=False, class_weights="balanced")


@pytest.mark.parametrize("task", [Classification(("ant", "bee", "cat")), MultiLabel(("ant", "bee", "cat"))])
def test_weights_by_name_go_to_their_classes(task: Any) -> None:
    dls = bunch(torch.arange(18) % 3 if isinstance(task, Classification) else torch.ones(18, 3), task=task)
    loss: Any = Learner(dls, nn.Linear(3, 3), class_weights={"cat": 5, "ant": 1, "bee": 0.5}).loss_func
    assert (loss.weight if isinstance(task, Classification) else loss.pos_weight).tolist() == [1, 0.5, 5]


def test_weights_by_name_are_of_every_class_and_no_other() -> None:
    dls = bunch(torch.arange(18) % 3, classes=["ant", "bee", "cat"])
    with refused("class_weights", got="bees", expected="the name of a class: bee, ant, cat"):
        Learner(dls, nn.Linear(3, 3), class_weights={"ant": 1, "bees": 2, "cat": 3})
    with refused("class_weights: without ant, cat", got={"bee": 2}, expected="every class"):
        Learner(dls, nn.Linear(3, 3), class_weights={"bee": 2})
    unnamed: Any = Learner(bunch(torch.arange(18) % 3), nn.Linear(3, 3), class_weights={2: 5, 0: 1, 1: 0}).loss_func
    assert unnamed.weight.tolist() == [1, 0, 5]


@pytest.mark.parametrize("labels", [True, False])
@pytest.mark.parametrize(
    "weights",
    ["heavy", [1.0], [1.0, -1.0], [1.0, float("nan")], [1.0, float("inf")], [0, 0], {"a": 0, "b": 0},
     {"a": 1, "b": -1}, {"a": 1, "b": "2"}, [[1], [1, 2]], 3, {}],
)  # fmt: skip
def test_invalid_weights_are_refused(weights: Any, labels: bool) -> None:
    task: Any = (MultiLabel if labels else Classification)(("a", "b"))
    dls = bunch(torch.ones(16, 2) if labels else torch.arange(16) % 2, task=task)
    with pytest.raises(UsageError, match=r"^class_weights"):
        Learner(dls, nn.Linear(3, 2), class_weights=weights)


def test_they_need_classes_and_the_loss_of_the_task() -> None:
    with refused("class_weights: the task of the data", got="Regression"):
        Learner(bunch(torch.rand(16, 1), task=Regression()), nn.Linear(3, 1), class_weights="balanced")
    with refused("class_weights", got=[1, 2], expected="None when loss_func= is passed"):
        Learner(bunch(torch.arange(16) % 2), nn.Linear(3, 2), loss_func=nn.CrossEntropyLoss(), class_weights=[1, 2])
    data = [(torch.rand(4, 3), torch.arange(4) % 2)]
    loaders = DataBunch.from_loaders(data, data, classes=["a", "b"])
    with pytest.raises(UsageError, match="custom loader"):
        Learner(loaders, nn.Linear(3, 2), class_weights="balanced")


CODES = {10: "sky", 20: "ground", 30: "car"}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Any]]:
    """Eight images of 12 x 16 pixels with masks of the values of CODES, and 99 for pixels of no class."""
    root, draw = tmp_path_factory.mktemp("drawn"), np.random.default_rng(0)
    masks = [draw.choice([10, 20, 30, 99], (12, 16), p=[0.6, 0.25, 0.05, 0.1]).astype(np.uint8) for _ in range(8)]
    for number, mask in enumerate(masks):
        for split, name in (("train" if number < 6 else "valid", "images"), ("masks", "masks")):
            (root / name / split).mkdir(parents=True, exist_ok=True)
            pixels = np.stack([mask] * 3, 2) if name == "images" else mask
            Image.fromarray(pixels).save(root / name / split / f"{number}.png")
    return root, masks


def scenes(root: Path, codes: Any = CODES, ignored: Any = 99, **options: Any) -> ImageDataBunch:
    return ImageDataBunch.from_folder_masks(
        root, "images", lambda file: f"masks/masks/{file.name}", codes, ignore_index=ignored, bs=4, device="cpu",
        **{"size": (12, 16), "num_workers": 0, "augment": False, **options},
    )  # fmt: skip


def of_scikit_learn(values: Any, classes: list[int]) -> Tensor:
    return torch.from_numpy(compute_class_weight("balanced", classes=np.array(classes), y=values)).float()


@pytest.mark.parametrize("options", [{}, {"augment": True}, {"cache": "memory"}], ids=str)
@pytest.mark.parametrize("ignored", [99, [99, 30]], ids=["a value without a class", "and a class"])
def test_of_masks_they_are_scikit_learns_for_the_pixels_that_count(
    drawn: tuple[Path, list[Any]], ignored: Any, options: Any
) -> None:
    root, masks = drawn
    learn = Learner(scenes(root, ignored=ignored, **options), nn.Conv2d(3, 3, 1), class_weights="balanced", seed=0)
    pixels, counted = np.stack(masks[:6]).ravel(), [10, 20, 30] if ignored == 99 else [10, 20]
    loss: Any = learn.loss_func
    expected = of_scikit_learn(pixels[np.isin(pixels, counted)], counted)
    torch.testing.assert_close(loss.weight[: len(counted)], expected)
    assert type(loss) is nn.CrossEntropyLoss
    assert loss.ignore_index == learn.dls.task.ignored  # type: ignore[union-attr]
    learn.fit(1)
    raw, targets = learn.get_preds(activ=nn.Identity())
    weighted = F.cross_entropy(raw, targets, loss.weight, ignore_index=loss.ignore_index)
    assert learn.validate() == pytest.approx([weighted.item()])


def test_of_masks_in_memory_likewise() -> None:
    y = torch.randint(0, 3, (6, 4, 5), generator=torch.Generator().manual_seed(0))
    for given in (y, y.to(torch.uint8)):
        dls = DataBunch.from_tensors(torch.rand(6, 1, 4, 5), given, bs=2, task=Segmentation(["a", "b", "c"]))
        loss: Any = Learner(dls, nn.Conv2d(1, 3, 1), class_weights="balanced").loss_func
        torch.testing.assert_close(loss.weight, of_scikit_learn(y.flatten().numpy(), [0, 1, 2]))


@pytest.mark.parametrize("ignored", [None, 255])
def test_of_binary_masks_the_second_class_weighs_as_much_as_the_first(ignored: int | None) -> None:
    y = (torch.rand(6, 4, 5, generator=torch.Generator().manual_seed(0)) < 0.2).long()
    if ignored is not None:
        y[:, 0] = ignored
    x, task = torch.rand(6, 1, 4, 5), Segmentation(["ground", "car"], ignored, binary=True)
    dls = DataBunch.from_tensors(x, y, x, y, bs=2, task=task, device="cpu")
    model = nn.Conv2d(1, 1, 1)
    learn = Learner(dls, model, class_weights="balanced")
    counted = y != 255
    sky, car = of_scikit_learn(y[counted].numpy(), [0, 1])
    losses = F.binary_cross_entropy_with_logits(model(x)[:, 0], y.clamp(max=1).float(), reduction="none")
    expected = (losses * torch.where(y == 1, car / sky, torch.ones(())))[counted].mean().item()
    assert learn.validate() == pytest.approx([expected])
    for given in ([1, 5], {"car": 5, "ground": 1}, [2, 10]):
        assert Learner(dls, model, class_weights=given).loss_func.pos_weight.item() == 5  # type: ignore[union-attr, arg-type]


def test_weights_of_masks_may_be_given(drawn: tuple[Path, list[Any]]) -> None:
    dls = scenes(drawn[0])
    for given in ([1, 2, 5], {"car": 5, "sky": 1, "ground": 2}):
        loss: Any = Learner(dls, nn.Conv2d(3, 3, 1), class_weights=given).loss_func
        assert loss.weight.tolist() == [1, 2, 5]
        assert loss.ignore_index == 255
    with refused("class_weights", got=[1, 2], expected="3 numbers of 0 or more, one per class, not all of them 0"):
        Learner(dls, nn.Conv2d(3, 3, 1), class_weights=[1, 2])


def test_a_class_without_pixels_is_named(drawn: tuple[Path, list[Any]]) -> None:
    dls = scenes(drawn[0], CODES | {40: "bus"})
    with pytest.warns(LearnkitWarning, match="no pixel of the training masks is of bus, the weight is 0"):
        loss: Any = Learner(dls, nn.Conv2d(3, 4, 1), class_weights="balanced").loss_func
    assert loss.weight[3] == 0


def test_masks_that_cannot_be_counted_are_refused() -> None:
    x, y = torch.rand(4, 1, 2, 2), torch.zeros(4, 2, 2).long()
    task = Segmentation(["a", "b"], 255)
    own = DataBunch.from_loaders([(x, y)], task=task)
    with pytest.raises(UsageError, match="targets of a custom loader"):
        Learner(own, nn.Conv2d(1, 2, 1), class_weights="balanced")
    nothing = DataBunch.from_tensors(x, y + 255, bs=2, task=task)
    with pytest.raises(UsageError, match=r"no pixel of the training masks counts. Look at ignore_index="):
        Learner(nothing, nn.Conv2d(1, 2, 1), class_weights="balanced")
    binary = DataBunch.from_tensors(x, y + 1, bs=2, task=Segmentation(["a", "b"], binary=True))
    with (
        pytest.warns(LearnkitWarning, match="no pixel of the training masks is of a"),
        refused("class_weights", got=[0.0, 1.0], expected="above 0 for the first of two classes"),
    ):
        Learner(binary, nn.Conv2d(1, 1, 1), class_weights="balanced")
