"""build_cnn: bodies, heads, groups, weights and channels."""

from collections import OrderedDict
from pathlib import Path
from urllib.error import URLError

import pytest
import safetensors.torch
import torch
import torchvision
from torch import Tensor, nn

from learnkit.errors import DownloadError, UsageError
from learnkit.models import build_cnn, resnet18
from tests.doubles import refused

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def trained() -> State:
    """The state dict of a whole torchvision resnet18, classifier included."""
    torch.manual_seed(0)
    return dict(torchvision.models.resnet18().state_dict())


@pytest.fixture
def no_fetch(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise URLError("offline")

    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)


def tiny() -> nn.Sequential:
    return nn.Sequential(
        OrderedDict(conv=nn.Conv2d(3, 6, 3), norm=nn.BatchNorm2d(6), pool=nn.AdaptiveAvgPool2d(1), fc=nn.Linear(6, 5))
    )


def n_tensors(groups: list[nn.Module]) -> list[int]:
    return [len(list(group.parameters())) for group in groups]


def n_params(groups: list[nn.Module]) -> list[int]:
    return [sum(p.numel() for p in group.parameters()) for group in groups]


def test_resnet18_has_three_groups_of_known_size() -> None:
    cnn = build_cnn("resnet18", 10, pretrained=False)
    assert n_tensors(cnn.groups) == [30, 30, 8]
    assert n_params(cnn.groups) == [683072, 10493440, 533002]
    assert n_params([cnn.model]) == [11709514]
    assert [id(p) for g in cnn.groups for p in g.parameters()] == [id(p) for p in cnn.model.parameters()]
    assert cnn.groups[2] is cnn.model[1]
    assert cnn.model.eval()(torch.rand(2, 3, 64, 64)).shape == (2, 10)


def test_resnext_has_three_groups_too() -> None:
    cnn = build_cnn("resnext50_32x4d", 10, pretrained=False)
    assert len(cnn.groups) == 3
    assert cnn.model[1][2].num_features == 4096


def test_a_module_has_two_groups_and_keeps_its_own_weights(no_fetch: None) -> None:
    base = tiny()
    before = base.conv.weight.clone()
    cnn = build_cnn(base, 4)
    assert cnn.groups == [cnn.model[0], cnn.model[1]]
    assert cnn.model[0][0] is base.conv
    assert torch.equal(base.conv.weight, before)
    assert cnn.model(torch.rand(2, 3, 8, 8)).shape == (2, 4)


def test_a_function_that_returns_a_module_is_called(no_fetch: None) -> None:
    assert build_cnn(tiny, 4).model[0][0].out_channels == 6


def test_a_function_that_returns_something_else_is_refused() -> None:
    with refused("base_arch", got=3, expected="a function that returns an nn.Module"):
        build_cnn(lambda: 3, 4)


@pytest.mark.parametrize(("base", "text"), [("resnet35", "Nearest: .*resnet34"), (7, "base_arch: got 7")])
def test_an_unknown_base_is_refused(base: object, text: str) -> None:
    with pytest.raises(UsageError, match=text):
        build_cnn(base, 4)  # type: ignore[arg-type]


def test_a_cut_is_used() -> None:
    cnn = build_cnn("resnet18", 4, pretrained=False, cut=-4)
    assert len(cnn.model[0]) == 6
    assert cnn.model[1][2].num_features == 256  # layer2 outputs 128
    assert cnn.groups == [cnn.model[0], cnn.model[1]]


def test_a_custom_head_is_used_as_is() -> None:
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3))
    weight = head[2].weight.clone()
    cnn = build_cnn(tiny(), 3, custom_head=head)
    assert cnn.model[1] is head
    assert torch.equal(head[2].weight, weight)


def test_a_head_that_is_not_a_module_is_refused() -> None:
    with refused("custom_head", got=nn.Linear, expected="an nn.Module"):
        build_cnn(tiny(), 3, custom_head=nn.Linear)  # type: ignore[arg-type]


def test_custom_groups(no_fetch: None) -> None:
    assert n_tensors(build_cnn(tiny(), 3, split_on=lambda m: [m[0][1], m[1]]).groups) == [2, 2, 8]


def test_groups_that_leave_something_out_are_refused_before_any_download(no_fetch: None) -> None:
    with pytest.raises(UsageError, match="every parameter must be in exactly one group"):
        build_cnn("resnet18", 3, split_on=lambda m: [[m[1]]])


