"""Figures of items: pixels, titles and their colors, the number of columns, masks and their legend."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from learnkit.data.image.draw import GAP, RIGHT, WRONG, draw_items, draw_results, drawable
from learnkit.data.segmentation import Segmentation
from learnkit.data.tasks import Classification, MultiLabel, Regression
from learnkit.plots.overlays import overlaid

ANIMALS = Classification(("ant", "bee"))
REGIONS = Segmentation(["sky", "tree", "road"], ignore_index=255)


def images(n: int, channels: int = 3) -> torch.Tensor:
    return torch.rand(n, channels, 6, 8, generator=torch.Generator().manual_seed(0))


def arrays(n: int) -> list[npt.NDArray[np.uint8]]:
    return list(np.random.default_rng(0).integers(0, 256, (n, 6, 8, 3), dtype=np.uint8))


def titles(figure: Any) -> list[str]:
    return [axes.get_title() for axes in figure.axes]


def title_colors(figure: Any) -> list[str]:
    return [axes.title.get_color() for axes in figure.axes]


def shown(figure: Any) -> list[npt.NDArray[Any]]:
    return [np.asarray(axes.images[0].get_array()) for axes in figure.axes]


def columns(figure: Any) -> int:
    return int(figure.axes[0].get_subplotspec().get_gridspec().ncols)


def legend(figure: Any) -> list[str]:
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def test_pixels_are_rounded_and_clipped_to_uint8() -> None:
    (pixels,) = drawable(torch.tensor([0.0, 0.502, 1.2]).view(1, 3, 1, 1))
    assert (pixels.dtype, pixels.tolist()) == (np.uint8, [[[0, 128, 255]]])


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_other_channels_are_averaged_to_gray(channels: int) -> None:
    x = images(2, channels)
    for one, pixels in zip(x, drawable(x), strict=True):
        gray = np.rint(one.mean(0).numpy() * 255)
        assert pixels.shape == (6, 8, 3)
        np.testing.assert_array_equal(pixels, np.repeat(gray[..., None], 3, axis=2))


def test_items_are_titled_with_their_targets() -> None:
    x = images(5)
    figure = draw_items(x, torch.tensor([0, 1, 1, 0, 1]), ANIMALS, columns=4)
    assert titles(figure) == ["ant", "bee", "bee", "ant", "bee"]
    assert columns(figure) == 4
    for image, one in zip(shown(figure), x, strict=True):
        np.testing.assert_array_equal(image, np.rint(one.permute(1, 2, 0).numpy() * 255))
    assert legend(figure) == []


def test_masks_of_items_are_overlaid_with_a_legend_of_the_classes_that_occur() -> None:
    masks = torch.zeros(2, 6, 8, dtype=torch.int64)
    masks[0, 3:] = 2
    masks[1, 0] = 255
    figure = draw_items(images(2), masks, REGIONS, columns=1)
    for image, plain, mask in zip(shown(figure), drawable(images(2)), masks.numpy(), strict=True):
        np.testing.assert_array_equal(image[:, :8], plain)  # bare
        np.testing.assert_array_equal(image[:, -8:], overlaid(plain, mask, 255))
    assert legend(figure) == ["sky", "road"]
    assert columns(figure) == 1


def test_results_are_titled_target_and_prediction_and_colored_by_whether_they_agree() -> None:
    preds = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]])
    figure = draw_results(arrays(3), preds, torch.tensor([0, 1, 1]), ANIMALS, columns=3)
    assert titles(figure) == ["ant / ant", "bee / ant", "bee / bee"]
    assert title_colors(figure) == [RIGHT, WRONG, RIGHT]
    assert columns(figure) == 3
    assert figure._suptitle.get_text() == "target / prediction"
    for image, one in zip(shown(figure), arrays(3), strict=True):
        np.testing.assert_array_equal(image, one)


def test_several_labels_are_right_only_together() -> None:
    preds = torch.tensor([[0.9, 0.1], [0.9, 0.8]])
    figure = draw_results(arrays(2), preds, torch.tensor([[1.0, 0.0], [1.0, 0.0]]), MultiLabel(("a", "b")), columns=2)
    assert titles(figure) == ["a / a", "a / a; b"]
    assert title_colors(figure) == [RIGHT, WRONG]


def test_numbers_have_no_color() -> None:
    figure = draw_results(arrays(1), torch.tensor([[1.5]]), torch.tensor([[2.0]]), Regression(), columns=1)
    assert titles(figure) == ["2 / 1.5"]
    assert title_colors(figure) == ["black"]


def test_without_targets_predictions_are_drawn_alone() -> None:
    figure = draw_results(arrays(3), torch.eye(2)[[0, 1, 0]], None, ANIMALS, columns=3)
    assert titles(figure) == ["ant", "bee", "ant"]
    assert title_colors(figure) == ["black"] * 3
    assert figure._suptitle.get_text() == "prediction"


@pytest.mark.parametrize("has_targets", [False, True])
def test_the_true_mask_is_drawn_next_to_the_predicted_one(has_targets: bool) -> None:
    numbers = torch.ones(1, 6, 8, dtype=torch.int64)
    numbers[0, 4:] = 2
    preds = torch.nn.functional.one_hot(numbers, 3).permute(0, 3, 1, 2).float()
    targets = torch.zeros(1, 6, 8, dtype=torch.int64) if has_targets else None
    figure = draw_results(arrays(1), preds, targets, REGIONS, columns=1)
    (image,) = shown(figure)
    predicted = overlaid(arrays(1)[0], numbers[0].numpy(), 255)
    np.testing.assert_array_equal(image[:, -8:], predicted)
    np.testing.assert_array_equal(image[:, :8], arrays(1)[0])  # bare
    assert image.shape == (6, 24 + 2 * GAP if has_targets else 16 + GAP, 3)
    if has_targets:
        target = image[:, 8 + GAP : 16 + GAP]
        np.testing.assert_array_equal(target, overlaid(arrays(1)[0], np.zeros((6, 8), np.int64), 255))
    assert (image[:, 8 : 8 + GAP] == 255).all()
    assert legend(figure) == (["sky", "tree", "road"] if has_targets else ["tree", "road"])
    assert titles(figure) == [""]
