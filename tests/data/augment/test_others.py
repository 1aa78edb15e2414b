"""Functions and transforms of other libraries: called in their way, with masks and key points or refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision import transforms as v1
from torchvision import tv_tensors
from torchvision.transforms import v2

from learnkit import ImageDataBunch, Points, Segmentation
from learnkit.data.augment.others import call, library_of
from learnkit.data.augment.pipeline import Augmentation, apply_to_item
from learnkit.data.augment.presets import resolve_augment
from learnkit.data.augment.targets import Masks, MovingPoints
from learnkit.errors import UsageError
from learnkit.transforms import IMAGENET, Albumentations, Normalize, OnBatch, OnItem
from tests.doubles import refused

IMAGENET_NORMALIZE = Normalize(*IMAGENET)
MASK = torch.arange(256).view(16, 16)
POINTS = torch.tensor([[-0.5, 0.25], [0.875, -0.125]])


def image(channels: int = 3) -> Tensor:
    return torch.randint(0, 256, (channels, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


class Flipping:
    """A transform of albumentations that flips left-right: called by keyword, with arrays; fills nothing."""

    def __call__(self, **data: Any) -> dict[str, Any]:
        return {name: array[:, ::-1] for name, array in data.items()}


class Shifting:
    """Another: four pixels to the right; what it uncovers is 0, in the image and in the mask."""

    def __call__(self, *, image: Any, mask: Any = None) -> dict[str, Any]:
        moved = {}
        for name, array in (("image", image), ("mask", mask)):
            if array is not None:
                moved[name] = np.zeros_like(array)
                moved[name][:, 4:] = array[:, :-4]
        return moved


def fliplr(x: Tensor) -> Tensor:
    return x.flip(-1)


def flip_both(x: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    return x.flip(-1), targets * targets.new_tensor([-1, 1]) if targets.is_floating_point() else targets.flip(-1)


@pytest.mark.parametrize(
    ("fn", "library"),
    [
        (v1.RandomHorizontalFlip(), "torchvision v1"), (v1.Compose([]), "torchvision v1"),
        (v1.TrivialAugmentWide(), "torchvision v1"), (OnItem(v1.ColorJitter()), "torchvision v1"),
        (nn.Sequential(v1.CenterCrop(8)), "torchvision v1"), (v2.RandomHorizontalFlip(), "torchvision v2"),
        (v2.Compose([v1.CenterCrop(8)]), "torchvision v2"), (OnBatch(v2.RandomErasing()), "torchvision v2"),
        (Albumentations(Flipping()), "albumentations"), (fliplr, None), (OnItem(fliplr), None), (nn.Identity(), None),
    ],
)  # fmt: skip
def test_the_library_of_a_transform(fn: Any, library: str | None) -> None:
    assert library_of(fn) == library


@pytest.mark.parametrize("fn", [v1.RandomHorizontalFlip(1.0), v1.Compose([v1.RandomHorizontalFlip(1.0)]),
                                nn.Sequential(v1.RandomHorizontalFlip(1.0)), OnItem(v1.RandomHorizontalFlip(1.0)),
                                v2.RandomHorizontalFlip(1.0), Albumentations(Flipping())])  # fmt: skip
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_transforms_of_other_libraries_change_single_images(fn: Any, channels: int) -> None:
    out, nothing = apply_to_item(fn, image(channels), None, 0)
    assert type(out) is Tensor
    assert nothing is None
    assert torch.equal(out, image(channels).flip(-1))


@pytest.mark.parametrize(
    "fn", [v1.RandomHorizontalFlip(1.0), v1.RandomVerticalFlip(), Albumentations(Flipping()), v2.RandomHorizontalFlip()]
)
def test_they_are_item_transforms_of_a_bunch(class_folder: Path, fn: Any) -> None:
    dls = ImageDataBunch.from_folder(class_folder, size=24, bs=4, augment=[fn], normalize=None)
    assert dls.train_ds.item_stage == [fn]
    assert dls.one_batch()[0].shape == (4, 3, 24, 24)


MOVERS = [
    fliplr, OnItem(fliplr), OnBatch(fliplr), OnItem(v1.RandomHorizontalFlip(1.0)), v1.RandomHorizontalFlip(1.0),
    v1.Compose([v1.RandomHorizontalFlip(1.0)]), OnItem(v1.ColorJitter()), OnBatch(nn.Sequential(v1.CenterCrop(8))),
    OnItem(nn.Sequential(nn.Identity())),
]  # fmt: skip


@pytest.mark.parametrize("moving", [Masks(MASK), MovingPoints(POINTS)])
@pytest.mark.parametrize("fn", MOVERS)
def test_what_may_move_pixels_and_does_not_say_how_is_refused_for_targets(fn: Any, moving: Any) -> None:
    with pytest.raises(UsageError, match=rf"may move pixels, and the {moving.noun}.*moves=False"):
        call(fn, image(), moving)


@pytest.mark.parametrize("fn", MOVERS)
def test_it_is_refused_before_training_starts(tmp_path: Path, fn: Any) -> None:
    for i in range(5):
        Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(tmp_path / f"{i}.png")
    files = [f"{i}.png" for i in range(5)]
    with pytest.raises(UsageError, match="may move pixels, and the key points"):
        ImageDataBunch.from_lists(tmp_path, files, [[3, 4]] * 5, task=Points(["nose"]), size=16, bs=4, augment=[fn])


@pytest.mark.parametrize("moving", [Masks(MASK), MovingPoints(POINTS)])
def test_what_says_that_pixels_stay_leaves_the_targets(moving: Any) -> None:
    for fn in (OnItem(fliplr, moves=False), OnItem(v1.RandomHorizontalFlip(1.0), moves=False),
               Albumentations(Flipping(), moves=False)):  # fmt: skip
        out, same = call(fn, image(), moving)
        assert torch.equal(out, image().flip(-1))
        assert same is moving


@pytest.mark.parametrize(
    "fn", [OnItem(flip_both, moves=True), v2.RandomHorizontalFlip(1.0), OnItem(v2.RandomHorizontalFlip(1.0))]
)
def test_what_takes_both_moves_both(fn: Any) -> None:
    out, masks = apply_to_item(fn, image(), Masks(MASK), 0)
    assert torch.equal(out, image().flip(-1))
    assert isinstance(masks, Masks)
    assert type(masks.values) is Tensor
    assert torch.equal(masks.values, MASK.flip(-1))
    _, points = apply_to_item(fn, image(), MovingPoints(POINTS), 0)
    torch.testing.assert_close(points.values, POINTS * torch.tensor([-1, 1]))


def test_a_whole_batch_and_its_targets() -> None:
    x = torch.rand(2, 3, 16, 16)
    for fn in (OnBatch(flip_both, moves=True), OnBatch(v2.RandomHorizontalFlip(1.0))):
        masks, points = Masks(torch.stack([MASK, MASK.T])), MovingPoints(torch.stack([POINTS, -POINTS]))
        out, moved = Augmentation([fn])(x, 0, 0, torch.arange(2), masks)
        assert torch.equal(out, x.flip(-1))
        assert torch.equal(moved.values, masks.values.flip(-1))
        _, moved = Augmentation([fn])(x, 0, 0, torch.arange(2), points)
        torch.testing.assert_close(moved.values, points.values * torch.tensor([-1, 1]))


def test_albumentations_moves_image_and_mask_as_arrays() -> None:
    seen = {}

    class Looking(Flipping):
        def __call__(self, **data: Any) -> dict[str, Any]:
            seen.update({name: (array.shape, type(array)) for name, array in data.items()})
            return super().__call__(**data)

    out, masks = apply_to_item(Albumentations(Looking()), image(), Masks(MASK.to(torch.uint8)), 0)
    assert seen == {"image": ((16, 16, 3), np.ndarray), "mask": ((16, 16), np.ndarray)}
    assert torch.equal(out, image().flip(-1))
    assert masks.values.dtype == torch.uint8
    assert torch.equal(masks.values, MASK.to(torch.uint8).flip(-1))
    with pytest.raises(UsageError, match="the key points would have to move"):
        call(Albumentations(Flipping()), image(), MovingPoints(POINTS))


@pytest.mark.parametrize("fn", [Albumentations(Shifting()), v2.RandomAffine(0, (0.25, 0.25)), v2.Pad([4, 0, -4, 0]),
                                v2.RandomAffine(0, (0.25, 0.25), fill=255), v2.RandomRotation((45, 45))])  # fmt: skip
@pytest.mark.parametrize("ignored", [255, 0, None])
def test_what_a_moved_mask_uncovers_is_ignored(fn: Any, ignored: int | None) -> None:
    mask = torch.full((16, 16), 3, dtype=torch.uint8)
    if ignored is None:
        with pytest.raises(UsageError, match=r"uncovers pixels that have no class.*ignore_index"):
            apply_to_item(fn, torch.full((3, 16, 16), 7, dtype=torch.uint8), Masks(mask), 5)
        return
    out, moved = apply_to_item(fn, torch.full((3, 16, 16), 7, dtype=torch.uint8), Masks(mask, ignored), 5)
    assert set(moved.values.unique().tolist()) == {3, ignored}
    is_filled = out[0] != 7
    assert is_filled.float().mean() > 0.1
    assert torch.equal(is_filled, moved.values == ignored)


def test_a_new_albumentations_draws_from_the_seed_of_the_item() -> None:
    class Drawing:
        """Has a generator of its own, as since version 1.4.19."""

        def set_random_seed(self, seed: int) -> None:
            self.random = np.random.default_rng(seed)

        def __call__(self, image: Any) -> dict[str, Any]:
            return {"image": self.random.integers(0, 256, image.shape, dtype=np.uint8)}

    fn = Albumentations(Drawing())
    one, again, other = (apply_to_item(fn, image(), None, seed)[0] for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def failing(*args: Any) -> Any:
    raise KeyError("named arguments, for example: aug(image=image)")


@pytest.mark.parametrize(
    ("fn", "message"),
    [
        (
            v1.Compose([v1.ToTensor()]),
            r"Compose\( ToTensor\(\) \) failed \(TypeError: .*Leave ToTensor and Normalize out",
        ),
        (v1.ToTensor(), "Leave ToTensor and Normalize out"),
        (OnItem(failing), r"failed \(KeyError: .*learnkit.transforms.Albumentations"),
        (Albumentations(failing), "failed"),
        (Albumentations(lambda image: image), "returned: got 'ndarray'"),
        (Albumentations(lambda image: {}), r"expected a dict of \['image'\]"),
        (OnItem(lambda x: 1 / 0), "failed .ZeroDivisionError: division by zero"),
        (v2.ToDtype(torch.float32, scale=True), "leave ToTensor, ToDtype and Normalize out"),
        (v1.ConvertImageDtype(torch.float32), "leave ToTensor, ToDtype and Normalize out"),
    ],
)
def test_a_transform_that_fails_is_named_with_what_to_do(fn: Any, message: str) -> None:
    with pytest.raises(UsageError, match=f"(?s)augment: .*{message}"):
        apply_to_item(fn, image(), None, 0)


@pytest.mark.parametrize("fn", [v2.TrivialAugmentWide(), v2.AutoAugment()])
def test_a_transform_that_cannot_take_targets_is_named(fn: Any) -> None:
    with pytest.raises(UsageError, match=r"failed \(TypeError.*and its masks"):
        apply_to_item(fn, image(), Masks(MASK), 0)


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (lambda x, y: x, "expected an image and its targets"),
        (lambda x, y: (x, None), "returned: got 'NoneType'"),
        (lambda x, y: (x[:, :8], y), r"returned a mask: .*expected integers \(8, 16\)"),
        (lambda x, y: (x, y.float()), "returned a mask: .*float32"),
        (lambda x, y: (x, y + 256), r"returned a mask with: got \[256, 257, 258, 259, 260\], expected the classes"),
        (lambda x, y: (x, y - 1), r"returned a mask with: got \[-1\]"),
    ],
)
def test_a_function_that_moves_both_returns_both(returned: Any, message: str) -> None:
    with pytest.raises(UsageError, match=f"(?s){message}"):
        apply_to_item(OnItem(returned, moves=True), image(), Masks(MASK, known=range(256)), 0)


@pytest.mark.parametrize("task", [Segmentation(["a", "b"], 9), Points(1)])
@pytest.mark.parametrize("wrap", [lambda fn: fn, OnItem, OnBatch, lambda fn: v2.Compose([fn])])
@pytest.mark.parametrize(
    ("fn", "fix"),
    [
        (v2.Lambda(fliplr), "moves=True if it takes both"),
        (v2.Compose([v2.RandomApply([v2.Lambda(fliplr)])]), "moves=True if it takes both"),
        (v1.RandomHorizontalFlip(), "Use that of torchvision.transforms.v2"),
        (v2.Compose([v1.RandomHorizontalFlip()]), "Use that of torchvision.transforms.v2"),
    ],
)
def test_what_a_composition_holds_may_not_move_targets_either(task: Any, wrap: Any, fn: Any, fix: str) -> None:
    with pytest.raises(UsageError, match=fix):
        resolve_augment([wrap(fn)], (16, 16), task=task)


def test_a_function_inside_a_transform_of_torchvision_may_say_that_it_moves_both() -> None:
    for moves, moved in ((True, MASK.flip(-1)), (False, MASK)):
        fn = OnItem(v2.Lambda(fliplr), moves=moves)
        out, after = apply_to_item(fn, image(), Masks(MASK), 0)
        assert torch.equal(out, image().flip(-1))
        assert torch.equal(after.values, moved)


@pytest.mark.parametrize(
    "fn",
    [
        IMAGENET_NORMALIZE, OnBatch(IMAGENET_NORMALIZE), v2.Normalize([0.5], [0.5]), v1.Normalize([0.5], [0.5]),
        OnBatch(v2.Normalize([0.5], [0.5])), v1.Compose([v1.ColorJitter(), v1.Normalize([0.5], [0.5])]),
        v2.Compose([v2.Compose([v2.Normalize([0.5], [0.5])])]), nn.Sequential(v2.Normalize([0.5], [0.5])),
    ],
)  # fmt: skip
def test_normalizing_is_no_augmentation(fn: Any) -> None:
    with refused("augment: Normalize is not an augmentation"):
        resolve_augment([fn], (16, 16))


def test_what_runs_out_of_memory_keeps_its_error() -> None:
    def greedy(x: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("no memory")

    with pytest.raises(torch.OutOfMemoryError):
        apply_to_item(OnItem(greedy), image(), None, 0)


def test_images_are_those_of_torchvision() -> None:
    seen = []

    def looking(x: Tensor) -> Tensor:
        seen.append(type(x))
        return x

    apply_to_item(OnItem(looking), image(), None, 0)
    assert seen == [tv_tensors.Image]


@pytest.mark.parametrize("kind", [OnBatch, OnItem, Albumentations])
def test_only_callables_are_wrapped_and_moves_is_yes_or_no(kind: Any) -> None:
    for wrong in (3, v2.RandomHorizontalFlip):
        with refused(kind.__name__, got=wrong):
            kind(wrong)
    with refused(f"{kind.__name__}: moves", got="both"):
        kind(fliplr, moves="both")


def test_the_real_albumentations() -> None:
    albumentations = pytest.importorskip("albumentations")
    flip, turn = albumentations.HorizontalFlip(p=1), albumentations.Affine(rotate=(45, 45), p=1)
    with pytest.raises(UsageError, match="of albumentations is for single images"):
        resolve_augment([OnBatch(flip)], (16, 16))
    for fn in (flip, Albumentations(flip), albumentations.Compose([flip])):
        assert library_of(fn) == "albumentations"
        out, moved = apply_to_item(fn, image(), Masks(MASK.to(torch.uint8)), 0)
        assert torch.equal(out, image().flip(-1))
        assert torch.equal(moved.values, MASK.to(torch.uint8).flip(-1))
    _, moved = apply_to_item(turn, image(), Masks(torch.full((16, 16), 3, dtype=torch.uint8), 255), 0)
    assert set(moved.values.unique().tolist()) == {3, 255}
