"""A page to try a model on images, made with Gradio, which is imported only here: `pip install "learnkit[demo]"`."""

import html
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from learnkit.checks import check_int, missing_extra
from learnkit.data.bunch import DataBunch
from learnkit.data.image.draw import drawable
from learnkit.data.image.preprocess import Preprocess
from learnkit.data.points import Points
from learnkit.data.segmentation import Segmentation
from learnkit.data.tasks import Classification, MultiLabel, Regression
from learnkit.errors import LearnkitError, UsageError
from learnkit.inference.predictor import Prediction, Predictor
from learnkit.text import shortened

if TYPE_CHECKING:
    from gradio import Blocks

__all__ = ["demo_page", "shown"]

MAX_BARS = 10  # classes shown with their probabilities
TASKS = (Classification, MultiLabel, Regression, Segmentation, Points)


def demo_page(predictor: Predictor, dls: DataBunch, name: str, title: str | None = None, n: int = 6) -> "Blocks":
    """A page with an image to choose, what the predictor says of it, and examples from the validation set.

    It asks no other machine for anything, and reports nothing to one.

    Args:
        predictor: answers; in threads of the page's server.
        dls: how images are prepared, and where examples come from.
        name: of the network, for the title.
        title: the title; None for one made of the task and the name.
        n: the number of examples, at most; these images can be seen by everyone who opens the page.

    Returns:
        a `gradio.Blocks`; its `launch()` starts a server.

    Raises:
        UsageError: data without images, a task without a page, or gradio is not installed.
    """
    n, task, preprocess = check_int("n", n, 0), predictor.task, dls.preprocess
    if preprocess is None or not isinstance(task, TASKS):
        got = "no images" if preprocess is None else type(task).__name__
        raise UsageError(f"demo: the data has {got}", expected=f"images, and one of {', '.join(map(_kind, TASKS))}")
    try:
        import gradio
    except ImportError as error:
        raise missing_extra("gradio", "demo") from error

    def predict(path: str | None) -> Any:
        if path is None:
            return [None] * len(outputs) if len(outputs) > 1 else None
        try:
            values = shown(predictor.predict(path), task, preprocess, path)
        except LearnkitError as error:
            reason = html.escape(error.what.replace(path, Path(path).name))
            raise gradio.Error(reason, print_exception=False) from error
        return values if len(outputs) > 1 else values[0]

    title = title or f"{_kind(type(task))} with {name}"
    with gradio.Blocks(title=title, analytics_enabled=False) as page:
        gradio.HTML(f"<h1>{html.escape(title)}</h1><p>{html.escape(_names(task))}</p>")
        with gradio.Row():
            image = gradio.Image(label="Image", type="filepath")
            image.preprocess = _path  # as it is: learnkit opens it, within its limits
            with gradio.Column():
                outputs = _components(task)
        image.change(predict, image, outputs, api_name="predict")
        if chosen := _examples(dls, n):
            gradio.Examples(chosen, image, cache_examples=False)
    return page


def _path(payload: Any) -> str | None:
    return None if payload is None else payload.path


def _kind(task: type[Any]) -> str:
    return {MultiLabel: "Multi-label classification"}.get(task, task.__name__)


def _names(task: Any) -> str:
    """What is predicted, the first names of it."""
    names = getattr(task, "names", None) or task.classes
    return shortened(task.point_names if isinstance(task, Points) else names, 20)


def _components(task: Any) -> list[Any]:
    """Where `shown` is seen, in its order."""
    import gradio

    from learnkit.plots.overlays import class_colors

    if isinstance(task, Classification):
        return [gradio.Label(label="Class", num_top_classes=min(MAX_BARS, task.n_out))]
    if isinstance(task, MultiLabel):
        above = f"{task.threshold:g}" if isinstance(task.threshold, float) else "the threshold of each"
        text = gradio.Textbox(label=f"Labels above {above}")
        bars = gradio.Label(label="Probabilities", num_top_classes=min(MAX_BARS, task.n_out), show_heading=False)
        return [text, bars]
    if isinstance(task, Regression):
        return [gradio.Dataframe(label="Numbers", headers=["name", "value"])]
    if isinstance(task, Points):
        found = gradio.Image(label="What the model sees", format="png")
        return [found, gradio.Dataframe(label="Pixels of the image", headers=["point", "x", "y"])]
    colors = ["#" + bytes(color).hex() for color in class_colors(len(task.classes))]
    colors_of = dict(zip(task.classes, colors, strict=True))
    return [gradio.AnnotatedImage(label="What the model sees", format="png", color_map=colors_of)]


def shown(prediction: Prediction, task: Any, preprocess: Preprocess, item: Any) -> list[Any]:
    """What the page shows of a prediction.

    Args:
        prediction: of this image.
        task: one of those that the page is made for.
        preprocess: makes of the image what the model sees, for masks and points.
        item: the image, in any form that `preprocess` takes.

    Returns:
        for a classification {class: probability}; for several labels their text before it; for a regression rows
        (name, value); for masks (image, [(mask, class), ...]); for points the image with them, and rows (name, x, y).
    """
    label, index, outputs = prediction
    if isinstance(task, Regression):
        return [[[name, _rounded(value)] for name, value in zip(task.names, outputs.flatten().tolist(), strict=True)]]
    if isinstance(task, Classification | MultiLabel):
        bars = dict(zip(task.classes, outputs.tolist(), strict=True))
        return [bars] if isinstance(task, Classification) else [task.text(index), bars]
    image: npt.NDArray[np.uint8] = drawable(preprocess.scale(preprocess.item(item)[None]))[0]
    if isinstance(task, Points):
        from learnkit.plots.points import PREDICTED, points_over

        rows = [[name, *map(_rounded, point)] for name, point in zip(task.point_names, label, strict=True)]
        return [points_over(image, [(index.numpy(), PREDICTED)]), rows]
    return [(image, [(label == number, task.classes[number]) for number in np.unique(label).tolist()])]


def _rounded(value: float) -> float:
    return float(f"{value:.5g}")


def _examples(dls: DataBunch, n: int) -> list[Any]:
    """Up to n images of the validation set, evenly spaced: their files, or else as the model sees them."""
    if not n or dls.valid_dl is None or not getattr(dls.valid_dl, "n_items", 0):
        return []
    dataset, n_items = dls.ordered_dl("valid").dataset, dls.valid_dl.n_items
    places = np.linspace(0, n_items - 1, min(n, n_items)).round().astype(int).tolist()
    sources = [dataset.inputs[place] for place in places]
    return [
        source if isinstance(source, str) else dls.image("valid", place)
        for place, source in zip(places, sources, strict=True)
    ]
