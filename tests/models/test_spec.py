"""Networks from their specs: built, on the meta device, and through JSON."""

import json
from collections import OrderedDict
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import safetensors.torch
import torch
import torchvision
from torch import Tensor, nn

from learnkit.errors import CorruptFileError, DownloadError, MissingModelError, UsageError
from learnkit.models import ARCHITECTURES, Architecture, BackboneSpec, build_cnn, build_unet, resnet18
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
    assert cnn.model[1][2].num_features == 256  # layer2 gives 128
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


def test_the_body_with_loaded_weights_gives_torchvisions_outputs(trained: State, no_fetch: None) -> None:
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


SPECS = [
    BackboneSpec("resnet18", 10, lin_ftrs=(512,)),
    BackboneSpec("squeezenet1_1", 5, in_chans=1, lin_ftrs=(), ps=0.0, concat_pool=False),
    BackboneSpec("squeezenet1_1", 5, in_chans=6, lin_ftrs=(8, 4), ps=(0.1, 0.2, 0.3), bn_final=True),
    BackboneSpec("resnet18", 2, cut=5, lin_ftrs=(16,)),
    BackboneSpec("squeezenet1_1", 4, "unet", in_chans=2),
]


@pytest.mark.parametrize("spec", SPECS)
def test_every_argument_comes_back_from_json(spec: BackboneSpec) -> None:
    assert BackboneSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


def test_a_timm_network_comes_back_from_json() -> None:
    pytest.importorskip("timm")
    spec = BackboneSpec("timm/test_vit", 2, image_size=(64, 96), lin_ftrs=(4,))
    assert spec.source == "timm"
    assert BackboneSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


def test_the_fields_of_the_json() -> None:
    assert SPECS[2].to_json() == {
        "arch": {
            "source": "registry",
            "name": "squeezenet1_1",
            "config": {"in_ch": 6, "cut": None, "image_size": None},
        },
        "head": {"kind": "concat_pool", "hidden": [8, 4], "dropout": [0.1, 0.2, 0.3], "bn_final": True, "n_out": 5},
    }
    assert SPECS[1].to_json()["head"]["kind"] == "avg_pool"
    assert SPECS[4].to_json()["head"] == {"kind": "unet", "n_out": 4}
    timm = BackboneSpec("timm/resnet10t.c3_in1k", 2, image_size=(64, 96)).to_json()["arch"]
    assert timm == {"source": "timm", "name": "resnet10t", "config": {"in_ch": 3, "cut": None, "image_size": [64, 96]}}


@pytest.mark.parametrize(
    ("part", "field", "value", "what", "expected"),
    [
        ("arch", "source", "pickle", "arch source", "one of registry, timm"),
        ("arch", "name", "X" * 201, "arch name", "a text of at most 200 characters"),
        ("arch", "config", None, "config", "an object"),
        ("config", "in_ch", 0, "config in_ch", "an integer from 1 to 10000"),
        ("config", "in_ch", 10_001, "config in_ch", "an integer from 1 to 10000"),
        ("config", "in_ch", "3", "config in_ch", "an integer from 1 to 10000"),
        ("config", "in_ch", True, "config in_ch", "an integer from 1 to 10000"),
        ("config", "cut", -1001, "config cut", "an integer from -1000 to 1000"),
        ("config", "cut", 1001, "config cut", "an integer from -1000 to 1000"),
        ("config", "image_size", [64], "config image_size", "a list of 2 integers from 1 to 4096"),
        ("config", "image_size", [64, 4097], "config image_size", "a list of 2 integers from 1 to 4096"),
        ("config", "image_size", 64, "config image_size", "a list of 2 integers from 1 to 4096"),
        ("head", "n_out", 0, "head n_out", "an integer from 1 to 1000000"),
        ("head", "n_out", 1_000_001, "head n_out", "an integer from 1 to 1000000"),
        ("head", "kind", ["unet"], "head kind", "one of concat_pool, avg_pool, unet"),
        ("head", "hidden", [1] * 17, "head hidden", "a list of 0 to 16 integers from 1 to 1000000"),
        ("head", "hidden", [0], "head hidden", "a list of 0 to 16 integers from 1 to 1000000"),
        ("head", "hidden", [1_000_001], "head hidden", "a list of 0 to 16 integers from 1 to 1000000"),
        ("head", "dropout", [0.1, 0.1], "head dropout", "a number from 0 to 1, or a list of 3"),
        ("head", "dropout", -0.1, "head dropout", "a number from 0 to 1, or a list of 3"),
        ("head", "dropout", [0.1, 1.1, 0.1], "head dropout", "a number from 0 to 1, or a list of 3"),
        ("head", "dropout", float("nan"), "head dropout", "a number from 0 to 1, or a list of 3"),
        ("head", "dropout", 10**400, "head dropout", "a number from 0 to 1, or a list of 3"),
        ("head", "bn_final", 1, "head bn_final", "true or false"),
    ],
)
def test_json_out_of_bounds_is_refused(part: str, field: str, value: object, what: str, expected: str) -> None:
    content = SPECS[2].to_json()
    (content["arch"]["config"] if part == "config" else content[part])[field] = value
    with refused(what, CorruptFileError, expected=expected):
        BackboneSpec.from_json(content)


