"""A figure without pyplot: nothing global is touched."""

import subprocess
import sys

from learnkit.plots.figure import new_figure


def test_a_notebook_shows_a_figure_as_an_image() -> None:
    assert new_figure(2, 2)._repr_png_().startswith(b"\x89PNG")


def test_drawing_needs_no_pyplot() -> None:
    code = (
        "import sys; from learnkit.plots import loss_curves; assert 'matplotlib' not in sys.modules;"
        "loss_curves([1.0, 2.0], [1.0, 1.5], [])._repr_png_();"
        "assert 'matplotlib.pyplot' not in sys.modules; print('drawn')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.strip() == "drawn", done.stderr


def test_a_figure_has_the_requested_size() -> None:
    assert new_figure(3, 2).get_size_inches().tolist() == [3, 2]
