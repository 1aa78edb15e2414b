"""What a trained model answers: validation, predictions gathered, streamed, on disk, averaged, served and shown."""

import math
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from learnkit.data.loading.loaders import ImageLoader
from learnkit.data.tasks import Task
from learnkit.errors import UsageError
from learnkit.inference.augmented import predict_augmented
from learnkit.inference.dropout import DropoutPreds, predict_with_dropout
from learnkit.inference.predictions import PerItemLoss, activated, predict_loader, predict_stream, with_own_workers
from learnkit.inference.predictor import Predictor, decode_outputs, scaled
from learnkit.inference.show import show_predictions
from learnkit.inference.tables import check_table, write_table
from learnkit.learner.policies import PolicyTrainer
from learnkit.learner.trainer import DEFAULT_LR
from learnkit.losses.per_item import per_item_loss
from learnkit.metrics.metric import make_metrics
from learnkit.modes import eval_mode
from learnkit.training import loop
from learnkit.training.callback import CallbackList
from learnkit.types import Activation, DatasetType, PathLike

if TYPE_CHECKING:
    import numpy as np

    from learnkit.plots.figure import Figure

__all__ = ["AnsweringTrainer"]


class AnsweringTrainer(PolicyTrainer):
    """A trainer that also answers. No answer leaves a trace: modes, gradients and generators are as before."""

    _temperature = 1.0

    @property
    def temperature(self) -> float:
        """What raw outputs are divided by before the activation: above 1 for less certain answers. Losses ignore it.

        Guo et al., On calibration of modern neural networks, 2017.

        Raises:
            UsageError: set to what is no finite number above 0.
        """
        return self._temperature

    @temperature.setter
    def temperature(self, value: float) -> None:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
            raise UsageError("temperature", got=value, expected="a finite number above 0")
        self._temperature = value

    def activate(self, raw: Tensor) -> Tensor:
        """Raw outputs (N, ...) as a user reads them: activation(raw / temperature)."""
        return self._activation()(raw)

    def validate(self, dl: Any = None, metrics: Any = None) -> list[float]:
        """[loss, *metrics] over a loader or a part of the data, None for the validation set; no hook is called."""
        state = self._state(self._new_optimizer(), 1, DEFAULT_LR, None)  # the learner's own keeps its rates
        state.valid_dl = self._loader(DatasetType.Valid if dl is None else dl)
        state.metrics = self.metrics if metrics is None else make_metrics(metrics)
        with eval_mode(self.model), state.compute.preserve_rng(every=True):
            loop.validate(state, CallbackList())
        return list(state.valid.values())

    def get_preds(
        self,
        ds_type: Any = DatasetType.Valid,
        activ: Activation | None = None,
        with_loss: bool = False,
        n_batch: int | None = None,
        out: "Tensor | np.ndarray[Any, Any] | None" = None,
    ) -> tuple[Any, ...]:
        """(preds, targets[, losses]) in the order of the data set, on the CPU.

        Args:
            ds_type: a part of the data, or any loader, whose order is kept; `dls.train_dl` means the training part.
            activ: instead of the activation that goes with the loss; it gets the raw outputs.
            with_loss: give the loss of each item too, shape (N,).
            n_batch: read no more batches than this.
            out: where to write the predictions: a float tensor or array (N, ...), memory-mapped files welcome.

        Returns:
            preds (N, ...) after the activation; targets (N, ...), None without labels; losses (N,) if asked for.

        Raises:
            DataError: there are no items, `with_loss` without labels, or targets that are not one tensor.
            UsageError: no such part; an `out` that is read-only, not of floats or of another shape; a model of several
                outputs whose activation does not make one tensor of them.
        """
        loader, compute, loss = self._loader(ds_type), self._compute(), self._item_loss(with_loss)
        answers = predict_loader(
            self.model, loader, compute, self._activation(activ), loss=loss, n_batch=n_batch, out=out
        )
        return answers if with_loss else answers[:2]

    def predict_iter(
        self,
        ds_type: Any = DatasetType.Valid,
        activ: Activation | None = None,
        with_loss: bool = False,
        n_batch: int | None = None,
    ) -> Iterator[tuple[Any, ...]]:
        """(preds, targets[, losses]) batch by batch, as `get_preds` would gather them; a batch is all that is held.

        The iterator may be left, and the model trained, between two batches. Where workers read the data, it has its
        own.
        """
        loader, compute, loss = with_own_workers(self._loader(ds_type)), self._compute(), self._item_loss(with_loss)
        answers = predict_stream(self.model, loader, compute, self._activation(activ), loss=loss, n_batch=n_batch)
        return answers if with_loss else (answer[:2] for answer in answers)

    def predict(self, item: Any) -> tuple[Any, Tensor, Tensor]:
        """(label, index, probabilities) of one item: a path, PIL image, array, tensor or encoded bytes."""
        task, x = self._task("predict"), self.dls.prepare(item)
        with eval_mode(self.model), self._compute().preserve_rng():
            return decode_outputs(activated(self.activate, self.model(x)).cpu(), task)[0]

    def pred_batch(self, ds_type: Any = DatasetType.Valid) -> Tensor:
        """Activated outputs of the first batch, shape (batch size, ...), on the CPU."""
        return self.get_preds(ds_type, n_batch=1)[0]  # type: ignore[no-any-return]

    def predictor(self, bs: int = 64) -> Predictor:
        """For serving: answers for single items, from any number of threads.

        It holds a copy of the model as it is now; training goes on without changing it.

        Args:
            bs: the most items of one forward pass.
        """
        return Predictor(self.model, self.dls.prepare, self._activation(), self._task("predictor"), bs=bs)

    def write_preds(self, file: PathLike, ds_type: Any = DatasetType.Valid, *, safe: bool = True) -> Path:
        """Write a table of predictions, one row an item in the order of the data set.

        Columns: `input`, the path or the number of the item. Then `label`, several joined by ";"; `p_` and the name of
        a class, its probability; `target`, as `label`, where there are labels. Of a regression `label_` and the name
        of a number, what is predicted; `target_` and the name. The prefixes keep a class called "label" apart.

        Args:
            file: ends in .csv or .parquet (with the extra "parquet"); it is there when all is written, or not at all.
            ds_type: a part of the data, or any loader.
            safe: in CSV, put an apostrophe before text that a spreadsheet would run as a formula: that begins with
                =, +, -, @, a tab or a new line.

        Returns:
            The path.

        Raises:
            UsageError: another kind of file, masks, which are no table, or a package that is missing.
            DataError: there are no items.
        """
        path, loader = check_table(file, self.dls.task), self._loader(ds_type)
        if isinstance(loader, ImageLoader) and loader.order.shuffle:
            raise UsageError("write_preds: a loader that draws its images does not name them", fix="Pass one in order.")
        inputs = loader.dataset.inputs if isinstance(loader, ImageLoader) else None
        answers = predict_stream(self.model, loader, self._compute(), self._activation())
        write_table(path, answers, inputs, self._task("write_preds"), safe=safe)
        return path

    def tta(
        self,
        ds_type: DatasetType = DatasetType.Valid,
        n: int = 4,
        beta: float = 0.25,
        with_loss: bool = False,
        activ: Activation | None = None,
    ) -> tuple[Any, ...]:
        """Test-time augmentation: (preds, targets[, losses]) as `get_preds`, averaged over augmented pictures.

        beta * (plain predictions) + (1 - beta) * (mean of n passes with the training augmentation), after the
        activation. The draws depend on `learn.seed`, the pass and the item alone. Losses are averaged alike.

        Args:
            ds_type: a part of the data.
            n: augmented passes.
            beta: the weight of the plain pass.
            with_loss: give the averaged loss of each item too, shape (N,).
            activ: instead of the activation that goes with the loss.

        Raises:
            UsageError: the bunch holds no images or does not augment, or it is one of masks.
        """
        part, loss = _part(ds_type), self._item_loss(with_loss)
        activ = self._activation(activ)
        answers = predict_augmented(
            self.model, self.dls, part, self._compute(), activ, n=n, beta=beta, seed=self.seed, loss=loss
        )
        return answers if with_loss else answers[:2]

    def mc_dropout(self, ds_type: Any = DatasetType.Valid, n: int = 10) -> DropoutPreds:
        """(mean, std, entropy, mutual_information, targets) of n passes with dropout on and batch norm as it is.

        What is dropped depends on `learn.seed` alone. See `DropoutPreds` and `predict_with_dropout`.

        Raises:
            UsageError: a model without dropout.
        """
        loader, compute, task = self._loader(ds_type), self._compute(), self.dls.task
        return predict_with_dropout(self.model, loader, compute, self._activation(), task, n=n, seed=self.seed)

    def show_results(self, ds_type: DatasetType = DatasetType.Valid, rows: int = 3) -> "Figure":
        """rows x rows pictures, evenly spaced, with targets and predictions; predictions alone without labels.

        Raises:
            UsageError: the items have no pictures.
        """
        return show_predictions(self.model, self.dls, _part(ds_type), self._compute(), self._activation(), rows)

    def _activation(self, chosen: Activation | None = None) -> Activation:
        return scaled(self.activation, self._temperature) if chosen is None else chosen

    def _task(self, what: str) -> Task:
        if self.dls.task is None:
            raise UsageError(
                f"{what}: the data does not say what an output means", fix="Give the bunch classes= or task=."
            )
        return self.dls.task

    def _item_loss(self, is_wanted: bool) -> PerItemLoss | None:
        return partial(per_item_loss, self.loss_func) if is_wanted else None

    def _loader(self, source: Any) -> Iterable[Any]:
        """A loader as it is; a part of the data, and the training loader, which draws, in the order of the items."""
        if source is self.dls.train_dl:
            source = DatasetType.Train
        if isinstance(source, str) or not isinstance(source, Iterable):
            source = self.dls.ordered_dl(_part(source, "or a loader of batches"))
        loader: Iterable[Any] = source
        return loader


def _part(ds_type: Any, others: str = "no loader") -> DatasetType:
    if isinstance(ds_type, bool) or not isinstance(ds_type, int) or ds_type not in tuple(DatasetType):
        got = ds_type if isinstance(ds_type, str | int) else type(ds_type).__name__
        raise UsageError("ds_type", got=got, expected=f"DatasetType.Train, Valid, Test or Fix, {others}")
    return DatasetType(ds_type)
