"""Networks from their specs: plain, compared with models, and through JSON."""

import json
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from learnkit.errors import CorruptFileError, MissingModelError
from learnkit.models import Architecture, BackboneSpec, SigmoidRange, build_cnn, build_unet, resnet18
from tests.doubles import refused

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
        ("arch", "name", "X" * 201, "arch name", "a string of at most 200 characters"),
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
        *(
            ("head", "y_range", wrong, "head y_range", "two numbers, the lower one first")
            for wrong in (3, [0], [1, 0], [0, 0], [0, True], ["0", "1"], [float("nan"), 1], [0, 10**400], [0, 1, 2])
        ),
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


def test_a_range_comes_back_from_json_and_is_built() -> None:
    spec = BackboneSpec("squeezenet1_1", 2, y_range=(-1, 5))
    assert spec.to_json()["head"]["y_range"] == [-1.0, 5.0]
    again = BackboneSpec.from_json(spec.to_json())
    assert again == spec.portable()
    model = again.build().model
    assert isinstance(model[1][-1], SigmoidRange)
    assert spec.matches(model)
    assert not BackboneSpec("squeezenet1_1", 2).matches(model)
    assert not BackboneSpec("squeezenet1_1", 2, y_range=(-1, 6)).matches(model)
    assert "y_range" not in BackboneSpec("squeezenet1_1", 2).to_json()["head"], "earlier versions read these"


@pytest.mark.parametrize("ps", [np.array([0.5, 0.25, 0.5]), [np.float32(0.5), 0.25, 0.5], (0.5, 0.25, 0.5)])
def test_arrays_are_taken_as_lists(ps: Any) -> None:
    spec = BackboneSpec("squeezenet1_1", np.int64(2), lin_ftrs=np.array([8, 4]), ps=ps, y_range=np.array([0, 1]))  # type: ignore[arg-type]
    plain = BackboneSpec("squeezenet1_1", 2, lin_ftrs=(8, 4), ps=(0.5, 0.25, 0.5), y_range=(0.0, 1.0))
    assert spec.portable() == plain
    assert spec.to_json() == plain.to_json()
    assert plain.matches(spec.build().model)
