"""Energies and distances against NumPy, and which items are familiar."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from learnkit.certainty.familiarity import MAX_NUMBERS, MOST, Familiarity, Scale, Subspace, energy, fit_familiarity
from learnkit.errors import DataError, UsageError
from tests.doubles import slow


def on_plane(n: int, seed: int, d: int = 10) -> Tensor:
    """Features (n, d) near the plane of the first two axes."""
    random = torch.Generator().manual_seed(seed)
    x = 0.05 * torch.randn(n, d, generator=random)
    x[:, :2] += torch.randn(n, 2, generator=random) + 2
    return x


def test_energies_are_those_of_numpy() -> None:
    raw = torch.randn(5, 3)
    x = raw.double().numpy()
    assert energy(raw, "softmax").numpy() == pytest.approx(np.log(np.exp(x).sum(1)))
    assert energy(raw, "sigmoid").numpy() == pytest.approx(np.log1p(np.exp(x)).sum(1))


def test_the_distance_is_what_a_projection_leaves() -> None:
    known, new = on_plane(100, 0), torch.randn(20, 10)
    x = known.double().numpy()
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    center = x.mean(0)
    values, vectors = np.linalg.eigh((x - center).T @ (x - center))
    basis = vectors[:, np.argsort(values)[-5:]]  # half of 10
    y = new.double().numpy()
    y = y / np.linalg.norm(y, axis=1, keepdims=True) - center
    expected = np.linalg.norm(y - y @ basis @ basis.T, axis=1)
    found = Subspace.of(known)
    assert found.directions.shape == (10, 5)
    assert found.distance(new).numpy() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("n", "d", "k"), [(500, 300, 64), (20, 300, 10), (500, 6, 3), (2, 2, 1), slow(200, 40_000, 26)]
)
def test_what_is_kept_is_bounded(n: int, d: int, k: int) -> None:
    found = Subspace.of(torch.rand(n, d))
    assert found.directions.shape == (d, k)
    assert found.directions.numel() <= MAX_NUMBERS
    assert found.directions.dtype == torch.float32


def test_95_percent_are_familiar_and_what_is_elsewhere_is_not() -> None:
    raw, features = torch.zeros(400, 2), on_plane(400, 1)
    found = fit_familiarity(raw, features, on_plane(300, 0), "softmax")
    assert found is not None
    assert float((found.scores(raw, features) >= 0).double().mean()) == pytest.approx(0.95, abs=0.005)
    new = found.scores(torch.zeros(4000, 2), on_plane(4000, 2))
    assert float((new >= 0).double().mean()) == pytest.approx(0.95, abs=0.03)
    assert bool((found.scores(raw, torch.randn(400, 10)) < 0).double().mean() > 0.95)


def test_neither_sign_hides_the_other() -> None:
    raw, features = torch.randn(400, 2), on_plane(400, 1)
    found = fit_familiarity(raw, features, on_plane(300, 0), "softmax")
    assert found is not None
    far = torch.zeros(1, 10)
    far[0, 9] = 1
    assert found.scores(torch.tensor([[100.0, 0.0]]), far).item() < 0  # very sure, of something else
    assert found.scores(torch.tensor([[-100.0, -100.0]]), on_plane(1, 3)).item() < 0


def test_each_sign_alone() -> None:
    raw = torch.randn(100, 3)
    nothing = torch.empty(100, 0)
    found = fit_familiarity(raw, nothing, torch.empty(0, 0), "softmax")
    assert found is not None
    assert (found.subspace, found.n) == (None, 100)
    values = raw.double().logsumexp(1)
    z = ((values - values.mean()) / values.std(correction=0)).clamp(max=MOST)
    assert found.threshold == pytest.approx(float(z.sort().values[4]))  # floor(0.05 * 101) = 5
    assert found.scores(raw, nothing) == pytest.approx(z - z.sort().values[4])
    of_numbers = fit_familiarity(torch.randn(50, 1), on_plane(50, 1), on_plane(50, 0), None)
    assert of_numbers is not None
    assert of_numbers.energy_scale is None
    assert fit_familiarity(torch.randn(50, 1), torch.empty(50, 0), torch.empty(0, 0), None) is None


def test_of_few_items_all_are_familiar() -> None:
    raw = torch.randn(5, 3)
    found = fit_familiarity(raw, torch.empty(5, 0), torch.empty(0, 0), "softmax")
    assert found is not None
    assert bool((found.scores(raw, torch.empty(5, 0)) >= 0).all())


def test_a_sign_that_is_always_the_same_is_no_division_by_zero() -> None:
    assert Scale.of(torch.ones(3)) == Scale(1.0, 1.0)
    found = Familiarity(0.0, 3, "softmax", Scale(math.log(2), 1.0))
    assert found.scores(torch.zeros(1, 2), torch.empty(1, 0)).item() == pytest.approx(0)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_numbers_that_are_not_finite_are_refused(place: int) -> None:
    parts = [torch.randn(20, 2), on_plane(20, 0), on_plane(20, 1)]
    parts[place][3, 1] = torch.nan
    with pytest.raises(DataError, match=r"familiarity: (outputs|features.*) that are nan or infinite"):
        fit_familiarity(*parts, "softmax")


def test_features_of_another_head_are_refused() -> None:
    found = fit_familiarity(torch.randn(20, 2), on_plane(20, 0), on_plane(20, 1), "softmax")
    assert found is not None
    with pytest.raises(UsageError, match=r"got \(7,\), expected \(10,\)"):
        found.scores(torch.randn(3, 2), torch.randn(3, 7))
