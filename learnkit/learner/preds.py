"""What a learner makes of a part of its data: results, predictions and losses, without a trace in the learner."""

import copy
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, overload

from torch import Tensor, nn
from torch.optim import Optimizer

from learnkit.arguments import checks_methods
from learnkit.callbacks.precision import MixedPrecision
from learnkit.data.loading.from_datasets import check_yields_batches
from learnkit.data.loading.loaders import ImageLoader
from learnkit.data.loading.targets import SET_NAMES
from learnkit.device import Compute
from learnkit.distributed.failures import told
from learnkit.distributed.world import world
from learnkit.errors import UsageError
from learnkit.inference.augmented import augmented_pair, predict_augmented
from learnkit.inference.dropout import DropoutPreds, predict_with_dropout
from learnkit.inference.predictions import PerItemLoss, predict_loader, predict_stream, with_own_workers
from learnkit.inference.predictor import of_output
from learnkit.learner.defaults import chosen_metrics, left_out
from learnkit.learner.parts import LearnerParts
from learnkit.learner.resume import RunCounter
from learnkit.learner.running import apart, twin
from learnkit.losses.activations import scaled
from learnkit.losses.outputs import takes_one_output
from learnkit.losses.per_item import loss_of_items
from learnkit.modes import eval_mode
from learnkit.training import loop
from learnkit.training.callback import CallbackList
from learnkit.training.state import NO_OPTIMIZER, TrainState
from learnkit.types import Activation, DatasetType

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Part", "Preds", "Source"]

Part = DatasetType | Literal["train", "valid", "test"]
Source = Part | Iterable[Any]  # a part of the data, or any loader of batches


@checks_methods
class Preds(LearnerParts):
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
        state.valid_dl = self._loader(DatasetType.Valid if dl is None else dl, "dl", needs_target=True)
        state.valid_name = _name_of(dl)
        given = self._given["metrics"] if metrics is None else metrics
        if metrics is not None or left_out(self.dls, self.loss_func, state.valid_dl) != self._left_out:
            state.metrics = chosen_metrics(self.dls, given, self.loss_func, state.valid_dl)
        if metrics is None and self._running.is_on:
            state.metrics = copy.deepcopy(state.metrics)  # a callback may be in the middle of a validation
        with self._answering() as (model, compute), eval_mode(model), compute.preserve_rng(every=True):
            state.model, state.compute = model, compute
            loop.validate(state, CallbackList())
        return list(state.valid.values())

    @overload
    def get_preds(
        self, ds_type: Source = ..., activ: Activation | None = ..., with_loss: Literal[False] = ...,
        n_batch: int | None = ..., out: "Tensor | np.ndarray[Any, Any] | None" = ...,
    ) -> tuple[Tensor, Any]: ...  # fmt: skip
    @overload
    def get_preds(
        self, ds_type: Source = ..., activ: Activation | None = ..., *, with_loss: Literal[True],
        n_batch: int | None = ..., out: "Tensor | np.ndarray[Any, Any] | None" = ...,
    ) -> tuple[Tensor, Any, Tensor]: ...  # fmt: skip
    @overload
    def get_preds(
        self, ds_type: Source = ..., activ: Activation | None = ..., with_loss: bool = ...,
        n_batch: int | None = ..., out: "Tensor | np.ndarray[Any, Any] | None" = ...,
    ) -> tuple[Tensor, Any] | tuple[Tensor, Any, Tensor]: ...  # fmt: skip
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

    @overload
    def predict_iter(
        self, ds_type: Source = ..., activ: Activation | None = ..., with_loss: Literal[False] = ...,
        n_batch: int | None = ...,
    ) -> Iterator[tuple[Tensor, Any]]: ...  # fmt: skip
    @overload
    def predict_iter(
        self, ds_type: Source = ..., activ: Activation | None = ..., *, with_loss: Literal[True],
        n_batch: int | None = ...,
    ) -> Iterator[tuple[Tensor, Any, Tensor]]: ...  # fmt: skip
    @overload
    def predict_iter(
        self, ds_type: Source = ..., activ: Activation | None = ..., with_loss: bool = ...,
        n_batch: int | None = ...,
    ) -> Iterator[tuple[Tensor, Any] | tuple[Tensor, Any, Tensor]]: ...  # fmt: skip
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

    def pred_batch(self, ds_type: Source = DatasetType.Valid) -> Tensor:
        """Activated outputs of the first batch, shape (batch size, ...), on the CPU."""
        return self.get_preds(ds_type, n_batch=1)[0]

    @overload
    def tta(
        self, ds_type: Part | Sequence[Any] | ImageLoader = ..., n: int = ..., beta: float = ...,
        with_loss: Literal[False] = ..., activ: Activation | None = ...,
    ) -> tuple[Tensor, Any]: ...  # fmt: skip
    @overload
    def tta(
        self, ds_type: Part | Sequence[Any] | ImageLoader = ..., n: int = ..., beta: float = ..., *,
        with_loss: Literal[True], activ: Activation | None = ...,
    ) -> tuple[Tensor, Any, Tensor]: ...  # fmt: skip
    @overload
    def tta(
        self, ds_type: Part | Sequence[Any] | ImageLoader = ..., n: int = ..., beta: float = ...,
        with_loss: bool = ..., activ: Activation | None = ...,
    ) -> tuple[Tensor, Any] | tuple[Tensor, Any, Tensor]: ...  # fmt: skip
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

        Gal, Ghahramani: Dropout as a Bayesian approximation, 2016. What is dropped depends only on `learn.seed`. See
        `DropoutPreds` and `predict_with_dropout`.
        """
        loader, task = self._loader(ds_type), self.dls.task
        with self._answering() as (model, compute):
            if compute.leaves_rng:
                raise UsageError("mc_dropout: it draws from the generators of the running fit", fix="Wait for the fit.")
            return predict_with_dropout(model, loader, compute, self._scaled(), task, n=n, seed=self.counter.seed)

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

    def _item_loss(self, is_wanted: bool) -> PerItemLoss | None:
        output = self.output if takes_one_output(self.loss_func) else None
        return partial(loss_of_items, self.loss_func, output) if is_wanted else None

    def _loader(self, source: Source, what: str = "ds_type", *, needs_target: bool = False) -> Any:
        """A loader in its order; for a part of the data, or the training loader, one in the order of the items."""
        if source is self.dls.train_dl:
            source = DatasetType.Train
        if isinstance(source, str) or not isinstance(source, Iterable):
            source = self.dls.ordered_dl(DatasetType.of(source, what))
        check_yields_batches(what, source)
        self.dls.check_batches(what, source)
        source = self.dls.as_own(source, needs_target=needs_target)
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


def _name_of(source: Source | None) -> str:
    """What errors call a loader that was asked for: by its part of the data, or as one that was given."""
    if isinstance(source, Iterable) and not isinstance(source, str):
        return "given"
    part = DatasetType.Valid if source is None else DatasetType.of(source, "dl")
    name = "train" if part == DatasetType.Fix else part.name.lower()
    return SET_NAMES.get(name, name)
