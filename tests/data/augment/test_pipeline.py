"""Augmentation: what `augment=` means, one resampling, random numbers per item, and masks that move along."""

import random
import sys
from collections.abc import Callable
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from learnkit.data.augment import pipeline
from learnkit.data.augment.color import Brightness, Contrast, Hue, Saturation
from learnkit.data.augment.erasing import RandomErasing
from learnkit.data.augment.geometry import Dihedral, Flip, FlipVertical, Rotate, Warp, Zoom, warp
from learnkit.data.augment.pipeline import Augmentation, OnBatch, OnItem, apply_to_item, resolve_augment
from learnkit.errors import UsageError
from tests.doubles import refused

DEFAULT = [Flip(), Rotate(), Zoom(), Warp(), Brightness(), Contrast()]
EVERY = [*DEFAULT, Saturation(), Hue(), RandomErasing(), FlipVertical(), Dihedral()]


def batch(n: int = 4, size: int = 16) -> Tensor:
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(0))


def apply(transforms: list[Any], x: Tensor, seed: int = 0, epoch: int = 0, start: int = 0) -> Tensor:
    out, masks = Augmentation(transforms)(x, seed, epoch, torch.arange(start, start + len(x)))
    assert masks is None
    return out


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
    mine = x.clone()
    assert Augmentation(DEFAULT)(mine, 0, 0, indices, in_place=True)[0] is mine


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
    counted = Counted(warp)
    monkeypatch.setattr(pipeline, "warp", counted)
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
    counted = Counted(pipeline.adjust_logits)
    monkeypatch.setattr(pipeline, "adjust_logits", counted)
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
    out, moved = Augmentation(transforms)(images, 0, 0, torch.arange(16), masks)
    assert moved is not None
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


def test_a_plain_callable_is_refused_with_masks() -> None:
    masks = torch.zeros(4, 16, 16, dtype=torch.int64)
    with pytest.raises(UsageError, match=r"may move pixels.*Wrap it in OnBatch"):
        Augmentation([torch.flip])(batch(), 0, 0, torch.arange(4), masks)
    out, same = Augmentation([OnBatch(torch.sqrt)])(batch(), 0, 0, torch.arange(4), masks)
    assert torch.equal(out, batch().sqrt())
    assert same is masks


def test_torchvision_on_a_batch_moves_images_and_masks() -> None:
    x = batch()
    masks = (x[:, 0] * 10).long()
    out, moved = Augmentation([OnBatch(v2.RandomHorizontalFlip(1.0))])(x, 0, 0, torch.arange(4), masks)
    assert moved is not None
    assert (type(out), type(moved)) == (Tensor, Tensor)
    assert torch.equal(out, x.flip(-1))
    assert torch.equal(moved, masks.flip(-1))
    assert torch.equal(apply([OnBatch(v2.RandomHorizontalFlip(1.0))], x), x.flip(-1))


@pytest.mark.parametrize("wrong", [lambda x: None, lambda x: x[:2], lambda x: x[0], lambda x: (x * 255).byte()])
def test_a_callable_that_does_not_return_a_batch_is_named(wrong: Callable[[Tensor], Any]) -> None:
    with pytest.raises(
        UsageError, match=r"augment: <function .*lambda.* returned: got .* expected floats \(4, C, H, W"
    ):
        apply([wrong], batch())


def image() -> Tensor:
    return (batch(1)[0] * 255).byte()


def test_torchvision_gets_an_item_as_tv_tensors() -> None:
    seen = []

    def looking(x: Tensor) -> Tensor:
        seen.append(x)
        return x

    mask = torch.arange(256).view(16, 16)
    out, same = apply_to_item(OnItem(looking), image(), mask, 0)
    assert isinstance(seen[0], tv_tensors.Image)
    assert type(out) is Tensor
    assert torch.equal(out, image())
    assert same is mask
    flipped, flipped_mask = apply_to_item(v2.RandomHorizontalFlip(1.0), image(), mask, 0)
    assert torch.equal(flipped, image().flip(-1))
    assert flipped_mask is not None
    assert type(flipped_mask) is Tensor
    assert torch.equal(flipped_mask, mask.flip(-1))
    without = apply_to_item(v2.RandomVerticalFlip(1.0), image(), None, 0)
    assert torch.equal(without[0], image().flip(-2))
    assert without[1] is None


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


