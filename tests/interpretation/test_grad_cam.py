"""Grad-CAM: the formula by hand, squares planted in noise found again, every family in one call, no trace left."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.convnext import CNBlockConfig, ConvNeXt
from torchvision.models.swin_transformer import SwinTransformer
from torchvision.models.vision_transformer import VisionTransformer

from learnkit.errors import UsageError
from learnkit.interpretation.grad_cam import grad_cam
from learnkit.models.build import build_cnn
from tests.doubles import refused

COLORS = torch.eye(3)


def squares(n: int, size: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Images of noise (n, 3, size, size), classes, and where the square begins.

    Class 0, 1 or 2 has a square of that color, a quarter as wide as the image; class 3 has none. So the evidence for
    a color can only be the square: without class 3, one of three could be recognized by the absence of the others.
    """
    random = torch.Generator().manual_seed(seed)
    x = 0.6 * torch.rand(n, 3, size, size, generator=random)
    y = torch.randint(0, 4, (n,), generator=random)
    side = size // 4
    corners = torch.randint(0, size - side + 1, (n, 2), generator=random)
    for image, number, (top, left) in zip(x, y.tolist(), corners.tolist(), strict=True):
        if number < 3:
            image[:, top : top + side, left : left + side] = 0.1 + 0.8 * COLORS[number][:, None, None]
    return (x - 0.35) / 0.25, y, corners


def trained(model: nn.Module, size: int, max_steps: int, lr: float, batch: int = 32) -> nn.Module:
    optimizer = torch.optim.AdamW(model.parameters(), lr)
    mean = 1.0
    for step in range(max_steps):
        x, y, _ = squares(batch, size, seed=1000 + step)
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        mean = 0.9 * mean + 0.1 * loss.item()
        if mean < 0.01:
            break
    return model


