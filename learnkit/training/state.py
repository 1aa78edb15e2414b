"""TrainState, the state of one fit: what is trained, the position, and the current batch."""

from collections.abc import Callable, Iterable, Sequence, Sized
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from learnkit.data.loading.shares import Share
from learnkit.device import Compute
from learnkit.distributed.parallel import Parallel
from learnkit.distributed.sharded import Sharded
from learnkit.errors import UsageError
from learnkit.losses.outputs import takes_one_output
from learnkit.metrics.metric import Metric, columns
from learnkit.optim.kept import AsMade
from learnkit.training.limits import FirstBatches, Limits
from learnkit.training.whole import Whole
from learnkit.types import Loss

__all__ = ["NO_OPTIMIZER", "TrainState"]

NO_OPTIMIZER: Any = None  # of a state that only validates, without hooks


@dataclass(slots=True, kw_only=True)
class TrainState:
    """Everything a callback may read or change; an unknown name is an AttributeError.

    Attributes:
        start_epoch: the epoch this fit starts with; schedules start there too.
        first_epoch: the epoch the fit started with, also when it continues from a checkpoint.
        start_batch: batches of that epoch an interrupted fit has already done.
        resumed: whether this fit continues from a checkpoint, so `load_state_dict` of its callbacks will be called.
        is_done: whether the checkpoint is that of a finished fit.
        rates: the learning rates requested for this fit, one per layer group from the input to the head.
        as_made: what the optimizer keeps before its first step; after a nan it begins so again.
        train_dl, valid_dl: what is trained on, and what validates.
        valid_name: what errors call the loader that validates: "validation", or the part of the data that it has.
        compute: the device and the precision, and what switches have set.
        n_epochs: epochs of this fit.
        output: picks the one of the model's outputs that is the prediction; None for a model with one output.
        seed: all randomness of the fit is a function of it, the epoch and the batch.
        epoch_offset: epochs of earlier fits; `epoch_offset + epoch` never repeats in the life of a learner.
        folder: where callbacks write files.
        limits: what ends the fit before its last epoch, and how often it validates.
        epochs_before: epochs in the record before this fit, set by the recorder.
        continues_call: whether an earlier fit of the same call precedes this one: `fine_tune` is two fits. Callbacks
            then go on with what they keep of a fit.
        is_trial: whether nothing that is trained is kept, as in `lr_find`.
        classes: the names of the model's outputs; empty if they have none.
        stops_on_nan: whether a non-finite loss ends the fit quietly; otherwise it is an error.
        epoch: the current epoch of this fit, from 0.
        batch: the current batch of this epoch, from 0.
        step: optimizer steps taken in this fit.
        validated_step: the step at the last validation.
        has_validated: whether there was one; the first is watched for outputs and targets that do not fit.
        is_mid_epoch: whether the validation that runs is one between two batches, not that of the end of the epoch.
        epochs_begun: epochs of this fit whose training has started.
        parallel: of several processes: runs the model in training, and averages its gradients; None alone.
        whole: of a sharded fit: the model and the optimizer with all weights, as of `kept_step`; else None.
        kept_step: of a sharded fit: the step whose weights are put together in `whole`; None for any other fit.
        epoch_seed: the generators of batch n of the running epoch are seeded with it + n.
        share_weight: what the loss of the whole batch is divided by.
        began: when the fit began, in seconds of the monotonic clock; earlier for one that was interrupted.
        batch_loss: in place of `loss_func` for this batch: that of mixed targets.
        loss_value: of this batch, on a device where reading it is free; else None.
        share: this process's share of the batch that is trained on; None alone.
        inputs: the model's arguments, a tuple.
        targets: what the loss compares the outputs with.
        preds: the model's raw outputs, float32: all that the loss function takes.
        loss: of the batch, shape (): a mean, unless the loss function adds up.
        valid: results of the last validation: "valid_loss" and one number per metric.
        row: the record of the last epoch, as the table shows it; set by the recorder.
        columns: additional numbers of an epoch's row, by name: a callback names them in `before_fit` (as nan) and
            sets them before the recorder's `after_epoch`.
        stop_reason: why the fit ended early, "" if it did not.
        failed: whether the fit is ending with an error or Ctrl-C, for `after_fit`.
        restored: whether the weights of before were restored because the training became nan or infinite.
    """

    # What is trained, and on what: fixed for one fit.
    model: nn.Module
    optimizer: Optimizer = NO_OPTIMIZER
    loss_func: Loss
    train_dl: Iterable[Any]
    valid_dl: Iterable[Any] | None = None
    valid_name: str = "validation"
    metrics: Sequence[Metric] = ()
    compute: Compute = field(default_factory=Compute)
    n_epochs: int = 1
    start_epoch: int = 0
    first_epoch: int = 0
    start_batch: int = 0
    resumed: bool = False
    is_done: bool = False
    rates: list[float] = field(default_factory=list)
    as_made: AsMade = field(default_factory=AsMade)
    output: Callable[[Any], Any] | None = None
    seed: int = 0
    epoch_offset: int = 0
    folder: Path = field(default_factory=Path)
    limits: Limits = field(default_factory=Limits)
    epochs_before: int = 0
    continues_call: bool = False
    is_trial: bool = False
    classes: Sequence[str] = ()
    stops_on_nan: bool = False
    epoch_seed: int = 0
    # The position.
    epoch: int = 0
    batch: int = 0
    step: int = 0
    epochs_begun: int = 0
    validated_step: int = 0
    has_validated: bool = False
    is_mid_epoch: bool = False
    parallel: Parallel | Sharded | None = None
    whole: Whole | None = None
    kept_step: int | None = None
    share: Share | None = None
    share_weight: Tensor | int | None = None
    began: float = 0.0
    # The current batch: set by the loop, editable by callbacks.
    inputs: tuple[Any, ...] = ()
    targets: Any = None
    preds: Any = None
    loss: Tensor = field(init=False)
    batch_loss: Loss | None = None
    loss_value: float | None = None
    # Results.
    valid: dict[str, float] = field(default_factory=dict)
    row: dict[str, float] = field(default_factory=dict)
    columns: dict[str, float] = field(default_factory=dict)
    stop_reason: str = ""
    failed: bool = False
    loss_takes_one: bool = field(init=False)  # of several outputs; metrics always do
    restored: bool = False
    n_batches: int | None = field(init=False)  # in an epoch; None for a loader without a length

    def __post_init__(self) -> None:
        self.count_batches()
        self.loss_takes_one = self.output is not None and takes_one_output(self.loss_func)

    def limit(self, limits: Limits) -> None:
        """Set the limits of a fit that has not started; a loader without a length is taken to reach `limit_batches`.

        Raises:
            UsageError: `validate_every` without a validation set.
        """
        self.limits = limits
        if self.valid_dl is None and "validate_every" in limits.given:
            got = limits.given["validate_every"]
            raise UsageError("validate_every", got=got, expected="None, as there is no validation set")
        self.count_batches()
        if limits.max_batches is not None:
            self.valid_dl = None if self.valid_dl is None else FirstBatches(self.valid_dl, limits.max_batches)

    def count_batches(self) -> None:
        """Read how many batches the coming epoch has: a callback may give each epoch another loader."""
        known, most = loader_length(self.train_dl), self.limits.max_batches
        self.n_batches = min((n for n in (known, most) if n is not None), default=None)

    @property
    def prediction(self) -> Any:
        """The one of the outputs that is the prediction, which metrics take."""
        return self.preds if self.output is None else self.output(self.preds)

    @property
    def progress(self) -> float:
        """The share of this fit that is done before the current batch, in [0, 1).

        With gradient accumulation, all batches of one step have the progress of the first one. A fit with `max_steps`
        is as long as these; `max_time` is not known in steps, so it cuts a schedule short.

        Raises:
            UsageError: the training loader has no length, and the fit no `max_steps`.
        """
        max_steps = self.limits.max_steps
        if self.n_batches is None:
            if max_steps is None:
                raise UsageError(
                    "train_dl has no length, so progress cannot be computed",
                    fix="Give the loader a __len__, pass max_steps=, or train without a schedule.",
                )
            return min(self.step, max_steps - 1) / max_steps
        n = self.batches_per_step
        steps = -(-self.n_batches // n)
        done, total = self.epoch * steps + self.batch // n, self.n_epochs * steps
        if max_steps is not None:
            total = min(total, self.first_epoch * steps + max_steps)
        return min(done, total - 1) / total  # more batches than steps: float16 overflows skip some

    @property
    def planned_epochs(self) -> int:
        """The epochs of this fit, the last perhaps incomplete: fewer than `n_epochs` if `max_steps` ends it before."""
        if self.limits.max_steps is None or self.n_batches is None:
            return self.n_epochs
        steps = -(-self.n_batches // self.batches_per_step)
        return min(self.n_epochs, self.first_epoch - (-self.limits.max_steps // steps))

    @property
    def epoch_number(self) -> int:
        """The number that the running epoch will have in the record, which counts over all fits."""
        return int(self.row["epoch"]) + 1 if self.row else self.epochs_before

    @property
    def continues(self) -> bool:
        """Whether the current epoch was started by a fit that was interrupted within it."""
        return self.start_batch > 0 and self.epoch == self.start_epoch

    @property
    def batches_per_step(self) -> int:
        """Batches per optimizer step; 1 for a loader without a batch size."""
        if self.compute.accumulate is None:
            return 1
        size = getattr(self.train_dl, "batch_size", None)
        return -(-self.compute.accumulate // size) if isinstance(size, int) and size > 0 else 1

    @property
    def record_names(self) -> list[str]:
        """The columns of each epoch's row, in the order of the table; known before the first epoch."""
        validated = ["valid_loss", *(name for metric in self.metrics for name in columns(metric))]
        return ["train_loss", *(validated if self.valid_dl is not None else []), *self.columns]


def loader_length(loader: object) -> int | None:
    """The number of batches of a loader, None if unknown."""
    if not isinstance(loader, Sized):
        return None
    try:
        return len(loader)
    except TypeError:  # a torch DataLoader over a dataset without a length
        return None
