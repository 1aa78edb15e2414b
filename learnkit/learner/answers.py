"""What a learner answers: results, predictions, and images with them, without a trace in the learner."""

import copy
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from torch import Tensor, nn
from torch.optim import Optimizer

from learnkit.arguments import checks_methods
from learnkit.callbacks.precision import MixedPrecision
from learnkit.checks import check_int
from learnkit.data.loading.loaders import ImageLoader
from learnkit.data.tasks import Task
from learnkit.device import Compute
from learnkit.distributed.failures import told
from learnkit.distributed.world import world
from learnkit.errors import UsageError
from learnkit.inference.augmented import augmented_pair, predict_augmented
from learnkit.inference.demo import demo_page
from learnkit.inference.dropout import DropoutPreds, predict_with_dropout
from learnkit.inference.predictions import PerItemLoss, predict_loader, predict_stream, with_own_workers
from learnkit.inference.predictor import (
    Prediction,
    Predictor,
    of_output,
    predict_batch,
    predict_one,
    prepared_batches,
    scaled,
)
from learnkit.inference.show import show_predictions
from learnkit.inference.tables import check_table, write_table
from learnkit.learner.defaults import chosen_metrics
from learnkit.learner.parts import LearnerParts
from learnkit.learner.resume import RunCounter
from learnkit.learner.running import apart, twin
from learnkit.losses.outputs import takes_one_output
from learnkit.losses.per_item import loss_of_items
from learnkit.modes import eval_mode
from learnkit.text import name_of
from learnkit.training import loop
from learnkit.training.callback import CallbackList
from learnkit.training.state import NO_OPTIMIZER, TrainState
from learnkit.types import Activation, DatasetType, PathLike

if TYPE_CHECKING:
    import numpy as np
    from gradio import Blocks

    from learnkit.plots.figure import Figure
    from learnkit.plots.layout import FigSize

__all__ = ["Answers", "Part", "Source"]

Part = DatasetType | Literal["train", "valid", "test"]
Source = Part | Iterable[Any]  # a part of the data, or any loader of batches


