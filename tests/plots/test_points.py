"""Key points on images: where they are, in their color."""

import numpy as np

from learnkit.plots.points import PREDICTED, TRUE, points_over


def test_points_are_where_they_belong_and_missing_ones_are_not_drawn() -> None:
    image = np.zeros((50, 100, 3), np.uint8)
    drawn = points_over(
        image, [(np.array([[0.5, -0.5], [np.nan, np.nan]]), TRUE), (np.array([[-0.5, 0.5]]), PREDICTED)]
    )
    assert drawn.shape == (100, 200, 3)
    assert image.max() == 0
    for color, center in ((TRUE, (24.5, 149.5)), (PREDICTED, (74.5, 49.5))):
        found = np.argwhere((drawn == color).all(2))
        np.testing.assert_allclose(found.mean(0), center, atol=0.5)
        assert 10 < len(found) < 100


def test_later_points_are_on_top() -> None:
    both = [(np.zeros((1, 2)), TRUE), (np.zeros((1, 2)), PREDICTED)]
    drawn = points_over(np.zeros((200, 200, 3), np.uint8), both)
    assert tuple(drawn[99, 99]) == PREDICTED
    assert (drawn == TRUE).all(2).any()  # around it


def test_a_large_image_keeps_its_size() -> None:
    assert points_over(np.zeros((201, 30, 3), np.uint8), []).shape == (201, 30, 3)
