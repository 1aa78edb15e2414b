"""Augmentation: what each change does, and that an item's numbers depend on its coordinates alone."""

import numpy as np
import pytest
import torch

from learnkit.data.augment import Affine, Augmentation, Lighting, augmentations, warp
from learnkit.errors import UsageError


def batch(n: int = 4, size: int = 8) -> torch.Tensor:
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(0))


STILL = {"flip": 0.0, "max_rotate": 0.0, "max_zoom": 1.0, "max_warp": 0.0}


def apply(transform: object, x: torch.Tensor, seed: int = 0, epoch: int = 0, start: int = 0) -> torch.Tensor:
    return Augmentation([transform])(x, seed, epoch, torch.arange(start, start + len(x)))


def test_a_certain_flip_is_a_mirror_image() -> None:
    x = batch()
    torch.testing.assert_close(apply(Affine(**{**STILL, "flip": 1.0}), x), x.flip(-1), atol=1e-5, rtol=0)
    torch.testing.assert_close(apply(Affine(**STILL, flip_vert=1.0), x), x.flip(-2), atol=1e-5, rtol=0)


def test_nothing_to_do_changes_nothing() -> None:
    x = batch()
    torch.testing.assert_close(apply(Affine(**STILL), x), x, atol=1e-5, rtol=0)
    torch.testing.assert_close(apply(Lighting(0.0), x), x.clamp(1e-3, 1 - 1e-3), atol=1e-5, rtol=0)


def test_half_of_the_items_are_flipped() -> None:
    x = torch.zeros(2000, 1, 2, 2)
    x[..., 0] = 1
    flipped = apply(Affine(**{**STILL, "flip": 0.5}), x)[:, 0, 0, 0] < 0.5
    assert 0.45 < flipped.float().mean() < 0.55


def test_a_quarter_turn_turns() -> None:
    x = batch(1)
    quarter = torch.tensor([[[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]])
    torch.testing.assert_close(warp(x, quarter), torch.rot90(x, 1, (2, 3)), atol=1e-5, rtol=0)


def test_a_rotation_keeps_its_angle_in_pictures_that_are_not_square() -> None:
    numbers = torch.zeros(1, Affine.n_numbers)
    numbers[0, 2], numbers[0, 3:5] = 1.0, 0.5  # the largest rotation, no tilt
    numbers[0, 0] = numbers[0, 1] = 0.99
    height, width = 40, 80
    matrix = Affine(flip=0, max_rotate=30, max_zoom=1, max_warp=0).matrices(numbers, height / width)[0].double()
    out = torch.tensor([10 / (width / 2), 0.0, 1.0], dtype=torch.float64)  # 10 pixels right of the centre
    taken = matrix @ out
    in_pixels = torch.stack([taken[0] * width / 2, taken[1] * height / 2])
    expected = torch.tensor([10 * np.cos(np.pi / 6), 10 * np.sin(np.pi / 6)])
    torch.testing.assert_close(in_pixels, expected, atol=1e-5, rtol=0)


def test_zoom_magnifies_about_the_centre() -> None:
    numbers = torch.zeros(1, Affine.n_numbers)
    numbers[0, 0] = numbers[0, 1] = 0.99
    numbers[0, 8] = 1.0
    matrix = Affine(flip=0, max_rotate=0, max_zoom=2.0, max_warp=0).matrices(numbers, 1.0)[0]
    torch.testing.assert_close(matrix, torch.diag(torch.tensor([0.5, 0.5, 1.0])))


def test_light_stays_in_range_and_keeps_the_order_of_pixels() -> None:
    x = torch.linspace(0, 1, 64).view(1, 1, 8, 8).repeat(50, 1, 1, 1)
    lit = apply(Lighting(0.5), x)
    assert lit.min() >= 0
    assert lit.max() <= 1
    assert (lit.flatten(1).diff(dim=1) >= 0).all()
    assert lit.flatten(1).std(0).max() > 0.05


def test_brightness_and_contrast_by_hand() -> None:
    numbers = torch.tensor([[1.0, 0.0, 0.0, 0.0]])  # the most brightness, the most contrast
    x = torch.full((1, 1, 1, 1), 0.3)
    logit = (np.log(0.3 / 0.7) + np.log(0.6 / 0.4)) * (1 / 0.8) ** -1
    expected = 1 / (1 + np.exp(-logit))
    assert Lighting(0.2).change(x, numbers).item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("transform", [Affine(), Lighting()])
def test_an_item_depends_on_seed_epoch_and_index_alone(transform: object) -> None:
    x = batch(6)
    whole = apply(transform, x)
    torch.testing.assert_close(apply(transform, x[2:4], start=2), whole[2:4])
    assert not torch.allclose(apply(transform, x, epoch=1), whole)
    assert not torch.allclose(apply(transform, x, seed=1), whole)
    assert not torch.allclose(apply(transform, x, start=1), whole)


def test_any_callable_may_stand_in_the_list_and_the_global_generator_is_put_back() -> None:
    x = batch()
    noisy = Augmentation([lambda x: x + torch.rand_like(x)])
    before = torch.get_rng_state()
    first = noisy(x, 0, 0, torch.arange(4))
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(first, noisy(x, 0, 0, torch.arange(4)))
    assert not torch.equal(first, noisy(x, 0, 1, torch.arange(4)))


def test_a_transform_of_torchvision_may_stand_in_the_list() -> None:
    from torchvision.transforms import v2

    x = batch()
    torch.testing.assert_close(apply(v2.RandomHorizontalFlip(1.0), x), x.flip(-1))


def test_true_false_and_lists() -> None:
    chosen = augmentations(True)
    assert chosen is not None
    assert chosen.transforms == [Affine(), Lighting()]
    assert augmentations(False) is None
    assert augmentations([]) is None
    for bad in ("strong", 3, [3]):
        with pytest.raises(UsageError, match="augment: got"):
            augmentations(bad)


@pytest.mark.parametrize("options", [{"flip": 2}, {"max_zoom": 0.5}, {"max_warp": 1.0}, {"max_rotate": -1}])
def test_arguments_that_cannot_work_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=next(iter(options))):
        Affine(**options)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="max_change"):
        Lighting(1.0)
