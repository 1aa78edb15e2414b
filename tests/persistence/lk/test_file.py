"""Models in and out of exports: one's own, shared tensors, other precisions, and a model as it was before."""

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from learnkit.errors import CorruptFileError, MissingModelError, UsageError, WrongTypeError
from learnkit.models import BackboneSpec
from learnkit.persistence.lk.file import built_model, open_export, write_export
from learnkit.persistence.lk.tensors import chunks, table_of
from learnkit.persistence.weights import plain_model

Forge = Callable[..., Path]


def load(path: Path, model: Any = None) -> nn.Module:
    with open_export(path) as export:
        return built_model(export, model)


def equal(first: nn.Module, second: nn.Module) -> bool:
    one, two = first.state_dict(), second.state_dict()
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def test_ones_own_model_is_given_as_an_instance_or_a_function_of_the_manifest(lk: Path, net: nn.Module) -> None:
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
def test_something_else_is_no_model(lk: Path, model: object) -> None:
    with pytest.raises(WrongTypeError, match=r"model: got .*, expected an nn\.Module, or a function of the manifest"):
        load(lk, model)


def test_a_model_of_other_shapes_is_refused_and_left_alone(lk: Path) -> None:
    other = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2), nn.Linear(1, 1))
    before = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    text = "does not fit the given model: 4.weight is missing in the file; 4.bias is missing in the file; "
    with pytest.raises(UsageError, match=re.escape(f"{text}3.weight (3, 8) in the file, (2, 8) in the model; 3.bias")):
        load(lk, other)
    assert all(torch.equal(before[name], tensor) for name, tensor in other.state_dict().items())


def test_a_model_of_another_precision_is_refused(lk: Path, net: nn.Module) -> None:
    with pytest.raises(UsageError, match=r"0\.weight float32 in the file, float64 in the model"):
        load(lk, type(net)().double())


def test_weights_of_another_network_are_refused(forge: Forge, squeeze: BackboneSpec) -> None:
    parts = squeeze.to_json()
    path = forge(lambda content: None, squeeze.build().model, **parts)
    load(path)
    parts["head"]["n_out"] = 4
    with pytest.raises(
        CorruptFileError, match=r"its weights do not fit the architecture squeezenet1_1: .*\(3, 1024\) in"
    ):
        load(forge(lambda content: None, squeeze.build().model, **parts))


def test_more_or_fewer_tensors_than_the_architecture_has_are_refused(forge: Forge, squeeze: BackboneSpec) -> None:
    model = squeeze.build().model
    model.register_buffer("extra", torch.zeros(1))
    with pytest.raises(CorruptFileError, match="'extra' is not in the model"):
        load(forge(lambda content: None, model, **squeeze.to_json()))


def test_half_precision_is_kept(forge: Forge, squeeze: BackboneSpec) -> None:
    model = squeeze.build().model.to(torch.bfloat16)
    again = load(forge(lambda content: None, model, **squeeze.to_json()))
    assert {tensor.dtype for tensor in again.parameters()} == {torch.bfloat16}
    assert equal(again, model)


def test_tied_tensors_are_written_and_stay_tied(forge: Forge) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = nn.Linear(3, 3)
            self.two = nn.Linear(3, 3)
            self.two.weight = self.one.weight
            self.register_buffer("part", self.one.weight.detach()[1:])  # a view

    saved, other = Tied(), Tied()
    again = load(forge(lambda content: None, saved), other)
    assert equal(again, saved)
    assert other.one.weight is other.two.weight


def test_tensors_of_any_layout_and_type_come_back(tmp_path: Path, manifest: dict[str, Any]) -> None:
    def model() -> nn.Module:
        module = nn.Module()
        tensors = {
            "scalar": torch.tensor(3), "empty": torch.zeros(0, 4), "flags": torch.tensor([True, False]),
            "across": torch.arange(6.0).view(2, 3).t(),
            "last": torch.randn(1, 3, 2, 2).to(memory_format=torch.channels_last),
            "wide": torch.tensor([1e-300]).double(), "octets": torch.arange(5, dtype=torch.uint8),
            "narrow": torch.tensor([1.5]).half(), "ünï": torch.tensor([2], dtype=torch.int16),
        }  # fmt: skip
        for name, tensor in tensors.items():
            module.register_buffer(name, tensor)
        return module

    torch.manual_seed(0)
    saved = model()
    with (tmp_path / "m.lk").open("wb") as file:
        write_export(file, manifest, saved)
    again = load(tmp_path / "m.lk", model())
    assert equal(again, saved)
    content = b"".join(chunks(saved.state_dict(), table_of(saved.state_dict())))
    theirs = safetensors.torch.load(content)
    assert all(torch.equal(theirs[name], tensor) for name, tensor in saved.state_dict().items())


@pytest.mark.parametrize("value", [torch.zeros(2, dtype=torch.complex64), torch.eye(2).to_sparse()])
def test_tensors_that_no_reader_knows_are_not_written(manifest: dict[str, Any], value: Tensor) -> None:
    model = nn.Module()
    model.register_buffer("odd", value)
    with pytest.raises(UsageError, match="export: odd of the model's state dict: got"):
        write_export(io.BytesIO(), manifest, model)


def test_state_that_is_no_tensor_is_not_written(manifest: dict[str, Any]) -> None:
    class Odd(nn.Linear):
        def get_extra_state(self) -> Any:
            return {"a": 1}

    with pytest.raises(UsageError, match="_extra_state of the model's state dict: got 'dict'"):
        write_export(io.BytesIO(), manifest, Odd(2, 2))


def test_wrappers_leave_no_trace_in_names(net: nn.Module) -> None:
    assert plain_model(torch.compile(nn.DataParallel(net))) is net  # type: ignore[arg-type]
    net.compile()
    assert plain_model(net) is net
    assert "0.weight" in net.state_dict()


def test_a_failed_build_is_no_crash(forge: Forge, squeeze: BackboneSpec) -> None:
    parts = squeeze.to_json()
    parts["arch"]["config"]["in_ch"] = 5
    with pytest.raises(CorruptFileError):
        load(forge(lambda content: None, squeeze.build().model, **parts))
    with pytest.raises(MissingModelError):
        load(forge(lambda content: None))
