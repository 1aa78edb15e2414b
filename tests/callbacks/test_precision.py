"""MixedPrecision and GradientClipping in a fit; tests/test_reference.py compares their results with plain PyTorch."""

import itertools
import math
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from learnkit.callbacks.accumulation import GradientAccumulation
from learnkit.callbacks.micro_batches import MicroBatches
from learnkit.callbacks.precision import GradientClipping, MixedPrecision
from learnkit.errors import LearnkitWarning
from tests.doubles import acting, linear_learner, refused


@pytest.mark.parametrize(
    ("precision", "dtype"), [("bf16", torch.bfloat16), ("fp16", torch.float16), ("auto", torch.float32)]
)
def test_forward_passes_have_the_precision_and_weights_stay_float32(
    precision: Any, dtype: torch.dtype, blobs: tuple[Tensor, ...]
) -> None:
    learn, outputs = linear_learner(blobs), list[torch.dtype]()
    learn.model.register_forward_hook(lambda module, inputs, output: outputs.append(output.dtype))
    learn.fit(1, callbacks=MixedPrecision(precision))
    assert set(outputs) == {dtype}
    assert {parameter.dtype for parameter in learn.model.parameters()} == {torch.float32}
    outputs.clear()
    learn.fit(1)
    assert set(outputs) == {torch.float32}, "the next fit is in float32 again"


def test_gradients_are_scaled_down_to_the_norm(blobs: tuple[Tensor, ...]) -> None:
    norms: list[tuple[float, float]] = []

    def gradient_norm(model: nn.Module) -> float:
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]).norm().item()

    learn = linear_learner(blobs, opt_func="sgd", wd=0)
    step = learn._ready_optimizer().step

    def watched(*args: Any, **options: Any) -> Any:
        norms[-1] = norms[-1][0], gradient_norm(learn.model)
        return step(*args, **options)

    learn.opt.step = watched  # type: ignore[union-attr, method-assign]
    watch = acting(after_backward=lambda state: norms.append((gradient_norm(state.model), 0)))
    learn.fit(1, callbacks=[GradientClipping(0.3), watch])
    assert [after for _, after in norms] == pytest.approx([min(before, 0.3) for before, _ in norms], rel=1e-4)
    assert max(before for before, _ in norms) > 0.3
    norms.clear()
    learn.fit(1, callbacks=watch)
    assert [after for _, after in norms] == [before for before, _ in norms], "the next fit does not clip"


@pytest.mark.parametrize(
    ("clipping", "clip"),
    [
        (GradientClipping(0.1), lambda ps: nn.utils.clip_grad_norm_(ps, 0.1)),
        (GradientClipping(0.1, norm_type=1), lambda ps: nn.utils.clip_grad_norm_(ps, 0.1, 1)),
        (GradientClipping(0.1, norm_type=3.5), lambda ps: nn.utils.clip_grad_norm_(ps, 0.1, 3.5)),
        (GradientClipping(0.1, norm_type=math.inf), lambda ps: nn.utils.clip_grad_norm_(ps, 0.1, math.inf)),
        (GradientClipping(clip_value=0.05), lambda ps: nn.utils.clip_grad_value_(ps, 0.05)),
    ],
)
def test_gradients_are_clipped_as_torch_does(clipping: Any, clip: Any, blobs: Any) -> None:
    learn, expected, found = linear_learner(blobs, opt_func="sgd", wd=0), list[Tensor](), list[Tensor]()
    step = learn._ready_optimizer().step

    def watched(*args: Any, **options: Any) -> Any:
        found.extend(p.grad.clone() for p in learn.model.parameters() if p.grad is not None)
        return step(*args, **options)

    def unclipped(state: Any) -> None:
        copies = [nn.Parameter(p.detach().clone()) for p in state.model.parameters()]
        for copy, parameter in zip(copies, state.model.parameters(), strict=True):
            copy.grad = parameter.grad.clone()
        clip(copies)
        expected.extend(copy.grad for copy in copies if copy.grad is not None)

    learn.opt.step = watched  # type: ignore[union-attr, method-assign]
    learn.fit(1, callbacks=[clipping, acting(after_backward=unclipped)])
    assert len(found) == len(expected) == 4 * 2
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_the_default_norm_is_one(blobs: tuple[Tensor, ...]) -> None:
    learn = linear_learner(blobs, opt_func="sgd", wd=0)
    model = nn.Linear(2, 2)
    model.load_state_dict(learn.model.state_dict())
    learn.dls.train_dl.seed_epoch(0, 0)
    for x, y in learn.dls.train_dl:
        model.zero_grad()
        F.cross_entropy(model(x * 100), y).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        with torch.no_grad():
            for parameter in model.parameters():
                assert parameter.grad is not None
                parameter -= 0.1 * parameter.grad

    def enlarge(state: Any) -> None:
        state.inputs = (state.inputs[0] * 100,)

    learn.fit(1, 0.1, callbacks=[GradientClipping(), acting(before_batch=enlarge)])
    torch.testing.assert_close(learn.model.weight, model.weight)