def share_found(model: nn.Module, size: int, cell: int) -> float:
    """In how many of the images that have a square the map is highest in it, or less than a cell from it."""
    x, y, corners = squares(64, size, seed=1)
    found = []
    for image, number, corner in zip(x, y.tolist(), corners.numpy(), strict=True):
        if number < 3:
            heat = grad_cam(model, image[None], number)
            peak = np.array(np.unravel_index(heat.argmax(), heat.shape))
            found.append(bool(((corner - cell <= peak) & (peak < corner + size // 4 + cell)).all()))
    assert len(found) > 40
    return float(np.mean(found))


def block(n_in: int, n_out: int, stride: int) -> list[nn.Module]:
    return [nn.Conv2d(n_in, n_out, 3, stride, 1), nn.BatchNorm2d(n_out), nn.ReLU(inplace=True)]


def small_cnn() -> nn.Module:
    return nn.Sequential(
        *block(3, 16, 2), *block(16, 32, 2), *block(32, 32, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 4)
    )


def test_a_planted_square_is_found() -> None:
    torch.manual_seed(0)
    model = trained(small_cnn(), 32, max_steps=150, lr=1e-2)
    assert share_found(model, 32, cell=4) >= 0.9


def vit(depth: int = 4) -> nn.Module:
    return build_cnn_of(VisionTransformer(64, 8, depth, 4, 64, 128), "vit")


def build_cnn_of(network: nn.Module, family: str) -> nn.Module:
    from learnkit.models.head import create_head
    from learnkit.models.torchvision_bodies import features_body, swin_body, vit_body

    body = {"vit": vit_body, "swin": swin_body, "convnext": features_body}[family](network)
    return nn.Sequential(body, create_head(64, 4, concat_pool=family != "vit", ps=0.0))


def timm_vit() -> nn.Module:
    timm = pytest.importorskip("timm")
    options = {"img_size": 64, "patch_size": 8, "depth": 4, "embed_dim": 64, "num_heads": 4, "num_classes": 4}
    model: nn.Module = timm.create_model("vit_tiny_patch16_224", **options)
    return model


def timm_swin() -> nn.Module:
    timm = pytest.importorskip("timm")
    options = {"img_size": 64, "window_size": 4, "depths": (2, 2), "embed_dim": 32, "num_heads": (2, 4)}
    model: nn.Module = timm.create_model("swin_tiny_patch4_window7_224", num_classes=4, **options)
    return model


FAMILIES: dict[str, Callable[[], nn.Module]] = {
    "resnet": lambda: build_cnn("resnet18", 4, cut=6, pretrained=False, ps=0.0).model,
    "whole resnet18": lambda: build_cnn("resnet18", 4, pretrained=False, ps=0.0).model,
    "convnext": lambda: build_cnn_of(ConvNeXt([CNBlockConfig(32, 64, 2), CNBlockConfig(64, None, 2)]), "convnext"),
    "swin": lambda: build_cnn_of(SwinTransformer([4, 4], 32, [2, 2], [2, 4], [4, 4]), "swin"),
    "vit": vit,
    "timm vit": timm_vit,
    "timm swin": timm_swin,
}  # each with a last map of 8 x 8 for 64 x 64 pixels, except for the whole resnet18, where it is 2 x 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "seed"),
    [*[(family, 0) for family in FAMILIES], ("vit", 2), ("timm vit", 2), ("timm vit", 3), ("timm swin", 5)],
)
def test_a_planted_square_is_found_by_every_family(family: str, seed: int) -> None:
    torch.manual_seed(seed)
    model = trained(FAMILIES[family](), 64, max_steps=400, lr=1e-3, batch=16 if family == "whole resnet18" else 32)
    assert share_found(model, 64, cell=8) >= 0.9


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_a_map_of_its_input_size(family: str) -> None:
    torch.manual_seed(0)
    heat = grad_cam(FAMILIES[family](), torch.randn(1, 3, 64, 64))
    assert (heat.shape, heat.dtype) == ((64, 64), np.float32)
    assert heat.min() >= 0
    assert heat.max() in (0, 1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "size"),
    [
        *[(name, (64, 64)) for name in ("resnet18", "convnext_tiny", "efficientnet_b0", "densenet121", "vgg11")],
        *[(name, (64, 96)) for name in ("swin_t", "swin_v2_t", "vit_b_16", "timm/vit_tiny_patch16_224")],
        *[("timm/convnext_atto", (64, 64)), ("timm/swin_tiny_patch4_window7_224", (224, 224))],
        *[("timm/vit_small_patch14_dinov2", (70, 70)), ("timm/deit_tiny_distilled_patch16_224", (96, 96))],
    ],
)
def test_known_networks_in_one_call(name: str, size: tuple[int, int]) -> None:
    if name.startswith("timm/"):
        pytest.importorskip("timm")
    torch.manual_seed(0)
    model = build_cnn(name, 3, pretrained=False, image_size=size).model
    heats = [grad_cam(model, torch.randn(1, 3, *size), number) for number in range(3)]
    assert all(heat.shape == size for heat in heats)
    assert any(heat.max() == 1 for heat in heats)


def pooled_cnn() -> tuple[nn.Sequential, Tensor]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    return model, torch.randn(1, 3, 8, 12)


@pytest.mark.parametrize("class_index", [0, 1])
def test_after_a_mean_the_weights_are_those_of_the_linear_layer(class_index: int) -> None:
    model, x = pooled_cnn()
    with torch.no_grad():
        features = model[1](model[0](x))
        heat = (model[4].weight[class_index].view(1, 4, 1, 1) * features).sum(1, keepdim=True).relu()
        heat = F.interpolate(heat, (8, 12), mode="bilinear")[0, 0]
    assert grad_cam(model, x, class_index) == pytest.approx((heat / heat.max()).numpy(), abs=1e-6)


def test_of_several_outputs_it_explains_the_chosen_one() -> None:
    model, x = pooled_cnn()

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = model

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return x.mean((1, 2, 3))[:, None], self.net(x)

    assert np.array_equal(grad_cam(Both(), x, 1, output=lambda outputs: outputs[1]), grad_cam(model, x, 1))
    with refused("grad_cam: the output of the model", got="tuple"):
        grad_cam(Both(), x)


def test_without_a_class_it_is_the_predicted_one() -> None:
    model, x = pooled_cnn()
    assert np.array_equal(grad_cam(model, x), grad_cam(model, x, int(model(x).argmax())))


def test_nothing_for_the_class_is_a_map_of_zeros() -> None:
    model, x = pooled_cnn()
    nn.init.constant_(model[4].weight, -1.0)
    assert grad_cam(model, x, 0).tolist() == np.zeros((8, 12)).tolist()
    nn.init.zeros_(model[4].weight)
    assert grad_cam(model, x, 0).max() == 0


def test_the_tokens_of_a_transformer_are_those_of_its_layer_norms_in_three_places() -> None:
    torch.manual_seed(0)
    model, x = vit(depth=2).eval(), torch.randn(1, 3, 64, 64)
    norms = [module for module in model.modules() if isinstance(module, nn.LayerNorm)]

    def heat_of(x: Tensor) -> Tensor:
        kept: list[Tensor] = []
        hooks = [norm.register_forward_hook(lambda module, x, output: kept.append(output)) for norm in norms]
        slopes = torch.autograd.grad(model(x)[0, 1], kept)
        for hook in hooks:
            hook.remove()
        patches = torch.stack([(output * slope)[0, 1:] for output, slope in zip(kept, slopes, strict=True)])
        heat = F.interpolate(patches.clamp(min=0).sum((0, 2)).detach().view(1, 1, 8, 8), (64, 64), mode="bilinear")
        return heat[0, 0] / heat.max()

    def moved(x: Tensor, by: int) -> Tensor:
        return torch.roll(x, (by, by), (-2, -1))

    heat = heat_of(x) + moved(heat_of(moved(x, 2)), -2) + moved(heat_of(moved(x, -2)), 2)  # a patch has 8 pixels
    assert grad_cam(model, x, 1) == pytest.approx((heat / heat.max()).numpy(), abs=1e-5)


class Residual(nn.Module):
    """(N, C, H, W): a layer norm over channels, and something after it that is added."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.mix = nn.LayerNorm(4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.mix(self.norm(x.permute(0, 2, 3, 1))).permute(0, 3, 1, 2)


def test_the_map_of_a_resolution_is_its_last_one_and_those_of_its_layer_norms() -> None:
    torch.manual_seed(0)
    block = Residual()
    model = nn.Sequential(nn.Conv2d(3, 4, 2, 2), block, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    x = torch.randn(1, 3, 16, 24)
    first = model[0](x)
    normed = block.norm(first.permute(0, 2, 3, 1))
    last = first + block.mix(normed).permute(0, 3, 1, 2)
    slopes = torch.autograd.grad(model[2:](last)[0, 1], [normed, last])
    heat = sum(
        (slope.mean(sides, keepdim=True) * output).sum(channels).relu()
        for slope, output, sides, channels in zip(slopes, [normed, last], [(1, 2), (2, 3)], [3, 1], strict=True)
    )
    assert isinstance(heat, Tensor)
    heat = F.interpolate(heat.detach()[None], (16, 24), mode="bilinear")[0, 0]
    assert grad_cam(model, x, 1) == pytest.approx((heat / heat.max()).numpy(), abs=1e-6)


class Channels(nn.Module):
    """(N, C, H, W) -> (N, H, W, C), or back."""

    def __init__(self, *order: int) -> None:
        super().__init__()
        self.order = order

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(*self.order)


def test_channels_may_come_last() -> None:
    model, x = pooled_cnn()
    last = nn.Sequential(model[:2], Channels(0, 2, 3, 1), nn.LayerNorm(4), nn.Flatten(1, 2), Mean(), model[4])
    first = nn.Sequential(model[:2], Channels(0, 2, 3, 1), nn.LayerNorm(4), Channels(0, 3, 1, 2), *model[2:])
    assert grad_cam(last, x, 1, layer="2") == pytest.approx(grad_cam(first, x, 1), abs=1e-6)


class Mean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean(1)


def halving(n: int) -> nn.Sequential:
    """n layers, each with half the places of the previous one, and a head."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(4 if i else 3, 4, 3, 2, 1) for i in range(n)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))


@pytest.mark.parametrize(
    ("n", "size", "taken"),
    [(1, 32, [16]), (2, 32, [8, 16]), (3, 64, [8, 16]), (3, 32, [4, 8]), (4, 32, [2, 4, 8]), (3, 16, [2, 4, 8])],
)
def test_the_last_maps_of_two_resolutions_and_of_finer_ones_up_to_8_x_8_are_added(
    n: int, size: int, taken: list[int]
) -> None:
    model, x = halving(n), torch.randn(1, 3, size, size)
    alone = {
        size // 2 ** (i + 1): grad_cam(model, x, 0, layer=str(i)) for i in range(n) if size // 2 ** (i + 1) in taken
    }
    assert sorted(alone) == taken
    expected = np.sum(list(alone.values()), axis=0)
    assert expected.max() > 0
    assert grad_cam(model, x, 0) == pytest.approx(expected / expected.max(), abs=1e-6)


@pytest.mark.parametrize("taken", [0, 1])
def test_the_map_of_a_layer_before_the_last_is_weighted_by_its_mean_gradient(taken: int) -> None:
    model, x = halving(2), torch.randn(1, 3, 16, 24)
    output = model[: taken + 1](x).detach().requires_grad_()
    (slope,) = torch.autograd.grad(model[taken + 1 :](output)[0, 1], output)
    heat = (slope.mean((2, 3), keepdim=True) * output).sum(1, keepdim=True).relu().detach()
    heat = F.interpolate(heat, (16, 24), mode="bilinear")[0, 0]
    assert heat.max() > 0
    assert grad_cam(model, x, 1, layer=str(taken)) == pytest.approx((heat / heat.max()).numpy(), abs=1e-6)


def test_a_map_as_fine_as_the_image_is_not_used() -> None:
    model, x = halving(1), torch.randn(1, 3, 32, 32)
    assert np.array_equal(grad_cam(nn.Sequential(nn.Identity(), *model), x), grad_cam(model, x))


def test_a_layer_can_be_chosen() -> None:
    torch.manual_seed(0)
    model, x = small_cnn().eval(), torch.randn(1, 3, 32, 32)
    assert np.array_equal(grad_cam(model, x, layer=model[2]), grad_cam(model, x, layer="2"))
    assert not np.array_equal(grad_cam(model, x, layer="2"), grad_cam(model, x))


def test_maps_of_one_place_are_passed_over() -> None:
    torch.manual_seed(0)
    layers = [*block(3, 8, 2), nn.Conv2d(8, 8, 2, 2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2)]
    model, x = nn.Sequential(*layers).eval(), torch.randn(1, 3, 4, 4)
    assert np.array_equal(grad_cam(model, x), grad_cam(model, x, layer="2"))


def test_layers_that_work_in_place_change_nothing() -> None:
    torch.manual_seed(0)
    model, x = small_cnn().eval(), torch.randn(1, 3, 32, 32)
    before = x.clone()
    heat = grad_cam(nn.Sequential(nn.ReLU(inplace=True), *model), x, 0)
    assert torch.equal(x, before)
    for layer in model.modules():
        if isinstance(layer, nn.ReLU):
            layer.inplace = False
    assert np.array_equal(heat, grad_cam(model, x.relu(), 0))


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, partial(torch.autograd.set_grad_enabled, True)])
def test_it_works_in_any_gradient_mode_and_with_frozen_layers(mode: Callable[[], torch.no_grad]) -> None:
    model, x = pooled_cnn()
    expected = grad_cam(model, x, 0)
    model.requires_grad_(False)
    with mode():
        assert np.array_equal(grad_cam(model, x.clone(), 0), expected)


