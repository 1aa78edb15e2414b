"""Lazy layers get their shapes before anything else looks at the model."""

import pytest
import torch
from torch import nn
from torch.nn.parameter import is_lazy

from learnkit.errors import UsageError
from learnkit.models.lazy import initialize_lazy

CPU = torch.device("cpu")


def test_lazy_layers_get_their_shapes_and_nothing_else_changes() -> None:
    model = nn.Sequential(nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d(), nn.Dropout(), nn.Flatten(), nn.LazyLinear(2))
    initialize_lazy(model, (3, 6, 6), CPU)
    assert not any(map(is_lazy, model.parameters()))
    assert [tuple(parameter.shape) for parameter in model.parameters()] == [
        (4, 3, 3, 3),
        (4,),
        (4,),
        (4,),
        (2, 64),
        (2,),
    ]
    assert model.training
    assert model[1].num_batches_tracked == 0
    assert torch.equal(model[1].running_mean, torch.zeros(4))


def test_without_a_shape_they_are_refused() -> None:
    with pytest.raises(UsageError, match=r"lazy layers.*Run one batch through the model"):
        initialize_lazy(nn.LazyLinear(2), None, CPU)


def test_other_models_are_not_run() -> None:
    class Refuses(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise AssertionError("it ran")

    initialize_lazy(Refuses(2, 2), (2,), CPU)
    initialize_lazy(Refuses(2, 2), None, CPU)
