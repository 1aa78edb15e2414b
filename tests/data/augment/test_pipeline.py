"""Augmentation: what `augment=` means, one resampling, random numbers per item, and masks that move along."""

import pickle
import random
from collections.abc import Callable
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2

from learnkit.data.augment import steps
from learnkit.data.augment.color import Brightness, Contrast, Hue, Saturation
from learnkit.data.augment.erasing import RandomErasing
from learnkit.data.augment.geometry import Dihedral, Flip, FlipVertical, Rotate, Warp, Zoom
from learnkit.data.augment.others import OnBatch, OnItem
from learnkit.data.augment.pipeline import Augmentation, apply_to_item
from learnkit.data.augment.targets import Masks
from learnkit.data.augment.warp import warp
from learnkit.errors import UsageError

DEFAULT = [Flip(), Rotate(), Zoom(), Warp(), Brightness(), Contrast()]
EVERY = [*DEFAULT, Saturation(), Hue(), RandomErasing(), FlipVertical(), Dihedral()]


def batch(n: int = 4, size: int = 16) -> Tensor:
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(0))


def apply(transforms: list[Any], x: Tensor, seed: int = 0, epoch: int = 0, start: int = 0) -> Tensor:
    out, masks = Augmentation(transforms)(x, seed, epoch, torch.arange(start, start + len(x)))
    assert masks is None
    return out


