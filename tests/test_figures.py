"""Every method that shows or plots: takes a size, and a grid where it shows several things; gives a figure."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.figure
import numpy as np
import pytest
from PIL import Image
from torch import nn

import learnkit
from learnkit import ImageDataBunch, Learner, callbacks
from learnkit.callbacks import ActivationStats, Recorder
from learnkit.errors import WrongTypeError
from learnkit.interpretation.calibration import Calibration

CLASSES = [
    *(getattr(learnkit, name) for name in dir(learnkit) if inspect.isclass(getattr(learnkit, name))),
    *(getattr(callbacks, name) for name in dir(callbacks) if inspect.isclass(getattr(callbacks, name))),
    Calibration,
]


def drawing_methods() -> dict[str, Callable[..., Any]]:
    """By name, the methods of public classes whose annotation says that they return a figure."""
    return {
        f"{cls.__name__}.{name}": method
        for cls in CLASSES
        for name, method in inspect.getmembers(cls, inspect.isfunction)
        if not name.startswith("_") and str(method.__annotations__.get("return", "")).strip("'\"") == "Figure"
    }


DRAWING = drawing_methods()
SEVERAL = {"show_batch", "show_results", "plot_top_losses", "plot_metrics", "plot_predictions", "plot_residuals"}


def test_the_methods_that_draw_are_found() -> None:
    assert len({name.partition(".")[2] for name in DRAWING}) > 15
    assert {"DataBunch.show_batch", "Recorder.plot", "Calibration.plot", "Learner.show_results"} <= DRAWING.keys()


@pytest.mark.parametrize("name", DRAWING)
def test_every_method_that_draws_takes_a_size_and_a_grid(name: str) -> None:
    parameters = inspect.signature(DRAWING[name]).parameters
    takes_layout = "layout" in parameters
    assert "figsize" in parameters or takes_layout
    if name.partition(".")[2] in SEVERAL:
        assert {"nrows", "ncols"} <= parameters.keys() or takes_layout


@pytest.mark.parametrize("name", DRAWING)
def test_a_misspelt_keyword_is_refused_and_never_ignored(name: str) -> None:
    drawing = inspect.unwrap(DRAWING[name])
    with pytest.raises(WrongTypeError, match=f"{drawing.__name__}: keyword: got 'figszie'.*figsize"):
        DRAWING[name](None, figszie=(4, 3))


def image_learner(folder: Path, task: Any = None) -> Learner:
    rng = np.random.default_rng(0)
    names = [f"{i:02d}.png" for i in range(24)]
    for name in names:
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(folder / name)
    labels: Any = [["a", "b"][i % 2] for i in range(24)]
    if task == "multilabel":
        labels = [["a"], ["a", "b"], [], ["c"]] * 6
    if task == "regression":
        labels = [(float(i), -float(i)) for i in range(24)]
    dls = ImageDataBunch.from_lists(
        folder, names, labels, task=task, size=16, bs=8, valid_pct=0.5, augment=False, num_workers=0
    )
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, dls.c))
    learn = Learner(dls, net, metrics="default", seed=0)
    learn.fit(1, callbacks=[ActivationStats()])
    return learn


def mask_learner(folder: Path) -> Learner:
    rng = np.random.default_rng(0)
    for part in ("images", "masks"):
        (folder / part).mkdir()
    for i in range(8):
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(folder / "images" / f"{i}.png")
        Image.fromarray(rng.integers(0, 2, (16, 16), dtype=np.uint8)).save(folder / "masks" / f"{i}.png")
    dls = ImageDataBunch.from_folder_masks(
        folder, masks=lambda file: str(file).replace("images", "masks"), codes=["a", "b"], valid_pct=0.5, size=16,
        bs=4, augment=False, num_workers=0,
    )  # fmt: skip
    return Learner(dls, nn.Conv2d(3, 2, 1), seed=0)


def calls(learn: Learner) -> dict[str, Callable[..., Any]]:
    interp = learn.interpret()
    found = {
        "show_batch": learn.dls.show_batch,
        "show_results": learn.show_results,
        "plot_top_losses": lambda **layout: interp.plot_top_losses(4, **layout),
    }
    for name in (
        "plot_confusion_matrix",
        "plot_confusion",
        "plot_calibration",
        "plot_conformal",
        "plot_roc",
        "plot_pr",
        "plot_residuals",
    ):
        if hasattr(interp, name):
            found[name] = getattr(interp, name)
    for name in ("plot_predictions",):
        if hasattr(interp, name):
            found[name] = getattr(interp, name)
    for name in ("plot_errors", "plot_grad_cam"):
        if hasattr(interp, name):
            found[name] = lambda name=name, **layout: getattr(interp, name)(0, **layout)
    if learn.history is not None and len(learn.history):
        recorder: Recorder = learn.recorder
        found |= {name: getattr(recorder, name) for name in ("plot_losses", "plot_lr", "plot_metrics")}
        stats = learn.fit_callbacks[0]
        assert isinstance(stats, ActivationStats)
        found["plot_stats"] = stats.plot_stats
        found["plot_histogram"] = lambda **layout: stats.plot_histogram(stats.stats["module"].iloc[0], **layout)
    return found


@pytest.mark.parametrize("task", [None, "multilabel", "regression", "masks"])
def test_every_figure_has_the_size_that_is_asked_for(tmp_path: Path, task: str | None) -> None:
    learn = mask_learner(tmp_path) if task == "masks" else image_learner(tmp_path, task)
    for name, draw in calls(learn).items():
        figure = draw(figsize=(5, 4))
        assert isinstance(figure, matplotlib.figure.Figure), name
        assert tuple(figure.get_size_inches()) == (5, 4), name
        with pytest.raises(learnkit.LearnkitError, match="figsize"):
            draw(figsize=(5, -4))


def columns(figure: Any) -> int:
    return int(figure.axes[0].get_subplotspec().get_gridspec().ncols)


def test_images_stand_in_the_grid_that_is_asked_for(tmp_path: Path) -> None:
    learn = image_learner(tmp_path)
    for draw in (learn.dls.show_batch, learn.show_results):
        figure = draw(nrows=2, ncols=np.int64(3))
        assert (len(figure.axes), columns(figure)) == (6, 3)
        assert len(draw(max_n=5).axes) == 5
        assert len(draw(rows=2).axes) == 4
    figure = learn.interpret().plot_top_losses(6, nrows=3)
    assert (len(figure.axes), columns(figure)) == (6, 2)


@pytest.mark.parametrize("part", ["valid", learnkit.DatasetType.Valid, np.int64(2)])
def test_any_part_of_the_data_is_shown(tmp_path: Path, part: Any) -> None:
    learn = image_learner(tmp_path)
    figure = learn.dls.show_batch(ds_type=part, max_n=8)
    labels = learn.dls.samples.query("split == 'valid'")["target"].tolist()
    assert [axes.get_title() for axes in figure.axes] == labels[:8]
    first = np.asarray(figure.axes[0].get_images()[0].get_array())
    assert np.abs(first.astype(int) - learn.dls.image("valid", 0).astype(int)).max() <= 1
