"""Compute and devices, on the CPU."""

from collections import namedtuple

import pytest
import torch
from torch import nn

from learnkit.device import Compute, copies_from_pinned, default_device, resolve_device, to_device
from learnkit.errors import UsageError

CPU = torch.device("cpu")


def test_the_variable_names_the_default_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEARNKIT_DEVICE", "meta")
    assert default_device() == torch.device("meta")
    assert resolve_device(None) == torch.device("meta")
    assert resolve_device("cpu") == CPU
    monkeypatch.setenv("LEARNKIT_DEVICE", "gpu")
    with pytest.raises(UsageError, match="device: got 'gpu'"):
        default_device()


@pytest.mark.parametrize("name", ["cuda:99", "hpu:99"])  # torch knows both, the second by name alone
def test_a_device_that_is_not_here_is_refused_with_what_is(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    with pytest.raises(UsageError, match=f"device '{name}' cannot be used .* as torch sees it, that is the CPU alone"):
        resolve_device(name)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("cuda"))
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)
    with pytest.raises(UsageError, match="that is the CPU and 2 of cuda"):
        resolve_device(torch.device(name))


def test_an_accelerator_that_does_not_compute_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("cuda"))

    def broken(*args: object, **kwargs: object) -> None:
        raise RuntimeError("no driver")

    monkeypatch.setattr(torch, "ones", broken)
    assert default_device() == CPU


def test_everything_in_a_batch_is_moved() -> None:
    Pair = namedtuple("Pair", "a b")
    x = torch.ones(2)
    moved = to_device({"x": [x, (x, "text")], "pair": Pair(x, 3)}, torch.device("meta"))
    assert moved["x"][0].device.type == moved["x"][1][0].device.type == moved["pair"].a.device.type == "meta"
    assert (moved["x"][1][1], moved["pair"].b) == ("text", 3)
    assert not copies_from_pinned(CPU)


def test_auto_is_float32_on_the_cpu() -> None:
    compute = Compute(CPU)
    compute.use("auto")
    assert compute.precision == "fp32"
    with pytest.raises(UsageError, match="precision: got 'fp8'"):
        compute.use("fp8")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)]
)
def test_the_forward_pass_runs_in_the_precision_and_comes_back_in_float32(precision: str, dtype: torch.dtype) -> None:
    compute, layer = Compute(CPU), nn.Linear(3, 2)
    compute.use(precision)  # type: ignore[arg-type]
    with compute.autocast():
        out = layer(torch.ones(4, 3))
    assert out.dtype == dtype
    assert compute.full(out).dtype == torch.float32
    assert [part.dtype for part in compute.full([out, out.argmax(1)])] == [torch.float32, torch.int64]


def stepped(compute: Compute, scale: float = 1.0) -> tuple[bool, torch.Tensor, nn.Linear]:
    torch.manual_seed(0)
    layer = nn.Linear(2, 1)
    start = layer.weight.detach().clone()
    optimizer = torch.optim.SGD(layer.parameters(), 1.0)
    compute.backward((layer(torch.ones(1, 2)) * scale).sum())
    taken = compute.step(optimizer, layer)
    return taken, start - layer.weight.detach(), layer


def test_a_step_is_the_optimizers_and_forgets_the_gradients() -> None:
    taken, moved, layer = stepped(Compute(CPU))
    assert taken
    assert moved.tolist() == [[1.0, 1.0]]
    assert layer.weight.grad is None


def test_gradients_are_clipped_to_the_global_norm() -> None:
    _, moved, _ = stepped(Compute(CPU, clip_norm=0.5), scale=7.0)
    torch.testing.assert_close(moved, torch.full((1, 2), 0.5 / 3**0.5))  # three equal gradients, the bias among them


def test_float16_scales_the_gradients_and_leaves_an_overflowing_step_out() -> None:
    compute = Compute(CPU)
    compute.use("fp16")
    taken, moved, _ = stepped(compute)
    assert (taken, compute.n_skipped) == (True, 0)
    torch.testing.assert_close(moved, torch.ones(1, 2))
    taken, moved, _ = stepped(compute, scale=float("inf"))
    assert (taken, compute.n_skipped) == (False, 1)
    assert moved.tolist() == [[0.0, 0.0]]


def test_float16_clips_after_unscaling() -> None:
    compute = Compute(CPU, clip_norm=0.5)
    compute.use("fp16")
    torch.testing.assert_close(stepped(compute)[1], torch.full((1, 2), 0.5 / 3**0.5))


def test_generators_are_reseeded_and_put_back() -> None:
    compute = Compute(CPU)
    before = torch.get_rng_state()
    with compute.preserve_rng():
        compute.reseed(5)
        first = torch.rand(3)
        compute.reseed(5)
        assert torch.equal(first, torch.rand(3))
    assert torch.equal(before, torch.get_rng_state())


def test_generators_are_put_back_after_an_error_too() -> None:
    def fails() -> None:
        with Compute(CPU).preserve_rng():
            torch.rand(2)
            raise ZeroDivisionError

    before = torch.get_rng_state()
    with pytest.raises(ZeroDivisionError):
        fails()
    assert torch.equal(before, torch.get_rng_state())