def test_an_image_of_another_size_than_its_mask_is_refused() -> None:
    mask = torch.zeros(16, 16, dtype=torch.uint8)
    with pytest.raises(UsageError, match=r"returned a mask: got .*\(16, 16\).*expected \(8, 16\)"):
        apply_to_item(lambda x: x[:, :8], image(), mask, 0)
    cropped, of_mask = apply_to_item(v2.CenterCrop(8), image(), mask, 0)
    assert cropped.shape == (3, 8, 8)
    assert of_mask is not None
    assert of_mask.shape == (8, 8)


def test_true_false_and_presets() -> None:
    for nothing in (False, None, [], ()):
        assert resolve_augment(nothing, (8, 8)) == ([], None)
    assert listed(True) == ([], DEFAULT)
    assert listed("light") == ([], [Flip(), Brightness(0.1), Contrast(0.1)])
    per_item, per_batch = listed("trivial")
    assert per_batch == [Flip()]
    assert [type(item.fn).__name__ for item in per_item] == ["TrivialAugmentWide"]
    per_item, per_batch = listed("strong")
    moves = [Flip(), Rotate(15), Zoom(1.2), Warp()]
    assert per_batch == [*moves, Brightness(0.3), Contrast(0.3), Saturation(), Hue(), RandomErasing()]
    assert [(item.size, item.min_scale) for item in per_item] == [((8, 9), 0.35)]


def listed(augment: Any) -> tuple[list[Any], list[Any]]:
    per_item, augmentation = resolve_augment(augment, (8, 9))
    return per_item, [] if augmentation is None else augmentation.transforms


def test_a_list_is_split_into_item_and_batch_transforms() -> None:
    torchvision_v2 = v2.Compose([v2.RandomHorizontalFlip(), v2.RandomAdjustSharpness(2)])
    on_item, on_batch = OnItem(torch.clone), OnBatch(v2.RandomErasing())
    given = [Rotate(), torchvision_v2, torch.sqrt, on_item, on_batch, Hue()]
    assert listed(given) == ([torchvision_v2, on_item], [Rotate(), torch.sqrt, on_batch, Hue()])
    assert listed((on_item,)) == ([on_item], [])


def test_torchvision_is_not_imported_to_check_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)  # importing it is an error now
    assert listed([Flip(), abs]) == ([], [Flip(), abs])
    assert listed(True) == ([], DEFAULT)


@pytest.mark.parametrize(
    ("bad", "got", "fix"),
    [
        ("strnog", "strnog", "The nearest is 'strong'."), (3, 3, ""), ([3], 3, ""),
        (Flip(), Flip(), "Put it into a list."), ([Flip], Flip, "Pass an instance: Flip()."),
        ({"flip": True}, {"flip": True}, ""),
    ],
)  # fmt: skip
def test_anything_else_is_refused(bad: Any, got: Any, fix: str) -> None:
    with refused(
        "augment", got=got, expected="True, False, 'light', 'strong', 'trivial', or a list of transforms", fix=fix
    ):
        resolve_augment(bad, (8, 8))


def test_the_nearest_transforms_to_a_misspelled_name_are_suggested() -> None:
    with pytest.raises(UsageError) as caught:
        resolve_augment(["Rotat"], (8, 8))
    assert (caught.value.got, caught.value.fix.startswith("The nearest transforms are Rotate")) == ("Rotat", True)


@pytest.mark.parametrize("kind", [OnBatch, OnItem])
def test_only_callables_are_wrapped(kind: Any) -> None:
    for wrong in (3, v2.RandomHorizontalFlip):
        with refused(kind.__name__, got=wrong):
            kind(wrong)
