"""The recorder: losses, rates and results of every fit of a learner, per batch and per epoch."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Unpack

import torch
from torch import Tensor

from learnkit.arguments import checks_keywords
from learnkit.callbacks.numbers import Numbers
from learnkit.errors import UsageError
from learnkit.optim.optimizers import last_group, momentum_of
from learnkit.plots.layout import FigSize, Panels
from learnkit.training.callback import Callback, Order
from learnkit.training.state import TrainState

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


__all__ = ["LRCurve", "Recorder", "Smoothed", "Suggestions"]

MAX_UNREAD = 512  # losses as single tensors, each a block of the accelerator's memory
PER_BATCH = ("losses", "lrs", "moms")


class Smoothed:
    """An exponential moving average with bias correction (Kingma, Ba: Adam, 2015, section 3).

    >>> smoothed = Smoothed(0.98)
    >>> [round(smoothed.add(loss), 5) for loss in (1.0, 2.0, 3.0)]
    [1.0, 1.50505, 2.01347]
    """

    def __init__(self, beta: float = 0.98) -> None:
        self.beta = beta
        self.value: float = float("nan")
        self._mean = 0.0
        self._weight = 1.0

    def add(self, value: float) -> float:
        """Add one more value and return the average so far."""
        self._mean = self.beta * self._mean + (1 - self.beta) * value
        self._weight *= self.beta
        self.value = self._mean / (1 - self._weight)
        return self.value

    def state_dict(self) -> dict[str, float]:
        return {"value": self.value, "mean": self._mean, "weight": self._weight}

    def load_state_dict(self, saved: dict[str, float]) -> None:
        self.value, self._mean, self._weight = saved["value"], saved["mean"], saved["weight"]


class Suggestions(NamedTuple):
    """Four readings of one curve; `valley` is the one to try first."""

    valley: float
    steep: float
    minimum: float
    slide: float


@dataclass(frozen=True)
class LRCurve:
    """The result of `lr_find`: rates and smoothed losses of equal length, and the suggestions read off them."""

    lrs: tuple[float, ...]
    losses: tuple[float, ...]
    suggestions: Suggestions


class Recorder(Callback):
    """Records losses, rates and results; it belongs to the learner, and every fit adds to it.

    A batch takes 20 bytes: 4 for its loss, 8 each for rate and momentum (fewer where they stay the same).

    Attributes:
        losses: the training loss of each batch, as the loss function returned it.
        lrs: the learning rate of the last layer group in each batch.
        moms: the momentum in each batch (nan for an optimizer without it).
        rows: one mapping per epoch: epoch, train_loss (the smoothed loss at the end of the epoch), valid_loss, the
            metrics, the columns of other callbacks, time in seconds.
        epoch_ends: for each row, the number of training batches so far.
        validations: results of the validations within epochs (`validate_every=500`), one mapping each: epoch, step of
            its fit, train_loss, valid_loss and the metrics.
        lr_curve: the curve of the last `lr_find`; None before it.
    """

    order = Order.RECORD

    def __init__(self) -> None:
        self.losses: Numbers = Numbers()
        self.lrs: Numbers = Numbers()
        self.moms: Numbers = Numbers()
        self.rows: list[dict[str, float]] = []
        self.epoch_ends: list[int] = []
        self.validations: list[dict[str, float]] = []
        self.lr_curve: LRCurve | None = None
        self._smoothed = Smoothed()
        self._starts: list[int] = []  # the first batch of each fit
        self._unread: list[Tensor] = []  # losses on the device, shape ()
        self._joined: list[Tensor] = []  # earlier ones, (MAX_UNREAD,) each
        self._epoch_start = 0.0

    def before_fit(self, state: TrainState) -> None:
        self._smoothed = Smoothed()
        self._starts.append(len(self.losses))
        self._unread, self._joined = [], []
        state.epochs_before = len(self.rows)

    def before_epoch(self, state: TrainState) -> None:
        self._epoch_start = time.perf_counter()

    def after_batch(self, state: TrainState) -> None:
        if state.loss_value is None:
            self._unread.append(state.loss.detach())  # on the device: reading it would synchronize
            if len(self._unread) == MAX_UNREAD:
                self._joined.append(torch.stack(self._unread))
                self._unread = []
        else:
            self._keep(state.loss_value)
        self.lrs.append(last_group(state.optimizer)["lr"])
        momentum = momentum_of(state.optimizer)
        self.moms.append(float("nan") if momentum is None else momentum)

    def after_validate(self, state: TrainState) -> None:
        if state.is_mid_epoch:
            self._read()
            at = {"epoch": len(self.rows), "step": state.step, "train_loss": self._smoothed.value}
            self.validations.append({**at, **state.valid})

    def after_epoch(self, state: TrainState) -> None:
        self._read()
        row = {"epoch": len(self.rows), "train_loss": self._smoothed.value, **state.valid, **state.columns}
        state.row = {**row, "time": time.perf_counter() - self._epoch_start}
        self.rows.append(state.row)
        self.epoch_ends.append(len(self.losses))

    def after_fit(self, state: TrainState) -> None:
        self._read()  # also the losses of an interrupted epoch

    def state_dict(self) -> dict[str, Any]:
        """Everything except `lr_curve`."""
        self._read()
        numbers = {name: getattr(self, name).state_dict() for name in PER_BATCH}
        seconds = time.perf_counter() - self._epoch_start
        rest = {"rows": self.rows, "epoch_ends": self.epoch_ends, "validations": self.validations}
        rest |= {"smoothed": self._smoothed.state_dict(), "starts": self._starts}
        return {**numbers, **rest, "seconds": seconds}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        self._unread, self._joined = [], []
        for name in PER_BATCH:
            getattr(self, name).load_state_dict(saved[name])
        self.rows, self.epoch_ends, self.validations = saved["rows"], saved["epoch_ends"], saved["validations"]
        self._starts = saved["starts"]
        self._smoothed.load_state_dict(saved["smoothed"])
        self._epoch_start = time.perf_counter() - saved["seconds"]

    def _read(self) -> None:
        if self._unread or self._joined:
            unread = torch.stack(self._unread) if self._unread else self._joined.pop()
            values = torch.cat([*self._joined, unread]).float().tolist()
            self._unread, self._joined = [], []
            for value in values:
                self._keep(value)

    def _keep(self, value: float) -> None:
        self.losses.append(value)
        self._smoothed.add(value)

    @property
    def smooth_losses(self) -> list[float]:
        """`losses`, smoothed (see `Smoothed`), starting over in every fit; computed when asked for."""
        starts, smoothed, found = set(self._starts), Smoothed(), list[float]()
        for number, loss in enumerate(self.losses):
            if number in starts:
                smoothed = Smoothed()
            found.append(smoothed.add(loss))
        return found

    @property
    def history(self) -> "pd.DataFrame":
        """One row per epoch: epoch, train_loss, valid_loss, one column per metric, time in seconds."""
        import pandas as pd

        history = pd.DataFrame(self.rows, columns=None if self.rows else ["epoch", "train_loss", "valid_loss", "time"])
        history.insert(len(history.columns) - 1, "time", history.pop("time"))  # last, even if metrics were added later
        return history.astype({"epoch": int})

    @checks_keywords
    def plot(
        self, skip_start: int = 10, skip_end: int = 5, suggestion: bool = True, *, figsize: "FigSize" = None
    ) -> "Figure":
        """Loss against learning rate in the last `lr_find`, with its suggestions unless `suggestion` is False.

        The first `skip_start` and the last `skip_end` batches are left out.

        Raises:
            UsageError: `lr_find` has not run yet.
        """
        from learnkit.plots import lr_curve

        if self.lr_curve is None:
            raise UsageError("recorder.plot: nothing to draw yet", fix="Run learn.lr_find() first.")
        lrs, losses = list(self.lr_curve.lrs), list(self.lr_curve.losses)
        end = max(len(lrs) - skip_end, skip_start + 2)
        loss_at = dict(zip(lrs, losses, strict=True))
        marks = {
            name: (lr, loss_at[min(lrs, key=lambda known, lr=lr: abs(known - lr))])  # type: ignore[misc]
            for name, lr in self.lr_curve.suggestions._asdict().items()
        }
        return lr_curve(lrs[skip_start:end], losses[skip_start:end], marks if suggestion else {}, figsize)

    @checks_keywords
    def plot_losses(self, *, figsize: "FigSize" = None) -> "Figure":
        """The training loss of every batch, its smoothed curve, and the validation loss of every epoch."""
        from learnkit.plots import loss_curves

        self._require_batches("plot_losses")
        valid = [
            (end, row["valid_loss"]) for end, row in zip(self.epoch_ends, self.rows, strict=True) if "valid_loss" in row
        ]
        return loss_curves(list(self.losses), self.smooth_losses, valid, figsize)

    @checks_keywords
    def plot_lr(self, *, figsize: "FigSize" = None) -> "Figure":
        """The learning rate and the momentum of every batch."""
        from learnkit.plots import schedule_curves

        self._require_batches("plot_lr")
        moms = list(self.moms)
        return schedule_curves(list(self.lrs), None if all(m != m for m in moms) else moms, figsize)

    @checks_keywords
    def plot_metrics(self, **layout: Unpack[Panels]) -> "Figure":
        """Every metric per epoch; `layout` takes figsize, nrows and ncols.

        Raises:
            UsageError: no epoch with a metric has been recorded.
        """
        from learnkit.plots import metric_curves

        history = self.history
        names = [name for name in history if name not in ("epoch", "train_loss", "valid_loss", "time")]
        if not names or not len(history):
            raise UsageError("recorder.plot_metrics: no metric recorded yet", fix="Pass metrics='accuracy' and fit.")
        columns: Mapping[str, list[float]] = {str(name): [float(v) for v in history[name]] for name in names}
        return metric_curves(columns, **layout)

    def _require_batches(self, plot: str) -> None:
        if not self.losses:
            raise UsageError(f"recorder.{plot}: nothing to draw yet", fix="Fit first, for example learn.fit(1).")