@checks_methods
class Answers(LearnerParts):
    """Results and predictions of a learner's model; its modes, gradients and random generators stay as they are.

    Beside a fit of another thread they use a copy of its modules, see `learnkit.learner.running`.

    Attributes:
        counter: the seed, and the epochs and fits so far.
    """

    counter: RunCounter

    def activate(self, raw: Tensor) -> Tensor:
        """Predictions from raw outputs (N, ...): activation(raw / temperature)."""
        return self._scaled()(raw)

    def validate(self, dl: Source | None = None, metrics: Any = None) -> list[float]:
        """`[loss, *metrics]` over a part of the data or any loader, None for the validation set; calls no hooks."""
        state = self._state(train_dl=())
        state.valid_dl = self._loader(DatasetType.Valid if dl is None else dl, "dl")
        if metrics is not None:
            state.metrics = chosen_metrics(self.dls, metrics)
        elif self._running.is_on:
            state.metrics = copy.deepcopy(state.metrics)  # a callback may be in the middle of a validation
        with self._answering() as (model, compute), eval_mode(model), compute.preserve_rng(every=True):
            state.model, state.compute = model, compute
            loop.validate(state, CallbackList())
        return list(state.valid.values())

    def get_preds(
        self, ds_type: Source = DatasetType.Valid, activ: Activation | None = None, with_loss: bool = False,
        n_batch: int | None = None, out: "Tensor | np.ndarray[Any, Any] | None" = None,
    ) -> tuple[Any, ...]:  # fmt: skip
        """(preds, targets[, losses]) in the order of the data set, on the CPU.

        Args:
            ds_type: a part of the data ("train", "valid", "test" or a DatasetType), or any loader, whose order is kept;
                `dls.train_dl` means the training part.
            activ: replaces the activation of the loss; called with the raw outputs.
            with_loss: return the loss of each item too, shape (N,).
            n_batch: read at most this many batches.
            out: where to write the predictions: a float tensor or array (N, ...), for example memory-mapped.

        Returns:
            preds (N, ...) after the activation; targets (N, ...), None without labels; losses (N,) if requested.

        Raises:
            DataError, UsageError: as `predict_loader`.
        """
        loader, activation, loss = self._loader(ds_type), self._scaled(activ), self._item_loss(with_loss)
        with self._answering() as (model, compute):
            preds = predict_loader(model, loader, compute, activation, loss=loss, n_batch=n_batch, out=out)
        return preds if with_loss else preds[:2]

    def predict_iter(
        self, ds_type: Source = DatasetType.Valid, activ: Activation | None = None, with_loss: bool = False,
        n_batch: int | None = None,
    ) -> Iterator[tuple[Any, ...]]:  # fmt: skip
        """(preds, targets[, losses]) batch by batch, as `get_preds` would gather them; only one batch is in memory.

        Between two batches the iterator may be dropped, and the model trained. It has its own workers.
        """
        loader, activation = with_own_workers(self._loader(ds_type)), self._scaled(activ)
        loss = self._item_loss(with_loss)
        with self._answering() as (model, compute):
            stream = predict_stream(model, loader, compute, activation, loss=loss, n_batch=n_batch)
        taken = self._running.in_turn(stream, beside=compute.leaves_rng)
        return taken if with_loss else (preds[:2] for preds in taken)

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

    def pred_batch(self, ds_type: Source = DatasetType.Valid) -> Tensor:
        """Activated outputs of the first batch, shape (batch size, ...), on the CPU."""
        return self.get_preds(ds_type, n_batch=1)[0]  # type: ignore[no-any-return]

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

    def tta(
        self, ds_type: Part | Sequence[Any] | ImageLoader = DatasetType.Valid, n: int = 4, beta: float = 0.25,
        with_loss: bool = False, activ: Activation | None = None,
    ) -> tuple[Any, ...]:  # fmt: skip
        """Test-time augmentation: (preds, targets[, losses]) as `get_preds`, averaged over augmented images.

        `ds_type` is a part of the data, a list of new images as `dls.test_dl_from` takes them, or its loader.

        beta * (plain predictions) + (1 - beta) * (mean of n passes with the training augmentation), after the
        activation. The draws depend only on `learn.seed`, the pass and the item. Losses are averaged the same way.

        Raises:
            UsageError: the data holds no images, has no augmentation, or has masks or key points as targets.
        """
        plain, augmented = augmented_pair(self.dls, ds_type)
        loader, activation, loss = self._loader(plain), self._scaled(activ), self._item_loss(with_loss)
        with self._answering() as (model, compute):
            preds = predict_augmented(
                model, loader, augmented, compute, activation, n=n, beta=beta, seed=self.counter.seed, loss=loss
            )
        return preds if with_loss else preds[:2]

    def mc_dropout(self, ds_type: Source = DatasetType.Valid, n: int = 10) -> DropoutPreds:
        """(mean, std, entropy, mutual_information, targets) of n passes with dropout on and batch norm in eval mode.

        What is dropped depends only on `learn.seed`. See `DropoutPreds` and `predict_with_dropout`.
        """
        loader, task = self._loader(ds_type), self.dls.task
        with self._answering() as (model, compute):
            if compute.leaves_rng:
                raise UsageError("mc_dropout: it draws from the generators of the running fit", fix="Wait for the fit.")
            return predict_with_dropout(model, loader, compute, self._scaled(), task, n=n, seed=self.counter.seed)

    def show_results(
        self, ds_type: Part = DatasetType.Valid, rows: int = 3, *, nrows: int | None = None,
        ncols: int | None = None, max_n: int | None = None, figsize: "FigSize" = None,
    ) -> "Figure":  # fmt: skip
        """rows x rows images, evenly spaced, with targets and predictions; only predictions without labels."""
        from learnkit.plots.layout import grid_of

        part, grid = DatasetType.of(ds_type), grid_of(rows, nrows, ncols, max_n)
        with self._answering() as (model, compute):
            return show_predictions(model, self.dls, part, compute, self._scaled(), grid, figsize)

    @contextmanager
    def _answering(self) -> Iterator[tuple[nn.Module, Compute]]:
        """The model and the compute for predictions; beside the fit of another thread, such that it notices nothing."""
        with self._running.answering() as beside, world.alone() if beside else told():
            yield self._means(beside)

    def _means(self, beside: bool) -> tuple[nn.Module, Compute]:
        compute = self._compute()
        compute.leaves_rng = beside
        return twin(self.model) if beside else self.model, compute

    def _scaled(self, chosen: Activation | None = None) -> Activation:
        activation = scaled(self.activation, self._temperature) if chosen is None else chosen
        return of_output(self.output, activation)

    def _task(self, what: str) -> Task:
        if self.dls.task is None:
            raise UsageError(f"{what}: the data has no task", fix="Pass the bunch classes= or task=.")
        return self.dls.task

    def _item_loss(self, is_wanted: bool) -> PerItemLoss | None:
        output = self.output if takes_one_output(self.loss_func) else None
        return partial(loss_of_items, self.loss_func, output) if is_wanted else None

    def _loader(self, source: Source, what: str = "ds_type") -> Any:
        """A loader unchanged; for a part of the data, or the training loader, one in the order of the items."""
        if source is self.dls.train_dl:
            source = DatasetType.Train
        if isinstance(source, str) or not isinstance(source, Iterable):
            source = self.dls.ordered_dl(DatasetType.of(source, what))
        return apart(source) if self._running.is_on else source

    def _compute(self) -> Compute:
        """The device of the data, and the precision of the learner: that of its callback for it, if it has one."""
        compute = Compute(self.dls.device)
        for callback in (one for one in self.callbacks if isinstance(one, MixedPrecision)):
            compute.use(callback.precision)
        return compute

    def _state(
        self, optimizer: Optimizer = NO_OPTIMIZER, rates: Sequence[float] = (), train_dl: Iterable[Any] | None = None
    ) -> TrainState:
        return TrainState(
            model=self.model, optimizer=optimizer, loss_func=self.loss_func,
            train_dl=self.dls.train_dl if train_dl is None else train_dl, valid_dl=self.dls.valid_dl,
            metrics=list(self._ready_metrics()), compute=self._compute(), rates=list(rates), output=self.output,
            seed=self.counter.seed, epoch_offset=self.counter.epoch, folder=self.path / self.model_dir,
            classes=self.dls.classes,
        )  # fmt: skip
