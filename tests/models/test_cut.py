"""Cutting a body off its classifier, and counting its features."""

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from learnkit.errors import UsageError
from learnkit.models.cut import count_features, create_body
from tests.doubles import refused


class FunctionalPool(nn.Module):
    """Pools by a function, not by a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(3, 8, 3)
        self.classifier = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(F.relu(self.features(x)).mean((2, 3)))


def tiny() -> nn.Sequential:
    """Two blocks, the second with a pool inside, then pool, flatten and classifier."""
    first = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2))
    return nn.Sequential(first, nn.Conv2d(8, 12, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 2))


def test_the_default_cut_is_before_the_last_child_that_pools() -> None:
    module = tiny()
    body = create_body(module)
    assert list(body) == [module[0], module[1]]


def test_the_default_cut_of_vgg_keeps_all_features() -> None:
    vgg = torchvision.models.vgg11(init_weights=False)
    assert list(create_body(vgg)) == [vgg.features]


@pytest.mark.parametrize(("cut", "kept"), [(1, 1), (-1, 4), (-3, 2), (5, 5)])
def test_an_int_keeps_that_many_children(cut: int, kept: int) -> None:
    module = tiny()
    assert list(create_body(module, cut)) == list(module)[:kept]


def test_a_layer_used_twice_is_kept_twice() -> None:
    relu = nn.ReLU()
    assert len(create_body(nn.Sequential(nn.Conv2d(3, 4, 1), relu, nn.Conv2d(4, 4, 1), relu, nn.AvgPool2d(2)))) == 4


def test_a_function_may_return_any_body() -> None:
    module = FunctionalPool()
    assert create_body(module, lambda m: m.features) is module.features


def test_a_network_that_pools_by_function_is_refused() -> None:
    with pytest.raises(UsageError, match="no pooling layer found in FunctionalPool; pass cut="):
        create_body(FunctionalPool())


def test_a_network_whose_first_child_is_the_last_to_pool_is_refused() -> None:
    with pytest.raises(UsageError, match="no layers before the last child of DenseNet that contains a pooling layer"):
        create_body(torchvision.models.DenseNet(growth_rate=2, block_config=(1, 1, 1, 1), num_init_features=4))


def test_a_network_that_pools_only_in_its_stem_is_refused() -> None:
    with pytest.raises(UsageError, match="ShuffleNetV2 has convolutions after its last pooling layer"):
        create_body(torchvision.models.shufflenet_v2_x0_5())


@pytest.mark.parametrize("cut", [0, -5, -9, 6])
def test_a_cut_that_leaves_nothing_or_is_past_the_end_is_refused(cut: int) -> None:
    with refused("cut", got=cut, expected="a number that keeps 1 to 5 children of Sequential"):
        create_body(tiny(), cut)


@pytest.mark.parametrize("cut", [True, 1.5, "avgpool"])
def test_a_cut_of_another_kind_is_refused(cut: object) -> None:
    with refused("cut", got=cut, expected="an int or a function(module) -> module"):
        create_body(tiny(), cut)  # type: ignore[arg-type]


def test_a_cut_function_that_does_not_return_a_module_is_refused() -> None:
    with refused("cut", got=None, expected="a function that returns an nn.Module"):
        create_body(tiny(), lambda module: None)  # type: ignore[arg-type, return-value]


@pytest.mark.parametrize("in_chans", [1, 3, 5])
def test_features_are_counted(in_chans: int) -> None:
    assert count_features(nn.Sequential(nn.Conv2d(in_chans, 9, 3), nn.ReLU()), in_chans) == 9


def test_a_body_that_needs_a_larger_image_is_counted_too() -> None:
    assert count_features(nn.Conv2d(3, 9, 100)) == 9


class Noisy(nn.Module):
    """Draws random numbers and keeps a count even in evaluation mode."""

    calls: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x + torch.rand_like(x)


def test_counting_restores_mode_buffers_gradients_and_rng() -> None:
    body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4).eval(), nn.BatchNorm2d(4), Noisy())
    modes = [module.training for module in body.modules()]
    before = {name: tensor.clone() for name, tensor in body.state_dict().items()}
    rng = torch.get_rng_state()
    count_features(body)
    assert [module.training for module in body.modules()] == modes
    assert all(torch.equal(tensor, before[name]) for name, tensor in body.state_dict().items())
    assert all(parameter.grad is None for parameter in body.parameters())
    assert torch.equal(torch.get_rng_state(), rng)


def test_a_failed_count_restores_the_modes_too() -> None:
    body = nn.Sequential(nn.BatchNorm2d(5))
    with pytest.raises(UsageError, match="does not run on an image of 3 channels"):
        count_features(body)
    assert body.training
    assert body[0].training


def test_a_body_that_returns_no_features_is_refused() -> None:
    with pytest.raises(UsageError, match=r"returns a tensor of shape \(1, 12\), expected features \(N, C, H, W\)"):
        count_features(create_body(tiny(), -1))
