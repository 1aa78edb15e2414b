"""Small networks that two devices train alike.

Nothing in them is random, as the generators of devices differ. Before batch norm there is no bias: its gradient would
be rounding errors, of which Adam makes steps of full length.
"""

from collections.abc import Callable

import torch
from torch import nn

from learnkit import Learner

OnDevice = Callable[..., Learner]  # makes a learner on a device, see the fixtures `tensors` and `images`


def small_net(n_in: int = 2) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(n_in, 16, bias=False), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 2))


def small_cnn(n_out: int = 3) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
        nn.Linear(32, n_out),
    )  # fmt: skip
