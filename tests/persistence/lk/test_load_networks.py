"""Networks of every family, saved and loaded: the same layers and the same outputs."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from learnkit.models import BackboneSpec
from learnkit.persistence.lk.file import write_export
from learnkit.persistence.lk.load import read_export
from learnkit.persistence.spec import ExportSpec
from tests.doubles import slow

# Plain; with a buffer outside the state dict; not built on meta.
FEW = ["resnet18", slow("googlenet"), slow("regnet_x_400mf")]
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


def outputs(model: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return model.eval()(x)  # type: ignore[no-any-return]


def comes_back(spec: BackboneSpec, path: Path, side: int) -> None:
    """Loaded from a file, the network returns the same numbers."""
    torch.manual_seed(1)
    model = spec.build().model
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor.add_(torch.rand_like(tensor) * 0.01)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    write_export(path, ExportSpec(model, None, backbone=spec))
    before = torch.get_rng_state()
    again = read_export(path).model
    assert torch.equal(torch.get_rng_state(), before)
    assert spec.matches(again)
    assert not any(module.training for module in again.modules())
    assert all(torch.equal(tensor, state[name]) for name, tensor in again.state_dict().items())
    x = torch.randn(2, spec.in_chans, side, side, generator=torch.Generator().manual_seed(0))
    assert torch.equal(outputs(again, x), outputs(model, x))


@pytest.mark.parametrize("name", FEW)
def test_a_network_of_the_table_comes_back(name: str, tmp_path: Path) -> None:
    comes_back(BackboneSpec(name, 3, lin_ftrs=(16,)), tmp_path / "m.lk", 64)


@pytest.mark.slow
@pytest.mark.parametrize("name", MANY)
def test_networks_of_every_family_come_back(name: str, tmp_path: Path) -> None:
    comes_back(BackboneSpec(name, 3), tmp_path / "m.lk", 96)


@pytest.mark.slow
@pytest.mark.parametrize("name", TIMM)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_networks_of_timm_come_back(name: str, tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    side = timm.get_pretrained_cfg(name.removeprefix("timm/")).input_size[-1]
    comes_back(BackboneSpec(name, 3, image_size=(side, side)), tmp_path / "m.lk", side)


@pytest.mark.slow
def test_timms_buffers_outside_the_state_dict_come_back(tmp_path: Path) -> None:
    pytest.importorskip("timm")
    spec = BackboneSpec("timm/test_maxvit", 2, lin_ftrs=(), image_size=(64, 64))
    comes_back(spec, tmp_path / "m.lk", 64)


@pytest.mark.parametrize(
    "spec",
    [
        BackboneSpec("squeezenet1_1", 5, in_chans=1, lin_ftrs=(), ps=0.0, concat_pool=False),
        BackboneSpec("squeezenet1_1", 5, in_chans=6, lin_ftrs=(8, 4), ps=(0.1, 0.2, 0.3), bn_final=True),
        BackboneSpec("resnet18", 2, cut=5),
        BackboneSpec("squeezenet1_1", 4, "unet", in_chans=2),
    ],
)
def test_every_argument_comes_back(spec: BackboneSpec, tmp_path: Path) -> None:
    comes_back(spec, tmp_path / "m.lk", 64)
