"""Which device is used, on machines that a stand-in imitates."""

from typing import Any

import pytest
import torch

from learnkit.accelerators import default_device, made_current, resolve_device
from learnkit.errors import UsageError
from tests.doubles import Accelerators, refused

CPU = torch.device("cpu")


def test_the_environment_variable_names_the_default_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEARNKIT_DEVICE", "meta")
    assert default_device() == torch.device("meta")
    assert resolve_device(None) == torch.device("meta")
    assert resolve_device("cpu") == CPU
    monkeypatch.setenv("LEARNKIT_DEVICE", "gpu")
    with refused("device", got="gpu"):
        default_device()


@pytest.mark.parametrize("name", ["cuda:99", "hpu:99"])  # torch knows both, the second by name alone
def test_an_unavailable_device_is_refused_with_those_available(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    with pytest.raises(UsageError, match=f"device '{name}' cannot be used .* torch finds the CPU"):
        resolve_device(name)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("cuda"))
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)
    with pytest.raises(UsageError, match="torch finds the CPU and 2 of cuda"):
        resolve_device(torch.device(name))


def test_of_what_torch_says_of_a_device_the_first_sentence_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object, **kwargs: object) -> None:
        raise RuntimeError("Could not run 'aten::empty' on 'MPS'. This could be because\nof much else.")

    monkeypatch.setattr(torch, "empty", broken)
    with pytest.raises(UsageError, match=r"'mps' cannot be used \(Could not run 'aten::empty' on 'MPS'\): expected"):
        resolve_device("mps")


def test_an_accelerator_that_does_not_work_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("cuda"))

    def broken(*args: object, **kwargs: object) -> None:
        raise RuntimeError("no driver")

    monkeypatch.setattr(torch, "ones", broken)
    assert default_device() == CPU


def test_the_default_device_is_the_current_accelerator_with_its_index(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Accelerators(monkeypatch, "cuda", n=4)
    assert (default_device(), resolve_device(None)) == (torch.device("cuda:0"), torch.device("cuda:0"))
    torch.accelerator.set_device_index(2)  # as a script of several processes does, each with its local rank
    assert (default_device(), resolve_device(None)) == (torch.device("cuda:2"), torch.device("cuda:2"))
    assert machine.current == 2


@pytest.mark.parametrize("kind", ["cuda", "xpu"])
def test_a_name_without_an_index_is_the_current_device_of_that_kind(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Accelerators(monkeypatch, kind, n=2, current=1)
    assert resolve_device(kind) == torch.device(kind, 1)
    assert resolve_device("cpu") == CPU
    assert machine.switches == []


def test_a_device_with_an_index_becomes_the_current_one_once(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Accelerators(monkeypatch, "cuda", n=2)
    for _ in range(2):
        assert resolve_device("cuda:1") == made_current(torch.device("cuda:1")) == torch.device("cuda:1")
    assert machine.switches == [1]
    monkeypatch.setenv("LEARNKIT_DEVICE", "cuda:0")
    assert default_device() == torch.device("cuda:0")
    assert machine.switches == [1, 0]


def test_a_device_of_another_kind_than_the_accelerator_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Accelerators(monkeypatch, "cuda", n=2)
    assert made_current(torch.device("meta")) == torch.device("meta")
    assert machine.switches == []


def test_nothing_asks_for_accelerators_where_the_cpu_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*args: Any, **options: Any) -> Any:
        raise AssertionError("asked")

    for name in ("is_available", "current_accelerator", "current_device_index", "device_count"):
        monkeypatch.setattr(torch.accelerator, name, asked)
    assert resolve_device("cpu") == resolve_device(CPU) == made_current(CPU) == CPU
