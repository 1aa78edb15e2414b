"""Models from exports: custom ones, tied tensors, other precisions, and an unchanged spec."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from learnkit.data.image.preprocess import Normalize, Preprocess
from learnkit.data.image.resize import Resize
from learnkit.errors import CorruptFileError, LearnkitWarning, MissingModelError, UsageError, WrongTypeError
from learnkit.losses.activations import softmax
from learnkit.models import BackboneSpec
from learnkit.persistence.lk.file import write_export
from learnkit.persistence.lk.load import read_export
from learnkit.persistence.spec import ExportSpec
from tests.persistence.conftest import forged

Forge = Callable[..., Path]
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path, spec: ExportSpec) -> Write:
    """Writes the spec with some parts replaced."""

    def write(**parts: Any) -> Path:
        write_export(tmp_path / "written.lk", replace(spec, **parts))
        return tmp_path / "written.lk"

    return write


def load(path: Path, model: Any = None) -> nn.Module:
    return read_export(path, model).model


def equal(first: nn.Module, second: nn.Module) -> bool:
    one, two = first.state_dict(), second.state_dict()
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def test_a_spec_is_read_as_it_was_written(write: Write, squeeze: BackboneSpec) -> None:
    preprocess = Preprocess(Resize((32, 48), "squish"), Normalize((0.1, 0.2, 0.3), (0.4, 0.5, 0.6)))
    model = squeeze.build().model
    path = write(model=model, backbone=squeeze, preprocess=preprocess, temperature=1.5, loss_name="own:Focal")
    found = read_export(path)
    assert equal(found.model, model)
    assert not any(module.training for module in found.model.modules())
    assert (found.task.classes if found.task else None) == ("ant", "bee", "cat")
    assert (found.preprocess, found.backbone) == (preprocess, squeeze)
    assert (found.activation, found.temperature, found.loss_name) == (softmax, 1.5, "own:Focal")


def test_a_custom_activation_and_reader_are_those_passed(write: Write, net: nn.Module) -> None:
    path = write(activation=torch.tanh)
    with pytest.raises(MissingModelError, match=r"Pass it: load_learner\(file, activation="):
        read_export(path, type(net)())
    assert read_export(path, type(net)(), activation=torch.tanh).activation is torch.tanh


def test_a_custom_model_is_given_as_an_instance_or_a_function_of_the_manifest(lk: Path, net: nn.Module) -> None:
    given = type(net)()
    assert load(lk, given) is given
    assert equal(given, net)
    assert not given.training
    seen: list[Any] = []

    def factory(manifest: dict[str, Any]) -> nn.Module:
        seen.append(manifest)
        return type(net)()

    assert equal(load(lk, factory), net)
    assert (seen[0]["classes"], seen[0]["arch"]["name"]) == (["ant", "bee", "cat"], "MyNet")


@pytest.mark.parametrize("model", [3, "os.system", nn.Linear, lambda manifest: 3])
def test_something_else_is_not_a_model(lk: Path, model: object) -> None:
    with pytest.raises(WrongTypeError) as caught:
        load(lk, model)
    assert (caught.value.what, caught.value.got) == ("model", model)


def test_a_model_with_different_shapes_is_refused_and_not_changed(lk: Path) -> None:
    other = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2), nn.Linear(1, 1))
    before = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    text = "does not fit the given model: 4.weight is missing in the file; 4.bias is missing in the file; "
    with pytest.raises(UsageError, match=re.escape(f"{text}3.weight (3, 8) in the file, (2, 8) in the model; 3.bias")):
        load(lk, other)
    assert all(torch.equal(before[name], tensor) for name, tensor in other.state_dict().items())


def test_the_first_five_differences_are_listed(lk: Path) -> None:
    with pytest.raises(UsageError, match=r"'1\.running_mean' is not in the model; and 4 more\. Build it"):
        load(lk, nn.Module())


def test_damaged_weights_do_not_change_a_passed_model(lk: Path, net: nn.Module) -> None:
    content = lk.read_bytes()
    lk.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    given = type(net)()
    before = {name: tensor.clone() for name, tensor in given.state_dict().items()}
    with pytest.raises(CorruptFileError, match="the checksum of its weights is wrong"):
        load(lk, given)
    assert all(torch.equal(before[name], tensor) for name, tensor in given.state_dict().items())


def test_a_model_of_another_precision_is_refused(lk: Path, net: nn.Module) -> None:
    with pytest.raises(UsageError, match=r"0\.weight float32 in the file, float64 in the model"):
        load(lk, type(net)().double())


def test_weights_of_another_network_are_refused(write: Write, squeeze: BackboneSpec) -> None:
    path = write(model=squeeze.build().model, backbone=squeeze)
    load(path)

    def wider(manifest: dict[str, Any]) -> None:
        manifest["head"]["n_out"] = 4
        manifest["classes"].append("dog")

    with pytest.raises(CorruptFileError, match=r"do not fit the architecture squeezenet1_1: .*\(3, 1024\) in") as error:
        load(forged(path, wider))
    assert error.value.fix.startswith("It was written with learnkit ")


def test_a_network_and_a_task_with_different_numbers_of_outputs_are_refused(
    write: Write, squeeze: BackboneSpec
) -> None:
    path = forged(write(model=squeeze.build().model, backbone=squeeze), lambda m: m["classes"].append("dog"))
    with pytest.raises(CorruptFileError) as caught:
        load(path)
    assert (caught.value.what, caught.value.got) == (f"{path}: outputs of the network", 3)
    assert caught.value.expected == "4, like its task"


def test_a_model_with_more_tensors_than_its_architecture_is_a_custom_one(write: Write, squeeze: BackboneSpec) -> None:
    model = squeeze.build().model
    model.register_buffer("extra", torch.zeros(1))
    with pytest.warns(LearnkitWarning, match="the model is no longer the squeezenet1_1 that was built"):
        path = write(model=model, backbone=squeeze)
    with pytest.raises(MissingModelError, match="weights for your custom model 'Sequential'"):
        load(path)
    parts = squeeze.to_json()
    with pytest.raises(CorruptFileError, match="'extra' is not in the model"):
        load(forged(path, lambda manifest: manifest.update(parts)))


def test_half_precision_is_kept(write: Write, squeeze: BackboneSpec) -> None:
    model = squeeze.build().model.to(torch.bfloat16)
    again = load(write(model=model, backbone=squeeze))
    assert {tensor.dtype for tensor in again.parameters()} == {torch.bfloat16}
    assert equal(again, model)


def test_integers_in_place_of_floats_are_refused(write: Write, squeeze: BackboneSpec) -> None:
    model = squeeze.build().model
    for layer in model.modules():
        for name, weights in list(layer.named_parameters(recurse=False)):
            setattr(layer, name, nn.Parameter(weights.int(), requires_grad=False))
    with pytest.raises(CorruptFileError, match=r"int32 in the file, float32 in the model"):
        load(write(model=model, backbone=squeeze))


def test_tied_tensors_are_written_and_stay_tied(write: Write) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = nn.Linear(3, 3)
            self.two = nn.Linear(3, 3)
            self.two.weight = self.one.weight
            self.register_buffer("part", self.one.weight.detach()[1:])  # a view

    saved, other = Tied(), Tied()
    again = load(write(model=saved), other)
    assert equal(again, saved)
    assert other.one.weight is other.two.weight


def test_buffers_beyond_the_room_are_refused(
    write: Write, squeeze: BackboneSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Wide(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = nn.Linear(2, 2)
            self.tables = {"a": [torch.empty(1 << 27, device="meta")]}

    path = write(model=squeeze.build().model, backbone=squeeze)
    monkeypatch.setattr("learnkit.persistence.lk.load.network_on_meta", lambda *_: Wide().to("meta"))
    monkeypatch.setattr("learnkit.persistence.lk.load._mismatches", lambda *_, **__: "")
    monkeypatch.setattr(Wide, "load_state_dict", lambda *_, **__: None)
    with pytest.raises(CorruptFileError, match="squeezenet1_1 needs buffers of more than 268,435,456 bytes"):
        load(path)


def test_arguments_that_build_nothing_are_refused(write: Write, squeeze: BackboneSpec) -> None:
    path = write(model=squeeze.build().model, backbone=squeeze)
    with pytest.raises(CorruptFileError, match=r"cannot be built from the manifest|in the model"):
        load(forged(path, lambda manifest: manifest["arch"]["config"].update(in_ch=5)))
    with pytest.raises(CorruptFileError, match="cannot be built from the manifest"):
        load(forged(path, lambda manifest: manifest["arch"]["config"].update(cut=900)))


def test_a_label_cannot_write_into_the_message(forge: Forge) -> None:
    with pytest.raises(MissingModelError, match=r"your custom model 'osx1b\.systemrmrf'; pass"):
        load(forge(lambda manifest: manifest["arch"].update(name="os\\x1b.system('rm -rf')\n")))


def test_without_a_model_the_weights_of_a_custom_network_are_refused(forge: Forge) -> None:
    path = forge(lambda manifest: None)
    with pytest.raises(MissingModelError) as error:
        load(path)
    assert str(error.value) == (
        f"{path}: this file holds weights for your custom model 'MyNet'; "
        "pass load_learner('forged.lk', model=MyNet(...)). Nothing was imported."
    )
