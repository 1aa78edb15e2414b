"""MixedPrecision and GradientClipping in a fit; tests/test_reference.py compares their results with plain PyTorch."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from learnkit.callbacks.precision import GradientClipping, MixedPrecision
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
    for norm in (0, -1, float("nan"), float("inf"), True, "1"):
        with refused("max_norm", got=norm) if norm == norm else refused("max_norm"):  # nan is not equal to itself
            GradientClipping(norm)  # type: ignore[arg-type]
    with refused("precision", got="half"):
        MixedPrecision("half")  # type: ignore[arg-type]
