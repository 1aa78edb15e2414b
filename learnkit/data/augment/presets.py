"""What `augment=` means: True, a name, or a list, which may be the default one, edited."""

from collections.abc import Iterable, Sequence
from typing import Any

from learnkit.checks import check_number, nearest
from learnkit.data.augment.color import Brightness, Contrast, Hue, Saturation
from learnkit.data.augment.erasing import RandomErasing
from learnkit.data.augment.geometry import (
    Dihedral,
    Flip,
    FlipVertical,
    Geometric,
    Padding,
    Rotate,
    Warp,
    Zoom,
    padding_of,
)
from learnkit.data.augment.others import (
    Albumentations,
    OnBatch,
    OnItem,
    check_can_move,
    check_is_change,
    library_of,
)
from learnkit.data.augment.pipeline import Augmentation, draws_numbers
from learnkit.data.augment.presize import Presize
from learnkit.data.augment.targets import moving_noun
from learnkit.data.image.crops import RandomResizedCrop
from learnkit.data.points import Points
from learnkit.data.segmentation import Segmentation
from learnkit.data.tasks import Task
from learnkit.errors import UsageError

__all__ = ["PRESETS", "TransformList", "default_augment", "get_transforms", "may_move", "resolve_augment"]

PRESETS = ("light", "strong", "trivial")
# All that an error may suggest.
TRANSFORMS = (Flip, FlipVertical, Dihedral, Rotate, Zoom, Warp, Brightness, Contrast, Saturation, Hue, RandomErasing,
              RandomResizedCrop, Presize, OnBatch, OnItem, Albumentations)  # fmt: skip
NAMES = [kind.__name__ for kind in TRANSFORMS]
EXPECTED = f"True, False, {', '.join(map(repr, PRESETS))}, or a list of transforms"


class TransformList(list[Any]):
    """A list of transforms for `augment=` that can be edited by their classes.

    >>> [type(one).__name__ for one in default_augment() - Flip + [Dihedral()]]
    ['Rotate', 'Zoom', 'Warp', 'Brightness', 'Contrast', 'Dihedral']
    """

    def without(self, *kinds: type) -> "TransformList":
        """The others, in their order.

        Raises:
            UsageError: a class of which the list has no transform.
        """
        for kind in kinds:
            self._check_holds(kind)
        return TransformList(one for one in self if type(one) not in kinds)

    def replace(self, *transforms: Any) -> "TransformList":
        """Each of these in the place of the one of its class.

        Raises:
            UsageError: a class of which the list has no transform.
        """
        for transform in transforms:
            self._check_holds(type(transform))
        new = {type(transform): transform for transform in transforms}
        return TransformList(new.get(type(one), one) for one in self)

    def __sub__(self, kinds: type | Sequence[type]) -> "TransformList":
        return self.without(*(kinds if isinstance(kinds, list | tuple) else [kinds]))

    def __add__(self, others: Any) -> "TransformList":
        if not isinstance(others, list | tuple):
            raise UsageError("augment: + takes", got=others, expected="a list", fix="Put it into a list.")
        return TransformList([*self, *others])

    def __getitem__(self, place: Any) -> Any:
        part = super().__getitem__(place)
        return TransformList(part) if isinstance(place, slice) else part

    def _check_holds(self, kind: Any) -> None:
        kinds = list(dict.fromkeys(type(one) for one in self))
        if kind not in kinds:
            names = ", ".join(one.__name__ for one in kinds) or "none"
            got = kind.__name__ if isinstance(kind, type) else kind
            raise UsageError("augment: the class of a transform", got=got, expected=f"one of the list: {names}")


def default_augment(padding_mode: Padding = "reflection") -> TransformList:
    """The transforms of augment=True: Flip, Rotate, Zoom, Warp, Brightness, Contrast; a new list, to be edited.

    Args:
        padding_mode: what is seen beyond the border of an image: "reflection", "border" or "zeros".

    >>> [type(one).__name__ for one in default_augment() - Flip]
    ['Rotate', 'Zoom', 'Warp', 'Brightness', 'Contrast']
    """
    return get_transforms(padding_mode=padding_mode)


