"""Plots: what is drawn is what was given, and nothing global is touched."""

import subprocess
import sys

import matplotlib.colors
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from learnkit.errors import UsageError
from learnkit.plots import confusion_matrix, image_grid, loss_curves, lr_curve, metric_curves, schedule_curves
from learnkit.plots.figure import new_figure


def test_losses_are_drawn_raw_smoothed_and_with_the_validation_points() -> None:
    axes = loss_curves([1.0, 2.0, 3.0], [1.0, 1.5, 2.0], [(2, 1.5), (3, 1.2)]).axes[0]
    raw, smoothed, valid = axes.lines
    assert list(raw.get_ydata()) == [1.0, 2.0, 3.0]
    assert list(smoothed.get_ydata()) == [1.0, 1.5, 2.0]
    assert (list(valid.get_xdata()), list(valid.get_ydata())) == ([2, 3], [1.5, 1.2])
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("batches", "loss")


def test_one_wild_batch_does_not_flatten_the_curve() -> None:
    axes = loss_curves([1.0] * 200 + [1e6] + [1.0], [1.0] * 202, [(100, 2.0)]).axes[0]
    assert axes.get_ylim()[1] < 10


@pytest.mark.parametrize("bad", [float("inf"), float("nan")])
def test_losses_that_became_infinite_or_nan_can_still_be_drawn(bad: float) -> None:
    figure = loss_curves([1.0, 2.0, bad], [1.0, 1.5, bad], [(2, 1.5), (3, bad)])
    figure.canvas.draw()
    assert figure.axes[0].get_ylim() == (0, 1.5 * 1.1)
    assert loss_curves([bad], [bad], [])._repr_png_().startswith(b"\x89PNG")


def test_rates_are_on_a_log_scale_with_their_suggestions() -> None:
    axes = lr_curve([1e-3, 1e-2, 1e-1], [3.0, 2.0, 4.0], {"valley": (1e-2, 2.0)}).axes[0]
    curve, mark = axes.lines
    assert axes.get_xscale() == "log"
    assert list(curve.get_xdata()) == [1e-3, 1e-2, 1e-1]
    assert (list(mark.get_xdata()), list(mark.get_ydata())) == ([1e-2], [2.0])
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["valley 0.01"]
    assert lr_curve([1e-3, 1e-2], [1, 2], {}).axes[0].get_legend() is None


def test_every_suggestion_is_drawn_however_many_there_are() -> None:
    axes = lr_curve([1e-3, 1e-2], [1, 2], dict.fromkeys("abcdef", (0.001, 1))).axes[0]
    assert len(axes.lines) == 1 + 6


def test_momentum_has_a_panel_of_its_own() -> None:
    both = schedule_curves([0.1, 0.2], [0.9, 0.8])
    assert [axes.get_ylabel() for axes in both.axes] == ["learning rate", "momentum"]
    assert list(both.axes[1].lines[0].get_ydata()) == [0.9, 0.8]
    assert len(schedule_curves([0.1, 0.2], None).axes) == 1


def test_each_metric_has_a_panel() -> None:
    figure = metric_curves({name: [0.1, 0.2] for name in "abcd"})
    assert [axes.get_ylabel() for axes in figure.axes] == list("abcd")
    assert list(figure.axes[0].lines[0].get_ydata()) == [0.1, 0.2]


@pytest.mark.parametrize("n_epochs", [1, 2, 30])
def test_epochs_are_whole_numbers(n_epochs: int) -> None:
    figure = metric_curves({"accuracy": [0.5] * n_epochs})
    figure.canvas.draw()
    ticks = figure.axes[0].get_xticks()
    assert all(tick == int(tick) for tick in ticks)
    assert 0 in ticks


def test_nothing_to_draw_is_said() -> None:
    with pytest.raises(UsageError, match="no metrics"):
        metric_curves({})
    with pytest.raises(UsageError, match="no pictures"):
        image_grid([], [])


def test_a_confusion_matrix_shows_counts_or_shares() -> None:
    counts = np.array([[3, 1], [0, 0]])
    figure = confusion_matrix(counts, ["cat", "dog"])
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.texts] == ["3", "1", "", ""]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["cat", "dog"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "actual")
    shares = confusion_matrix(counts, ["cat", "dog"], normalize=True).axes[0]
    assert [text.get_text() for text in shares.texts] == ["0.75", "0.25"]
    assert shares.get_images()[0].get_array().tolist() == [[0.75, 0.25], [0, 0]]


@pytest.mark.parametrize("n", [2, 25, 26, 60, 130])
def test_any_number_of_classes_can_be_drawn(n: int) -> None:
    figure = confusion_matrix(np.eye(n, dtype=np.int64), [f"class {i}" for i in range(n)])
    assert len(figure.axes[0].texts) == (n * n if n <= 25 else 0)
    assert len(figure.axes[0].get_xticks()) <= 60
    figure.canvas.draw()


