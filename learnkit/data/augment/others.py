"""Functions and transforms of other libraries in `augment=`: how each is called, and whether it moves pixels."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from learnkit.data.augment.targets import Masks, Moving, describe
from learnkit.errors import LearnkitError, UsageError
from learnkit.text import ellipsized

__all__ = ["Albumentations", "OnBatch", "OnItem", "call", "check_can_move", "check_is_change", "library_of",
           "shown"]  # fmt: skip

Library = Literal["torchvision v1", "torchvision v2", "albumentations", None]
PREFIXES: tuple[tuple[str, Library], ...] = (
    ("torchvision.transforms.v2", "torchvision v2"),
    ("torchvision.transforms", "torchvision v1"),
    ("albumentations", "albumentations"),
)
OURS = ("learnkit", "torchvision", "albumentations")


class _Wrapper:
    fn: Callable[..., Any]
    moves: bool | None

    def __post_init__(self) -> None:
        name = type(self).__name__
        if not callable(self.fn) or isinstance(self.fn, type):
            raise UsageError(name, got=self.fn, expected="a function or an instance of a transform")
        if self.moves not in (None, True, False):
            raise UsageError(f"{name}: moves", got=self.moves, expected="True, False or None")


@dataclass(frozen=True)
class OnBatch(_Wrapper):
    """Apply to the whole batch, on the device.

    Args:
        fn: called with x, float (N, C, H, W) in [0, 1]. A transform of torchvision.transforms.v2 is called with x and
            its masks or key points, and moves both.
        moves: for masks and key points, whether any other function moves pixels. False: it does not; True: it takes
            and returns (x, targets), which are masks, integers (N, H, W), or points, (N, P, 2) in [-1, 1].
    """

    fn: Callable[..., Any]
    moves: bool | None = None


@dataclass(frozen=True)
class OnItem(_Wrapper):
    """Apply to each image separately, in the workers, after resizing.

    Args:
        fn: called with a tv_tensors.Image, uint8 (C, H, W), which it may overwrite; returns an image of the same kind.
            A transform of torchvision.transforms.v2 also gets the mask or the key points, and moves both.
        moves: as for OnBatch; the targets are those of one image.
    """

    fn: Callable[..., Any]
    moves: bool | None = None


@dataclass(frozen=True)
class Albumentations(_Wrapper):
    """A transform of albumentations, applied to each image separately, and to its mask.

    Args:
        fn: called as fn(image=..., mask=...), with an array (H, W, C), uint8, and a mask (H, W); returns a dict of
            both. What it fills a mask with is `ignore_index`.
        moves: False if it does not move pixels, which is needed with key points only.
    """

    fn: Callable[..., Any]
    moves: bool | None = None


def library_of(fn: Any) -> Library:
    """The library that a transform is of, if it moves or changes images in its own way; nothing is imported."""
    if isinstance(fn, Albumentations):
        return "albumentations"
    return next((library for part in _parts(fn) if (library := _own_library(part)) is not None), None)


def _own_library(fn: Any) -> Library:
    modules = [kind.__module__ for kind in type(fn).__mro__]
    for prefix, library in PREFIXES:
        if any(f"{module}.".startswith(f"{prefix}.") for module in modules):
            return library
    return None


def _parts(fn: Any) -> Iterator[Any]:
    """A transform without its wrapper, and all those that a library composes it of."""
    fn = fn.fn if isinstance(fn, _Wrapper) else fn
    yield fn
    is_sequence = isinstance(fn, nn.Sequential)
    inner: Any = fn if is_sequence else getattr(fn, "transforms", ()) if _own_library(fn) is not None else ()
    for part in inner if is_sequence or isinstance(inner, list | tuple | nn.ModuleList) else ():
        yield from _parts(part)


def check_is_change(fn: Any) -> None:
    """Refuse what is not an augmentation, normalization, and batches for a library of single images.

    Raises:
        UsageError: with what to do instead.
    """
    if any(type(part).__name__ == "Normalize" and type(part).__module__.startswith(OURS) for part in _parts(fn)):
        fix = "Leave it out: normalize= of the bunch is for training, validation and prediction alike."
        raise UsageError("augment: Normalize is not an augmentation", fix=fix)
    if isinstance(fn, OnBatch) and library_of(fn) == "albumentations":
        fix = "Put it into the list without OnBatch."
        raise UsageError(f"augment: {shown(fn.fn)} of albumentations is for single images", fix=fix)


def check_can_move(fn: Any, noun: str) -> None:
    """Refuse a transform that may move pixels and does not say how targets move with them.

    Args:
        fn: a transform, in one of the wrappers or not.
        noun: "masks" or "key points".

    Raises:
        UsageError: naming the transform and what to use instead.
    """
    moves, library, inner = getattr(fn, "moves", None), library_of(fn), getattr(fn, "fn", fn)
    if library == "torchvision v2":  # in which there may be others
        of_v1 = [part for part in _parts(fn) if _own_library(part) == "torchvision v1"]
        if of_v1:
            library, inner = "torchvision v1", of_v1[0]
    says = moves is not None if any(type(part).__name__ == "Lambda" for part in _parts(fn)) else True
    both = (library == "torchvision v2" and says) or (library == "albumentations" and noun == "masks")
    if moves is False or both or (moves is True and library is None):
        return
    kind = "OnItem" if isinstance(fn, OnItem) or (library is not None and not isinstance(fn, OnBatch)) else "OnBatch"
    fix = f"Say what it does: {kind}(fn, moves=False) if pixels stay where they are, moves=True if it takes both."
    if library == "torchvision v1":
        name = type(inner).__name__
        fix = f"Use that of torchvision.transforms.v2, which moves both, or OnItem({name}(...), moves=False)."
    if library == "albumentations":
        fix = "Use learnkit's transforms, or Albumentations(..., moves=False) if pixels stay where they are."
    raise UsageError(f"augment: {shown(inner)} may move pixels, and the {noun} would have to move with them", fix=fix)


def call(fn: Any, x: Tensor, moving: Moving | None) -> tuple[Any, Moving | None]:
    """What a transform makes of an image or a batch, and of what moves with it.

    Raises:
        UsageError: the transform fails, may move pixels and does not say how, or returns something else.
    """
    if moving is not None:
        check_can_move(fn, moving.noun)
    inner, stays = getattr(fn, "fn", fn), getattr(fn, "moves", None) is False
    if stays:
        out, _ = _call(fn, inner, x, None)
        return out, moving
    return _call(fn, inner, x, moving)


def _call(fn: Any, inner: Callable[..., Any], x: Tensor, moving: Moving | None) -> tuple[Any, Moving | None]:
    library = library_of(fn)
    try:
        if library == "albumentations":
            return _call_albumentations(inner, x, moving)
        if library == "torchvision v2":
            return _call_v2(inner, x, moving)
        if moving is None:
            return _plain(inner(x)), None
        out, values = _two(inner(x, moving.values.clone()), inner)
        return _plain(out), moving.replaced(values, *_sides(out), inner)
    except (LearnkitError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # what a user's function may raise is open
        lines = str(error).splitlines() or [""]
        raise UsageError(
            f"augment: {shown(inner)} failed ({type(error).__name__}: {lines[0][:200]})",
            expected=f"a function of {describe(x)}{'' if moving is None else f' and its {moving.noun}'}",
            fix=_advice(library, f"{error}", inner),
        ) from error


def _call_v2(inner: Callable[..., Any], x: Tensor, moving: Moving | None) -> tuple[Any, Moving | None]:
    from torchvision import tv_tensors

    image = tv_tensors.Image(x)
    if moving is None:
        return _plain(inner(image)), None
    out, moved = _two(inner(image, moving.packed(*_sides(x))), inner)
    return _plain(out), moving.unpacked(moved, *_sides(out), inner)


def _call_albumentations(inner: Any, x: Tensor, moving: Moving | None) -> tuple[Any, Moving | None]:
    """Seeded by NumPy's generator, as newer versions have one of their own."""
    if hasattr(inner, "set_random_seed"):
        inner.set_random_seed(int(np.random.randint(2**31)))
    given = {"image": np.ascontiguousarray(x.movedim(-3, -1).numpy())}
    if isinstance(moving, Masks):
        given["mask"] = moving.shifted().numpy().astype(np.uint16)
    out = inner(**given)
    if not isinstance(out, dict) or not out.keys() >= given.keys():
        raise UsageError(
            f"augment: {shown(inner)} returned", got=type(out).__name__, expected=f"a dict of {list(given)}"
        )
    image = _as_image(out["image"])
    if not isinstance(moving, Masks):
        return image, moving
    mask = out["mask"] if isinstance(out["mask"], Tensor) else torch.from_numpy(np.array(out["mask"], dtype=np.int32))
    return image, moving.unpacked(mask.int(), *_sides(image), inner)


