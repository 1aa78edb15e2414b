"""Mean and spread of predictions under dropout, by hand."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from learnkit import DataBunch, DatasetType, Learner, MultiLabel, Regression
from learnkit.errors import DataError
from tests.doubles import linear_learner, refused


class Recorded(nn.Module):
    """A net with dropout and batch norm that records its outputs."""

    def __init__(self, n_out: int = 2) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.norm, self.drop, self.last = (
            nn.Linear(2, 16),
            nn.BatchNorm1d(16),
            nn.Dropout(0.5),
            nn.Linear(16, n_out),
        )
        self.outputs: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(self.drop(self.norm(self.first(x)).relu()))
        self.outputs.append(out.detach().clone())
        return out


@pytest.fixture
def dropping(blobs: tuple[Tensor, ...]) -> Learner:
    learn = Learner(DataBunch.from_tensors(*blobs, x_test=blobs[2], bs=10), Recorded(), seed=0)
    learn.fit(2, 1e-2)
    return learn


def passes_seen(learn: Learner, n: int) -> np.ndarray[Any, Any]:
    """Raw outputs (n, N, C) of the passes just made: each batch n times in a row."""
    seen = learn.model.outputs
    batches = [torch.stack(seen[start : start + n]) for start in range(0, len(seen), n)]  # type: ignore[index, arg-type]
    return torch.cat(batches, dim=1).double().numpy()


def test_mean_spread_and_uncertainty_by_hand(dropping: Learner, blobs: tuple[Tensor, ...]) -> None:
    running = dropping.model.norm.running_mean.clone()  # type: ignore[union-attr, operator]
    dropping.model.outputs.clear()  # type: ignore[union-attr, operator]
    found = dropping.mc_dropout(n=7)
    raw = passes_seen(dropping, 7)
    assert raw.shape == (7, 32, 2)
    assert raw.std(0).min() > 0, "every pass draws its own masks"
    probs = np.exp(raw) / np.exp(raw).sum(2, keepdims=True)
    np.testing.assert_allclose(found.mean, probs.mean(0), atol=1e-6)
    np.testing.assert_allclose(found.std, probs.std(0), atol=1e-6)
    entropy = -(probs.mean(0) * np.log(probs.mean(0))).sum(1)
    of_each = -(probs * np.log(probs)).sum(2).mean(0)
    np.testing.assert_allclose(found.entropy, entropy, atol=1e-6)
    np.testing.assert_allclose(found.mutual_information, entropy - of_each, atol=1e-6)
    assert torch.equal(found.targets, blobs[3])
    assert torch.equal(dropping.model.norm.running_mean, running)  # type: ignore[union-attr, arg-type]


def test_only_dropout_is_on(dropping: Learner) -> None:
    modes: set[tuple[bool, ...]] = set()
    model = dropping.model
    model.register_forward_hook(lambda m, i, o: modes.add((m.training, m.norm.training, m.drop.training)))  # type: ignore[union-attr]
    model.train()
    model.last.eval()  # type: ignore[union-attr, operator]
    dropping.mc_dropout(n=2)
    assert modes == {(False, False, True)}
    assert [m.training for m in (model, model.norm, model.drop, model.last)] == [True, True, True, False]  # type: ignore[union-attr]
    model.eval()
    dropping.mc_dropout(n=2)
    assert not any(module.training for module in model.modules())


def test_it_depends_on_the_seed_only(dropping: Learner) -> None:
    first = dropping.mc_dropout(n=3)
    torch.manual_seed(7)
    state = torch.get_rng_state()
    assert torch.equal(dropping.mc_dropout(n=3).std, first.std)
    assert torch.equal(state, torch.get_rng_state())
    dropping.seed = 1
    assert not torch.equal(dropping.mc_dropout(n=3).std, first.std)


def test_numbers_and_several_labels_by_hand(blobs: tuple[Tensor, ...]) -> None:
    x, y = blobs[0], blobs[1][:, None].float()
    for task, n_out in ((Regression(("a",)), 1), (MultiLabel(("a", "b")), 2)):
        targets = y.expand(-1, n_out).contiguous()
        learn = Learner(DataBunch.from_tensors(x, targets, x, targets, task=task, bs=16), Recorded(n_out), seed=0)
        learn.model.outputs.clear()  # type: ignore[union-attr, operator]
        found = learn.mc_dropout(n=4)
        raw = passes_seen(learn, 4)
        if isinstance(task, Regression):
            np.testing.assert_allclose(found.std, raw.std(0), atol=1e-5)
            assert found.entropy is None
            assert found.mutual_information is None
            continue
        p = 1 / (1 + np.exp(-raw))
        mean = p.mean(0)
        entropy = -(mean * np.log(mean) + (1 - mean) * np.log(1 - mean)).sum(1)
        of_each = -(p * np.log(p) + (1 - p) * np.log(1 - p)).sum(2).mean(0)
        np.testing.assert_allclose(found.entropy, entropy, atol=1e-5)
        np.testing.assert_allclose(found.mutual_information, entropy - of_each, atol=1e-5)


def test_a_set_without_labels_has_no_targets(dropping: Learner) -> None:
    assert dropping.mc_dropout(DatasetType.Test, n=2).targets is None
    with pytest.raises(DataError, match="no items"):
        dropping.mc_dropout([])


@pytest.mark.parametrize("n", [1, 0, True, 2.0])
def test_an_invalid_number_of_passes_is_refused(n: Any, dropping: Learner) -> None:
    with refused("n", got=n, expected="an integer, 2 or more"):
        dropping.mc_dropout(n=n)


@pytest.mark.parametrize("model", [nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.0))])
def test_a_model_without_dropout_is_refused(model: nn.Module, blobs: tuple[Tensor, ...]) -> None:
    with refused("mc_dropout: this model has no dropout"):
        linear_learner(blobs, model).mc_dropout()