def get_transforms(
    do_flip: bool = True,
    flip_vert: bool = False,
    max_rotate: float | None = 10.0,
    max_zoom: float | None = 1.1,
    max_lighting: float | None = 0.2,
    max_warp: float | None = 0.2,
    p_affine: float = 0.75,
    p_lighting: float = 0.75,
    xtra_tfms: Iterable[Any] | None = None,
    *,
    padding_mode: Padding = "reflection",
) -> TransformList:
    """A list for `augment=` from the settings of the default one, by the names that fastai v1 has for them.

    Args:
        do_flip: flip half of the images left-right.
        flip_vert: flip up-down; with `do_flip`, draw any of the eight symmetries of a square.
        max_rotate: the largest angle, degrees; None or 0 for no rotation.
        max_zoom: the largest magnification; None or 1 for none.
        max_lighting: the largest change of brightness and contrast; None or 0 for none.
        max_warp: the largest tilt; None or 0 for none.
        p_affine: the probability of each of rotation, zoom and tilt.
        p_lighting: the probability of each of brightness and contrast.
        xtra_tfms: transforms to append.
        padding_mode: what is seen beyond the border: "reflection", "border" or "zeros".

    Raises:
        UsageError: a number out of range.
    """
    for name, number in (("max_rotate", max_rotate), ("max_lighting", max_lighting), ("max_warp", max_warp)):
        check_number(name, 0 if number is None else number, "[0, inf)")
    transforms = TransformList()
    if do_flip or flip_vert:
        transforms.append(Dihedral() if do_flip and flip_vert else Flip() if do_flip else FlipVertical())
    if max_rotate:
        transforms.append(Rotate(max_rotate, p_affine, padding_mode))
    if max_zoom is not None and max_zoom != 1:
        transforms.append(Zoom(max_zoom, p=p_affine, padding_mode=padding_mode))
    if max_warp:
        transforms.append(Warp(max_warp, p_affine, padding_mode))
    if max_lighting:
        transforms += [Brightness(max_lighting, p_lighting), Contrast(max_lighting, p_lighting)]
    if xtra_tfms is not None and not isinstance(xtra_tfms, Sequence):
        raise UsageError("xtra_tfms", got=xtra_tfms, expected="a list of transforms")
    return transforms + list(xtra_tfms or ())


def resolve_augment(
    augment: Any, size: tuple[int, int], channels: int = 3, task: Task | None = None
) -> tuple[list[Any], Augmentation | None]:
    """What `augment=` means: (transforms of single images, in order; those of a batch, or None).

    Args:
        augment: True for the default; False, None or an empty list for nothing; "light", "strong" or "trivial"
            (Müller and Hutter, TrivialAugment, 2021); or a list: OnItem, Albumentations, Presize, RandomResizedCrop and
            transforms of torchvision and albumentations apply to single images, all others to a batch.
        size: height and width of the images in pixels.
        channels: of the images.
        task: what the targets mean; masks and key points move with the images.

    Raises:
        UsageError: anything else, or transforms that targets cannot follow.
    """
    if augment is None or augment is False:
        return [], None
    if augment is True:
        augment = default_augment()
    elif isinstance(augment, str):
        augment = _preset(augment, size, channels, task)
    elif not isinstance(augment, list | tuple):
        raise _unknown_error(augment)
    for transform in augment:
        if isinstance(transform, type) or not _is_transform(transform):
            raise _unknown_error(transform)
        check_is_change(transform)
    _check_targets(augment, task)
    per_item = [transform for transform in augment if _is_item_stage(transform)]
    per_batch = [transform for transform in augment if not _is_item_stage(transform) or isinstance(transform, Presize)]
    for place, transform in enumerate(augment):
        if isinstance(transform, Presize):
            transform.check_fits(*size)
            if place:
                raise UsageError("augment: Presize", got=f"number {place + 1} of the list", expected="first, and once")
    return per_item, Augmentation(per_batch, size) if per_batch else None


