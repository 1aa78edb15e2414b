"""Networks built again from a few words: the same layers, and, with the weights, the same answers."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from learnkit.models import ARCHITECTURES, Architecture, resnet18
from learnkit.models.cnn import build_cnn
from learnkit.models.unet import build_unet
from learnkit.persistence.lk.file import built_model, open_export, write_export
from learnkit.persistence.lk.recipes import Recipe, read_recipe, recipe_of, same_build, written_recipe

FEW = ["resnet18", "googlenet", "regnet_x_400mf"]  # plain; with a buffer outside the state dict; not built on meta
MANY = [
    "alexnet", "vgg11_bn", "squeezenet1_0", "densenet121", "inception_v3", "shufflenet_v2_x0_5", "mobilenet_v2",
    "mobilenet_v3_small", "mnasnet0_5", "efficientnet_b0", "efficientnet_v2_s", "convnext_tiny", "regnet_y_400mf",
    "swin_t", "swin_v2_t", "vit_b_32", "resnext50_32x4d", "wide_resnet50_2",
]  # fmt: skip
TIMM = [
    "timm/resnet10t", "timm/vit_tiny_patch16_224", "timm/swin_tiny_patch4_window7_224",
    "timm/swinv2_cr_tiny_ns_224", "timm/beit_base_patch16_224", "timm/convnext_atto", "timm/efficientvit_m0",
    "timm/levit_128s", "timm/maxvit_rmlp_pico_rw_256", "timm/coat_tiny", "timm/efficientformer_l1",
    "timm/eva02_tiny_patch14_224",
    "timm/vit_small_patch16_dinov3", "timm/mobilenetv4_conv_small", "timm/test_vit",
]  # fmt: skip


def answer(model: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return model.eval()(x)  # type: ignore[no-any-return]


def comes_back(recipe: Recipe, manifest: dict[str, Any], path: Path, side: int) -> None:
    """Through a file, the network gives the very same numbers."""
    torch.manual_seed(1)
    model = recipe.build()
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor.add_(torch.rand_like(tensor) * 0.01)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with path.open("wb") as file:
        write_export(file, {**manifest, **written_recipe(recipe, "", recipe.n_out)}, model)
    before = torch.get_rng_state()
    with open_export(path) as export:
        again = built_model(export)
    assert torch.equal(torch.get_rng_state(), before)
    assert same_build(again, model)
    assert not any(module.training for module in again.modules())
    assert all(torch.equal(tensor, state[name]) for name, tensor in again.state_dict().items())
    x = torch.randn(2, recipe.in_chans, side, side, generator=torch.Generator().manual_seed(0))
    assert torch.equal(answer(again, x), answer(model, x))


@pytest.mark.parametrize("name", FEW)
def test_a_network_of_the_table_comes_back(name: str, manifest: dict[str, Any], tmp_path: Path) -> None:
    comes_back(Recipe(name, "cnn", 3, lin_ftrs=(16,)), manifest, tmp_path / "m.lk", 64)


@pytest.mark.slow
@pytest.mark.parametrize("name", MANY)
def test_networks_of_every_family_come_back(name: str, manifest: dict[str, Any], tmp_path: Path) -> None:
    comes_back(Recipe(name, "cnn", 3), manifest, tmp_path / "m.lk", 96)


@pytest.mark.slow
@pytest.mark.parametrize("name", TIMM)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_networks_of_timm_come_back(name: str, manifest: dict[str, Any], tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    side = timm.get_pretrained_cfg(name.removeprefix("timm/")).input_size[-1]
    comes_back(Recipe(name, "cnn", 3, image_size=(side, side)), manifest, tmp_path / "m.lk", side)


def test_timms_buffers_outside_the_state_dict_come_back(manifest: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("timm")
    recipe = Recipe("timm/test_maxvit", "cnn", 2, lin_ftrs=(), image_size=(64, 64))
    comes_back(recipe, manifest, tmp_path / "m.lk", 64)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_every_network_of_the_table_can_be_sketched(name: str) -> None:
    sketch = Recipe(name, "cnn", 7).sketch()
    assert sum(tensor.nbytes for tensor in sketch.state_dict().values() if not tensor.is_meta) < 1000


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe("squeezenet1_1", "cnn", 5, in_chans=1, lin_ftrs=(), ps=0.0, concat_pool=False),
        Recipe("squeezenet1_1", "cnn", 5, in_chans=6, lin_ftrs=(8, 4), ps=(0.1, 0.2, 0.3), bn_final=True),
        Recipe("resnet18", "cnn", 2, cut=5),
        Recipe("squeezenet1_1", "unet", 4, in_chans=2),
    ],
)
def test_every_argument_comes_back(recipe: Recipe, manifest: dict[str, Any], tmp_path: Path) -> None:
    assert read_recipe({**manifest, **written_recipe(recipe, "", 0)}, "x") == recipe
    comes_back(recipe, manifest, tmp_path / "m.lk", 64)


def test_it_is_what_build_cnn_builds() -> None:
    given: dict[str, Any] = {"cut": -3, "in_chans": 1, "lin_ftrs": [9], "ps": 0.3, "concat_pool": False}
    recipe = recipe_of("cnn", resnet18, n_out=4, image_size=(64, 64), **given)
    assert recipe is not None
    assert same_build(recipe.build(), build_cnn(resnet18, 4, pretrained=False, **given).model)
    assert not same_build(recipe.build(), build_cnn(resnet18, 4, pretrained=False, **given | {"ps": 0.4}).model)
    assert same_build(Recipe("resnet18", "unet", 2).build(), build_unet("resnet18", 2, pretrained=False)[0])


def test_networks_that_only_their_users_code_can_build_have_no_recipe() -> None:
    import torchvision

    rest: dict[str, Any] = {"n_out": 2, "in_chans": 3, "image_size": None}
    for base_arch, cut in [
        (nn.Sequential(nn.Conv2d(3, 4, 3)), None),
        (lambda: nn.Sequential(nn.Conv2d(3, 4, 3)), None),
        (torchvision.models.resnet18, lambda module: module),
        (torchvision.models.maxvit_t, None),
        (Architecture("resnet18", -4, (1,)), None),
    ]:
        assert recipe_of("cnn", base_arch, cut=cut, **rest) is None
    named = [recipe_of("cnn", arch, cut=None, **rest) for arch in ("resnet18", resnet18, torchvision.models.resnet18)]
    assert named == [Recipe("resnet18", "cnn", 2)] * 3
    tagged = recipe_of("cnn", "timm/resnet18.a1_in1k", cut=None, n_out=2, in_chans=3, image_size=(8, 9))
    assert tagged == Recipe("timm/resnet18", "cnn", 2, image_size=(8, 9))


def test_a_sketch_takes_no_memory_and_no_random_numbers() -> None:
    before = torch.get_rng_state()
    sketch = Recipe("vgg19", "cnn", 1000).sketch()
    assert all(tensor.is_meta for tensor in sketch.state_dict().values())
    assert torch.equal(torch.get_rng_state(), before)
