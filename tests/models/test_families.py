"""Every family of networks in the same way: features, layer groups, freezing, and which layers a step changes."""

import pytest
import torch
from torch import Tensor, nn

from learnkit import DataBunch, LearnkitWarning, cnn_learner
from learnkit.learner.learner import Learner
from learnkit.models.architectures import ARCHITECTURES

# Parameters of each network for 10 classes, and tensors of each group, as fastai 1 has them; where only fastai 2 has
# the network, the 522 biases that its head lacks are added, and the groups are not compared.
TOTALS: dict[str, tuple[int, list[int] | None]] = {
    "resnet18": (11_709_514, [30, 30, 8]),
    "resnet34": (21_817_674, [48, 60, 8]),
    "resnet50": (25_620_042, [72, 87, 8]),
    "vgg11_bn": (9_758_986, [24, 8, 8]),
    "vgg16_bn": (15_256_138, [28, 24, 8]),
    "alexnet": (2_739_530, [4, 6, 8]),
    "squeezenet1_0": (1_268_426, [14, 12, 24, 8]),
    "densenet121": (8_013_194, [114, 248, 8]),
    "mobilenet_v2": (3_546_378, [81, 75, 8]),
    "mobilenet_v3_small": (1_525_280 + 522, None),
    "efficientnet_b0": (5_330_054, None),
    "convnext_tiny": (28_614_762, None),
    "swin_t": (28_315_002 + 522, None),
    "regnet_y_400mf": (4_361_608 + 522, None),
    "resnext50_32x4d": (25_091_392 + 522, None),
    "wide_resnet50_2": (68_945_728 + 522, None),
}
SMALL = [
    "resnet18", "alexnet", "squeezenet1_0", "googlenet", "shufflenet_v2_x0_5", "mobilenet_v2", "mobilenet_v3_small",
    "mnasnet0_5", "efficientnet_b0", "regnet_x_400mf", "regnet_y_400mf", "densenet121", "swin_t", "vit_b_32",
    "timm/vit_tiny_patch16_224", "timm/tf_efficientnet_lite0", "timm/convnext_atto", "timm/pit_ti_224",
]  # fmt: skip
LARGE = [
    "resnet34", "resnet50", "resnext50_32x4d", "vgg16", "vgg16_bn", "densenet161", "inception_v3",
    "shufflenet_v2_x1_0", "mobilenet_v3_large", "wide_resnet50_2", "mnasnet1_0", "efficientnet_v2_s", 
    "swin_v2_t", "vit_b_16", "vgg11", "vgg11_bn", "squeezenet1_1", "regnet_x_800mf", "convnext_tiny",
    "convnext_small", "timm/densenet121", "timm/resnet18", "timm/beit_base_patch16_224",
    "timm/eva02_tiny_patch14_224", "timm/levit_128s", "timm/mixer_s32_224", "timm/mobilevit_xxs",
    "timm/swin_tiny_patch4_window7_224", "timm/xcit_nano_12_p16_224",
]  # fmt: skip
EVERY = [*SMALL, *(pytest.param(name, marks=pytest.mark.slow) for name in LARGE)]


def two_images(side: int) -> DataBunch:
    """Two training images and two validation images, of ten classes."""
    x, y = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 9])
    with pytest.warns(LearnkitWarning, match="no training item of class 1, 2"):
        return DataBunch.from_tensors(x, y, x, y, classes=[str(label) for label in range(10)], bs=2)


def learner(name: str) -> Learner:
    if name.startswith("timm/"):
        pytest.importorskip("timm")
    return cnn_learner(two_images(96 if name == "inception_v3" else 64), name, pretrained=False, seed=0)


def snapshot(learn: Learner) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in learn.model.named_parameters()}


@pytest.mark.parametrize("name", EVERY)
def test_a_family_has_features_and_groups_and_trains_what_is_not_frozen(name: str) -> None:
    learn = learner(name)
    x = learn.dls.one_batch()[0]
    body = learn.model.get_submodule("0")
    with torch.no_grad():
        features = body.eval()(x)
    assert features.ndim == 4
    n_pooled = next(m.num_features for m in learn.model.get_submodule("1").modules() if isinstance(m, nn.BatchNorm1d))
    assert n_pooled % features.shape[1] == 0
    if name in TOTALS:
        total, tensors = TOTALS[name]
        assert sum(p.numel() for p in learn.model.parameters()) == total
        assert tensors is None or [len(list(group.parameters())) for group in learn.groups] == tensors

    assert len(learn.groups) == (4 if name.startswith("squeezenet") else 3)
    assert all(list(group.parameters()) for group in learn.groups)
    learn.freeze()
    before = snapshot(learn)
    frozen = {name for name, p in learn.model.named_parameters() if not p.requires_grad}
    assert frozen
    assert all(name.startswith("0.") for name in frozen)
    learn.fit(1, lr=1e-3)
    after = snapshot(learn)
    assert {name for name in frozen if not torch.equal(before[name], after[name])} == set()
    assert not torch.equal(before["1.8.weight"], after["1.8.weight"])
    assert learn.history["train_loss"].notna().all()


@pytest.mark.parametrize("name", ["googlenet", "timm/vit_tiny_patch16_224"])
def test_unfrozen_a_step_reaches_the_first_layer(name: str) -> None:
    learn = learner(name)  # nothing is frozen, as nothing is pretrained
    first = next(m for m in learn.model.modules() if isinstance(m, nn.Conv2d))
    before = first.weight.detach().clone()
    learn.fit(1, lr=1e-2)
    assert not torch.equal(before, first.weight)


def test_the_table_has_a_member_of_every_family_in_this_sweep() -> None:
    bodies = {ARCHITECTURES[name].cut for name in SMALL if name in ARCHITECTURES}
    assert bodies == {known.cut for known in ARCHITECTURES.values()}
