"""Weights found in the content of a file, and refused if safetensors cannot store them."""

from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from learnkit.cli.state_dicts import weights_in, write_weights
from learnkit.errors import DataError
from tests.cli.carriers import equal
from tests.doubles import refused


@pytest.fixture
def state() -> dict[str, Tensor]:
    return {"fc.weight": torch.arange(12.0).view(3, 4), "fc.bias": torch.tensor([1.0, -2.0, 3.5])}


def holds_itself() -> dict[str, object]:
    content: dict[str, object] = {}
    content["model"] = content
    return content


@pytest.mark.parametrize(
    "content",
    [
        {}, None, {"epoch": 3}, {"model": {"epoch": 3}}, {0: torch.zeros(1)}, holds_itself(),
        {"w": torch.zeros(2, dtype=torch.complex64)}, {"w": torch.zeros(2, 2).to_sparse()},
        {"w": torch.zeros(2, device="meta")},
    ],
)  # fmt: skip
def test_content_without_writable_tensors_is_refused(content: object) -> None:
    with pytest.raises(DataError):
        weights_in(content)


def test_other_values_are_left_out(state: dict[str, Tensor]) -> None:
    assert equal(weights_in({**state, "epoch": 3}), state)
    assert equal(weights_in({"state_dict": {"model": state}, "epoch": 3}), state)


@pytest.mark.parametrize("key", ["model", "state_dict", "model_state_dict", "module", "net", "network", "weights"])
def test_weights_are_found_under_the_keys_of_checkpoints(key: str, state: dict[str, Tensor]) -> None:
    assert equal(weights_in({"epoch": 3, key: state}), state)


def test_nested_checkpoints_are_searched_to_a_limit(state: dict[str, Tensor]) -> None:
    content: object = state
    for _ in range(4):
        content = {"model": content}
    assert equal(weights_in(content), state)
    with pytest.raises(DataError):
        weights_in({"model": content})


def test_errors_name_the_kind_the_key_or_the_tensors() -> None:
    with refused("weights", DataError, got="list"):
        weights_in([1, 2])
    with refused("weights", DataError, got=0, expected="names of tensors"):
        weights_in({0: torch.zeros(1)})
    with refused("weights on the meta device", DataError, got=["w"]):
        weights_in({"a": torch.zeros(1), "w": torch.zeros(2, device="meta")})


def test_parameters_become_plain_tensors() -> None:
    weights = weights_in(nn.Linear(2, 2))
    assert {type(tensor) for tensor in weights.values()} == {Tensor}
    assert not any(tensor.requires_grad for tensor in weights.values())


def test_weights_that_share_memory_are_written_separately(tmp_path: Path) -> None:
    shared = torch.arange(6.0)
    weights = {"a": shared[:4], "b": shared[2:], "c": shared.view(2, 3).T}
    write_weights(tmp_path / "w.safetensors", weights)
    assert equal(safetensors.torch.load_file(tmp_path / "w.safetensors"), weights)
