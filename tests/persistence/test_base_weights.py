"""Which weights beside adapters a file can leave out, and where they come from."""

import torch
from torch import nn

from learnkit.models import BackboneSpec
from learnkit.persistence.base_weights import OWN, RANDOM, BaseWeights, frozen_layers, source_of


def test_only_tensors_with_the_same_bytes_are_unchanged() -> None:
    state = {"a": torch.ones(3), "b": torch.zeros(2, 2), "c": torch.tensor(1.0)}
    base = BaseWeights.of(state, OWN)
    assert base.unchanged(state) == ["a", "b", "c"]
    state["b"] = torch.tensor([[0.0, 0.0], [0.0, -0.0]])
    assert base.unchanged(state) == ["a", "c"]
    assert base.unchanged({"a": torch.ones(3, dtype=torch.float64)}) == []


def test_frozen_layers_are_without_trained_and_computed_parameters() -> None:
    class Net(nn.Module):
        def __init__(self, in_chans: int) -> None:
            super().__init__()
            self.positions = nn.Parameter(torch.zeros(2), requires_grad=False)
            self.stem = nn.Conv2d(in_chans, 2, 1, bias=False).requires_grad_(False)
            self.norm = nn.BatchNorm2d(2).requires_grad_(False)
            self.head = nn.Linear(2, 2)

    assert set(frozen_layers(Net(3))) == {"stem.weight", "norm.weight", "norm.bias"}
    assert set(frozen_layers(Net(1))) == {"norm.weight", "norm.bias"}


def test_the_source_is_a_name_the_users_own_or_none() -> None:
    spec = BackboneSpec("resnet18", 2)
    assert source_of(spec, pretrained=True, weights=None) == "IMAGENET1K_V1"
    assert source_of(spec, pretrained=False, weights="ResNet18_Weights.DEFAULT") == "IMAGENET1K_V1"
    assert source_of(spec, pretrained=True, weights="body.pth") == OWN
    assert source_of(spec, pretrained=True, weights={}) == OWN
    assert source_of(spec, pretrained=False, weights=None) is RANDOM
    timm_spec = BackboneSpec("timm/resnet18.a1_in1k", 2)
    assert source_of(timm_spec, pretrained=True, weights=None) == "a1_in1k"
    assert source_of(timm_spec, pretrained=True, weights="a2_in1k") == "a2_in1k"
    assert source_of(timm_spec, pretrained=True, weights="dir/body.safetensors") == OWN
