"""What a learner answers about items: predictions of images, tables and pictures of them, without a trace in it."""

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from learnkit.arguments import checks_methods
from learnkit.checks import check_int
from learnkit.data.loading.loaders import ImageLoader
from learnkit.data.tasks import Task
from learnkit.errors import UsageError
from learnkit.inference.demo import demo_page
from learnkit.inference.predictions import predict_stream
from learnkit.inference.predictor import (
    Prediction,
    Predictor,
    predict_batch,
    predict_one,
    prepared_batches,
)
from learnkit.inference.show import show_predictions
from learnkit.inference.tables import check_table, write_table
from learnkit.learner.preds import Part, Preds, Source
from learnkit.modes import eval_mode
from learnkit.text import name_of
from learnkit.types import DatasetType, PathLike

if TYPE_CHECKING:
    from gradio import Blocks

    from learnkit.plots.figure import Figure
    from learnkit.plots.layout import FigSize

__all__ = ["Answers"]


@checks_methods
class Answers(Preds):
    """Predictions of single items, and tables and pictures of predictions; the learner stays as it is."""

    def predict(self, item: Any) -> Prediction:
        """(label, index, probs) of one item: a path, PIL image, array, tensor or encoded bytes."""
        task, x = self._task("predict"), self.dls.prepare(item)
        return self._running.answer(partial(self._predict_one, x, self.dls.task_of(item) or task))

    def _predict_one(self, x: Tensor, task: Task, beside: bool) -> Prediction:
        model, compute = self._means(beside)
        with eval_mode(model), compute.preserve_rng():
            return predict_one(model, x, compute, self._scaled(), task)

    def predict_many(self, items: Iterable[Any], bs: int = 64) -> list[Prediction]:
        """The prediction of each item, in forms that `predict` takes, in batches of `bs`; images may differ in size.

        Raises:
            UsageError: a single item, such as one path.
            ImageError: an image that cannot be read; the message begins with its number.
        """
        task, are_images = self._task("predict_many"), self.dls.preprocess is not None
        batches = prepared_batches(items, self.dls.prepare, check_int("bs", bs, 1), are_images=are_images)
        found: list[Prediction] = []
        with self._answering() as (model, compute), eval_mode(model), compute.preserve_rng():
            for batch, x in batches:
                tasks = [self.dls.task_of(item) or task for item in batch]
                found += predict_batch(model, x, compute, self._scaled(), tasks)
        return found

    def predictor(self, bs: int = 64) -> Predictor:
        """For serving: a copy of the model that predicts single items from any number of threads, `bs` at a time."""
        with self._answering() as (model, compute):
            return Predictor(
                model, self.dls.prepare, self._scaled(), self._task("predictor"), bs=bs,
                task_of=self.dls.task_of, are_images=self.dls.preprocess is not None, compute=compute,
            )  # fmt: skip

    def demo(self, title: str | None = None, n: int = 6) -> "Blocks":
        """A page to try the model on images, in Gradio: `learn.demo().launch()`.

        Args:
            title: of the page; None for one made of the task and the network.
            n: examples from the validation set, at most; everyone who opens the page can see them.

        Raises:
            UsageError: data without images or of another task than learnkit's, or gradio is not installed.
        """
        return demo_page(self.predictor(), self.dls, self.spec.name if self.spec else name_of(self.model), title, n)

    def write_preds(self, file: PathLike, ds_type: Source = DatasetType.Valid, *, safe: bool = True) -> Path:
        """Write a table of predictions, one row per item in the order of the data set.

        Columns: `input`, the path or index of the item; `label`, several joined by ";"; `p_` and the name of a
        class, its probability; `target`, as `label`, if there are labels. For a regression `label_` and `target_` and
        the name of a number; for key points these are in pixels of each image.

        Args:
            file: ends in .csv or .parquet (with the extra "parquet"); it is written completely or not at all.
            ds_type: a part of the data, or any loader.
            safe: in CSV, put an apostrophe before text that a spreadsheet would run as a formula.

        Raises:
            UsageError: any other file type, masks, which cannot be tabulated, or a missing package.
            DataError: no items.
        """
        path, loader = check_table(file, self.dls.task), self._loader(ds_type)
        if isinstance(loader, ImageLoader) and loader.order.shuffle:
            raise UsageError("write_preds: a shuffled loader cannot name its images", fix="Pass one in order.")
        dataset = loader.dataset if isinstance(loader, ImageLoader) else None
        inputs, view_of = (None, None) if dataset is None else (dataset.names, dataset.view)
        with self._answering() as (model, compute):
            preds = predict_stream(model, loader, compute, self._scaled())
            write_table(path, preds, inputs, self._task("write_preds"), view_of, safe=safe)
        return path

    def show_results(
        self, ds_type: Part = DatasetType.Valid, rows: int = 3, *, nrows: int | None = None,
        ncols: int | None = None, max_n: int | None = None, figsize: "FigSize" = None,
    ) -> "Figure":  # fmt: skip
        """Images of a part, evenly spaced, with targets and predictions; only predictions without labels.

        `rows` x `rows` of them, or `nrows` x `ncols`, at most `max_n`.
        """
        from learnkit.plots.layout import grid_of

        part, grid = DatasetType.of(ds_type), grid_of(rows, nrows, ncols, max_n)
        with self._answering() as (model, compute):
            return show_predictions(model, self.dls, part, compute, self._scaled(), grid, figsize)

    def _task(self, what: str) -> Task:
        if self.dls.task is None:
            fix = "Pass the bunch classes= or task=, or get outputs: learn.get_preds(learn.dls.test_dl_from(items))[0]."
            raise UsageError(f"{what}: the data has no task", fix=fix)
        return self.dls.task