def may_move(augment: Any, size: tuple[int, int], channels: int = 3) -> bool:
    """Whether what `augment=` means moves pixels, or is a function that does not say that it does not."""
    per_item, augmentation = resolve_augment(augment, size, channels)
    return any(map(_may_move, [*per_item, *(augmentation.transforms if augmentation else [])]))


def _may_move(transform: Any) -> bool:
    if getattr(transform, "moves", None) is False:
        return False
    return isinstance(transform, Geometric | RandomResizedCrop) or not draws_numbers(transform)


def _check_targets(transforms: Sequence[Any], task: Task | None) -> None:
    """Refuse transforms that the targets cannot follow."""
    noun = moving_noun(task)
    if noun is None:
        return
    for transform in transforms:
        if not (draws_numbers(transform) or isinstance(transform, RandomResizedCrop)):
            check_can_move(transform, noun)
        is_black = isinstance(transform, Geometric) and padding_of(transform) == "zeros"
        if is_black and isinstance(task, Segmentation) and task.fill is None:
            fix = "Give the task an ignore_index= or border=, the name of a class, or use another padding_mode."
            raise UsageError(f"augment: {transform!r} uncovers pixels that have no class", fix=fix)
        if isinstance(task, Points) and not task.says_swaps and _may_move(transform):
            raise UsageError(
                "task: a mirror image changes left and right, and Points does not say which points swap",
                fix='Pass Points(names, swaps=[("left eye", "right eye"), ...]), or swaps=() if they stay.',
            )


def _preset(name: str, size: tuple[int, int], channels: int, task: Task | None) -> TransformList:
    if name == "light":
        return TransformList([Flip(), Brightness(0.1), Contrast(0.1)])
    if name == "strong":
        geometric = [RandomResizedCrop(size, min_scale=0.35), Flip(), Rotate(15), Zoom(1.2), Warp()]
        return TransformList([*geometric, Brightness(0.3), Contrast(0.3), Saturation(), Hue(), RandomErasing()])
    if name == "trivial":
        return _trivial(channels, moving_noun(task))
    raise UsageError("augment", got=name, expected=EXPECTED, fix=f"The nearest is {nearest(name, PRESETS, n=1)!r}.")


def _trivial(channels: int, noun: str | None) -> TransformList:
    """TrivialAugment of torchvision, which knows colors and leaves targets where they are."""
    from torchvision.transforms import v2

    others = "True, 'light' or 'strong'"
    if noun is not None:
        raise UsageError("augment", got="trivial", expected=f"{others}: it would leave the {noun} where they are")
    if channels not in (1, 3):
        raise UsageError("augment", got="trivial", expected=f"{others}: it is for 1 or 3 channels, not {channels}")
    return TransformList([OnItem(v2.TrivialAugmentWide()), Flip()])


def _is_item_stage(transform: Any) -> bool:
    if isinstance(transform, type | OnBatch):
        return False
    is_own = isinstance(transform, OnItem) or getattr(transform, "is_item_stage", False) is True
    return is_own or library_of(transform) is not None


def _is_transform(transform: Any) -> bool:
    is_callable = callable(getattr(transform, "fn", transform))
    return is_callable or draws_numbers(transform) or getattr(transform, "is_item_stage", False) is True


def _unknown_error(transform: Any) -> UsageError:
    if isinstance(transform, type):
        return UsageError("augment", got=transform, expected=EXPECTED, fix=f"Pass an instance: {transform.__name__}().")
    if _is_transform(transform):
        return UsageError("augment", got=transform, expected=EXPECTED, fix="Put it into a list.")
    if isinstance(transform, str):
        near = nearest(transform, NAMES, n=3)
        return UsageError("augment", got=transform, expected=EXPECTED, fix=f"The nearest transforms are {near}.")
    fix = "Join the lists: [*one, *another]." if isinstance(transform, list | tuple) else ""
    return UsageError("augment", got=transform, expected=EXPECTED, fix=fix)