@pytest.mark.parametrize("fails", [False, True])
def test_there_are_no_side_effects(fails: bool) -> None:
    torch.manual_seed(0)
    model = small_cnn()
    model[0].requires_grad_(False)
    model[4].eval()
    model[3].weight.grad = torch.ones_like(model[3].weight)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    generator = torch.get_rng_state()
    if fails:
        with pytest.raises(RuntimeError):
            grad_cam(model, torch.randn(1, 5, 32, 32, generator=torch.Generator()))
    else:
        grad_cam(model, torch.randn(1, 3, 32, 32, generator=torch.Generator()))
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    assert [module.training for module in model.modules()] == modes
    assert all(not module._forward_hooks for module in model.modules())
    assert not model[0].weight.requires_grad
    assert model[6].weight.grad is None
    assert torch.equal(model[3].weight.grad, torch.ones_like(model[3].weight))
    assert torch.equal(torch.get_rng_state(), generator)


def test_inputs_outputs_and_layers_of_another_kind_are_refused() -> None:
    model, x = pooled_cnn()
    with refused("x", got=(torch.float32, (2, 3, 8, 12))):
        grad_cam(model, x.expand(2, -1, -1, -1))
    with refused("x", got=(torch.uint8, (1, 3, 8, 12))):
        grad_cam(model, x.to(torch.uint8))
    for number in (2, -1, True, 0.0):
        with refused("class_index", got=number, expected="a class index from 0 to 1"):
            grad_cam(model, x, number)  # type: ignore[arg-type]
    with refused("grad_cam: the output of the model", got=(1, 4, 4, 6)):
        grad_cam(model[:2], x)
    with pytest.raises(UsageError, match=r"no output with places.*Pass layer="):
        grad_cam(nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 12, 2)), x)
    with pytest.raises(UsageError, match="Linear: this layer has no output with places"):
        grad_cam(model, x, layer="4")
    with refused("name", got="body"):
        grad_cam(model, x, layer="body")
