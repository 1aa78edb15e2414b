"""Compute and devices, on the CPU."""

import os
import random
from collections import namedtuple
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from learnkit.device import Compute, copies_from_pinned, on_device, to_device, usable_cpus
from tests.doubles import Accelerators, Ops, refused

CPU = torch.device("cpu")


def test_everything_in_a_batch_is_moved() -> None:
    Pair = namedtuple("Pair", "a b")
    x = torch.ones(2)
    moved = to_device({"x": [x, (x, "text")], "pair": Pair(x, 3)}, torch.device("meta"))
    assert moved["x"][0].device.type == moved["x"][1][0].device.type == moved["pair"].a.device.type == "meta"
    assert (moved["x"][1][1], moved["pair"].b) == ("text", 3)
    assert not copies_from_pinned(CPU)


@pytest.mark.parametrize(
    ("device", "is_pinned", "is_running", "waits"),
    [
        ("cuda:0", True, True, False),
        ("cuda:0", False, True, False),  # moved to page-locked memory first
        ("cuda:0", False, False, True),
        ("mps:0", True, True, True),
        ("mps:0", False, True, True),
        ("xpu:0", False, True, True),
    ],
)
def test_only_copies_from_page_locked_memory_to_cuda_do_not_wait(
    device: str, is_pinned: bool, is_running: bool, waits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pinned: list[Tensor] = []

    def pin(self: Tensor) -> Tensor:
        pinned.append(self)
        return self

    monkeypatch.setattr(Tensor, "is_pinned", lambda self: is_pinned or bool(pinned))
    monkeypatch.setattr(Tensor, "pin_memory", pin)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: is_running)
    with FakeTensorMode(), Ops() as ops:
        (x,) = to_device((torch.empty(3),), torch.device(device))
        assert x.device == torch.device(device)
    (copy,) = ops.named("_to_copy")
    assert copy.get("non_blocking", False) is not waits
    assert len(pinned) == (device == "cuda:0" and is_running and not is_pinned)


def test_copies_to_the_cpu_wait() -> None:
    with FakeTensorMode(), Ops() as ops:
        to_device(torch.empty(3, device="cuda:0"), CPU)
        to_device(torch.empty(3, device="cuda:0"), torch.device("cuda:1"))
    assert [copy.get("non_blocking", False) for copy in ops.named("_to_copy")] == [False, False]


def test_a_batch_on_its_device_is_not_copied() -> None:
    x, y = torch.ones(2), torch.zeros(2)
    moved = list(on_device([(x, y), [x]], CPU))
    assert (moved[0][0] is x, moved[0][1] is y, moved[1][0] is x) == (True, True, True)
    assert (type(moved[0]), type(moved[1])) == (tuple, list)
    assert list(on_device([], CPU)) == []


def test_usable_cpus_are_those_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 3, 5}, raising=False)
    assert usable_cpus() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    assert usable_cpus() == 7
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cpus() == 1


def test_auto_is_float32_on_the_cpu() -> None:
    compute = Compute(CPU)
    compute.use("auto")
    assert compute.precision == "fp32"
    with refused("precision", got="fp8", expected="'auto', 'fp32', 'fp16' or 'bf16'"):
        compute.use("fp8")  # type: ignore[arg-type]


@pytest.mark.parametrize(("has_bf16", "precision"), [(True, "bf16"), (False, "fp16")])
def test_auto_depends_on_what_the_gpu_supports(monkeypatch: pytest.MonkeyPatch, has_bf16: bool, precision: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has_bf16 or including_emulation)
    compute = Compute(torch.device("cuda"))
    if precision == "bf16":
        compute.use("auto")
    else:
        with pytest.warns(UserWarning, match="GradScaler is enabled, but CUDA is not available"):
            compute.use("auto")
    assert compute.precision == precision
    other = Compute(torch.device("mps"))
    other.use("auto")
    assert (other.precision, other.sync_is_free, Compute(CPU).sync_is_free) == ("fp32", False, True)


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)]
)
def test_the_forward_pass_runs_in_the_precision_and_outputs_become_float32(precision: str, dtype: torch.dtype) -> None:
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


def test_a_step_is_that_of_the_optimizer_and_drops_the_gradients() -> None:
    taken, moved, layer = stepped(Compute(CPU))
    assert taken
    assert moved.tolist() == [[1.0, 1.0]]
    assert layer.weight.grad is None


def test_gradients_are_clipped_to_the_global_norm() -> None:
    _, moved, _ = stepped(Compute(CPU, clip_norm=0.5), scale=7.0)
    torch.testing.assert_close(moved, torch.full((1, 2), 0.5 / 3**0.5))  # three equal gradients, the bias among them