@pytest.mark.parametrize("in_chans", [0, "3"])
def test_a_wrong_number_of_channels_is_refused_before_any_download(no_fetch: None, in_chans: int) -> None:
    with refused("in_chans", got=in_chans, expected="an integer, 1 or more"):
        build_cnn("resnet18", 3, in_chans=in_chans)


@pytest.mark.usefixtures("no_fetch")
@pytest.mark.parametrize("base", ["resnet18", resnet18, torchvision.models.resnet18, torchvision.models.vgg11])
def test_offline_pretrained_weights_are_a_download_error(base: object) -> None:
    with pytest.raises(DownloadError, match=r"could not be fetched from https://download\.pytorch\.org/models/"):
        build_cnn(base, 3)  # type: ignore[arg-type]


def test_pretrained_weights_come_from_the_cache(trained: State, no_fetch: None) -> None:
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    folder.mkdir(parents=True)
    torch.save(trained, folder / "resnet18-f37072fd.pth")
    assert same_body(build_cnn(resnet18, 3).model[0], trained)


def same_body(body: nn.Module, state: State) -> bool:
    """Whether the body holds the checkpoint's tensors, in order, without its classifier."""
    expected = [tensor for name, tensor in state.items() if not name.startswith("fc.")]
    return all(torch.equal(a, b) for a, b in zip(body.state_dict().values(), expected, strict=True))


@pytest.mark.parametrize("form", ["state dict", "pth", "safetensors", "wrapped"])
def test_weights_take_precedence_over_pretrained_in_every_form(trained: State, no_fetch: None, form: str) -> None:
    weights: object = trained
    if form == "pth":
        weights = Path("body.pth")
        torch.save(trained, weights)
    elif form == "safetensors":
        weights = "body.safetensors"
        safetensors.torch.save_file(trained, weights)
    elif form == "wrapped":
        weights = {f"module.{name}": tensor for name, tensor in trained.items()}
    cnn = build_cnn(resnet18, 3, weights=weights)
    assert same_body(cnn.model[0], trained)


def test_the_body_with_loaded_weights_has_torchvisions_outputs(trained: State, no_fetch: None) -> None:
    whole = torchvision.models.resnet18()
    whole.load_state_dict(trained)
    cnn = build_cnn("resnet18", 3, weights=trained)
    x = torch.rand(1, 3, 64, 64)
    features = cnn.model.eval()[0](x)
    torch.testing.assert_close(whole.eval().fc(features.mean((2, 3))), whole(x))


def test_weights_of_another_network_are_refused(trained: State) -> None:
    with pytest.raises(UsageError, match=r"do not fit the body of resnet34: layer1\.2\.conv1\.weight is missing"):
        build_cnn("resnet34", 3, weights=trained)


def test_a_module_takes_weights_too() -> None:
    source = tiny()
    cnn = build_cnn(tiny(), 3, weights=source.state_dict())
    assert torch.equal(cnn.model[0][0].weight, source.conv.weight)


def test_gray_pretrained_sums_the_planes(trained: State) -> None:
    stem = build_cnn("resnet18", 3, in_chans=1, weights=trained).model[0][0]
    torch.testing.assert_close(stem.weight, trained["conv1.weight"].sum(1, keepdim=True))


def test_gray_from_scratch_is_a_new_convolution() -> None:
    cnn = build_cnn("resnet18", 3, in_chans=1, pretrained=False)
    assert cnn.model[0][0].weight.shape == (64, 1, 7, 7)
    assert cnn.model.eval()(torch.rand(1, 1, 64, 64)).shape == (1, 3)


def test_weights_trained_on_gray_images_fit_a_gray_network() -> None:
    source = tiny()
    source.conv = nn.Conv2d(1, 6, 3)
    cnn = build_cnn(tiny(), 3, in_chans=1, weights=source.state_dict())
    assert torch.equal(cnn.model[0][0].weight, source.conv.weight)


def test_a_module_adapts_its_own_planes() -> None:
    base = tiny()
    before = base.conv.weight.detach().clone()
    build_cnn(base, 3, in_chans=6)
    torch.testing.assert_close(base.conv.weight, torch.cat([before, before], 1) / 2)


def test_a_network_that_cannot_run_without_its_auxiliary_heads_is_refused() -> None:
    class Aux(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features, self.aux = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)
            self.pool = nn.AvgPool2d(2)

    with pytest.raises(UsageError, match=r"does not run on an image of 3 channels \(RuntimeError: .*Pass another cut="):
        build_cnn(Aux(), 3)