def test_invalid_arguments_are_refused() -> None:
    for value in (0, -1, float("inf"), True, "1"):
        with refused("clip_value", got=value):
            GradientClipping(clip_value=value)  # type: ignore[arg-type]
    for norm_type in (0, 0.5, -1, True, "2"):
        with refused("norm_type", got=norm_type):
            GradientClipping(1.0, norm_type=norm_type)  # type: ignore[arg-type]
    with refused("max_norm", got=1.0, expected="one of max_norm and clip_value"):
        GradientClipping(1.0, clip_value=1.0)
    for norm in (0, -1, float("nan"), float("inf"), True, "1"):
        with refused("max_norm", got=norm) if norm == norm else refused("max_norm"):  # nan is not equal to itself
            GradientClipping(norm)  # type: ignore[arg-type]
    with refused("precision", got="half"):
        MixedPrecision("half")  # type: ignore[arg-type]


class Large(nn.Linear):
    """Its gradients overflow at the initial scale of 65536."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * 30


def test_the_scale_of_float16_is_kept_from_one_fit_to_the_next_but_not_from_lr_find(blobs: tuple[Tensor, ...]) -> None:
    scales: list[tuple[float, int]] = []
    watch = acting(after_fit=lambda state: scales.append((state.compute._scaler.get_scale(), state.compute.n_skipped)))
    hard = (blobs[0] * 10, torch.arange(64) // 2 % 2, *blobs[2:])
    learn = linear_learner(hard, Large(2, 2), callbacks=MixedPrecision("fp16"))
    learn.fit(4, 1e-6, callbacks=watch)
    learn.lr_find(num_it=8)
    learn.fit(1, 1e-6, callbacks=watch)
    (first, n_skipped), second = scales
    assert n_skipped > 2
    assert second == (first, 0)


def test_a_search_for_a_rate_before_the_first_fit_leaves_no_scale(blobs: tuple[Tensor, ...]) -> None:
    def scaled(*, searches: bool) -> tuple[float, int]:
        found: list[tuple[float, int]] = []
        hard = (blobs[0] * 10, torch.arange(64) // 2 % 2, *blobs[2:])
        learn = linear_learner(hard, Large(2, 2), callbacks=MixedPrecision("fp16"))
        if searches:
            learn.lr_find(num_it=8)
        note = acting(after_fit=lambda s: found.append((s.compute._scaler.get_scale(), s.compute.n_skipped)))
        learn.fit(4, 1e-6, callbacks=note)
        return found[0]

    plain = scaled(searches=False)
    assert plain[1] > 2
    assert scaled(searches=True) == plain


@pytest.mark.parametrize(
    ("overflows", "said"),
    [
        ((0, 99), ["the last 24 steps were skipped", "bf16 or float32, or look"]),
        ((0, 3), []),
        ((8, 99), ["the last 24 steps were skipped", "bf16 or float32, or look"]),
        ((8, 30), []),
    ],
    ids=["always", "at first", "from then on", "for a while"],
)
def test_steps_that_overflow_at_any_scale_are_told_of_once(
    overflows: tuple[int, int], said: list[str], blobs: tuple[Tensor, ...], recwarn: pytest.WarningsRecorder
) -> None:
    learn = linear_learner((blobs[0] / 100, *blobs[1:]))  # four batches, in which nothing else overflows
    batches = itertools.count()

    def overflow(state: Any) -> None:
        if overflows[0] <= next(batches) <= overflows[1]:
            state.model.weight.grad[0, 0] = math.inf

    warnings.simplefilter("always")
    learn.fit(12, callbacks=[MixedPrecision("fp16"), acting(after_backward=overflow)])
    told = [str(one.message) for one in recwarn]
    assert len(told) == bool(said)
    assert all(part in told[0] for part in said)


@pytest.mark.parametrize(("epochs", "fails"), [(1, False), (2, False), (1, True)])
def test_a_fit_without_a_step_is_told_of(epochs: int, fails: bool, blobs: tuple[Tensor, ...]) -> None:
    learn = linear_learner((blobs[0] / 100, *blobs[1:]), seed=0)
    before = learn.model.weight.clone()

    def overflow(state: Any) -> None:
        state.model.weight.grad[0, 0] = math.inf
        if fails and state.batch == 2:
            raise ValueError("no")

    callbacks = [MixedPrecision("fp16"), acting(after_backward=overflow)]
    if fails:
        with pytest.raises(ValueError, match="no"):
            learn.fit(epochs, callbacks=callbacks)
    else:
        with pytest.warns(LearnkitWarning, match=f"the last {4 * epochs} steps were skipped.* train longer"):
            learn.fit(epochs, callbacks=callbacks)
    assert torch.equal(learn.model.weight, before)


def test_a_step_that_overflows_in_float16_counts_for_nothing(blobs: tuple[Tensor, ...]) -> None:
    small = (blobs[0] / 100, *blobs[1:])  # so that nothing else overflows
    learn, steps, weights = linear_learner(small), list[int](), list[Tensor]()

    def overflow(state: Any) -> None:
        if state.batch in (1, 2):
            state.model.weight.grad[0, 0] = math.inf

    def note(state: Any) -> None:
        steps.append(state.step)
        weights.append(state.model.weight.detach().clone())

    learn.fit(1, callbacks=[MixedPrecision("fp16"), acting(after_backward=overflow, after_step=note)])
    assert steps == [1, 1, 1, 2]
    assert torch.equal(weights[0], weights[2])
    assert not torch.equal(weights[2], weights[3])


@pytest.mark.parametrize("callbacks", [[], [GradientAccumulation(32)], [MicroBatches(8)]])
def test_hooks_see_the_gradients_of_the_loss(callbacks: list[Any], blobs: tuple[Tensor, ...]) -> None:
    seen: dict[str, list[Tensor]] = {}
    for precision in ("fp32", "fp16"):
        gradients = seen.setdefault(precision, [])
        watch = acting(after_backward=lambda state, kept=gradients: kept.append(state.model.weight.grad.clone()))
        small = (blobs[0] / 100, *blobs[1:])  # so that nothing overflows
        linear_learner(small).fit(1, 1e-3, callbacks=[MixedPrecision(precision), *callbacks, watch])  # type: ignore[arg-type]
    assert len(seen["fp16"]) == len(seen["fp32"]) >= 4
    torch.testing.assert_close(seen["fp16"], seen["fp32"], rtol=0.02, atol=1e-5)


def test_what_a_hook_does_to_the_gradients_counts_in_float16(blobs: tuple[Tensor, ...]) -> None:
    moved: dict[str, Tensor] = {}
    for precision in ("fp32", "fp16"):
        learn = linear_learner(blobs, opt_func="sgd")
        before = learn.model.weight.detach().clone()
        clip = acting(after_backward=lambda state: state.model.weight.grad.clamp_(-0.5, 0.5))
        learn.fit(1, 0.1, callbacks=[MixedPrecision(precision), clip])  # type: ignore[arg-type]
        moved[precision] = learn.model.weight.detach() - before
    torch.testing.assert_close(moved["fp16"], moved["fp32"], rtol=0.02, atol=1e-3)
    assert moved["fp32"].abs().max() > 0