def test_float16_scales_the_gradients_and_skips_an_overflowing_step() -> None:
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


def test_float16_waits_once_a_step_and_the_others_never() -> None:
    for precision, waits in (("fp32", 0), ("bf16", 0), ("fp16", 1)):
        compute = Compute(CPU, clip_norm=0.5)
        compute.use(precision)  # type: ignore[arg-type]
        stepped(compute)  # the first one makes the scale
        layer = nn.Linear(2, 1)
        optimizer = torch.optim.SGD(layer.parameters(), 1.0)
        with Ops() as ops:
            with compute.autocast():
                out = layer(torch.ones(1, 2))
            compute.backward(compute.full(out).sum())
            with compute.unscaled(optimizer):
                pass
            compute.step(optimizer, layer)
        assert len(ops.named("_local_scalar_dense")) == waits, precision


def test_the_scale_of_float16_halves_after_an_overflow_and_doubles_after_many_steps() -> None:
    compute = Compute(CPU)
    compute.use("fp16")
    scales = []
    for scale in (1.0, float("inf"), 1.0, float("nan")):
        stepped(compute, scale)
        scales.append(compute.state_dict()["scaler"]["scale"])
    assert scales == [2**16, 2**15, 2**15, 2**14]
    assert compute.n_skipped == 2
    compute.load_state_dict({"scaler": {**compute.state_dict()["scaler"], "_growth_tracker": 1999}, "n_skipped": 2})
    assert stepped(compute)[0]
    assert compute.state_dict()["scaler"]["scale"] == 2**15


def test_no_step_is_taken_at_a_scale_that_overflows_have_brought_to_0() -> None:
    compute = Compute(CPU)
    compute.use("fp16")
    stepped(compute)  # the first one makes the scale
    smallest = torch.finfo(torch.float32).smallest_normal * torch.finfo(torch.float32).eps
    compute.load_state_dict({"scaler": {**compute.state_dict()["scaler"], "scale": smallest}, "n_skipped": 0})
    for scale in (float("inf"), 1.0, 1.0):
        taken, moved, _ = stepped(compute, scale)
        assert (taken, moved.tolist()) == (False, [[0.0, 0.0]])
    assert compute.state_dict()["scaler"]["scale"] == 0
    assert compute.n_skipped == 3


def test_gradients_seen_by_callbacks_are_without_the_scale() -> None:
    compute, layer = Compute(CPU), nn.Linear(2, 1, bias=False)
    compute.use("fp16")
    optimizer = torch.optim.SGD(layer.parameters(), 1.0)
    compute.backward(layer(torch.tensor([[3.0, 5.0]])).sum())
    scaled: Tensor = layer.weight.grad.clone()  # type: ignore[union-attr]
    with compute.unscaled(optimizer):
        assert layer.weight.grad.tolist() == [[3.0, 5.0]]  # type: ignore[union-attr]
    assert torch.equal(layer.weight.grad, scaled)  # type: ignore[arg-type]
    assert scaled.tolist() == [[3.0 * 2**16, 5.0 * 2**16]]


def accumulated(compute: Compute, sizes: tuple[int, ...]) -> tuple[list[bool], Tensor]:
    """Whether a step was due after each batch of this many items, and how far the last step moved the weight."""
    weight = nn.Linear(1, 1, bias=False)
    start, due = weight.weight.detach().clone(), []
    items = iter(torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0]))
    for size in sizes:
        x = torch.stack([next(items) for _ in range(size)])[:, None]
        compute.backward(weight(x).mean(), size, size)
        due.append(compute.is_due)
    compute.step(torch.optim.SGD(weight.parameters(), 1.0), weight)
    assert compute.n_gathered == 0
    return due, start - weight.weight.detach()


def test_accumulated_gradients_are_the_mean_over_all_items() -> None:
    assert accumulated(Compute(CPU), (2,)) == ([True], torch.tensor([[1.5]]))
    due, moved = accumulated(Compute(CPU, accumulate=4), (3, 1))
    assert (due, moved.item()) == ([False, True], 15 / 4)
    due, moved = accumulated(Compute(CPU, accumulate=4), (2, 1))  # an incomplete group
    assert (due, moved.item()) == ([False, False], pytest.approx(7 / 3))
    due, moved = accumulated(Compute(CPU, accumulate=4), (3, 2))  # more than asked for
    assert (due, moved.item()) == ([False, True], pytest.approx(31 / 5))


