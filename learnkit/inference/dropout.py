"""Monte Carlo dropout: the spread of predictions when dropout stays on."""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from learnkit.checks import check_int
from learnkit.data.segmentation import Segmentation
from learnkit.data.tasks import Classification, MultiLabel, Task
from learnkit.device import Compute
from learnkit.distributed.exchange import together
from learnkit.distributed.world import world
from learnkit.errors import DataError, UsageError
from learnkit.inference.predictions import activated, count_rows, raw_outputs, read_batches
from learnkit.inference.rows import Gathered, Rows
from learnkit.modes import preserve_modes
from learnkit.seeds import Stream, derive
from learnkit.types import Activation

__all__ = ["DropoutPreds", "predict_with_dropout"]


class DropoutPreds(NamedTuple):
    """Results of n passes with dropout, on the CPU, in the order of the data set.

    Attributes:
        mean: (N, ...), of the activated outputs.
        std: (N, ...), their standard deviation (divided by n, not n - 1).
        entropy: (N, ...) in nats, of the mean: the total uncertainty; None if outputs are not probabilities.
        mutual_information: (N, ...) in nats, the part of the entropy due to uncertain weights, which more data can
            reduce; 0 if all passes agree. BALD: Houlsby et al., Bayesian active learning, 2011.
        targets: (N, ...), or a structure of such tensors; None without labels.
    """

    mean: Tensor
    std: Tensor
    entropy: Tensor | None
    mutual_information: Tensor | None
    targets: Any


def predict_with_dropout(
    model: nn.Module,
    loader: Iterable[Any],
    compute: Compute,
    activation: Activation,
    task: Task | None,
    *,
    n: int,
    seed: int,
) -> DropoutPreds:
    """Mean and spread of n passes with dropout modules in training mode and everything else in eval mode.

    Gal, Ghahramani: Dropout as a Bayesian approximation, 2016. Only modules of torch.nn's dropout family are on, not
    functional dropout or that inside nn.LSTM or nn.MultiheadAttention. Each batch is read once; the memory needed is
    that of the results and of one batch. Dropout masks depend only on (seed, batch, pass).

    Raises:
        UsageError: n below 2, or a model without a dropout module that drops anything.
        DataError: an empty loader.
    """
    check_int("n", n, 2)
    dropouts = [module for module in model.modules() if isinstance(module, _DropoutNd) and module.p > 0]
    if not dropouts:
        raise UsageError(
            "mc_dropout: this model has no dropout",
            fix="Train one with dropout, such as cnn_learner(dls, arch, ps=0.5).",
        )
    entropy_of, n_rows = _entropy_of(task), count_rows(loader)
    means, stds, entropies, information = (Rows(name, n_rows) for name in ("means", *DropoutPreds._fields[1:-1]))
    all_targets = Gathered(Rows("targets", n_rows))
    with preserve_modes(model), torch.no_grad(), compute.preserve_rng(every=True):
        model.eval()
        for module in dropouts:
            module.train()
        for number, (inputs, targets) in enumerate(_whole_batches(loader, compute)):
            spread = _Spread(entropy_of)
            for k in range(world.rank, n, world.size):
                compute.reseed(derive(seed, Stream.STEP, number, k))
                spread.add(activated(activation, raw_outputs(model, inputs, compute, number)))
            spread = spread.of_all()
            means.add(spread.mean)
            stds.add((spread.squares / n).sqrt())
            if entropy_of is not None:
                entropies.add(entropy_of(spread.mean))
                information.add((entropy_of(spread.mean) - spread.entropy).clamp(min=0))
            if targets is not None:
                all_targets.add(targets, len(spread.mean))
    mean, std = means.result(), stds.result()
    if mean is None or std is None:
        raise DataError("this set has no items to predict")
    return DropoutPreds(mean, std, entropies.result(), information.result(), all_targets.result())


def _whole_batches(loader: Iterable[Any], compute: Compute) -> Iterator[tuple[Any, Any]]:
    """Inputs and targets of whole batches in every process: these share out the passes."""
    batches = read_batches(loader, compute)
    while True:
        with world.alone():
            read = next(batches, None)
        if read is None:
            return
        yield read.inputs, read.targets


class _Spread:
    """Running mean, squared deviations and mean entropy of the passes (Welford, 1962)."""

    def __init__(self, entropy_of: Activation | None) -> None:
        self.n = 0
        self.mean = self.squares = self.entropy = torch.zeros(())
        self._entropy_of = entropy_of

    def add(self, outputs: Tensor) -> None:
        self.n += 1
        change = outputs - self.mean
        self.mean = self.mean + change / self.n
        self.squares = self.squares + change * (outputs - self.mean)
        if self._entropy_of is not None:
            entropy = self._entropy_of(outputs)
            self.entropy = self.entropy + (entropy - self.entropy) / self.n

    def of_all(self) -> "_Spread":
        """That of the passes of all processes (Chan, Golub, LeVeque, 1979)."""
        if world.size == 1:
            return self
        whole = _Spread(self._entropy_of)
        for count, mean, squares, entropy in together([torch.tensor(self.n), self.mean, self.squares, self.entropy]):
            if n := int(count):
                share, change = n / (whole.n + n), mean - whole.mean
                whole.squares = whole.squares + squares + share * whole.n * change.square()
                whole.mean = whole.mean + share * change
                whole.entropy = whole.entropy + share * (entropy - whole.entropy)
                whole.n += n
        return whole


def _entropy_of(task: Task | None) -> Activation | None:
    """The entropy of each prediction, in nats; None for tasks without probabilities."""
    if isinstance(task, Classification) or (isinstance(task, Segmentation) and not task.binary):
        return lambda probs: torch.special.entr(probs).sum(1)
    if isinstance(task, MultiLabel | Segmentation):  # classes are independent
        return lambda probs: (torch.special.entr(probs) + torch.special.entr(1 - probs)).sum(1)
    return None
