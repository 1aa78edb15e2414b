"""Images in a grid: each under its title, none over another."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from learnkit.plots import image_grid
from learnkit.plots.images import wrapped_line
from learnkit.plots.overlays import class_colors
from tests.doubles import refused


def test_titles_stay_above_their_images() -> None:
    title = "german_shorthaired_pointer / soft_coated_wheaten_terrier\nloss 1.23, p 0.04"
    figure = image_grid([np.zeros((8, 8, 3), np.uint8)] * 6, [title] * 6)
    assert isinstance(figure.canvas, FigureCanvasAgg)
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    extents = [axes.title.get_window_extent(renderer) for axes in figure.axes]
    assert not any(one.overlaps(other) for i, one in enumerate(extents) for other in extents[:i])
    assert all(extent.x0 >= 0 and extent.x1 <= figure.bbox.x1 for extent in extents)
    images = [axes.get_window_extent(renderer) for axes in figure.axes]
    assert not any(extent.overlaps(image) for extent in extents for image in images)


@pytest.mark.parametrize(("n", "columns"), [(1, 1), (2, 2), (5, 3), (9, 3), (10, 4)])
def test_images_fill_a_grid_that_is_no_higher_than_wide(n: int, columns: int) -> None:
    figure = image_grid([np.zeros((4, 4, 3), np.uint8)] * n, ["a"] * n)
    spec = figure.axes[0].get_subplotspec()
    assert spec is not None
    assert spec.get_gridspec().ncols == columns


def test_images_are_below_their_titles() -> None:
    images = [np.full((4, 4, 3), value, np.uint8) for value in (0, 100, 200)]
    figure = image_grid(images, ["a", "b $x$ $y$", "a long title that is wrapped at some place"], columns=2)
    assert len(figure.axes) == 3
    assert np.asarray(figure.axes[1].get_images()[0].get_array()).max() == 100
    assert figure.axes[1].get_title() == r"b \$x\$ \$y\$"
    assert "\n" in figure.axes[2].get_title()
    figure.canvas.draw()


def test_titles_have_their_colors() -> None:
    images = [np.zeros((4, 4, 3), np.uint8)] * 2
    axes = image_grid(images, ["a", "b"], title_colors=["red", "blue"]).axes
    assert [one.title.get_color() for one in axes] == ["red", "blue"]
    assert {one.title.get_color() for one in image_grid(images, ["a", "b"]).axes} == {"black"}


def test_the_legend_names_the_colors_of_the_classes() -> None:
    image = np.zeros((4, 4, 3), np.uint8)
    (legend,) = image_grid([image], ["a"], legend=["sky", "", "a class whose name is far too long"]).legends
    assert [text.get_text() for text in legend.get_texts()] == ["sky", "a class whose name is f…"]
    colors = [patch.get_facecolor()[:3] for patch in legend.get_patches()]
    assert np.allclose(colors, class_colors(3)[[0, 2]] / 255)
    assert image_grid([image], ["a"], legend=["", ""]).legends == []


def test_no_images_are_refused() -> None:
    with refused("image_grid: no images to draw"):
        image_grid([], [])


def test_rows_have_room_for_the_longest_title() -> None:
    images = [np.zeros((4, 4, 3), np.uint8)] * 2
    low, high = (image_grid(images, ["a", title]).get_figheight() for title in ("a", "a\nb\nc"))
    assert high - low == pytest.approx(2 * 0.17)


@pytest.mark.parametrize(
    ("line", "lines"),
    [
        ("cat", ["cat"]),
        ("german_shorthaired_pointer / cat", ["german_shorthaired_", "pointer / cat"]),
        ("; ".join(f"label {i}" for i in range(30)), 3),
        ("_".join("abcdefghijk" for _ in range(30)), 3),
        ("x" * 200, 3),
        ("__init__ _x", ["__init__ _x"]),
        ("", []),
    ],
)
def test_a_title_takes_three_lines_at_most(line: str, lines: list[str] | int) -> None:
    wrapped = wrapped_line(line).splitlines()
    assert wrapped == lines or len(wrapped) == lines
    assert all(len(part) <= 26 for part in wrapped)
    if isinstance(lines, int):
        assert wrapped[-1].endswith("…")
    else:
        assert "".join(wrapped).replace(" ", "") == line.replace(" ", "")
