"""Layer groups by block: those of timm's own layer decay, and of torchvision's networks."""

import pytest
import torch
from torch import nn

from learnkit import DataBunch, LayerDecay, Learner, cnn_learner
from learnkit.models import blocks, build_cnn
from learnkit.models.groups import group_numbers
from learnkit.optim.groups import spread_rates
from tests.doubles import slow

timm = pytest.importorskip("timm")

DECAY = 0.75


def scales_of_timm(model: nn.Module) -> dict[str, float]:
    """timm's factor of the rate of each parameter."""
    from timm.optim import param_groups_layer_decay

    names = {id(p): name for name, p in model.named_parameters()}
    groups = param_groups_layer_decay(model, layer_decay=DECAY)
    return {names[id(p)]: group["lr_scale"] for group in groups for p in group["params"]}


def scales_here(model: nn.Module) -> dict[str, float]:
    groups = blocks(model)
    rates = spread_rates(LayerDecay(1.0, DECAY), len(groups))
    return {name: rates[number] for name, number in group_numbers(groups, model).items()}


@pytest.mark.parametrize("name", ["test_vit", "test_vit4", "test_convnext", "test_resnet", "test_efficientnet"])
def test_of_a_network_of_timm_with_its_classifier_the_scales_are_timms(name: str) -> None:
    model = timm.create_model(name, num_classes=3)
    assert scales_here(model) == pytest.approx(scales_of_timm(model))


@pytest.mark.parametrize("name", ["test_vit", "test_vit4", "test_resnet"])
def test_of_a_body_of_timm_the_scales_are_timms_and_the_new_head_is_the_last_group(name: str) -> None:
    cnn = build_cnn(f"timm/{name}", 3, pretrained=False, split_on=blocks)
    assert {id(p) for p in cnn.groups[-1].parameters()} == {id(p) for p in cnn.model[1].parameters()}
    ours = {path.removeprefix("0.network."): scale for path, scale in scales_here(cnn.model).items()}
    theirs = scales_of_timm(timm.create_model(name, num_classes=3))
    shared = (theirs.keys() & ours.keys()) - {"fc_norm.weight"}  # which is behind the last block, and not in the head
    assert len(shared) > 20
    assert {path: ours[path] for path in shared} == pytest.approx({path: theirs[path] for path in shared})


def test_attention_pooling_is_in_the_group_of_the_last_block() -> None:
    network = timm.create_model("vit_base_patch16_siglip_224", num_classes=0, depth=2, embed_dim=32, num_heads=2)
    numbers = group_numbers(blocks(nn.Sequential(network, nn.Linear(32, 2))), nn.Sequential(network, nn.Linear(32, 2)))
    assert numbers["0.attn_pool.latent"] == numbers["0.blocks.1.attn.qkv.weight"] == 2


@pytest.mark.parametrize(
    ("name", "n_blocks"), [("resnet18", 8), ("densenet121", 58), ("mobilenet_v2", 17), slow("vgg11", 7), ("alexnet", 4)]
)
def test_networks_of_torchvision_have_a_stem_their_blocks_and_the_head(name: str, n_blocks: int) -> None:
    cnn = build_cnn(name, 3, pretrained=False, split_on=blocks)
    assert len(cnn.groups) == n_blocks + 2
    assert {id(p) for p in cnn.groups[-1].parameters()} == {id(p) for p in cnn.model[1].parameters()}


def test_the_blocks_of_resnet_are_its_residual_blocks() -> None:
    cnn = build_cnn("resnet18", 3, pretrained=False, split_on=blocks)
    residual = [block for stage in list(cnn.model[0].children())[4:] for block in stage]
    assert cnn.groups[1:-1] == residual


def test_of_a_whole_network_the_classifier_is_the_head() -> None:
    from torchvision.models import resnet18

    model = resnet18(num_classes=3)
    groups = blocks(model)
    assert len(groups) == 10
    assert groups[-1] is model.fc


def test_a_model_without_blocks_is_split_by_layer() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 2))
    assert [sum(p.numel() for p in group.parameters()) for group in blocks(model)] == [15, 12, 8]
    assert blocks(nn.Linear(2, 2))[0] is not None
    assert len(blocks(nn.Linear(2, 2))) == 1


def test_a_fit_trains_each_block_at_its_rate() -> None:
    x, y = torch.rand(8, 3, 32, 32), torch.arange(8) % 2
    dls = DataBunch.from_tensors(x, y, x, y, classes=["a", "b"], bs=4)
    learn = cnn_learner(dls, "timm/test_vit", pretrained=False, split_on=blocks)
    n = len(learn.groups)
    learn.fit(1, lr=LayerDecay(1e-3, 0.5))
    assert learn.opt is not None
    rates = {group["layer_group"]: group["lr"] for group in learn.opt.param_groups}
    assert rates == {number: 1e-3 * 0.5 ** (n - 1 - number) for number in range(n)}
    again = Learner(dls, learn.model, groups=blocks).split(blocks)
    assert len(again.groups) == n
