"""What interpretations and reports need of a learner, whose module is above them."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from torch import Tensor, nn

from learnkit.callbacks.recorder import Recorder
from learnkit.certainty.fitted import FittedCertainty
from learnkit.data.bunch import DataBunch
from learnkit.metrics.metric import Metric
from learnkit.training.callback import Callback

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Predicts", "Trained"]


class Predicts(Protocol):
    """Predicts its data."""

    @property
    def dls(self) -> DataBunch: ...

    @property
    def model(self) -> nn.Module: ...

    @property
    def output(self) -> Callable[[Any], Any] | None: ...

    def get_preds(self, ds_type: Any, /, *, with_loss: bool = ..., n_batch: int | None = ...) -> tuple[Any, ...]:
        """(preds, targets[, losses]) of a part of the data, in its order."""

    def familiarity(self, ds_type: Any, /) -> Tensor:
        """How familiar each item of a part of the data is."""

    def activate(self, raw: Tensor, /) -> Tensor:
        """Predictions of raw outputs."""

    def predict_iter(
        self,
        ds_type: Any,
        /,
        *,
        activ: Callable[[Tensor], Tensor] | None = ...,
        with_loss: bool = ...,
        n_batch: int | None = ...,
    ) -> Iterator[tuple[Any, ...]]:
        """The same, batch by batch."""


class Named(Protocol):
    """Has a name."""

    @property
    def name(self) -> str: ...


class Trained(Protocol):
    """Knows its settings and its history; attributes as those of `Learner`."""

    @property
    def dls(self) -> DataBunch: ...

    @property
    def model(self) -> nn.Module: ...

    @property
    def spec(self) -> Named | None: ...

    @property
    def groups(self) -> Sequence[Any]: ...

    @property
    def loss_func(self) -> Callable[..., Tensor]: ...

    @property
    def opt(self) -> object | None: ...

    @property
    def opt_func(self) -> object: ...

    @property
    def wd(self) -> object: ...

    @property
    def seed(self) -> int: ...

    @property
    def metrics(self) -> Sequence[Metric]: ...

    @property
    def callbacks(self) -> Sequence[Callback]: ...

    @property
    def fit_callbacks(self) -> Sequence[Callback]: ...

    @property
    def recorder(self) -> Recorder: ...

    @property
    def history(self) -> "pd.DataFrame": ...

    @property
    def certainty(self) -> FittedCertainty | None: ...

    def near_duplicates(self) -> "pd.DataFrame":
        """Pairs of items of the data that look almost alike."""

    def outliers(self) -> "pd.DataFrame":
        """Items that are unlike all others of the data."""
