"""Raw outputs and features in one pass."""

import copy
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor, nn

from learnkit.certainty.outputs import RawAndFeatures, head_name, pooled
from learnkit.errors import UsageError
from learnkit.models.features import NoHead


def network() -> nn.Sequential:
    body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(), nn.Linear(4, 2))
    return nn.Sequential(body, head).eval()


def test_the_head_is_named() -> None:
    model = network()
    assert head_name(model, model[1]) == "1.2"
    assert head_name(model, model) is None
    assert head_name(model, nn.ModuleList([model])) is None
    assert head_name(model, model[0]) is None  # not the end


def test_maps_are_pooled_to_their_means() -> None:
    x = torch.randn(2, 3, 4, 5)
    assert torch.allclose(pooled(x), x.mean((2, 3)))
    assert torch.equal(pooled(x[:, :, 0, 0]), x[:, :, 0, 0])
    assert pooled(x.half()).dtype == torch.float32


def test_outputs_and_features_are_those_of_the_parts() -> None:
    model, x = network(), torch.randn(5, 3, 8, 8)
    both = RawAndFeatures(model, "1.2")
    raw, features = both(x)
    assert torch.equal(raw, model(x))
    assert torch.allclose(features, model[0](x).mean((2, 3)))
    both.close()
    assert not model[1][2]._forward_pre_hooks
    raw, features = RawAndFeatures(model, None)(x)
    assert torch.equal(raw, model(x))
    assert features is None


def test_threads_do_not_see_the_features_of_each_other() -> None:
    model = network()
    both = RawAndFeatures(model, "1.2")
    items = [torch.randn(3, 3, 8, 8) for _ in range(200)]
    expected = [model[0](x).mean((2, 3)) for x in items]
    with torch.no_grad(), ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda x: both(x)[1], items))
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(found, expected, strict=True))


def test_a_copy_of_a_watched_model_works_by_itself() -> None:
    both = RawAndFeatures(network(), "1.2")
    other, x = copy.deepcopy(both), torch.randn(2, 3, 8, 8)
    assert torch.equal(other(x)[1], both(x)[1])


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x) + self.head(-x)


def test_a_head_that_is_called_twice_has_no_features() -> None:
    with pytest.raises(NoHead):
        RawAndFeatures(Twice(), "head")(torch.randn(2, 4))


def test_outputs_that_are_not_one_row_per_item_are_refused() -> None:
    with pytest.raises(UsageError, match=r"the model's outputs: got \(2, 4, 6, 6\), expected one tensor"):
        RawAndFeatures(nn.Conv2d(3, 4, 3), None)(torch.randn(2, 3, 8, 8))


def test_numbers_in_one_dimension_and_one_of_several_outputs() -> None:
    both = RawAndFeatures(nn.Flatten(0), None)
    assert both(torch.randn(3, 1))[0].shape == (3, 1)
    both = RawAndFeatures(nn.Identity(), None, lambda outputs: outputs[1])
    assert both((torch.zeros(3, 2), torch.ones(3, 2)))[0].sum() == 6
