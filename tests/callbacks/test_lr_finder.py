"""The rates and suggestions of the finder against straightforward implementations of their descriptions."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

from learnkit.callbacks import LRFinder
from learnkit.callbacks.lr_finder import suggest
from learnkit.training.callback import CallbackList
from learnkit.training.loop import fit
from learnkit.training.state import TrainState
from tests.doubles import refused

LRS = [1e-7 * (1e8) ** (i / 100) for i in range(100)]


def bowl(depth: float, seed: int) -> list[float]:
    """Flat, falling, and rising again, with noise."""
    noise = np.random.default_rng(seed).normal(0, 0.01, 100)
    return [3 - depth / (1 + math.exp(-(i - 45) / 6)) + 4 * max(0, (i - 75) / 25) ** 2 + noise[i] for i in range(100)]


CURVES = [bowl(1, 0), bowl(2, 1), bowl(0.5, 2), list(np.linspace(3, 1, 100)), list(np.linspace(1, 3, 100))]


def slow_valley(lrs: list[float], losses: list[float]) -> float:
    """The longest falling subsequence, found one pair at a time; a third and half a third into it."""
    length = [1] * len(losses)
    last = 0
    for i in range(len(losses)):
        for j in range(i):
            if losses[i] < losses[j] and length[j] + 1 > length[i]:
                length[i] = length[j] + 1
        if length[i] > length[last]:
            last = i
    first = last - length[last]
    third = (last - first) / 3
    return lrs[max(first + int(third) + int(third / 2), 0)]


def slow_slide(lrs: list[float], losses: list[float]) -> float:
    """From the right end, 15 points apart, while the two gradients differ by more than 0.005."""
    gradient = np.gradient(losses)
    right, left = len(losses) - 1, len(losses) - 16
    found = lrs[left]
    while left >= 0 and abs(gradient[right] - gradient[left]) > 0.005:
        found = lrs[left]
        right, left = right - 1, left - 1
    return found


def slow_steep(lrs: list[float], losses: list[float]) -> float:
    slopes = [(losses[i + 1] - losses[i]) / (math.log(lrs[i + 1]) - math.log(lrs[i])) for i in range(len(losses) - 1)]
    return lrs[slopes.index(min(slopes))]


@pytest.mark.parametrize("losses", CURVES)
def test_the_four_suggestions(losses: list[float]) -> None:
    lrs, kept = LRS[10:-5], losses[10:-5]
    found = suggest(LRS, losses)
    assert found.valley == pytest.approx(slow_valley(lrs, kept))
    assert found.slide == pytest.approx(slow_slide(lrs, kept))
    assert found.steep == pytest.approx(slow_steep(lrs, kept))
    assert found.minimum == pytest.approx(lrs[kept.index(min(kept))] / 10)


def test_a_curve_of_too_few_points_is_refused() -> None:
    with refused("finite losses of lr_find", got=5, expected="at least 12"):
        suggest(LRS[:5], [1.0] * 5)
    assert suggest(LRS[:13], list(np.linspace(2, 1, 13))).minimum == pytest.approx(LRS[12] / 10)


class Slope(nn.Module):
    """Its losses are predefined."""

    def __init__(self, losses: list[float]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.losses = iter(losses)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.weight * 0 + next(self.losses)


def run(losses: list[float], **options: object) -> tuple[LRFinder, TrainState]:
    model, finder = Slope(losses), LRFinder(**options)  # type: ignore[arg-type]
    state = TrainState(
        model=model,
        optimizer=torch.optim.SGD([{"params": [model.weight], "layer_group": 0}], 0.1),
        loss_func=lambda preds, targets: preds,
        train_dl=[(torch.zeros(1), torch.zeros(1))] * 7,
        n_epochs=1000,
        rates=[0.1],
    )
    fit(state, CallbackList([finder]))
    return finder, state


def test_the_rates_grow_in_equal_ratios_and_the_last_is_not_reached() -> None:
    finder, state = run([1.0] * 200)
    assert len(finder.lrs) == 100
    assert finder.lrs[:3] == pytest.approx([1e-7, 1.20226e-7, 1.44544e-7], rel=1e-5)
    assert finder.lrs[-2:] == pytest.approx([6.91831, 8.31764], rel=1e-6)
    assert state.stop_reason == "100 batches seen"


def test_the_losses_are_smoothed() -> None:
    finder, _ = run([1.0, 2.0, 3.0, *[1.0] * 10], num_it=8)
    assert finder.losses[:3] == pytest.approx([1, 1.50505, 2.01347], abs=1e-5)


def test_a_diverging_loss_ends_the_run() -> None:
    finder, state = run([1.0] * 20 + [1000.0] * 100)
    assert len(finder.lrs) == 21
    assert state.stop_reason == "the loss diverged"
    assert len(run([1.0] * 20 + [1000.0] * 100, stop_div=False)[0].lrs) == 100


def smoothed_to(curve: list[float], beta: float = 0.98) -> list[float]:
    """Losses whose bias-corrected moving average is this curve."""
    means = [0.0] + [value * (1 - beta**n) for n, value in enumerate(curve, 1)]
    return [(mean - beta * before) / (1 - beta) for before, mean in itertools.pairwise(means)]


@pytest.mark.parametrize(
    ("curve", "n"),
    [
        ([1.0] * 9 + [99.0], 100),
        ([1.0] * 9 + [101.0], 10),  # a hundred times the best of up to ten
        ([100.0] * 9 + [1.0, 3.9], 100),
        ([100.0] * 9 + [1.0, 4.1], 11),  # four times the tenth
        ([1.0] * 9 + [10.0, 39.0], 100),  # those before it no longer count
        ([1.0] * 9 + [10.0, 41.0], 11),
    ],
)
def test_the_best_smoothed_loss_is_one_of_ten_batches_or_more(curve: list[float], n: int) -> None:
    finder, _ = run(smoothed_to(curve + [curve[-1]] * 100))
    assert finder.losses[: len(curve)] == pytest.approx(curve, rel=1e-4)
    assert len(finder.lrs) == n


@pytest.mark.parametrize("seed", range(20))
def test_one_lucky_batch_at_the_start_is_no_divergence(seed: int) -> None:
    usual = np.random.default_rng(seed).gamma(2, 0.65, 100).clip(0.1)  # as noisy as batches of four images
    for lucky in range(3):
        losses = [*usual]
        losses[lucky] = 0.05
        finder, state = run(losses)
        assert (len(finder.lrs), state.stop_reason) == (100, "100 batches seen")


def test_a_start_that_is_far_too_high_ends_the_run() -> None:
    finder, state = run([2.0, 1000.0, 1000.0, *[1000.0] * 100])
    assert (len(finder.lrs), state.stop_reason) == (2, "the loss diverged")
    finder, state = run([2.0 * 3.0**i for i in range(100)])  # a start that only rises
    assert len(finder.lrs) < 12
    with refused("finite losses of lr_find", got=len(finder.lrs)):
        finder.curve()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_non_finite_loss_ends_the_run_even_without_stop_div(bad: float) -> None:
    finder, state = run([1.0] * 20 + [bad] * 100, stop_div=False)
    assert len(finder.lrs) == len(finder.losses) == 20
    assert f"loss {bad} at" in state.stop_reason


def test_a_run_has_at_least_six_batches() -> None:
    assert len(run([1.0] * 50, num_it=2)[0].lrs) == 6


@pytest.mark.parametrize(("start_lr", "end_lr"), [(0, 10), (1, 0.1), (1, 1), (1e-7, float("inf"))])
def test_invalid_ends_are_refused(start_lr: float, end_lr: float) -> None:
    with refused("start_lr, end_lr", got=(start_lr, end_lr)):
        LRFinder(start_lr, end_lr)


@pytest.mark.parametrize("num_it", [0, 2.5, "many"])
def test_an_invalid_number_of_batches_is_refused(num_it: object) -> None:
    with refused("num_it", got=num_it):
        LRFinder(num_it=num_it)  # type: ignore[arg-type]