@pytest.mark.parametrize("part", ["arch", "head"])
def test_json_without_a_part_is_refused(part: str) -> None:
    content = SPECS[0].to_json()
    content.pop(part)
    with refused(part, CorruptFileError, got=None, expected="an object"):
        BackboneSpec.from_json(content)


def test_what_json_holds_is_shortened_in_errors() -> None:
    content = SPECS[0].to_json()
    content["arch"]["name"] = "X" * 10_000
    with pytest.raises(CorruptFileError) as caught:
        BackboneSpec.from_json(content)
    assert len(caught.value.message) < 300


@pytest.mark.parametrize(("part", "what"), [("arch", "arch"), ("config", "config"), ("head", "head")])
def test_json_with_fields_of_another_version_is_refused(part: str, what: str) -> None:
    for content in (SPECS[0].to_json(), SPECS[4].to_json()):
        (content["arch"]["config"] if part == "config" else content[part])["module"] = "os"
        with refused(what, MissingModelError, got="['module']"):
            BackboneSpec.from_json(content)


@pytest.mark.parametrize(
    "name", ["resnet19", "os.system", "__import__", "resnet18()", "timm/resnet18", "resnet18\n", ""]
)
@pytest.mark.parametrize("source", ["registry", "timm"])
def test_names_are_looked_up_in_the_two_lists_alone(source: str, name: str) -> None:
    if source == "timm":
        pytest.importorskip("timm")
    content = SPECS[0].to_json()
    content["arch"].update(source=source, name=name)
    package = "timm" if source == "timm" else "learnkit"
    with refused("arch name", MissingModelError, got=name, expected=f"a network that this {package} knows"):
        BackboneSpec.from_json(content)


def test_networks_that_only_the_users_code_can_build_are_not_portable() -> None:
    for base_arch, cut in [
        (nn.Sequential(nn.Conv2d(3, 4, 3)), None),
        (lambda: nn.Sequential(nn.Conv2d(3, 4, 3)), None),
        (torchvision.models.resnet18, lambda module: module),
        (torchvision.models.maxvit_t, None),
        (Architecture("resnet18", -4, (1,)), None),
    ]:
        spec = BackboneSpec(base_arch, 2, cut=cut)
        assert spec.portable() is None
        with refused("base_arch", got=spec.name):
            spec.to_json()


def test_an_unknown_kind_is_refused() -> None:
    with refused("kind", got="segmenter", expected="'cnn' or 'unet'"):
        BackboneSpec("resnet18", 2, "segmenter")


def test_portable_specs_hold_plain_numbers() -> None:
    one = np.int64(1)
    numbers: dict[str, Any] = {"n_out": one, "in_chans": one, "cut": -one, "lin_ftrs": [one], "ps": np.float64(0.5)}
    spec = BackboneSpec("resnet18", **numbers).portable()
    assert spec is not None
    plain = BackboneSpec("resnet18", 1, in_chans=1, cut=-1, lin_ftrs=[1])
    assert json.loads(json.dumps(spec.to_json())) == plain.to_json()


def test_portable_specs_hold_names_and_numbers() -> None:
    expected = BackboneSpec("resnet18", 2, lin_ftrs=(512,))
    for arch in ("resnet18", resnet18, torchvision.models.resnet18):
        assert BackboneSpec(arch, 2, image_size=(64, 64)).portable() == expected
    tagged = BackboneSpec("timm/resnet18.a1_in1k", 2, image_size=(8, 9), lin_ftrs=[4], ps=[0, 1])
    assert tagged.portable() == BackboneSpec("timm/resnet18", 2, image_size=(8, 9), lin_ftrs=(4,), ps=(0.0, 1.0))
    assert BackboneSpec(resnet18, 2, "unet").portable() == BackboneSpec("resnet18", 2, "unet")


def test_a_spec_matches_what_build_cnn_and_build_unet_build() -> None:
    given: dict[str, Any] = {"cut": -3, "in_chans": 1, "lin_ftrs": [9], "ps": 0.3, "concat_pool": False}
    spec = BackboneSpec(resnet18, 4, **given)
    assert spec.matches(build_cnn(resnet18, 4, pretrained=False, **given).model)
    assert not spec.matches(build_cnn(resnet18, 4, pretrained=False, **given | {"ps": 0.4}).model)  # extra_repr
    assert not spec.matches(build_cnn(resnet18, 4, pretrained=False, **given | {"cut": -4}).model)
    assert BackboneSpec("resnet18", 2, "unet").matches(build_unet("resnet18", 2, pretrained=False).model)


def test_a_model_with_a_tensor_of_another_shape_or_name_does_not_match() -> None:
    spec = BackboneSpec("squeezenet1_1", 2)
    model = spec.build().model
    assert spec.matches(model)
    bias = model[1][-1].bias
    model[1][-1].bias = nn.Parameter(torch.zeros(3))
    assert not spec.matches(model)
    model[1][-1].bias = bias
    model.register_buffer("extra", torch.zeros(1))
    assert not spec.matches(model)


def test_on_meta_takes_no_memory_and_no_random_numbers() -> None:
    before = torch.get_rng_state()
    network = BackboneSpec("vgg19", 1000).on_meta()
    assert all(tensor.is_meta for tensor in network.state_dict().values())
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_every_network_of_the_table_can_be_built_on_meta(name: str) -> None:
    network = BackboneSpec(name, 7).on_meta()
    assert sum(tensor.nbytes for tensor in network.state_dict().values() if not tensor.is_meta) < 1000
