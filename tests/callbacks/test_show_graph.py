"""The plot in a notebook, and that nothing happens elsewhere."""

import sys
from typing import Any

import pytest
from torch import Tensor

from learnkit.callbacks.show_graph import ShowGraph
from learnkit.plots.curves import epoch_curves
from tests.doubles import linear_learner


class Shown:
    """Replaces IPython's display and its handle: the figures of each display, in order."""

    def __init__(self) -> None:
        self.displays: list[list[Any]] = []

    def display(self, figure: Any, display_id: bool = False) -> Any:
        assert display_id
        figures = [figure]
        self.displays.append(figures)

        class Handle:
            def update(self, figure: Any) -> None:
                figures.append(figure)

        return Handle()


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Shown:
    pytest.importorskip("IPython")
    record = Shown()
    monkeypatch.setattr("IPython.display.display", record.display)
    monkeypatch.setattr("learnkit.callbacks.show_graph.in_notebook", lambda: True)
    return record


def lines(figure: Any) -> list[list[float]]:
    return [list(line.get_ydata()) for line in figure.axes[0].lines]


def test_each_fit_has_one_display_that_is_updated_after_each_epoch(blobs: tuple[Tensor, ...], shown: Shown) -> None:
    learn, graph = linear_learner(blobs), ShowGraph()
    learn.fit(3, callbacks=graph)
    learn.fit(1, callbacks=graph)
    assert [len(figures) for figures in shown.displays] == [3, 1]
    columns = [learn.history[name].tolist() for name in ("train_loss", "valid_loss")]
    for epoch, figure in enumerate(shown.displays[0]):
        assert lines(figure) == [column[: epoch + 1] for column in columns]
    assert lines(shown.displays[1][0]) == [column[3:] for column in columns]


def test_elsewhere_nothing_is_drawn_and_nothing_imported_for_it(
    blobs: tuple[Tensor, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("IPython.display", "learnkit.plots.curves", "learnkit.plots.figure", "matplotlib"):
        monkeypatch.setitem(sys.modules, module, None)  # importing it would raise
    learn = linear_learner(blobs)
    learn.fit(2, callbacks=ShowGraph())
    assert len(learn.history) == 2


def test_curves_without_a_validation_loss() -> None:
    assert lines(epoch_curves([2.0, 1.0], [])) == [[2.0, 1.0]]
    both = epoch_curves([2.0, 1.0], [3.0, 2.5]).axes[0]
    assert [text.get_text() for text in both.get_legend().get_texts()] == ["training", "validation"]
    assert list(both.lines[1].get_xdata()) == [0, 1]
