"""The state of one fit: what is trained, where we are, and what is in flight."""

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

__all__ = ["TrainState"]


@dataclass(slots=True, kw_only=True)
class TrainState:
    """Everything a callback may read or change; an unknown name is an AttributeError.

    Attributes:
        start_epoch: the epoch of this fit that it begins with; schedules begin there too.
        start_batch: batches of that epoch that an interrupted fit had done already.
        resumed: whether this fit goes on from a checkpoint, so that `load_state_dict` of its callbacks will be called.
        is_done: whether the checkpoint is that of a fit at its end.
        rates: the learning rate asked of this fit, one per layer group from the input to the head.
        seed: all randomness of the fit is a function of it, the epoch and the batch.
        first_epoch: epochs the learner had behind it when this fit began; `first_epoch + epoch` never repeats.
        folder: where callbacks write files.
        stops_on_nan: whether a loss that is no number ends the fit quietly; otherwise it is an error.
        epoch: number of the running epoch of this fit, from 0.
        batch: number of the running batch of this epoch, from 0.
        step: optimizer steps taken in this fit.
        epochs_begun: epochs of this fit of which training has begun.
        inputs: what the model is called with, a tuple.
        targets: what the loss compares with.
        preds: the model's raw output, float32.
        loss: mean over the batch, shape ().
        valid: results of the last validation: "valid_loss" and one number a metric.
        row: the record of the last epoch, as the table shows it; set by the recorder.
        columns: further numbers of an epoch's row, by name: a callback names them in `before_fit` (nan will do) and
            sets them before the recorder's `after_epoch`.
        stop_reason: why the fit ended early, empty when it did not.
        failed: whether the fit is ending with an error or Ctrl-C; `after_fit` may ask.
    """

    # What is trained, and on what: fixed for one fit.
    model: nn.Module
    optimizer: Optimizer
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
    first_epoch: int = 0
    folder: Path = field(default_factory=Path)
    stops_on_nan: bool = False
    epoch_seed: int = 0  # the generators of batch n of the running epoch are seeded with this + n
    # Where we are.
    epoch: int = 0
    batch: int = 0
    step: int = 0
    epochs_begun: int = 0
    # In flight: set by the loop batch by batch, editable by callbacks.
    inputs: tuple[Any, ...] = ()
    targets: Any = None
    preds: Any = None
    loss: Tensor = field(init=False)
    loss_value: float | None = None  # of this batch, on a device where reading it is free
    # What came out.
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
        """The share of this fit that is done before the running batch, in [0, 1).

        Where gradients are accumulated, all batches of one step have the progress of the first of them.

        Raises:
            UsageError: the training loader has no length.
        """
        if self.n_batches is None:
            raise UsageError(
                "train_dl has no length, so how far the fit is cannot be told",
                fix="Give the loader a __len__, or train without a schedule.",
            )
        n = self.batches_per_step
        steps = -(-self.n_batches // n)
        return (self.epoch * steps + self.batch // n) / (self.n_epochs * steps)

    @property
    def continues(self) -> bool:
        """Whether the running epoch was begun by a fit that was interrupted within it."""
        return self.start_batch > 0 and self.epoch == self.start_epoch

    @property
    def batches_per_step(self) -> int:
        """Batches whose gradients make one optimizer step; 1 for a loader that does not tell its batch size."""
        if self.compute.accumulate is None:
            return 1
        size = getattr(self.train_dl, "batch_size", None)
        return -(-self.compute.accumulate // size) if isinstance(size, int) and size > 0 else 1

    @property
    def record_names(self) -> list[str]:
        """What each epoch's row will hold, in the order of the table; known before the first epoch."""
        validated = ["valid_loss", *(metric.name for metric in self.metrics)]
        return ["train_loss", *(validated if self.valid_dl is not None else []), *self.columns]


def loader_length(loader: object) -> int | None:
    """The number of batches of a loader, None when it cannot say."""
    if not isinstance(loader, Sized):
        return None
    try:
        return len(loader)
    except TypeError:  # a torch DataLoader over a dataset without a length
        return None
