"""The keywords that every factory of an ImageDataBunch takes."""

import functools
import inspect
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, TypeAlias, TypedDict, TypeVar, cast

import torch

from learnkit.arguments import check_keywords
from learnkit.checks import check_choice, check_kind, check_seed, check_sides, is_number
from learnkit.data.classes import Classes
from learnkit.data.image.depth import Depth, check_depth
from learnkit.data.image.opening import MAX_PIXELS
from learnkit.data.image.preprocess import Reader
from learnkit.data.image.resize import Interpolation, Method
from learnkit.data.loading.batch_size import BatchSize, initial_size
from learnkit.data.statistics import Statistics
from learnkit.data.table.files import checked_suffixes
from learnkit.data.table.label_values import as_python
from learnkit.data.table.labels import Normalize, task_kind
from learnkit.data.table.splits import NoValidation, RandomSplit, Split
from learnkit.data.tasks import Task
from learnkit.errors import UsageError
from learnkit.types import PathLike

__all__ = [
    "BasicOptions",
    "FolderOptions",
    "ImageOptions",
    "ImageSettings",
    "add_default_split",
    "takes_options",
]

Cache: TypeAlias = Literal["memory", "disk", "device"]
Factory = TypeVar("Factory", bound=Callable[..., Any])


@dataclass(frozen=True, kw_only=True)
class ImageSettings:
    """How a table of samples becomes batches.

    Args:
        valid_pct: take this share of the rows at random for validation; 0 for no validation set.
        split: how to split instead: one of `learnkit.splits` (stratified, by group, by column, by file list,
            by folder), or a function of the table that returns True (validation) or False, or a split's name, for each
            row.
        seed: seed of the random split, and of the training order when no learner seeds it.
        test: a folder of test images, in one folder per class or without labels. Images in a folder that is not a class
            have no label, which a warning says; a set of which some have none is predicted, not measured.
        classes: the order of the classes; None for sorted, whole numbers by value. Labels that are rows of 0 and 1 need
            it: a name for each place.
        task: what the labels mean: a task, or "classification", "multilabel" or "regression"; None to infer it.
        normalize_labels: True to merge labels that differ by case, spaces or Unicode form, in lower case; or a
            function: label -> label.
        suffixes: what the names of images in a folder end with, such as [".npy"], "" for no suffix; None for .jpg,
            .jpeg, .png, .webp, .bmp, .gif, .tif and .tiff.
        size: size of the images in pixels, a side or (height, width); None if all files have the same size already.
        resize: "crop" keeps the center, "squish" changes the aspect ratio, "pad" adds borders.
        interpolation: between pixels, "bilinear", or "bicubic" as some pretrained weights want it.
        channels: 3 for RGB, 1 for gray, any number with a `reader`.
        reader: reads a file instead of Pillow: path -> array (H, W, channels), uint8, uint16 or floats in [0, 1].
        depth: what black and white are in the pixel values of all images, files, arrays and what the reader returns
            alike: 8, 10, 12, 14 or 16 bits, or (black, white); None for the whole range of uint8 or uint16. Needed for
            files of floats and of 32-bit numbers, and for 12 bits in files of 16.
        full_decode: decode large JPEG files at their whole size. Otherwise they are decoded at a half, a quarter or an
            eighth of it, where at least two pixels are left, in each direction, for each that the model sees.
        augment: True for the default, "light", "strong", "trivial", False for none, or a list of transforms.
        normalize: "imagenet" for its statistics, "data" for those of (up to 1,000 of) the training images, (mean, std)
            or None.
        bs: items per batch, or "auto" for the largest that fits into memory, which the first fit or `lr_find` finds: a
            power of two, at most 1,024 and a twentieth of the training set, but up to 64 for small ones.
        sampler: "balanced" draws every class equally often; or a weight for each training item, or for each row of the
            table, which becomes its column sampler_weight; or the name of a column of weights.
        num_workers: processes that read images; None for as many as suit the machine.
        cache: keep decoded images in "memory" or on "disk", where all splits and folds of a set share them and
            `learnkit.clear_cache` deletes them; on the "device", from which batches are cut without a worker, for sets
            that fit its memory; None to read them again in every epoch.
        on_error: "raise" stops at a file that cannot be read; "skip" reads every file once at the start, leaves out
            those that cannot be read and lists them in `skipped`.
        allow_leak: accept a file that is in the training set and in another one.
        device: where batches go; None for the default one.
    """

    valid_pct: float | None = None
    split: Split | None = None
    seed: int = 42
    test: PathLike | None = None
    classes: Sequence[str] | None = None
    task: Task | str | None = None
    normalize_labels: Normalize = False
    suffixes: Sequence[str] | None = None
    size: int | tuple[int, int] | None = 224
    resize: Method = "crop"
    interpolation: Interpolation = "bilinear"
    channels: int = 3
    reader: Reader | None = None
    depth: Depth | None = None
    full_decode: bool = False
    augment: bool | str | Sequence[Any] = True
    normalize: Statistics = "imagenet"
    bs: BatchSize = 64
    sampler: Any = None
    num_workers: int | None = None
    cache: Cache | None = None
    on_error: Literal["raise", "skip"] = "raise"
    allow_leak: bool = False
    device: torch.device | str | None = None

    def __post_init__(self) -> None:
        check_choice("on_error", self.on_error, ("raise", "skip"))
        check_choice("cache", self.cache, ("memory", "disk", "device", None))
        if self.classes is not None:
            object.__setattr__(self, "classes", Classes(self.classes))
        if self.suffixes is not None:
            object.__setattr__(self, "suffixes", checked_suffixes(self.suffixes))
        if not isinstance(self.normalize_labels, bool) and not callable(self.normalize_labels):
            raise UsageError("normalize_labels", got=self.normalize_labels, expected="True, False, or a function")
        if self.split is not None and (self.valid_pct is not None or not callable(self.split)):
            raise UsageError("split", got=self.split, expected="a function of the table, or None with valid_pct=")
        if isinstance(self.split, type):
            raise UsageError("split", got=self.split, expected=f"an object: {self.split.__name__}(...)")
        if self.test is not None:
            check_kind("test", self.test, str | os.PathLike, "the path of a folder")
        task_kind(self.task)
        object.__setattr__(self, "seed", check_seed(self.seed))
        initial_size(self.bs)
        object.__setattr__(self, "depth", check_depth(self.depth))
        check_kind("full_decode", self.full_decode, bool, "True or False")
        if self.reader is not None and not callable(self.reader):
            raise UsageError("reader", got=self.reader, expected="a function: path -> array (H, W, channels)")

    @property
    def splitter(self) -> Split | None:
        """How to split, by `split` or `valid_pct`; None if neither is given."""
        if self.valid_pct is None:
            return self.split
        if is_number(self.valid_pct) and self.valid_pct == 0:
            return NoValidation()
        return RandomSplit(self.valid_pct, self.seed)

    @property
    def sides(self) -> tuple[int, int] | None:
        """(height, width) of the images; None for that of the files."""
        if self.size is None:
            return None
        height, width = check_sides("size", as_python(self.size))  # of NumPy, too
        if height * width > MAX_PIXELS:
            raise UsageError("size", got=self.size, expected=f"at most {MAX_PIXELS:,} pixels")
        return height, width


