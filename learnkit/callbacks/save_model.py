"""Save the best weights of a fit, or those of every epoch or interval, and load the best at its end."""

import math
import string
import time
from pathlib import Path
from typing import Any

from learnkit.callbacks.monitor import Mode, Monitor, MonitoringCallback
from learnkit.checks import check_int, check_kind
from learnkit.distributed.agreement import Agreement
from learnkit.distributed.world import world
from learnkit.errors import UsageError, WriteError, warn
from learnkit.persistence.suffixes import WEIGHTS, with_suffix
from learnkit.persistence.weights import check_name, load_weights, save_weights
from learnkit.training.callback import Order
from learnkit.training.interval import Interval
from learnkit.training.processes import spread_weights
from learnkit.training.sharding import whole_of
from learnkit.training.state import TrainState
from learnkit.training.weights import are_finite

__all__ = ["SaveModel"]

WHOLE = ("epoch", "step")  # numbers without decimals


class SaveModel(MonitoringCallback):
    """Write the weights to the learner's model folder whenever the monitored result improves, or at intervals.

    With `every="improvement"` the best weights are loaded when the fit ends, even if it is stopped or interrupted, but
    only if this call wrote them (`fine_tune` is two fits), never from a file of an earlier run; not after an error in a
    fit with strategy="fsdp". If a file cannot be
    written (on a full disk), training continues with a warning. The parameters of a loss are weights too.

    Args:
        monitor: "train_loss", "valid_loss" or a column of a metric.
        every: "improvement"; "epoch"; a number of optimizer steps (500) or a time ("10min"), as `checkpoint_every`.
        name: the file name, with .pth added unless it ends in .pth or .pt; a pattern such as
            "{epoch}-{valid_loss:.3f}" of the columns of the record and `step`. Without a pattern, files of which there
            are several get "_" and the number of the epoch, or "_step" and that of the step.
        with_opt: whether the optimizer's state is saved too.
        mode: "min" if lower is better, "max" if higher is; None for the direction of the metric, or of a name that
            says it (loss, error, mae, ...).
        min_delta: the minimum change that counts as an improvement.
        baseline: the value to beat at first; None for any.
        top_k: keep the files of this many best results, with `every="improvement"`.
        last: write the weights of each epoch to NAME_last too.
        keep_best: whether the best of earlier fits with this callback is the value to beat, also in another call.

    Raises:
        UsageError: invalid arguments; in a fit: an unknown monitor, one whose direction is not known, or a pattern of
            something that is not in the record.
    """

    order = Order.DECIDE

    def __init__(
        self,
        monitor: str = "valid_loss",
        every: int | str = "improvement",
        name: str = "bestmodel",
        *,
        with_opt: bool = False,
        mode: Mode = None,
        min_delta: float = 0.0,
        baseline: float | None = None,
        top_k: int = 1,
        last: bool = False,
        keep_best: bool = False,
    ) -> None:
        self.monitor: Monitor = Monitor(monitor, min_delta, mode=mode, baseline=baseline)
        self.every = every
        self._interval = None if every in ("improvement", "epoch") else _interval(every)
        self.name = name
        self._fields = _fields(name)
        self.top_k: int = check_int("top_k", top_k, 1)
        if top_k > 1 and every != "improvement":
            raise UsageError("top_k", got=top_k, expected="1 unless every='improvement': all of these files are kept")
        for what, value in (("with_opt", with_opt), ("last", last), ("keep_best", keep_best)):
            check_kind(what, value, bool, "True or False")
        self.with_opt: bool = with_opt
        self.last: bool = last
        self.keep_best: bool = keep_best
        self._best: list[tuple[float, str]] = []  # value and file of the best results, the best first
        self._written: list[str] = []  # files that stay, so no other is written over them
        self._has_failed = False
        self._last_step, self._last_time = 0, 0.0
        self._agreement = Agreement()

    @property
    def label(self) -> str:
        return f"SaveModel({self.name!r})"

    def before_fit(self, state: TrainState) -> None:
        goes_on = self.keep_best or state.continues_call
        if self.every == "improvement" or self.monitor.name != "valid_loss":
            self.monitor.start(state, keep_best=goes_on)
        if not goes_on:
            self._best, self._written = [], []
        self._has_failed = False
        self._last_step, self._last_time = state.step, time.monotonic()
        known = {"epoch", "step", *state.record_names}
        for field in self._fields:
            if field not in known:
                raise UsageError("name", got=self.name, expected=f"a pattern of {', '.join(sorted(known))}")

    def after_batch(self, state: TrainState) -> None:
        if self._interval is None or state.step == self._last_step:
            return
        is_late = self._interval.is_due(0, time.monotonic() - self._last_time)
        is_late = bool(self._agreement.exchange(is_late and world.is_first)[0])
        if is_late or self._interval.is_due(state.step - self._last_step, 0):
            self._last_step, self._last_time = state.step, time.monotonic()
            self._save(state, self._file(state, f"_step{state.step}"))

    def after_epoch(self, state: TrainState) -> None:
        if self.every == "improvement":
            super().after_epoch(state)
        elif self.every == "epoch":
            self._save(state, self._file(state, f"_{_epoch(state)}"))
        if self.last:
            stem, suffix = _split("last" if self._fields else self.name)
            self._save(state, f"{stem}{'' if self._fields else '_last'}{suffix}")

    def _look(self, state: TrainState, value: float) -> None:
        if self.every != "improvement":
            return
        is_better = self.monitor.improves(state, value)
        if self.top_k > 1:
            is_better = self._is_among_best(value)
        if not is_better:
            return
        mark = f"_step{state.step}" if state.is_mid_epoch else f"_{_epoch(state)}"
        file = self._file(state, "" if self.top_k == 1 and not self._fields else mark)
        if self._save(state, file):
            self._keep(state, value, file)

    def _is_among_best(self, value: float) -> bool:
        monitor = self.monitor
        passes = monitor.baseline is None or monitor.beats(value, monitor.baseline, monitor.min_delta)
        fits = len(self._best) < self.top_k or monitor.beats(value, self._best[-1][0])
        return passes and fits and not math.isnan(value)

    def _keep(self, state: TrainState, value: float, file: str) -> None:
        """Note a file that was written, and remove the one it displaces."""
        others = [(other, name) for other, name in self._best if name != file]
        place = sum(not self.monitor.beats(value, other) for other, _ in others) if self.top_k > 1 else 0
        self._best = [*others[:place], (value, file), *others[place:]]
        for _, displaced in self._best[self.top_k :] if world.is_first else ():
            (state.folder / displaced).unlink(missing_ok=True)
        del self._best[self.top_k :]
        self._written = [name for _, name in self._best] if self.top_k > 1 else []

    def _file(self, state: TrainState, mark: str) -> str:
        """The name of a file: the pattern filled in, if that is not the name of another; otherwise with a mark."""
        if not self._fields:
            stem, suffix = _split(self.name)
            return f"{stem}{mark}{suffix}"
        row = dict.fromkeys(state.record_names, math.nan) | state.row | state.valid
        stem, suffix = _split(self.name.format(**{**row, "epoch": _epoch(state), "step": state.step}))
        file = f"{stem}{suffix}"
        return f"{stem}{mark}{suffix}" if file in self._written else file

    def _save(self, state: TrainState, file: str) -> bool:
        """Whether the weights are written: by the first of several processes; never those that a nan has spoiled."""
        if not are_finite(state.model):  # its loss may not be read yet
            warn(f"{self.label}: the weights are nan or infinite after step {state.step}; they are not saved")
            return False
        has_failed = False
        model, optimizer = whole_of(state)
        try:
            if world.is_first:
                of_file = optimizer if self.with_opt else None
                save_weights(state.folder / file, model, of_file, state.loss_func, classes=state.classes)
        except WriteError as error:
            has_failed = True
            kept = "the last saved file is unchanged" if self._best else "nothing has been saved yet"
            warn(f"{self.label}: {error} Training continues; {kept}.")
        if world.agreed(has_failed):
            self._has_failed = True
            return False
        if self.every != "improvement":
            self._written.append(file)
        return True

    def state_dict(self) -> dict[str, Any]:
        best = {"best": self.monitor.best, "files": self._best}
        return {**best, "written": self._written, "last_step": self._last_step}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        self.monitor.best = saved["best"]
        self._best = [(value, file) for value, file in saved["files"]]
        self._written, self._last_step = list(saved["written"]), saved["last_step"]

    def after_fit(self, state: TrainState) -> None:
        if self.every != "improvement" or (state.failed and state.whole is not None):
            return
        if self._best:
            model = (state.whole or state).model
            if world.is_first:
                load_weights(state.folder / self._best[0][1], model, loss=state.loss_func, is_own=True)
            if not state.failed:  # else the others may be gone
                spread_weights(model, state.loss_func)
                if state.whole is not None:
                    state.whole.share_out(with_optimizer=False)
        elif state.row and not self._has_failed:
            warn(f"{self.monitor.name} never improved: nothing was saved as {self.name!r}, the last weights stay")


