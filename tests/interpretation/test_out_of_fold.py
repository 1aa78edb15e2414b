"""Out-of-fold probabilities: those of scikit-learn's logistic regressions, and no item's own label in them."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, log_loss
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from learnkit.data.table.folds import fold_numbers
from learnkit.errors import DataError, UsageError
from learnkit.interpretation import out_of_fold as module
from learnkit.interpretation.label_issues import count_label_issues, rank_label_issues
from learnkit.interpretation.out_of_fold import out_of_fold_probs
from tests.doubles import refused


def digits(n: int = 400, wrong: float = 0.1) -> tuple[Tensor, Tensor, Tensor]:
    """(features, labels, which of them are wrong) of real digits."""
    numbers = np.random.default_rng(0)
    x, y = load_digits(return_X_y=True)
    is_wrong = numbers.random(n) < wrong
    labels = np.where(is_wrong, (y[:n] + numbers.integers(1, 10, n)) % 10, y[:n])
    return torch.from_numpy(x[:n]).float(), torch.from_numpy(labels), torch.from_numpy(is_wrong)


def by_scikit_learn(x: Tensor, y: Tensor, penalty: float, k: int, seed: int) -> np.ndarray:
    folds = fold_numbers(pd.DataFrame({"target": y.numpy()}), k, stratify=True, group=None, seed=seed)
    probs = np.empty((len(x), 10))
    for number in range(k):
        own = folds == number
        scaler = StandardScaler().fit(x[~own].double())
        model = LogisticRegression(C=1 / (penalty * (~own).sum()), tol=1e-8, max_iter=5000)
        probs[own] = model.fit(scaler.transform(x[~own].double()), y[~own]).predict_proba(
            scaler.transform(x[own].double())
        )
    return probs


@pytest.mark.parametrize("penalty", [1.0, 0.01])
def test_they_are_those_of_scikit_learn(penalty: float, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y, _ = digits()
    monkeypatch.setattr(module, "PENALTIES", (penalty,))
    probs = out_of_fold_probs(x, y, 10, 4, seed=7)
    assert np.abs(probs.numpy() - by_scikit_learn(x, y, penalty, 4, 7)).max() < 5e-3
    torch.testing.assert_close(probs.sum(1), torch.ones(len(x)))


@pytest.mark.slow
def test_the_penalty_is_the_one_under_which_the_labels_are_most_likely() -> None:
    x, y, _ = digits(200)
    every = [by_scikit_learn(x, y, penalty, 5, 42) for penalty in module.PENALTIES]
    best = min(every, key=lambda probs: log_loss(y, probs, labels=range(10)))
    assert np.abs(out_of_fold_probs(x, y, 10).numpy() - best).max() < 5e-3


def test_wrong_labels_that_a_model_would_memorize_are_found() -> None:
    x, y, is_wrong = digits()
    probs = out_of_fold_probs(x, y, 10)
    scores, _ = rank_label_issues(probs, y)
    assert average_precision_score(is_wrong, scores) > 0.9
    found = scores.argsort(descending=True)[: count_label_issues(probs, y)]
    assert is_wrong[found].float().mean() > 0.85
    assert is_wrong[found].sum() > 0.6 * is_wrong.sum()
    memorized = LogisticRegression(C=100, max_iter=5000).fit(StandardScaler().fit_transform(x), y)
    own = torch.from_numpy(memorized.predict_proba(StandardScaler().fit_transform(x)))
    assert count_label_issues(own, y) < 0.2 * is_wrong.sum()  # such a model has learned them


@pytest.mark.slow
def test_only_the_seed_decides() -> None:
    x, y, _ = digits(100)
    state = torch.get_rng_state()
    with torch.no_grad():
        once, again, other = (out_of_fold_probs(x, y, 10, 3, seed) for seed in (0, 0, 1))
    assert torch.equal(once, again)
    assert not torch.equal(once, other)
    assert torch.equal(torch.get_rng_state(), state)


def test_features_that_say_nothing_and_classes_without_or_with_one_item() -> None:
    x, y = torch.tensor([[-1.0, 5.0], [1.0, 5.0]]).repeat(10, 1), torch.tensor([0, 1]).repeat(10)
    y[3] = 3  # once, and 2 never
    probs = out_of_fold_probs(x, y, 4)
    assert probs.isfinite().all()
    assert (probs.argmax(1) == torch.tensor([0, 1]).repeat(10)).all()
    assert probs[:, 2].max() < 0.2


def test_features_of_any_shape_are_flattened() -> None:
    x, y, _ = digits(60)
    assert torch.equal(out_of_fold_probs(x.view(-1, 4, 4, 4), y, 10, 2), out_of_fold_probs(x, y, 10, 2))


def test_what_cannot_be_judged_is_refused() -> None:
    x, y, _ = digits(60)
    with refused("k", got=1, expected="a number of folds, 2 or more"):
        out_of_fold_probs(x, y, 10, 1)
    with pytest.raises(DataError, match="61 folds: got '60 rows'"):
        out_of_fold_probs(x, y, 10, 61)
    with refused("targets", got=9, expected="class indices from 0 to 8"):
        out_of_fold_probs(x, torch.full((60,), 9), 9)
    with pytest.raises(UsageError, match="class indices from 0 to 9, "):
        out_of_fold_probs(x, y.float(), 10)
    x[3, 2] = torch.nan
    with pytest.raises(DataError, match="features: got 'nan or infinite numbers'"):
        out_of_fold_probs(x, y, 10)