def luminance(rgb: tuple[float, ...]) -> float:
    """Relative luminance of a colour, as WCAG 2 defines it."""
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in rgb]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_numbers_can_be_read_on_every_shade() -> None:
    for share in range(101):
        axes = confusion_matrix(np.array([[share, 100 - share], [0, 1]]), ["a", "b"]).axes[0]
        (image,) = axes.get_images()
        for text in axes.texts[:2]:
            column, row = text.get_position()
            cell = image.to_rgba(image.get_array())[int(row), int(column), :3]
            dark, light = sorted([luminance(cell), luminance(matplotlib.colors.to_rgb(text.get_color()))])
            assert (light + 0.05) / (dark + 0.05) >= 4.5, share  # WCAG 2, level AA


def test_a_long_class_name_keeps_its_beginning() -> None:
    names = ["german_shorthaired_pointer_dog", "a name that goes on and on and on", "cat"]
    axes = confusion_matrix(np.eye(3, dtype=np.int64), names).axes[0]
    shown = [label.get_text() for label in axes.get_yticklabels()]
    assert shown == ["german_shorthaired_poin…", "a name that goes on and…", "cat"]


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("n", [2, 5, 40])
@pytest.mark.parametrize("name", ["c", "german_shorthaired_pointer_dog"])
def test_every_text_of_a_confusion_matrix_lies_inside_the_figure(n: int, name: str, normalize: bool) -> None:
    figure = confusion_matrix(np.eye(n, dtype=np.int64), [name] * n, normalize)
    assert isinstance(figure.canvas, FigureCanvasAgg)
    figure.canvas.draw()
    box, renderer = figure.bbox, figure.canvas.get_renderer()
    (axes,) = figure.axes
    texts = [
        *figure.texts,
        axes.title,
        *axes.get_xticklabels(),
        *axes.get_yticklabels(),
        axes.xaxis.label,
        axes.yaxis.label,
    ]
    extents = [text.get_window_extent(renderer) for text in texts]
    assert all(text.x0 >= 0 and text.y0 >= 0 and text.x1 <= box.x1 and text.y1 <= box.y1 for text in extents)


def test_titles_stay_over_their_own_picture() -> None:
    title = "german_shorthaired_pointer / soft_coated_wheaten_terrier\nloss 1.23, p 0.04"
    figure = image_grid([np.zeros((8, 8, 3), np.uint8)] * 6, [title] * 6)
    assert isinstance(figure.canvas, FigureCanvasAgg)
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    extents = [axes.title.get_window_extent(renderer) for axes in figure.axes]
    assert not any(one.overlaps(other) for i, one in enumerate(extents) for other in extents[:i])
    assert all(extent.x0 >= 0 and extent.x1 <= figure.bbox.x1 for extent in extents)
    pictures = [axes.get_window_extent(renderer) for axes in figure.axes]
    assert not any(extent.overlaps(picture) for extent in extents for picture in pictures)


@pytest.mark.parametrize(("n", "columns"), [(1, 1), (2, 2), (5, 3), (9, 3), (10, 4)])
def test_pictures_fill_a_grid_that_is_no_higher_than_wide(n: int, columns: int) -> None:
    figure = image_grid([np.zeros((4, 4, 3), np.uint8)] * n, ["a"] * n)
    spec = figure.axes[0].get_subplotspec()
    assert spec is not None
    assert spec.get_gridspec().ncols == columns


def test_pictures_stand_under_their_titles() -> None:
    pictures = [np.full((4, 4, 3), value, np.uint8) for value in (0, 100, 200)]
    figure = image_grid(pictures, ["a", "b $x$ $y$", "a long title that is wrapped at some place"], columns=2)
    assert len(figure.axes) == 3
    assert np.asarray(figure.axes[1].get_images()[0].get_array()).max() == 100
    assert figure.axes[1].get_title() == r"b \$x\$ \$y\$"
    assert "\n" in figure.axes[2].get_title()
    figure.canvas.draw()


def test_a_notebook_shows_a_figure_as_a_picture() -> None:
    assert new_figure(2, 2)._repr_png_().startswith(b"\x89PNG")


def test_drawing_needs_no_pyplot() -> None:
    code = (
        "import sys; from learnkit.plots import loss_curves; assert 'matplotlib' not in sys.modules;"
        "loss_curves([1.0, 2.0], [1.0, 1.5], [])._repr_png_();"
        "assert 'matplotlib.pyplot' not in sys.modules; print('drawn')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.strip() == "drawn", done.stderr
