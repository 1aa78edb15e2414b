"""Networks of timm by name: features, groups, weights by tag, and the errors when something is missing."""

import sys

import pytest
import safetensors.torch
import torch
from torch import nn

from learnkit.errors import DownloadError, UsageError
from learnkit.models.build import build_cnn
from learnkit.models.timm import create_timm, group_starts, timm_config

timm = pytest.importorskip("timm")

SMALL = "timm/convnext_atto"


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", "empty")


def test_features_are_those_before_the_pooling() -> None:
    network = create_timm("timm/resnet18", 3, (64, 64))
    with torch.no_grad():
        x = torch.rand(2, 3, 64, 64)
        features = network.body.eval()(x)
        torch.testing.assert_close(features, network.module.forward_features(x))  # type: ignore[operator]
    assert features.shape == (2, 512, 2, 2)
    assert not network.pooled


@pytest.mark.slow
def test_channels_that_come_last_are_moved_to_the_second_place() -> None:
    name = "swin_tiny_patch4_window7_224"
    network = create_timm(f"timm/{name}", 3, (64, 96))
    whole = timm.create_model(name, num_classes=0, **network.options).eval()
    whole.load_state_dict(network.module.state_dict())
    with torch.no_grad():
        x = torch.rand(1, 3, 64, 96)
        features = network.body.eval()(x)
        expected, pooled = whole.forward_features(x), whole(x)  # (N, H, W, C), and what timm's head makes of it
    assert features.shape == (1, 768, 2, 3)
    for row in range(2):
        for column in range(3):
            torch.testing.assert_close(features[:, :, row, column], expected[:, row, column])
    torch.testing.assert_close(features.mean((2, 3)), pooled)


def test_tokens_are_pooled_as_the_network_does_and_the_head_does_not_pool_again() -> None:
    network = create_timm("timm/vit_tiny_patch16_224", 1, (48, 48))
    with torch.no_grad():
        x = torch.rand(1, 1, 48, 48)
        tokens = network.module.eval().forward_features(x)  # type: ignore[operator]
        torch.testing.assert_close(network.body(x)[:, :, 0, 0], tokens[:, 0])
    assert network.pooled
    head = build_cnn("timm/vit_tiny_patch16_224", 4, pretrained=False, image_size=(48, 48)).model[1]
    assert head[2].num_features == 192


def test_the_second_group_begins_at_half_of_the_stages() -> None:
    module = create_timm("timm/resnet18").module
    names = {id(layer): name for name, layer in module.named_modules()}
    assert [names[id(start)] for start in group_starts(module)] == ["layer3.0.conv1"]


def test_the_tensors_of_timm_resnet_are_grouped_as_torchvisions() -> None:
    cnn = build_cnn("timm/resnet18", 10, pretrained=False)
    assert [len(list(group.parameters())) for group in cnn.groups] == [30, 30, 8]
    assert sum(p.numel() for p in cnn.model.parameters()) == 11_709_514


@pytest.mark.parametrize("in_chans", [1, 4])
def test_the_first_convolution_is_adapted_to_the_channels(in_chans: int) -> None:
    state = timm.create_model("convnext_atto").state_dict()  # with its classifier of 1,000 classes
    cnn = build_cnn(SMALL, 3, in_chans=in_chans, weights=state)
    weight = next(m.weight for m in cnn.model.modules() if isinstance(m, nn.Conv2d))
    old = state["stem.0.weight"]
    expected = old.sum(1, keepdim=True) if in_chans == 1 else old[:, [0, 1, 2, 0]] * 0.75
    torch.testing.assert_close(weight, expected)
    assert cnn.model.eval()(torch.rand(1, in_chans, 64, 64)).shape == (1, 3)


def test_a_file_of_weights_of_the_whole_network_is_loaded() -> None:
    state = timm.create_model("convnext_atto").state_dict()
    safetensors.torch.save_file(state, "whole.safetensors")
    body = build_cnn(SMALL, 3, weights="whole.safetensors").model[0]
    assert torch.equal(body.network.stages[3].blocks[0].mlp.fc1.weight, state["stages.3.blocks.0.mlp.fc1.weight"])


def test_published_weights_are_requested_from_timm_by_their_tag(monkeypatch: pytest.MonkeyPatch) -> None:
    create, requested = timm.create_model, []

    def fetch(name: str, pretrained: bool = False, **options: object) -> nn.Module:
        if pretrained:
            requested.append((name, options["in_chans"]))
        model: nn.Module = create(name.partition(".")[0], pretrained=False, **options)
        for p in model.parameters():
            nn.init.constant_(p, 0.25)
        return model

    monkeypatch.setattr(timm, "create_model", fetch)
    body = build_cnn(SMALL, 3, in_chans=1, weights="d2_in1k").model[0]
    build_cnn(f"{SMALL}.d2_in1k", 3)
    build_cnn(SMALL, 3)
    assert requested == [("convnext_atto.d2_in1k", 1), ("convnext_atto.d2_in1k", 3), ("convnext_atto", 3)]
    assert all((p == 0.25).all() for p in body.parameters())