def test_dropped_gradients_do_not_count() -> None:
    compute, layer = Compute(CPU, accumulate=4), nn.Linear(1, 1)
    optimizer = torch.optim.SGD(layer.parameters(), 1.0)
    compute.backward(layer(torch.ones(3, 1)).mean(), 3, 3)
    compute.zero_grad(optimizer)
    assert (compute.n_gathered, compute.weight_gathered, layer.weight.grad) == (0, 0, None)


def test_the_state_is_that_of_the_scaler_and_the_skipped_steps() -> None:
    compute, other = Compute(CPU), Compute(CPU)
    for one in (compute, other):
        one.use("fp16")
    stepped(compute, scale=float("inf"))
    other.load_state_dict(compute.state_dict())
    assert other.state_dict() == compute.state_dict()
    assert other.n_skipped == 1
    assert other.state_dict()["scaler"]["scale"] == 2**15  # half of torch's first scale
    plain = Compute(CPU)
    plain.load_state_dict(compute.state_dict())  # a scale is of no use in float32
    assert plain.state_dict() == {"scaler": {}, "n_skipped": 1}


def test_outputs_in_a_list_or_a_tuple_become_float32() -> None:
    compute, half = Compute(CPU), torch.ones(2, dtype=torch.bfloat16)
    nested = (half, [half, "text"])
    assert compute.full(nested) is nested
    compute.use("bf16")
    full = compute.full(nested)
    assert (full[0].dtype, full[1][0].dtype, full[1][1]) == (torch.float32, torch.float32, "text")


def test_the_state_of_the_generators_is_restored() -> None:
    compute = Compute(CPU)
    state = compute.rng_state()
    drawn = torch.rand(2).tolist(), np.random.rand(), random.random()
    compute.set_rng_state(state)
    assert (torch.rand(2).tolist(), np.random.rand(), random.random()) == drawn


@pytest.mark.parametrize("every", [False, True])
def test_generators_of_numpy_and_python_are_restored_on_request(every: bool) -> None:
    before: Any = (np.random.get_state()[1].tolist(), np.random.get_state()[2], random.getstate())
    with Compute(CPU).preserve_rng(every=every):
        np.random.rand(), random.random()
    after = (np.random.get_state()[1].tolist(), np.random.get_state()[2], random.getstate())
    assert (before == after) is every


def test_generators_are_reseeded_and_restored() -> None:
    compute = Compute(CPU)
    before = torch.get_rng_state()
    with compute.preserve_rng():
        compute.reseed(5)
        first = torch.rand(3)
        compute.reseed(5)
        assert torch.equal(first, torch.rand(3))
    assert torch.equal(before, torch.get_rng_state())


def test_generators_are_restored_after_an_error_too() -> None:
    def fails() -> None:
        with Compute(CPU).preserve_rng():
            torch.rand(2)
            raise ZeroDivisionError

    before = torch.get_rng_state()
    with pytest.raises(ZeroDivisionError):
        fails()
    assert torch.equal(before, torch.get_rng_state())


def test_the_generators_of_another_device_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Accelerators(monkeypatch, "cuda", n=3, current=0)
    compute, first = Compute(torch.device("cuda:2")), machine.generators[0].get_state()
    own = machine.generators[2].get_state()
    with compute.preserve_rng():
        compute.reseed(11)
        assert machine.generators[2].initial_seed() == 11
        saved = compute.rng_state()
        drawn = torch.rand(2, generator=machine.generators[2])
        compute.set_rng_state(saved)
        assert torch.equal(drawn, torch.rand(2, generator=machine.generators[2]))
    assert torch.equal(machine.generators[2].get_state(), own)
    assert torch.equal(machine.generators[0].get_state(), first)
    assert machine.switches == [2]  # what has no device of its own, as page-locked memory, belongs to this one too


def test_a_device_without_an_index_is_resolved_once(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Accelerators(monkeypatch, "cuda", n=2, current=1)
    compute = Compute(torch.device("cuda"))
    assert compute.device == torch.device("cuda:1")
    machine.current = 0
    compute.reseed(5)
    assert [one.initial_seed() for one in machine.generators] == [100, 5]


def test_the_state_of_one_kind_of_device_is_not_restored_on_another(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Accelerators(monkeypatch, "cuda", n=1)
    saved = Compute(torch.device("cuda:0")).rng_state()
    Compute(CPU).set_rng_state(saved)
    other = Accelerators(monkeypatch, "xpu", n=1)
    other.generators[0].manual_seed(1)
    Compute(torch.device("xpu:0")).set_rng_state(saved)
    assert (machine.generators[0].initial_seed(), other.generators[0].initial_seed()) == (100, 1)
