"""Plots: what is drawn is what was given, and nothing global is touched."""

import subprocess
import sys

import numpy as np
import pytest

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


def test_rates_are_on_a_log_scale_with_their_suggestions() -> None:
    axes = lr_curve([1e-3, 1e-2, 1e-1], [3.0, 2.0, 4.0], {"valley": (1e-2, 2.0)}).axes[0]
    curve, mark = axes.lines
    assert axes.get_xscale() == "log"
    assert list(curve.get_xdata()) == [1e-3, 1e-2, 1e-1]
    assert (list(mark.get_xdata()), list(mark.get_ydata())) == ([1e-2], [2.0])
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["valley 0.01"]
    assert lr_curve([1e-3, 1e-2], [1, 2], {}).axes[0].get_legend() is None


def test_momentum_has_a_panel_of_its_own() -> None:
    both = schedule_curves([0.1, 0.2], [0.9, 0.8])
    assert [axes.get_ylabel() for axes in both.axes] == ["learning rate", "momentum"]
    assert list(both.axes[1].lines[0].get_ydata()) == [0.9, 0.8]
    assert len(schedule_curves([0.1, 0.2], None).axes) == 1


def test_each_metric_has_a_panel() -> None:
    figure = metric_curves({name: [0.1, 0.2] for name in "abcd"})
    assert [axes.get_ylabel() for axes in figure.axes] == list("abcd")
    assert list(figure.axes[0].lines[0].get_ydata()) == [0.1, 0.2]


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
