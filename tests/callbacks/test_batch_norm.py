"""Statistics of batch norm, by hand; `test_averaging.py` compares with torch's `update_bn` through SWA."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from learnkit.callbacks.batch_norm import update_batch_norm


def test_statistics_are_updated_for_models_with_several_inputs() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(1)

        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return self.norm(a + b)  # type: ignore[no-any-return]

    model = Two().eval()
    model.norm.running_mean.fill_(torch.nan)  # type: ignore[union-attr]  # what it was before counts for nothing
    model.norm.num_batches_tracked.fill_(7)  # type: ignore[union-attr]
    a, b = torch.tensor([[1.0], [3.0]]), torch.tensor([[0.0], [4.0]])  # sums 1 and 7: mean 4, variance 18
    update_batch_norm(model, [(a, b), (a, a)])  # sums 2 and 6: mean 4, variance 8
    assert (model.norm.running_mean.item(), model.norm.running_var.item()) == (4.0, 13.0)
    assert model.norm.num_batches_tracked == 2
    assert (model.training, model.norm.training, model.norm.momentum) == (False, False, 0.1)


def test_an_error_during_the_update_restores_the_settings() -> None:
    def inputs() -> Any:
        yield (torch.rand(4, 2),)
        raise KeyboardInterrupt

    model = nn.Sequential(nn.BatchNorm1d(2, momentum=0.3))
    with pytest.raises(KeyboardInterrupt):
        update_batch_norm(model, inputs())
    assert model[0].momentum == 0.3