def _as_image(pixels: Any) -> Any:
    """An array (H, W[, C]) as a tensor (C, H, W); tensors are unchanged."""
    if not isinstance(pixels, np.ndarray):
        return pixels
    return torch.from_numpy(np.array(np.moveaxis(pixels if pixels.ndim == 3 else pixels[..., None], 2, 0), order="C"))


def _advice(library: Library, message: str, inner: Any) -> str:
    if library == "torchvision v1":
        return "Leave ToTensor and Normalize out: the bunch does both (normalize=). Pixels are tensors already."
    if library is None and "named arg" in message:
        return "A transform of albumentations is wrapped: learnkit.transforms.Albumentations(...)."
    return ""


def _two(out: Any, inner: object) -> tuple[Any, Any]:
    if not isinstance(out, tuple | list) or len(out) != 2:
        raise UsageError(f"augment: {shown(inner)} returned", got=describe(out), expected="an image and its targets")
    return out[0], out[1]


def _sides(x: Any) -> tuple[int, int]:
    shape = getattr(x, "shape", (0, 0))
    return int(shape[-2]), int(shape[-1])


def _plain(out: Any) -> Any:
    return out.as_subclass(Tensor) if isinstance(out, Tensor) else out


def shown(fn: object) -> str:
    """A transform in one line."""
    return ellipsized(" ".join(repr(fn).split()), 80)