def _interval(every: int | str) -> Interval:
    try:
        return Interval.of(every, "every")
    except UsageError:
        expected = "'improvement', 'epoch', a number of steps (500), or a time such as '10min'"
        raise UsageError("every", got=every, expected=expected) from None


def _fields(name: str) -> list[str]:
    """The columns that a pattern names, [] for a plain name.

    Raises:
        UsageError: a pattern that is broken, or would not make a plain file name.
    """
    if not isinstance(name, str) or "{" not in name:
        check_name(name, fix="The file is in the model folder: Learner(..., path=, model_dir=).")
        return []
    try:
        fields = [field for _, field, _, _ in string.Formatter().parse(name) if field is not None]
        for number in (0, 1234567):
            made = name.format(**{field: number if field in WHOLE else float(number) for field in fields})
            check_name(made)
    except (ValueError, KeyError, IndexError, AttributeError) as error:
        expected = "a pattern such as '{epoch}-{valid_loss:.3f}', of letters, digits, '.', '_' and '-'"
        raise UsageError("name", got=name, expected=expected) from error
    return fields


def _split(name: str) -> tuple[str, str]:
    """A file name in two: before its suffix, and .pth, or .pt if it ends so."""
    file = with_suffix(Path(name), WEIGHTS)
    return file.stem, file.suffix


def _epoch(state: TrainState) -> int:
    """The number of this epoch in the record."""
    return state.epoch_number if state.is_mid_epoch or not state.row else int(state.row["epoch"])
