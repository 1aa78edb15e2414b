"""Out-of-fold probabilities: what a linear head says of each item, fitted to the features and labels of others."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from learnkit.data.table.folds import fold_numbers
from learnkit.errors import DataError
from learnkit.interpretation.label_issues import class_indices

__all__ = ["out_of_fold_probs"]

PENALTIES = (10.0, 3.0, 1.0, 0.3, 0.1)  # on half the squared weights, beside the mean loss: the strongest first
MAX_STEPS = 100


def out_of_fold_probs(features: Tensor, targets: Tensor, n_classes: int, folds: int = 5, seed: int = 42) -> Tensor:
    """Probabilities of each item from a logistic regression that has not seen it, (N, C), rows sum to 1.

    The items are dealt out to folds, every class evenly. Each fold is predicted by a regression fitted to the others,
    with features standardized by their mean and deviation. The weights are penalized (ridge) as strongly as makes the
    given labels of all items most likely out of fold.

    Args:
        features: (N, ...), flattened.
        targets: (N,), class indices.
        n_classes: C, of which some may have no items.
        folds: number of parts, 2 or more; as many regressions for each of five penalties.
        seed: decides which item is in which fold, and nothing else is random.

    Raises:
        UsageError: targets that are not class indices, a number of folds below 2.
        DataError: fewer items than folds, or features that are not finite.

    >>> features = torch.tensor([[-2.0], [-1.0], [1.0], [2.0]]).repeat(5, 1)
    >>> out_of_fold_probs(features, torch.tensor([0, 0, 1, 1] * 5), 2)[:4].argmax(1).tolist()
    [0, 0, 1, 1]
    """
    import pandas as pd

    x, y = features.detach().cpu().float().flatten(1), class_indices(targets, n_classes)
    if not x.isfinite().all():
        raise DataError("features", got="nan or infinite numbers", expected="finite ones", fix="Check the weights.")
    table = pd.DataFrame({"target": y.numpy()})
    numbers = torch.from_numpy(fold_numbers(table, folds, stratify=True, group=None, seed=seed))
    logits = torch.empty(len(PENALTIES), len(x), n_classes)
    for number in range(folds):
        own = numbers == number
        mean, std = x[~own].mean(0), x[~own].std(0, correction=0)
        z = (x - mean) / torch.where(std > 0, std, 1)
        for place, (weight, bias) in enumerate(_regressions(z[~own], y[~own], n_classes, PENALTIES)):
            logits[place, own] = z[own] @ weight.T + bias
    losses = torch.stack([F.cross_entropy(each, y) for each in logits])
    return logits[losses.argmin()].softmax(1)


def _regressions(x: Tensor, y: Tensor, n_classes: int, penalties: Sequence[float]) -> Iterator[tuple[Tensor, Tensor]]:
    """Weights (C, D) and biases (C,) for each penalty; each begins at the previous ones."""
    weight = torch.zeros(n_classes, x.shape[1], requires_grad=True)
    bias = torch.zeros(n_classes, requires_grad=True)
    for penalty in penalties:
        optimizer = torch.optim.LBFGS([weight, bias], max_iter=MAX_STEPS, line_search_fn="strong_wolfe")

        def loss(penalty: float = penalty, optimizer: torch.optim.Optimizer = optimizer) -> Tensor:
            optimizer.zero_grad()
            value = F.cross_entropy(x @ weight.T + bias, y) + penalty / 2 * weight.square().sum()
            value.backward()  # type: ignore[no-untyped-call]
            return value

        with torch.enable_grad():
            optimizer.step(loss)  # type: ignore[no-untyped-call]
        yield weight.detach().clone(), bias.detach().clone()