def with_masks(transforms: list[Any], x: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    out, moved = Augmentation(transforms)(x, 0, 0, torch.arange(len(x)), Masks(masks))
    assert isinstance(moved, Masks)
    return out, moved.values


def test_half_of_the_items_are_flipped() -> None:
    x = torch.zeros(2000, 1, 2, 2)
    x[..., 0] = 1
    flipped = apply([Flip()], x)[:, 0, 0, 0] < 0.5
    assert 0.45 < flipped.float().mean() < 0.55


@pytest.mark.parametrize("transforms", [*([one] for one in EVERY), DEFAULT, EVERY])
def test_an_item_depends_on_seed_epoch_index_and_place_alone(transforms: list[Any]) -> None:
    x = batch(64)
    whole = apply(transforms, x)
    torch.testing.assert_close(apply(transforms, x[5:9], start=5), whole[5:9])
    shuffled = torch.randperm(64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(Augmentation(transforms)(x[shuffled], 0, 0, shuffled)[0], whole[shuffled])
    for other in ({"epoch": 1}, {"seed": 1}, {"start": 1}):
        assert not torch.allclose(apply(transforms, x, **other), whole)
    assert not torch.allclose(apply([Brightness(0.0), *transforms], x), whole.clamp(1e-3, 1 - 1e-3), atol=1e-4)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_input_is_overwritten_only_if_allowed(layout: Any) -> None:
    x = batch(8).contiguous(memory_format=layout)
    before, indices = x.clone(), torch.arange(8)
    for transforms in ([Brightness()], [Flip(1.0), Contrast()], DEFAULT, EVERY):
        out = apply(transforms, x)
        assert torch.equal(x, before)
        torch.testing.assert_close(Augmentation(transforms)(x.clone(), 0, 0, indices, in_place=True)[0], out)
        assert out.is_contiguous(memory_format=layout)
    large = batch(2, 600).contiguous(memory_format=layout)  # each item is a chunk
    assert Augmentation(EVERY)(large, 0, 0, indices[:2], in_place=True)[0] is large


def test_the_callers_generators_do_not_change() -> None:
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    apply(EVERY, batch())
    assert torch.equal(before[0], torch.get_rng_state())
    assert (before[1], before[2]) == (np.random.get_state()[1].tolist(), random.getstate())


class Counted:
    """Counts the calls of a function of the module and passes them on."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function, self.n = function, 0

    def __call__(self, *args: Any, **options: Any) -> Any:
        self.n += 1
        return self.function(*args, **options)


def test_adjacent_geometric_transforms_resample_once(monkeypatch: pytest.MonkeyPatch) -> None:
    x = batch(3)
    sure = [Rotate(30, p=1), Zoom(1.5, p=1), Warp(0.4, p=1), Flip(1.0)]
    drawn: dict[str, Tensor] = {}
    for transform in sure:
        kept = type(transform).matrices

        def matrices(self: Any, numbers: Tensor, *size: int, kept: Any = kept) -> Tensor:
            drawn[type(self).__name__] = kept(self, numbers, *size)
            return drawn[type(self).__name__]

        monkeypatch.setattr(type(transform), "matrices", matrices)
    counted = Counted(steps.move)
    monkeypatch.setattr(steps, "move", counted)
    out = apply(sure, x)
    assert counted.n == 1
    one_by_one = x  # resampled four times: the same except for the blur, away from the borders
    for name in ("Rotate", "Zoom", "Warp", "Flip"):
        one_by_one = warp(one_by_one, drawn[name])
    smooth = torch.nn.functional.avg_pool2d(x, 15, 1, 7)
    of_smooth = apply(sure, smooth)
    for name in ("Rotate", "Zoom", "Warp", "Flip"):
        smooth = warp(smooth, drawn[name])
    torch.testing.assert_close(of_smooth[..., 4:-4, 4:-4], smooth[..., 4:-4, 4:-4], atol=0.02, rtol=0)
    assert out.std() > one_by_one.std()  # less blurred


def test_adjacent_tonal_transforms_share_a_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = Counted(steps.adjust_logits)
    monkeypatch.setattr(steps, "adjust_logits", counted)
    x = torch.full((2, 1, 1, 1), 0.3)
    out = apply([Brightness(p=1), Contrast(p=1), Brightness(0.4, p=1)], x)
    assert counted.n == 1
    step_by_step = x
    for place, transform in enumerate([Brightness(p=1), Contrast(p=1), Brightness(0.4, p=1)]):
        still = [Brightness(p=0)] * place  # the position determines the random numbers
        step_by_step = apply([*still, transform], step_by_step)
    torch.testing.assert_close(out, step_by_step)


def test_transforms_are_applied_in_their_order() -> None:
    x = batch(1, 4)
    quarter = Augmentation([_Turned(), Flip(1.0)])(x, 0, 0, torch.arange(1))[0]
    assert torch.equal(quarter, torch.rot90(x, 1, (2, 3)).flip(-1))
    assert torch.equal(apply([Flip(1.0), _Turned()], x), torch.rot90(x.flip(-1), 1, (2, 3)))


class _Turned:
    """A custom geometric transform: a quarter turn counterclockwise."""

    n_numbers: ClassVar[int] = 0

    def matrices(self, numbers: Tensor, height: int, width: int) -> Tensor:
        return torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]).expand(len(numbers), 3, 3)


@pytest.mark.parametrize("transforms", [[Flip()], [Dihedral()], DEFAULT, [*DEFAULT, FlipVertical(), Dihedral()]])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
def test_masks_move_with_their_images(transforms: list[Any], dtype: torch.dtype) -> None:
    y, x = torch.meshgrid(torch.arange(48), torch.arange(48), indexing="ij")
    masks = ((x > 20).int() + 2 * (y > 30).int()).to(dtype).repeat(16, 1, 1)  # four regions
    images = torch.stack([masks == 1, masks == 2, masks == 3], 1).float() * 0.98 + 0.01
    given = masks.clone()
    out, moved = with_masks(transforms, images, masks)
    assert torch.equal(masks, given)
    assert moved.dtype == dtype
    assert moved.shape == masks.shape
    assert not torch.equal(moved, masks)
    seen = torch.where(out.amax(1) > 0.5, out.argmax(1) + 1, 0)
    assert (seen == moved).float().mean() > 0.97  # all except points on a border between two regions


def test_any_callable_may_be_in_the_list_and_the_global_generator_is_restored() -> None:
    x = batch()

    def noisy(x: Tensor) -> Tensor:
        return x + torch.rand_like(x)

    before = torch.get_rng_state()
    first = apply([noisy], x)
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(first, apply([noisy], x))
    assert torch.equal(first, apply([OnBatch(noisy)], x))
    assert not torch.equal(first, apply([noisy], x, epoch=1))


def test_a_callable_is_seeded_by_the_first_item_and_its_position() -> None:
    def noisy(x: Tensor) -> Tensor:
        return x + torch.rand_like(x)

    def noise(*indices: int, transforms: tuple[Any, ...] = (noisy,)) -> Tensor:
        x = torch.zeros(len(indices), 1, 2, 2)
        return Augmentation(transforms)(x, 0, 0, torch.tensor(indices))[0]

    assert torch.equal(noise(3, 5), noise(3, 7))
    assert not torch.equal(noise(3, 5), noise(4, 5))
    twice = noise(3, 5, transforms=(noisy, noisy))
    assert not torch.equal(twice, 2 * noise(3, 5))  # the second draws other numbers


def test_what_a_callable_returned_is_not_overwritten_later() -> None:
    kept = []

    def keeping(x: Tensor) -> Tensor:
        kept.append(x)
        return x

    x = batch()
    flipped = apply([Flip(1.0), keeping, Brightness()], x)
    assert torch.equal(kept[0], x.flip(-1))
    assert not torch.equal(flipped, kept[0])


@pytest.mark.parametrize("wrong", [lambda x: None, lambda x: x[:2], lambda x: x[0], lambda x: (x * 255).byte()])
def test_a_callable_that_does_not_return_a_batch_is_named(wrong: Callable[[Tensor], Any]) -> None:
    with pytest.raises(
        UsageError, match=r"augment: <function .*lambda.* returned: got .* expected floats \(4, C, H, W"
    ):
        apply([wrong], batch())


def image() -> Tensor:
    return (batch(1)[0] * 255).byte()


def test_an_item_transform_draws_from_its_seed_and_the_generators_are_restored() -> None:
    def noisy(x: Tensor) -> Tensor:
        noise = torch.randint(0, 50, x.shape) + np.random.randint(50) + random.randrange(50)
        return noise.to(torch.uint8)

    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    first, again, other = (apply_to_item(noisy, image(), None, seed)[0] for seed in (2**60, 2**60, 2**60 + 1))
    assert torch.equal(before[0], torch.get_rng_state())
    assert (before[1], before[2]) == (np.random.get_state()[1].tolist(), random.getstate())
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    wide = OnItem(v2.TrivialAugmentWide())
    many = [apply_to_item(wide, image(), None, seed)[0] for seed in range(8)]
    assert any(not torch.equal(one, two) for one, two in pairwise(many))


def test_an_item_is_a_copy_that_may_be_overwritten() -> None:
    pixels = image()
    out, _ = apply_to_item(lambda x: x.zero_(), pixels, None, 0)
    assert out.max() == 0
    assert torch.equal(pixels, image())


@pytest.mark.parametrize(
    ("fn", "got"),
    [
        (v2.ToDtype(torch.float32, scale=True), r"torch.float32 \(3, 16, 16\)"),
        (v2.Grayscale(1), r"torch.uint8 \(1, 16, 16\)"),
        (v2.ToPILImage(), "'Image'"),
        (lambda x: x[0], r"torch.uint8 \(16, 16\)"),
    ],
)
def test_an_item_transform_that_does_not_return_an_image_is_named(fn: Any, got: str) -> None:
    with pytest.raises(UsageError, match=rf"(?s)augment: .* returned: got .?{got}.*expected torch.uint8 \(3, H, W\)"):
        apply_to_item(OnItem(fn), image(), None, 0)


def test_a_worker_draws_the_same_without_the_functions_of_a_batch() -> None:
    def here(x: Tensor) -> Tensor:  # cannot be pickled
        return x

    for transforms in ([Flip(), Rotate(), here, Zoom()], [here, Flip()], [Flip(), Contrast()]):
        whole = Augmentation(transforms)
        sent = pickle.loads(pickle.dumps(whole.drawn_first))
        x, at = batch(6), (3, 1, np.arange(6), 16, 16)
        assert torch.equal(sent.plan(*at).table, whole.plan(*at).table)
        out, _ = whole.apply(x, sent.plan(*at))
        assert torch.equal(out, whole(x, 3, 1, torch.arange(6))[0])
