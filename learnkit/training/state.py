"""TrainState, the state of one fit: what is trained, the position, and the current batch."""

from collections.abc import Iterable, Sequence, Sized
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from learnkit.device import Compute
from learnkit.errors import UsageError
from learnkit.metrics.metric import Metric
from learnkit.types import Loss

__all__ = ["NO_OPTIMIZER", "TrainState"]

NO_OPTIMIZER: Any = None  # of a state that only validates, without hooks


@dataclass(slots=True, kw_only=True)
class TrainState:
    """Everything a callback may read or change; an unknown name is an AttributeError.

    Attributes:
        start_epoch: the epoch this fit starts with; schedules start there too.
        start_batch: batches of that epoch an interrupted fit has already done.
        resumed: whether this fit continues from a checkpoint, so `load_state_dict` of its callbacks will be called.
        is_done: whether the checkpoint is that of a finished fit.
        rates: the learning rates requested for this fit, one per layer group from the input to the head.
        seed: all randomness of the fit is a function of it, the epoch and the batch.
        epoch_offset: epochs of earlier fits; `epoch_offset + epoch` never repeats in the life of a learner.
        folder: where callbacks write files.
        classes: the names of the model's outputs; empty if they have none.
        stops_on_nan: whether a non-finite loss ends the fit quietly; otherwise it is an error.
        epoch: the current epoch of this fit, from 0.
        batch: the current batch of this epoch, from 0.
        step: optimizer steps taken in this fit.
        epochs_begun: epochs of this fit whose training has started.
        inputs: the model's arguments, a tuple.
        targets: what the loss compares the outputs with.
        preds: the model's raw output, float32.
        loss: mean over the batch, shape ().
        valid: results of the last validation: "valid_loss" and one number per metric.
        row: the record of the last epoch, as the table shows it; set by the recorder.
        columns: additional numbers of an epoch's row, by name: a callback names them in `before_fit` (as nan) and
            sets them before the recorder's `after_epoch`.
        stop_reason: why the fit ended early, "" if it did not.
        failed: whether the fit is ending with an error or Ctrl-C, for `after_fit`.
    """

    # What is trained, and on what: fixed for one fit.
    model: nn.Module
    optimizer: Optimizer = NO_OPTIMIZER
    loss_func: Loss
    train_dl: Iterable[Any]
    valid_dl: Iterable[Any] | None = None
    metrics: Sequence[Metric] = ()
    compute: Compute = field(default_factory=Compute)
    n_epochs: int = 1
    start_epoch: int = 0
    start_batch: int = 0
    resumed: bool = False
    is_done: bool = False
    rates: list[float] = field(default_factory=list)
    seed: int = 0
    epoch_offset: int = 0
    folder: Path = field(default_factory=Path)
    classes: Sequence[str] = ()
    stops_on_nan: bool = False
    epoch_seed: int = 0  # the generators of batch n of the running epoch are seeded with this + n
    # The position.
    epoch: int = 0
    batch: int = 0
    step: int = 0
    epochs_begun: int = 0
    # The current batch: set by the loop, editable by callbacks.
    inputs: tuple[Any, ...] = ()
    targets: Any = None
    preds: Any = None
    loss: Tensor = field(init=False)
    loss_value: float | None = None  # of this batch, on a device where reading it is free
    # Results.
    valid: dict[str, float] = field(default_factory=dict)
    row: dict[str, float] = field(default_factory=dict)
    columns: dict[str, float] = field(default_factory=dict)
    stop_reason: str = ""
    failed: bool = False
    n_batches: int | None = field(init=False)  # in an epoch; None for a loader without a length

    def __post_init__(self) -> None:
        self.n_batches = loader_length(self.train_dl)

    @property
    def progress(self) -> float:
        """The share of this fit that is done before the current batch, in [0, 1).

        With gradient accumulation, all batches of one step have the progress of the first one.

        Raises:
            UsageError: the training loader has no length.
        """
        if self.n_batches is None:
            raise UsageError(
                "train_dl has no length, so progress cannot be computed",
                fix="Give the loader a __len__, or train without a schedule.",
            )
        n = self.batches_per_step
        steps = -(-self.n_batches // n)
        return (self.epoch * steps + self.batch // n) / (self.n_epochs * steps)

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
        validated = ["valid_loss", *(metric.name for metric in self.metrics)]
        return ["train_loss", *(validated if self.valid_dl is not None else []), *self.columns]


def loader_length(loader: object) -> int | None:
    """The number of batches of a loader, None if unknown."""
    if not isinstance(loader, Sized):
        return None
    try:
        return len(loader)
    except TypeError:  # a torch DataLoader over a dataset without a length
        return None