@pytest.mark.usefixtures("offline")
def test_offline_the_error_names_the_weights_and_the_alternatives() -> None:
    with pytest.raises(
        DownloadError, match=r"timm/convnext_atto\.d2_in1k could not be fetched.*HF_HOME.*weights=.*pretrained=False"
    ):
        build_cnn(SMALL, 3, weights="d2_in1k")


def test_an_unknown_tag_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"weights: got 'nope', expected the tag .*timm has .*a1_in1k"):
        build_cnn("timm/resnet18", 3, weights="nope")
    with pytest.raises(UsageError, match="got 'nope'"):
        create_timm("timm/resnet18.nope")


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"got 'timm/resnet19', expected a network of timm. Nearest: resnet1"):
        create_timm("timm/resnet19")


def test_an_image_too_small_is_refused_with_the_size_of_the_weights() -> None:
    with pytest.raises(UsageError, match=r"timm/inception_v3 does not accept images of 40 x 40 .*size=299"):
        create_timm("timm/inception_v3", 3, (40, 40))


def test_without_timm_the_error_names_the_extra_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UsageError, match=r"needs the package timm. Install it: pip install \"learnkit\[timm\]"):
        create_timm("timm/resnet18")


def test_a_cut_is_used() -> None:
    cnn = build_cnn("timm/resnet18", 3, pretrained=False, cut=6)
    assert cnn.model[1][2].num_features == 256
    assert cnn.groups == [cnn.model[0], cnn.model[1]]


def test_the_config_is_that_of_the_tag() -> None:
    assert timm_config("timm/resnet18", "tv_in1k").interpolation == "bilinear"
    assert timm_config("timm/resnet18").interpolation == "bicubic"


def test_positions_of_a_local_file_for_other_images_are_resized_as_timm_does() -> None:
    native = timm.create_model("test_vit", num_classes=5, img_size=64)
    for p in native.parameters():
        nn.init.normal_(p, std=0.1)
    small = timm.create_model("test_vit", num_classes=0, img_size=160).eval()
    state = native.state_dict()
    filtered = sys.modules[type(small).__module__].checkpoint_filter_fn(dict(state), small)
    small.load_state_dict({k: v for k, v in filtered.items() if not k.startswith("head.")})
    body = build_cnn("timm/test_vit", 3, weights=state, image_size=(160, 160)).model[0].eval()
    x = torch.rand(2, 3, 160, 160)
    with torch.no_grad():
        torch.testing.assert_close(body(x).flatten(1), small.forward_head(small.forward_features(x)))


def test_weights_of_a_text_tower_are_refused() -> None:
    text = {"token_embedding.weight": torch.zeros(8, 4), "transformer.resblocks.0.ln_1.weight": torch.zeros(4)}
    with pytest.raises(UsageError, match="tensors do not fit the body of timm/test_vit"):
        build_cnn("timm/test_vit", 3, weights=text)
    with pytest.raises(UsageError, match="expected a network of timm"):
        create_timm("timm/clip_text_transformer")


@pytest.mark.parametrize(
    ("name", "mean", "size"),
    [
        ("vit_small_patch14_dinov2.lvd142m", 0.485, 518),
        ("vit_small_patch16_dinov3.lvd1689m", 0.485, 256),
        ("vit_base_patch16_siglip_224.webli", 0.5, 224),
        ("vit_base_patch16_clip_224.openai", 0.48145466, 224),
    ],
)
def test_the_preprocessing_of_foundation_models_is_their_own(name: str, mean: float, size: int) -> None:
    from learnkit.models import get_pretrained_cfg

    cfg = get_pretrained_cfg(f"timm/{name}")
    assert (cfg.mean[0], cfg.size, cfg.interpolation) == (mean, size, "bicubic")


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "vit_small_patch14_dinov2",
        "vit_small_patch14_reg4_dinov2",
        "vit_small_patch16_dinov3",
        "vit_base_patch16_siglip_224",
        "vit_base_patch16_clip_224",
    ],
)
def test_features_of_foundation_models_from_a_state_dict_are_timms(name: str) -> None:
    whole = timm.create_model(name, num_classes=0).eval()
    for part in whole.modules():
        if isinstance(getattr(part, "gamma", None), nn.Parameter):  # begins at 1e-5, which hides its block
            nn.init.constant_(part.gamma, 0.5)
    size = whole.pretrained_cfg["input_size"][1]
    body = build_cnn(f"timm/{name}", 3, weights=whole.state_dict()).model[0].eval()
    x = torch.rand(1, 3, size, size)
    with torch.no_grad():
        torch.testing.assert_close(body(x).flatten(1), whole(x))
