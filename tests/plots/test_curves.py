"""Curves of a run: what is drawn is what was given."""

from itertools import pairwise
from typing import Any

import pytest

from learnkit.plots import loss_curves, lr_curve, metric_curves, schedule_curves
from learnkit.plots.curves import epoch_curves
from tests.doubles import refused


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


def test_training_and_validation_are_distinguished_by_legend_and_color() -> None:
    axes = loss_curves([1.0, 2.0], [1.0, 1.5], [(2, 1.5)]).axes[0]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["training, smoothed", "validation"]
    raw, smoothed, valid = axes.lines
    assert raw.get_color() == smoothed.get_color() != valid.get_color()
    assert raw.get_alpha() < 1


def test_losses_below_zero_are_inside_the_axes() -> None:
    assert loss_curves([-2.0, 1.0], [-2.0, 1.0], []).axes[0].get_ylim() == (-2.0, 1.1)


def test_losses_are_drawn_by_epoch() -> None:
    axes = epoch_curves([2.0, 1.0, 0.5], [3.0, 2.0, 1.0]).axes[0]
    train, valid = axes.lines
    assert (list(train.get_xdata()), list(train.get_ydata())) == ([0, 1, 2], [2.0, 1.0, 0.5])
    assert (list(valid.get_xdata()), list(valid.get_ydata())) == ([0, 1, 2], [3.0, 2.0, 1.0])
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["training", "validation"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("epoch", "loss")
    assert len(epoch_curves([2.0, 1.0], []).axes[0].lines) == 1


def test_rates_are_on_a_log_scale_with_their_suggestions() -> None:
    axes = lr_curve([1e-3, 1e-2, 1e-1], [3.0, 2.0, 4.0], {"valley": (1e-2, 2.0)}).axes[0]
    curve, mark = axes.lines
    assert axes.get_xscale() == "log"
    assert list(curve.get_xdata()) == [1e-3, 1e-2, 1e-1]
    assert (list(mark.get_xdata()), list(mark.get_ydata())) == ([1e-2], [2.0])
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["valley 0.01"]
    assert lr_curve([1e-3, 1e-2], [1, 2], {}).axes[0].get_legend() is None


def test_any_number_of_suggestions_is_drawn() -> None:
    axes = lr_curve([1e-3, 1e-2], [1, 2], dict.fromkeys("abcdef", (0.001, 1))).axes[0]
    assert len(axes.lines) == 1 + 6


def test_suggestions_at_the_same_place_do_not_hide_each_other() -> None:
    axes = lr_curve([1e-3, 1e-2], [1, 2], dict.fromkeys("abcd", (0.001, 1))).axes[0]
    dot, *rings = axes.lines[1:]
    sizes = [mark.get_markersize() for mark in (dot, *rings)]
    edge = dot.get_markeredgewidth()
    assert all(outer - inner > 2 * edge for inner, outer in pairwise(sizes))
    assert dot.get_markerfacecolor() != "none"
    assert {ring.get_markerfacecolor() for ring in rings} == {"none"}
    assert len({mark.get_color() for mark in (dot, *rings)}) == 4


def test_momentum_has_its_own_panel() -> None:
    both = schedule_curves([0.1, 0.2], [0.9, 0.8])
    assert [axes.get_ylabel() for axes in both.axes] == ["learning rate", "momentum"]
    for axes, values in zip(both.axes, ([0.1, 0.2], [0.9, 0.8]), strict=True):
        assert axes.get_xlabel() == "batches"
        assert (list(axes.lines[0].get_xdata()), list(axes.lines[0].get_ydata())) == ([1, 2], values)
    rates, momenta = (axes.get_position() for axes in both.axes)
    assert momenta.x0 > rates.x1  # to the right of it
    assert len(schedule_curves([0.1, 0.2], None).axes) == 1


def test_each_metric_has_a_panel() -> None:
    figure = metric_curves({name: [0.1, 0.2] for name in "abcd"})
    assert [axes.get_ylabel() for axes in figure.axes] == list("abcd")
    assert list(figure.axes[0].lines[0].get_ydata()) == [0.1, 0.2]


@pytest.mark.parametrize("n", [1, 2, 3, 4, 7])
def test_panels_of_metrics_are_in_rows_of_three(n: int) -> None:
    spec = metric_curves({f"m{k}": [0.1] for k in range(n)}).axes[0].get_subplotspec()
    assert spec is not None
    assert (spec.get_gridspec().ncols, spec.get_gridspec().nrows) == (min(3, n), -(-n // 3))


@pytest.mark.parametrize("n_epochs", [1, 2, 30])
@pytest.mark.parametrize("draw", [lambda y: metric_curves({"accuracy": y}), lambda y: epoch_curves(y, y)])
def test_ticks_of_epochs_are_integers(draw: Any, n_epochs: int) -> None:
    figure = draw([0.5] * n_epochs)
    figure.canvas.draw()
    ticks = figure.axes[0].get_xticks()
    assert all(tick == int(tick) for tick in ticks)
    assert 0 in ticks


def test_no_metrics_are_refused() -> None:
    with refused("metric_curves: no metrics to draw"):
        metric_curves({})
