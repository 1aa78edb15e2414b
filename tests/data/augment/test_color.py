"""Brightness, contrast, saturation and hue: the formulas by hand, ranges, and gray images."""

import colorsys
import math
from typing import Any

import pytest
import torch

from learnkit.data.augment.color import Brightness, Contrast, Hue, Saturation, adjust_logits
from tests.doubles import refused

LAST = 1 - 2**-24  # the largest uniform number


def batch(n: int = 4, size: int = 8) -> torch.Tensor:
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(0))


def lit(transform: Any, x: torch.Tensor, *rows: tuple[float, ...]) -> torch.Tensor:
    return adjust_logits(x, *transform.coefficients(torch.tensor(rows)))


def pixel(*color: float) -> torch.Tensor:
    return torch.tensor(color).view(1, 3, 1, 1)


def sigmoid(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))


def test_brightness_moves_middle_gray_by_a_fraction_of_itself() -> None:
    x = torch.full((3, 1, 2, 2), 0.5)
    moved = lit(Brightness(0.2), x, (0.0, 0.0), (0.0, 0.5), (0.0, 1.0))[:, 0, 0, 0]
    torch.testing.assert_close(moved, torch.tensor([0.4, 0.5, 0.6]))


def test_brightness_and_contrast_by_hand() -> None:
    x = torch.full((1, 1, 1, 1), 0.3)
    logit = math.log(0.3 / 0.7)
    brighter = lit(Brightness(0.2), x, (0.0, 1.0)).item()
    assert brighter == pytest.approx(sigmoid(logit + math.log(0.6 / 0.4)), abs=1e-6)
    assert lit(Contrast(0.2), x, (0.0, 0.0)).item() == pytest.approx(sigmoid(0.8 * logit), abs=1e-6)
    assert lit(Contrast(0.2), x, (0.0, 1.0)).item() == pytest.approx(sigmoid(logit / 0.8), abs=1e-6)


def test_tonal_transforms_stay_in_range_and_keep_the_order_of_pixels() -> None:
    x = torch.linspace(0, 1, 64).view(1, 1, 8, 8).repeat(50, 1, 1, 1)
    drawn = torch.rand(50, 4, generator=torch.Generator().manual_seed(0))
    (_, shift), (scale, _) = Brightness(0.5).coefficients(drawn[:, :2]), Contrast(0.5).coefficients(drawn[:, 2:])
    changed = adjust_logits(x, scale, shift * scale)
    assert changed.min() >= 0
    assert changed.max() <= 1
    assert (changed.flatten(1).diff(dim=1) >= 0).all()
    assert changed.flatten(1).std(0).max() > 0.05


@pytest.mark.parametrize("transform", [Brightness(p=0), Contrast(p=0), Brightness(0.0), Contrast(0.0)])
def test_the_identity_keeps_the_pixels(transform: Any) -> None:
    x = batch(2)
    torch.testing.assert_close(lit(transform, x, (0.0, 0.1), (LAST, 0.9)), x.clamp(1e-3, 1 - 1e-3), atol=1e-6, rtol=0)


@pytest.mark.parametrize("size", [8, 300])
def test_an_item_does_not_depend_on_the_others_of_its_batch(size: int) -> None:
    x = batch(4, size)
    scale, shift = torch.tensor([1.0, 1.2, 0.9, 1.0]), torch.tensor([0.0, 0.1, 0.0, -0.3])
    alone = torch.cat([adjust_logits(x[i : i + 1], scale[i : i + 1], shift[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(adjust_logits(x, scale, shift), alone)
    before = x.clone()
    assert adjust_logits(x, scale, shift, in_place=True) is x
    torch.testing.assert_close(x, alone)
    assert not torch.equal(x, before)


def test_saturation_by_hand() -> None:
    red = pixel(0.8, 0.4, 0.2)
    luma = 0.299 * 0.8 + 0.587 * 0.4 + 0.114 * 0.2
    less, more, same = (Saturation(0.5).apply(red, torch.tensor([[0.0, u]])) for u in (0.0, 1.0, 0.5))
    torch.testing.assert_close(less, 0.5 * red + 0.5 * luma)
    torch.testing.assert_close(more, (2 * red - luma).clamp(0, 1))
    torch.testing.assert_close(same, red)


def test_hue_rotates_and_keeps_the_luma() -> None:
    hue = Hue(0.5)  # at most half a turn
    color = pixel(0.55, 0.5, 0.45)
    turned = [hue.apply(color, torch.tensor([[0.0, 0.5 + turn]]))[0, :, 0, 0] for turn in (-0.5, -0.25, 0.0, 0.25)]
    luma = torch.tensor([0.299, 0.587, 0.114])
    for other in turned:
        assert (luma @ other).item() == pytest.approx((luma @ color[0, :, 0, 0]).item(), abs=1e-5)
    torch.testing.assert_close(turned[2], color[0, :, 0, 0])
    opposite = 2 * (luma @ color[0, :, 0, 0]) - color[0, :, 0, 0]  # the other side of the gray axis
    torch.testing.assert_close(turned[0], opposite, atol=1e-5, rtol=0)
    torch.testing.assert_close(turned[1] + turned[3], turned[0] + turned[2], atol=1e-5, rtol=0)


def test_a_small_rotation_is_about_that_of_the_hue_of_hsv() -> None:
    color = (0.6, 0.4, 0.4)
    turned = Hue(0.1).apply(pixel(*color), torch.tensor([[0.0, 1.0]]))[0, :, 0, 0].tolist()
    before, after = colorsys.rgb_to_hsv(*color)[0], colorsys.rgb_to_hsv(*turned)[0]
    distance = abs((after - before + 0.5) % 1 - 0.5)
    assert 0.05 < distance < 0.15


def test_gray_has_no_hue_and_no_saturation() -> None:
    gray = torch.linspace(0, 1, 16).view(1, 1, 4, 4).expand(1, 3, 4, 4)
    for transform in (Saturation(0.9), Hue(0.5)):
        torch.testing.assert_close(transform.apply(gray, torch.tensor([[0.0, 0.2]])), gray, atol=1e-5, rtol=0)


@pytest.mark.parametrize("transform", [Saturation(), Hue()])
def test_colors_stay_in_range_and_only_three_channels_change(transform: Any) -> None:
    x = batch(20)
    drawn = torch.rand(20, 2, generator=torch.Generator().manual_seed(1))
    before = x.clone()
    changed = transform.apply(x, drawn)
    assert torch.equal(x, before)
    assert changed.min() >= 0
    assert changed.max() <= 1
    off = drawn[:, 0] >= 0.75
    torch.testing.assert_close(changed[off], x[off], atol=1e-5, rtol=0)
    assert not torch.isclose(changed[~off], x[~off], atol=1e-3).flatten(1).all(1).any()
    last = transform.apply(x.contiguous(memory_format=torch.channels_last), drawn)
    assert last.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(last, changed)
    for other in (x[:, :1], x.repeat(1, 2, 1, 1)):
        assert torch.equal(transform.apply(other, drawn), other)


@pytest.mark.parametrize("kind", [Brightness, Contrast, Saturation, Hue])
def test_invalid_arguments_are_refused(kind: Any) -> None:
    for wrong in (1.0, -0.1, float("nan"), "much", None):
        with refused("max_change"):
            kind(wrong)
    with refused("p", got=1.5, expected="a number in [0, 1]"):
        kind(p=1.5)
