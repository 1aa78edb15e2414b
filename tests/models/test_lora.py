"""LoRA beside the layers of a body: which layers, what trains, the same outputs before training and after merging."""

import sys
from typing import Any

import pytest
import torch
from torch import nn

from learnkit.errors import LearnkitWarning, UsageError
from learnkit.models import BackboneSpec, blocks
from learnkit.models.lora import has_peft_layers, lora_layers, merge_adapters, name_without_adapter

timm = pytest.importorskip("timm")
peft = pytest.importorskip("peft")

ARCH = "timm/test_vit"


def built(arch: Any = ARCH, lora: int | None = 4, **build: Any) -> nn.Module:
    torch.manual_seed(0)
    return BackboneSpec(arch, 3, lora=lora, image_size=(32, 32)).build(**build).model.eval()


@pytest.mark.parametrize("arch", [ARCH, "resnet18", "timm/test_convnext"])
def test_outputs_before_training_are_those_of_the_base(arch: str) -> None:
    x = torch.rand(2, 3, 32, 32)
    plain, adapted = built(arch, None), built(arch)
    for name, tensor in plain[1].state_dict().items():
        assert torch.equal(adapted[1].state_dict()[name], tensor)
    assert torch.equal(adapted(x), plain(x))


def test_matrices_are_beside_every_linear_layer_and_only_they_and_the_head_train() -> None:
    model = built()
    plain = built(lora=None)
    linear = {name for name, m in plain[0].named_modules() if isinstance(m, nn.Linear)}
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    pairs = {f"0.{layer}.lora_{part}.default.weight" for layer in linear for part in "AB"}
    assert len(linear) == 4 * len(plain[0].network.blocks)
    assert trained == pairs | {f"1.{name}" for name, _ in model[1].named_parameters()}
    assert all(p.shape[0 if ".lora_A." in name else 1] == 4 for name, p in model.named_parameters() if name in pairs)


def test_of_a_convolutional_body_all_ungrouped_convolutions_but_the_first_are_adapted() -> None:
    body = built("resnet18", None)[0]
    convolutions = [name for name, m in body.named_modules() if isinstance(m, nn.Conv2d)]
    assert lora_layers(body, 3, "resnet18", None) == convolutions[1:]
    mobile = built("mobilenet_v2", None)[0]
    adapted = lora_layers(mobile, 3, "mobilenet_v2", None)
    assert adapted
    assert all(mobile.get_submodule(name).groups == 1 for name in adapted)


def test_layers_that_are_not_called_are_named_in_a_warning_and_left_as_they_are() -> None:
    with pytest.warns(LearnkitWarning, match=r"lora: 24 layers of vit_b_16 have no adapters.*self_attention"):
        adapted = lora_layers(BackboneSpec("vit_b_16", 3).on_meta()[0].to_empty(device="cpu"), 3, "vit_b_16", (32, 32))
    assert len(adapted) == 24
    assert all(".mlp." in name for name in adapted)


def test_a_body_without_such_layers_is_refused() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    with pytest.raises(UsageError, match="no linear layer and no ungrouped convolution after its first"):
        BackboneSpec(network, 2, lora=2).build()


@pytest.mark.parametrize("lora", [0, -1, True, "8", 2.5])
def test_an_invalid_rank_is_refused(lora: Any) -> None:
    with pytest.raises(UsageError, match=r"lora: got .*, expected a rank of 1 or more, or None"):
        BackboneSpec("resnet18", 2, lora=lora)


def test_a_unet_is_refused() -> None:
    with pytest.raises(UsageError, match="lora: got 4, expected None for a U-Net"):
        BackboneSpec("resnet18", 2, "unet", lora=4)


def test_without_peft_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(UsageError, match=r"needs the package peft. Install it: pip install \"learnkit\[lora\]"):
        built()


def test_the_layer_groups_hold_the_matrices_of_their_layers() -> None:
    spec = BackboneSpec(ARCH, 3, lora=2, image_size=(32, 32))
    model, groups = spec.build(split_on=blocks)
    names = {id(p): name for name, p in model.named_parameters()}
    second = [names[id(p)] for p in groups[1].parameters()]
    assert all(name.startswith("0.network.blocks.0.") for name in second)
    assert sum(".lora_" in name for name in second) == 8
    assert sum(len(list(group.parameters())) for group in groups) == len(names)


def test_merging_keeps_the_outputs_and_leaves_the_plain_network() -> None:
    model, x = built(), torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".lora_B." in name:
                parameter.normal_(std=0.1)
    before = model(x)
    names = [name_without_adapter(name) for name in model.state_dict() if ".lora_" not in name]
    assert has_peft_layers(model)
    merged = merge_adapters(model)
    assert not has_peft_layers(merged)
    assert list(merged.state_dict()) == names == list(built(lora=None).state_dict())
    torch.testing.assert_close(merged(x), before, rtol=1e-4, atol=1e-5)
    weight = merged[0].network.blocks[0].mlp.fc1.weight
    assert not torch.equal(weight, built(lora=None)[0].network.blocks[0].mlp.fc1.weight)


@pytest.mark.slow
def test_the_spec_matches_its_model_and_goes_through_json() -> None:
    spec = BackboneSpec(ARCH, 3, lora=4, image_size=(32, 32))
    again = BackboneSpec.from_json(spec.to_json())
    assert again == spec.portable()
    assert again.matches(built())
    assert not again.matches(built(lora=None))
    assert "lora" not in BackboneSpec(ARCH, 3).to_json()["arch"]["config"]
