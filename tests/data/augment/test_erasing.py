"""Random erasing: what is overwritten, with what, and how often."""

from typing import Any

import pytest
import torch

from learnkit.data.augment.erasing import RandomErasing
from tests.doubles import refused


def drawn(n: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(n, RandomErasing.n_numbers, generator=torch.Generator().manual_seed(seed))


def holes(before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
    """(N, H, W): where any channel differs."""
    return (before != after).any(1)


@pytest.mark.parametrize("size", [(60, 60), (40, 90)])
def test_one_rectangle_of_the_right_area_is_overwritten(size: tuple[int, int]) -> None:
    x = torch.full((300, 3, *size), 2.0)  # no noise equals it
    hole = holes(x, RandomErasing(p=1.0).apply(x, drawn(300)))
    areas = hole.float().mean((1, 2))
    tall, wide = hole.any(2).sum(1), hole.any(1).sum(1)
    assert torch.equal(hole.sum((1, 2)), tall * wide)  # all of one rectangle
    assert 0.015 < areas.min() < 0.03
    assert 0.3 < areas.max() < 0.36
    ratios = tall / wide
    assert ratios.min() > 0.25
    assert ratios.max() < 4
    assert hole.any(0).any(0).all()  # in every column
    assert hole.any(0).any(1).all()  # and in every row


def test_the_fraction_p_is_erased_and_the_others_stay() -> None:
    x = torch.full((2000, 1, 6, 6), 2.0)
    erased = holes(x, RandomErasing(p=0.25).apply(x, drawn(2000))).flatten(1).any(1)
    assert torch.equal(erased, drawn(2000)[:, 0] < 0.25)
    assert 0.2 < erased.float().mean() < 0.3


def test_noise_depends_only_on_the_numbers_of_the_item() -> None:
    x = torch.full((4, 3, 32, 32), 2.0)
    erasing, numbers = RandomErasing(p=1.0, min_area=0.2), drawn(4)
    before = torch.get_rng_state()
    whole = erasing.apply(x, numbers)
    assert torch.equal(torch.get_rng_state(), before)
    for i in range(4):
        assert torch.equal(erasing.apply(x[i : i + 1], numbers[i : i + 1])[0], whole[i])
    for last in (5, 6):  # both seed the noise
        other = numbers.clone()
        other[:, last] = 0.5
        same = erasing.apply(x, other) == whole
        assert 0 < same.float().mean() < 1
        assert torch.equal(same.all(1), (whole == 2).all(1))
    noise = [whole[i][whole[i] != 2] for i in range(4)]
    assert len({tuple(values[:5].tolist()) for values in noise}) == 4
    for values in noise:
        assert 0.4 < values.mean() < 0.6
        assert values.min() >= 0
        assert values.max() < 1


def test_gray_is_the_mean_of_the_image() -> None:
    x = torch.rand(3, 3, 20, 20, generator=torch.Generator().manual_seed(0))
    before = x.clone()
    out = RandomErasing(p=1.0, fill="gray").apply(x, drawn(3))
    assert torch.equal(x, before)
    for i, hole in enumerate(holes(x, out)):
        torch.testing.assert_close(out[i][:, hole], x[i].mean().expand(3, int(hole.sum())))


@pytest.mark.parametrize("fill", ["noise", "gray"])
def test_an_accelerator_erases_all_items_at_once_the_same(fill: Any) -> None:
    x = torch.rand(8, 3, 20, 25, generator=torch.Generator().manual_seed(0))
    erasing = RandomErasing(p=0.7, fill=fill)
    columns = erasing.columns(drawn(8), 20, 25)
    one_by_one = erasing.erase(x, columns.numpy(), columns)
    torch.testing.assert_close(erasing._erased(x, columns), one_by_one, atol=1e-6, rtol=0)
    assert not torch.equal(one_by_one, x)


def test_the_smallest_image_is_erased_whole() -> None:
    assert RandomErasing(p=1.0, fill="gray").apply(torch.ones(1, 1, 1, 1), drawn(1)).item() == 1


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"p": 2}, "p"), ({"max_area": 1.5}, "max_area"), ({"min_area": 0.5}, "min_area"),
        ({"min_area": -0.1}, "min_area"), ({"fill": "white"}, "fill"),
    ],
)  # fmt: skip
def test_invalid_arguments_are_refused(options: dict[str, Any], name: str) -> None:
    with refused(name):
        RandomErasing(**options)
