"""What `augment=` means: True, names, lists, the default list edited, the settings of fastai v1."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torchvision.transforms import v2

from learnkit import ImageDataBunch, transforms
from learnkit.data.augment.presets import TRANSFORMS, may_move, resolve_augment
from learnkit.data.augment.targets import moving_targets
from learnkit.data.points import Points
from learnkit.data.segmentation import Segmentation
from learnkit.errors import UsageError
from learnkit.transforms import (
    Brightness,
    Contrast,
    Dihedral,
    Flip,
    FlipVertical,
    Hue,
    Normalize,
    OnBatch,
    OnItem,
    Presize,
    RandomErasing,
    RandomResizedCrop,
    Rotate,
    Saturation,
    Warp,
    Zoom,
    default_augment,
    get_transforms,
)
from tests.doubles import refused

DEFAULT = [Flip(), Rotate(), Zoom(), Warp(), Brightness(), Contrast()]
LAST = [FlipVertical()]
MASKS, POINTS = Segmentation(["low", "high"]), Points(["nose"])


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
        ({"flip": True}, {"flip": True}, ""), ([[Flip()], []], [Flip()], "Join the lists: [*one, *another]."),
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


def test_every_transform_can_be_suggested() -> None:
    public = [getattr(transforms, name) for name in transforms.__all__]
    classes = {value for value in public if isinstance(value, type)} - {Normalize}
    assert classes == set(TRANSFORMS), "TRANSFORMS of presets.py and learnkit.transforms differ"


def test_the_default_list_is_that_of_true_and_new_each_time() -> None:
    assert default_augment() == DEFAULT
    default_augment().clear()
    assert default_augment() == get_transforms() == DEFAULT


@pytest.mark.parametrize(
    ("edited", "expected"),
    [
        (lambda d: d - Flip, DEFAULT[1:]),
        (lambda d: d - [Flip, Contrast], DEFAULT[1:5]),
        (lambda d: d.without(Warp, Zoom), [DEFAULT[0], DEFAULT[1], DEFAULT[4], DEFAULT[5]]),
        (lambda d: d + LAST, [*DEFAULT, FlipVertical()]),
        (lambda d: d - Flip + (Dihedral(), Hue()), [*DEFAULT[1:], Dihedral(), Hue()]),
        (lambda d: d.replace(Rotate(45)), [DEFAULT[0], Rotate(45), *DEFAULT[2:]]),
        (lambda d: d + LAST - Flip, [*DEFAULT[1:], FlipVertical()]),  # a subclass stays
        (lambda d: d[:2] - Flip, [Rotate()]),
    ],
)  # fmt: skip
def test_the_default_list_is_edited_by_class(edited: Any, expected: list[Any]) -> None:
    given = default_augment()
    result = edited(given)
    assert result == expected
    assert given == DEFAULT
    assert listed(result) == ([], expected)


@pytest.mark.parametrize(
    ("edited", "got"),
    [
        (lambda d: d - Dihedral, "Dihedral"), (lambda d: d.without(Flip, Hue), "Hue"), (lambda d: d - "Flip", "Flip"),
        (lambda d: d.replace(Hue()), "Hue"), (lambda d: d - Flip(), Flip()),
    ],
)  # fmt: skip
def test_a_class_that_the_list_does_not_have_is_refused(edited: Any, got: Any) -> None:
    with refused("augment: the class of a transform", got=got):
        edited(default_augment())


def test_only_lists_are_added() -> None:
    with refused("augment: + takes", got=Flip(), fix="Put it into a list."):
        default_augment() + Flip()


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, DEFAULT),
        ({"do_flip": False}, DEFAULT[1:]),
        ({"flip_vert": True}, [Dihedral(), *DEFAULT[1:]]),
        ({"do_flip": False, "flip_vert": True}, [FlipVertical(), *DEFAULT[1:]]),
        ({"max_rotate": 45.0}, [Flip(), Rotate(45.0), *DEFAULT[2:]]),
        ({"max_rotate": None, "max_zoom": None, "max_warp": None}, [Flip(), *DEFAULT[4:]]),
        ({"max_rotate": 0, "max_zoom": 1, "max_warp": 0, "max_lighting": 0}, [Flip()]),
        ({"max_lighting": 0.4, "p_lighting": 0.1}, [*DEFAULT[:4], Brightness(0.4, 0.1), Contrast(0.4, 0.1)]),
        ({"p_affine": 0.5}, [Flip(), Rotate(p=0.5), Zoom(p=0.5), Warp(p=0.5), *DEFAULT[4:]]),
        ({"xtra_tfms": [Hue()]}, [*DEFAULT, Hue()]),
    ],
)
def test_the_settings_of_fastai_v1(settings: dict[str, Any], expected: list[Any]) -> None:
    assert get_transforms(**settings) == expected


@pytest.mark.parametrize(
    ("settings", "name"),
    [({"max_rotate": -1}, "max_rotate"), ({"max_zoom": "1"}, "max_zoom"), ({"p_affine": 2}, "p"),
     ({"max_lighting": 1.5}, "max_change"), ({"padding_mode": "mirror"}, "padding_mode")],
)  # fmt: skip
def test_settings_out_of_range_are_refused(settings: dict[str, Any], name: str) -> None:
    with refused(name):
        get_transforms(**settings)


@pytest.mark.parametrize("task", [MASKS, POINTS])
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_trivial_is_for_one_or_three_channels_and_targets_that_stay(task: Any, channels: int) -> None:
    with refused("augment", got="trivial"):
        resolve_augment("trivial", (8, 8), channels, task)
    if channels == 5:
        with refused("augment", got="trivial"):
            resolve_augment("trivial", (8, 8), channels)
    else:
        assert resolve_augment("trivial", (8, 8), channels)[1] is not None
    for other in (True, "light", "strong"):  # what the error offers
        assert resolve_augment(other, (8, 8), channels, task)[1] is not None


def test_a_black_border_of_masks_needs_a_target_of_ignored_pixels() -> None:
    for transform in (
        Rotate(padding_mode="zeros"),
        Zoom(1, 0.5, padding_mode="zeros"),
        Presize(9, padding_mode="zeros"),
    ):
        with pytest.raises(UsageError, match=r"uncovers pixels that have no class.*ignore_index= or border="):
            resolve_augment([transform], (8, 8), 3, MASKS)
        for declared in (Segmentation(["low", "high"], 255), Segmentation(["low", "high"], border="high")):
            assert resolve_augment([transform], (8, 8), 3, declared)[1] is not None
        assert resolve_augment([transform], (8, 8))[1] is not None


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("settings", [{"border": "high"}, {"ignore_index": 255}, {"ignore_index": 9, "border": "low"}])
def test_what_a_warp_uncovers_is_what_was_declared(settings: Any, binary: bool) -> None:
    task = Segmentation(["low", "high"], binary=binary, **settings)
    _, augmentation = resolve_augment([Zoom(0.5, 0.5, 1.0, "zeros")], (8, 8), 3, task)
    assert augmentation is not None
    masks = moving_targets(task, torch.zeros(1, 8, 8, dtype=torch.uint8))
    _, moved = augmentation(torch.zeros(1, 3, 8, 8), 0, 0, torch.tensor([0]), masks)
    assert moved is not None
    assert task.fill == {"high": 1, "low": 0}.get(settings.get("border"), 255)
    expected = torch.full((1, 8, 8), float(task.fill))
    expected[:, 2:6, 2:6] = 0
    assert torch.equal(moved.targets.reshape(1, 8, 8).float(), expected)


def test_names_of_left_and_right_need_swaps_where_images_are_mirrored() -> None:
    eyes = ["left eye", "right eye"]
    with pytest.raises(UsageError, match=r"left and right.*swaps=\("):
        resolve_augment(True, (8, 8), 3, Points(eyes))
    for task in (Points(eyes, swaps=()), Points(eyes, swaps=[("left eye", "right eye")]), Points(["nose"])):
        assert resolve_augment(True, (8, 8), 3, task)[1] is not None
    assert resolve_augment([Brightness()], (8, 8), 3, Points(eyes))[1] is not None


@pytest.mark.parametrize(
    ("augment", "moves"),
    [
        (False, False), (True, True), ("light", True), ("strong", True), ([Hue(), RandomErasing()], False),
        ([Zoom()], True), ([RandomResizedCrop((8, 8))], True), ([Presize(9)], True), ([torch.sqrt], True),
        ([OnBatch(torch.sqrt, moves=False)], False), ([OnItem(torch.clone)], True), ([v2.ColorJitter()], True),
        ([OnItem(v2.ColorJitter(), moves=False)], False)
    ],
)  # fmt: skip
def test_whether_pixels_may_move(augment: Any, moves: bool) -> None:
    assert may_move(augment, (8, 8)) is moves


@pytest.mark.parametrize("place", [1, 2])
def test_presize_comes_first(place: int) -> None:
    with refused("augment: Presize", expected="first, and once"):
        resolve_augment([Presize(9), *[Flip()] * (place - 1), Presize(9)], (8, 8))


def test_a_bunch_takes_an_edited_list(class_folder: Path) -> None:
    dls = ImageDataBunch.from_folder(
        class_folder, size=16, bs=4, augment=default_augment("zeros") - Flip, normalize=None
    )
    assert dls.one_batch()[0].shape == (4, 3, 16, 16)


@pytest.mark.parametrize("one", [Hue(), 5, {Hue()}, True])
def test_further_transforms_are_a_list(one: Any) -> None:
    with refused("xtra_tfms", got=one, expected="a list of transforms"):
        get_transforms(xtra_tfms=one)
