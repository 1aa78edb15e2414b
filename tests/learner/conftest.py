"""A learner that has been trained a little."""

import pytest
import torch
from torch import Tensor, nn

from learnkit import DataBunch, Learner


@pytest.fixture
def learn(blobs: tuple[Tensor, ...]) -> Learner:
    """Of two numbers and two classes, with batch norm and dropout, in train mode; a test set without labels."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 2))
    learn = Learner(DataBunch.from_tensors(*blobs, x_test=blobs[2], bs=10), model, seed=0)
    learn.fit(2, 1e-2)
    learn.model.train()
    return learn
