"""Outliers: rows that are far from all others."""

import numpy as np
import torch
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from learnkit.neighbors.outliers import find_outliers


def clusters(n: int = 300) -> Tensor:
    """Three clouds around directions of 32 dimensions, and three rows of no cloud."""
    random = torch.Generator().manual_seed(0)
    centers = torch.randn(3, 32, generator=random)
    rows = centers[torch.arange(n) % 3] + 0.2 * torch.randn(n, 32, generator=random)
    rows[[5, 100, 299]] = 3 * torch.randn(3, 32, generator=random)
    return rows


def test_rows_of_no_cloud_are_found() -> None:
    found = find_outliers(clusters(), min_score=5)
    assert set(found.places.tolist()) == {5, 100, 299}
    assert (found.scores.diff() <= 0).all()


def test_scores_are_those_of_other_libraries() -> None:
    rows = clusters().double().numpy()
    distances, _ = NearestNeighbors(n_neighbors=6, metric="cosine").fit(rows).kneighbors(rows)
    logs = np.log(distances[:, 1:].mean(1))
    scores = 0.6745 * (logs - np.quantile(logs, 0.5, method="lower"))
    scores /= np.quantile(np.abs(logs - np.quantile(logs, 0.5, method="lower")), 0.5, method="lower")
    found = find_outliers(torch.from_numpy(rows), min_score=-np.inf)
    np.testing.assert_allclose(found.scores, scores[found.places], atol=1e-9)


def test_nothing_is_unusual_among_few_or_equal_rows() -> None:
    assert not len(find_outliers(torch.eye(19)).places)
    assert not len(find_outliers(torch.ones(40, 3)).places)
    assert not len(find_outliers(torch.empty(0, 3)).places)
