"""Coverage curves: what is drawn is what was given."""

import numpy as np

from learnkit.plots.coverage import coverage_curve


def test_the_lines_are_the_numbers() -> None:
    alpha, coverage = np.array([0.1, 0.2]), np.array([0.9, 0.85])
    figure = coverage_curve(alpha, coverage, np.array([0.01, 0.02]), np.array([1.5, 1.1]), unit="classes in a set")
    above, below = figure.axes
    assert [line.get_ydata().tolist() for line in above.lines] == [[0.9, 0.8], [0.9, 0.85]]
    assert below.lines[0].get_ydata().tolist() == [1.5, 1.1]
    assert below.get_ylabel() == "classes in a set"
    figure.canvas.draw()
