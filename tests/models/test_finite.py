"""Weights that are nan or infinite are told of by name."""

import warnings

import pytest
import torch
from torch import Tensor, nn

from learnkit import LearnkitWarning
from learnkit.models.finite import tell_of_weights


class Masked(nn.Module):
    def __init__(self, mask: Tensor, weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask)
        self.weight = nn.Parameter(weight, requires_grad=False)


ONE, INF = torch.ones(2), torch.tensor([1.0, torch.inf])


@pytest.mark.parametrize(
    ("mask", "weight", "named"),
    [
        (ONE, INF, "weight"), (ONE, -INF, "weight"), (ONE, INF - INF, "weight"), (INF, ONE, "mask"),
        (INF - INF, ONE, "mask"), (INF, INF.bfloat16(), "mask, weight|weight, mask"), (ONE, INF.half(), "weight"),
    ],
)  # fmt: skip
def test_they_are_named(mask: Tensor, weight: Tensor, named: str) -> None:
    with pytest.warns(LearnkitWarning, match=f"^weights in a.pth are nan or infinite: ({named})\\. Predictions"):
        tell_of_weights("weights in a.pth", Masked(mask, weight))


@pytest.mark.parametrize("mask", [ONE, -INF, torch.ones(2, dtype=torch.int64), torch.ones(2, device="meta")])
@pytest.mark.parametrize("weight", [ONE, ONE.bfloat16(), torch.tensor([torch.finfo(torch.float32).max] * 2)])
def test_others_are_not_and_masks_may_be_infinite_below(mask: Tensor, weight: Tensor) -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        tell_of_weights("weights", Masked(mask, weight))
    assert not told


def test_only_the_given_values_are_looked_at() -> None:
    model = Masked(ONE, INF)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tell_of_weights("weights", model, {"mask": ONE})
    with pytest.warns(LearnkitWarning, match="infinite: mask"):
        tell_of_weights("weights", Masked(ONE, ONE), {"mask": INF})