class BasicOptions(TypedDict, total=False):
    """The keywords of `ImageSettings` except `classes` and `test`, for factories that pass them on."""

    valid_pct: float | None
    split: Split | None
    seed: int
    task: Task | str | None
    normalize_labels: Normalize
    suffixes: Sequence[str] | None
    size: int | tuple[int, int] | None
    resize: Method
    interpolation: Interpolation
    channels: int
    reader: Reader | None
    depth: Depth | None
    full_decode: bool
    augment: bool | str | Sequence[Any]
    normalize: Statistics
    bs: BatchSize
    sampler: Any
    num_workers: int | None
    cache: Cache | None
    on_error: Literal["raise", "skip"]
    allow_leak: bool
    device: torch.device | str | None


class FolderOptions(BasicOptions, total=False):
    """All of them except `test`."""

    classes: Sequence[str] | None


class ImageOptions(FolderOptions, total=False):
    """All of them."""

    test: PathLike | None


def add_default_split(options: BasicOptions, valid: str | None, share: float) -> None:
    """Where there is no validation set `valid`, and no other way to split, take this share at random.

    Raises:
        UsageError: both a validation set and a way to split.
    """
    is_split = options.get("split") is not None or options.get("valid_pct") is not None
    if valid is not None and is_split:
        raise UsageError("valid", got=valid, expected="None with valid_pct or split")
    if valid is None and not is_split:
        options["valid_pct"] = share


def takes_options(factory: Factory) -> Factory:
    """A factory with **options shows each of them, with its default, to `help` and to notebooks.

    A keyword that is not one of them is a WrongTypeError with the nearest.
    """
    own = inspect.signature(factory)
    named = [one for one in own.parameters.values() if one.kind is not inspect.Parameter.VAR_KEYWORD]
    known = {one.name for one in named}
    shared = [
        inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=field.type)
        for field in fields(ImageSettings)
        if field.name not in known
    ]
    signature = own.replace(parameters=[*named, *shared])

    @functools.wraps(factory)
    def checked(*args: Any, **options: Any) -> Any:
        check_keywords(factory.__name__, options, [*signature.parameters][1:])
        lists = {name: list(value) for name, value in options.items() if isinstance(value, Iterator)}
        return factory(*args, **options | lists)  # options are read more than once

    checked.__signature__ = signature  # type: ignore[attr-defined]
    return cast(Factory, checked)
