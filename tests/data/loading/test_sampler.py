"""Which items make which batch, and how often each is drawn."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from learnkit.data.loading.sampler import BalancedSampling, BatchOrder, DrawnOrder, WeightedSampling, make_sampling
from learnkit.data.tasks import Classification, MultiLabel, Regression
from learnkit.errors import UsageError
from tests.doubles import refused


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def shares(sampling: Any, n_items: int, epochs: int = 200) -> Tensor:
    """The part of all draws that each item gets."""
    drawn = torch.cat([sampling(seeded(epoch)) for epoch in range(epochs)])
    return torch.bincount(drawn, minlength=n_items) / len(drawn)


def test_classes_are_drawn_equally_often() -> None:
    for n, seed in ((2, 0), (7, 1), (50, 2), (101, 3)):
        targets = torch.from_numpy(np.random.default_rng(seed).choice([0, 2, 5], n, p=[0.8, 0.15, 0.05]))
        present = set(targets.tolist())
        for epoch in range(10):
            drawn = BalancedSampling(targets)(seeded(epoch))
            assert (drawn.shape, drawn.dtype) == ((n,), torch.int64)
            counts = Counter(targets[drawn].tolist())
            assert counts.keys() == present
            assert max(counts.values()) - min(counts.values()) <= 1


def test_the_items_of_a_class_take_turns() -> None:
    targets = torch.tensor([0] * 30 + [1] * 3 + [2] * 7)
    for epoch in range(10):
        times = torch.bincount(BalancedSampling(targets)(seeded(epoch)), minlength=40)
        for members in (times[:30], times[30:33], times[33:]):
            assert members.max() - members.min() <= 1


def test_no_class_gets_the_odd_draw_every_time() -> None:
    targets = torch.tensor([0, 0, 1, 1, 1])
    more = Counter(int(targets[BalancedSampling(targets)(seeded(epoch))].sum()) for epoch in range(200))
    assert more.keys() == {2, 3}
    assert 60 < more[2] < 140  # six standard deviations around 100


def test_every_item_of_a_frequent_class_gets_its_turn_in_some_epochs() -> None:
    """Of 30 items, 13 or 14 are drawn in an epoch."""
    found = shares(BalancedSampling(torch.tensor([0] * 30 + [1] * 3 + [2] * 7)), 40)
    torch.testing.assert_close(found[:30], torch.full((30,), 1 / 3 / 30), atol=0.004, rtol=0)


def test_balanced_draws_are_shuffled() -> None:
    targets = torch.arange(2).repeat_interleave(50)
    firsts = torch.stack([targets[BalancedSampling(targets)(seeded(epoch))][:50].sum() for epoch in range(50)])
    assert 20 < firsts.double().mean() < 30


def test_weights_are_met_and_zero_is_never_drawn() -> None:
    weights = torch.tensor([0.0, 1, 2, 0, 5, 2, 0])
    sampling = WeightedSampling(weights)
    drawn = sampling(seeded(0))
    assert (drawn.shape, drawn.dtype) == ((7,), torch.int64)
    found = shares(sampling, 7, epochs=4000)  # 28,000 draws
    assert (found[weights == 0] == 0).all()
    torch.testing.assert_close(found, weights / 10, atol=0.015, rtol=0)


@pytest.mark.parametrize("lone", [0, 3, 6])
def test_one_weight_alone_is_always_drawn(lone: int) -> None:
    weights = torch.zeros(7)
    weights[lone] = 1e-12
    assert (WeightedSampling(weights)(seeded(1)) == lone).all()


@pytest.mark.parametrize(
    "sampling",
    [BalancedSampling(torch.tensor([0] * 40 + [1] * 10)), WeightedSampling(torch.rand(50, generator=seeded(9)))],
)
def test_draws_depend_on_the_generator_alone(sampling: Any) -> None:
    before = torch.get_rng_state()
    first = sampling(seeded(5))
    assert torch.equal(before, torch.get_rng_state())
    torch.rand(3)
    assert torch.equal(first, sampling(seeded(5)))
    assert not torch.equal(first, sampling(seeded(6)))


def test_without_a_sampler_there_is_no_sampling() -> None:
    assert make_sampling(None, ["a", "b"], Classification(("a", "b"))) is None


def test_balanced_classes() -> None:
    sampling = make_sampling("balanced", ["a"] * 9 + ["b"], Classification(("a", "b")))
    assert sampling is not None
    drawn = sampling(seeded(0))
    assert (drawn == 9).sum() == 5


def test_balanced_labels_weigh_rare_ones_more() -> None:
    labels = [["sun"], ["sun"], ["sun", "sea"], ["sun"], [], []]
    # sun 4 times, sea once, no label twice: 1/4, 1/4, (1/4 + 1) / 2, 1/4, 1/2, 1/2
    weights = torch.tensor([0.25, 0.25, 0.625, 0.25, 0.5, 0.5])
    sampling = make_sampling("balanced", labels, MultiLabel(("sea", "sun")))
    torch.testing.assert_close(shares(sampling, 6, epochs=4000), weights / weights.sum(), atol=0.015, rtol=0)


@pytest.mark.parametrize("weights", [[0, 1, 3], (0.0, 0.5, 1.5), np.array([0, 2, 6]), torch.tensor([0.0, 1, 3])])
def test_weights_of_any_kind(weights: Any) -> None:
    sampling = make_sampling(weights, [1.0, 2.0, 3.0], Regression())
    torch.testing.assert_close(shares(sampling, 3, 4000), torch.tensor([0, 0.25, 0.75]), atol=0.02, rtol=0)


@pytest.mark.parametrize(
    ("sampler", "text"),
    [
        ("even", "got 'even', expected None, 'balanced', or one weight per item"),
        ([1.0, 2.0], r"weights of shape \(2,\)', expected \(3,\)"),
        ([[1.0], [2.0], [3.0]], r"weights of shape \(3, 1\)"),
        (True, "sampler: got"),
        ([1.0, -1.0, 1.0], "negative, all 0, or not finite"),
        ([0.0, 0.0, 0.0], "negative, all 0, or not finite"),
        ([1.0, float("nan"), 1.0], "negative, all 0, or not finite"),
        ([1.0, float("inf"), 1.0], "negative, all 0, or not finite"),
        (["a", "b", "c"], "sampler: got"),
        (object(), "sampler: got"),
    ],
)
def test_samplers_that_cannot_work_are_refused(sampler: Any, text: str) -> None:
    with pytest.raises(UsageError, match=text):
        make_sampling(sampler, ["a", "b", "a"], Classification(("a", "b")))


def test_a_regression_has_no_classes_to_balance() -> None:
    with refused("sampler", got="balanced", expected="None or weights: a Regression task has no classes"):
        make_sampling("balanced", [1.0, 2.0], Regression())


def test_without_coordinates_the_epochs_of_the_orders_seed_follow() -> None:
    def epoch(number: int) -> list[list[int]]:
        order = BatchOrder(20, 4, shuffle=True, seed=7)
        order.seed_epoch(7, number)
        return list(order)

    order = BatchOrder(20, 4, shuffle=True, seed=7)
    assert [list(order) for _ in range(3)] == [epoch(0), epoch(1), epoch(2)]
    order.seed_epoch(7, 5, start=2)
    assert list(order) == epoch(5)[2:]
    assert list(order) == epoch(6)


def test_batches_carry_their_coordinates() -> None:
    for shuffle, changes, is_training in ((True, None, True), (False, None, False), (False, True, True)):
        order = BatchOrder(7, 3, shuffle=shuffle, seed=1, changes=changes)
        order.seed_epoch(4, 9)
        draws = list(DrawnOrder(order))
        order.seed_epoch(4, 9)
        assert [draw.numbers for draw in draws] == list(order)
        assert {(draw.seed, draw.epoch, draw.is_training) for draw in draws} == {(4, 9, is_training)}
        assert len(DrawnOrder(order)) == len(draws) == (2 if shuffle else 3)


def test_a_sampling_decides_which_items_are_drawn() -> None:
    order = BatchOrder(6, 2, shuffle=True, sampling=WeightedSampling(torch.tensor([0.0, 1, 0, 0, 0, 0])))
    assert list(order) == [[1, 1]] * 3


def test_the_next_epoch_is_the_one_that_was_set_and_then_the_following() -> None:
    order = BatchOrder(4, 2, shuffle=True)
    assert order.next_epoch == 0
    order.seed_epoch(0, 5, 1)
    assert order.next_epoch == 5
    assert len(order.begin().batches) == 1
    assert (order.epoch, order.next_epoch) == (5, 6)
    assert len(order.begin().batches) == 2
    assert (order.epoch, order.next_epoch) == (6, 7)
