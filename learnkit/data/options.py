"""The keywords that every factory of an ImageDataBunch takes."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, TypedDict, TypeVar

import numpy as np
import torch

from learnkit.checks import check_int
from learnkit.data.image.cache import Kind
from learnkit.data.image.preprocess import IMAGENET, Normalize, Preprocess, Reader
from learnkit.data.image.read import MAX_PIXELS
from learnkit.data.image.resize import Interpolation, Method
from learnkit.data.table.splits import RandomSplit, Split
from learnkit.data.tasks import Task
from learnkit.errors import UsageError
from learnkit.types import PathLike

__all__ = [
    "BasicOptions",
    "FolderOptions",
    "ImageOptions",
    "ImageSettings",
    "Statistics",
    "measured",
    "takes_options",
]

Statistics = Literal["imagenet", "data"] | tuple[Sequence[float], Sequence[float]] | None
Factory = TypeVar("Factory", bound=Callable[..., Any])
STATISTICS_ITEMS = 1000  # images that "data" is measured on, evenly spaced


@dataclass(frozen=True, kw_only=True)
class ImageSettings:
    """How a table of samples becomes batches.

    Args:
        valid_pct: take this share of the rows at random for validation.
        split: how to split instead: one of `learnkit.data.table.splits` (stratified, by group, by column, by file list,
            by folder), or a function of the table that gives True (validation) or False, or a split's name, for each
            row.
        seed: of the random split, and of the training order when no learner seeds it.
        test: a folder of test images, in a folder a class or without labels.
        classes: the order of the classes; None for sorted.
        task: what the labels mean: a task, or "classification", "multilabel" or "regression"; None to see it by them.
        size: of the pictures in pixels, a side or (height, width); None if all files have one size already.
        resize: "crop" keeps the centre, "squish" bends the proportions, "pad" adds borders.
        interpolation: between pixels, "bilinear", or "bicubic" as some pretrained weights want it.
        channels: 3 for RGB, 1 for gray, any number with a `reader`.
        reader: reads a file instead of Pillow: path -> array (H, W, channels), uint8, uint16 or floats in [0, 1].
        augment: True for the default, "light", "strong", "trivial", False for none, or a list of transforms.
        normalize: "imagenet" for its statistics, "data" for those of (up to 1,000 of) the training images, (mean, std)
            or None.
        bs: items in a batch.
        sampler: "balanced" draws every class equally often; or a weight for each training item.
        num_workers: processes that read images; None for a number that fits the machine.
        cache: keep decoded pictures in "memory" or on "disk"; None to read them anew in every epoch.
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
    size: int | tuple[int, int] | None = 224
    resize: Method = "crop"
    interpolation: Interpolation = "bilinear"
    channels: int = 3
    reader: Reader | None = None
    augment: bool | str | Sequence[Any] = True
    normalize: Statistics = "imagenet"
    bs: int = 64
    sampler: Any = None
    num_workers: int | None = None
    cache: Kind | None = None
    on_error: Literal["raise", "skip"] = "raise"
    allow_leak: bool = False
    device: torch.device | str | None = None

    def __post_init__(self) -> None:
        if self.on_error not in ("raise", "skip"):
            raise UsageError("on_error", got=self.on_error, expected="'raise' or 'skip'")
        if self.cache not in (None, "memory", "disk"):
            raise UsageError("cache", got=self.cache, expected="'memory', 'disk' or None")
        if self.split is not None and (self.valid_pct is not None or not callable(self.split)):
            raise UsageError("split", got=self.split, expected="a function of the table, or None with valid_pct=")
        object.__setattr__(self, "seed", check_int("seed", self.seed))
        check_int("bs", self.bs, 1, expected="a whole number of items, 1 or more")
        if self.reader is not None and not callable(self.reader):
            raise UsageError("reader", got=self.reader, expected="a function: path -> array (H, W, channels)")

    @property
    def splitter(self) -> Split | None:
        """What `split` and `valid_pct` ask for; None for neither."""
        return self.split if self.valid_pct is None else RandomSplit(self.valid_pct, self.seed)

    @property
    def sides(self) -> tuple[int, int] | None:
        """(height, width) of the pictures; None for that of the files."""
        size = self.size
        if size is None:
            return None
        sides = (size, size) if isinstance(size, int) else tuple(size) if isinstance(size, tuple | list) else ()
        if len(sides) != 2 or any(isinstance(side, bool) or not isinstance(side, int) or side < 1 for side in sides):
            raise UsageError("size", got=size, expected="pixels, a side or (height, width)")
        if sides[0] * sides[1] > MAX_PIXELS:
            raise UsageError("size", got=size, expected=f"at most {MAX_PIXELS:,} pixels")
        return sides

    def normalization(self, files: Sequence[str], preprocess: Preprocess) -> Normalize | None:
        """What `normalize` asks for; `files` are those of the training set."""
        statistics = self.normalize
        if statistics is None:
            return None
        if isinstance(statistics, str):
            if statistics == "data":
                return measured(files, preprocess)
            if statistics != "imagenet":
                raise UsageError("normalize", got=statistics, expected="'imagenet', 'data', (mean, std) or None")
            if preprocess.channels == 3:
                return Normalize(*IMAGENET)
            mean, std = (sum(values) / 3 for values in IMAGENET)
            return Normalize((mean,) * preprocess.channels, (std,) * preprocess.channels)
        expected = f"a mean and a std for each of {preprocess.channels} channels"
        try:
            given = [tuple(float(value) for value in np.atleast_1d(part)) for part in statistics]
        except (TypeError, ValueError) as error:
            raise UsageError("normalize", got=statistics, expected=expected) from error
        if len(given) != 2 or len(given[0]) != preprocess.channels:
            raise UsageError("normalize", got=statistics, expected=expected)
        return Normalize(*given)


class BasicOptions(TypedDict, total=False):
    """The keywords of `ImageSettings`, for factories that pass them on, but `classes` and `test`."""

    valid_pct: float | None
    split: Split | None
    seed: int
    task: Task | str | None
    size: int | tuple[int, int] | None
    resize: Method
    interpolation: Interpolation
    channels: int
    reader: Reader | None
    augment: bool | str | Sequence[Any]
    normalize: Statistics
    bs: int
    sampler: Any
    num_workers: int | None
    cache: Kind | None
    on_error: Literal["raise", "skip"]
    allow_leak: bool
    device: torch.device | str | None


class FolderOptions(BasicOptions, total=False):
    """All of them but `test`."""

    classes: Sequence[str] | None


class ImageOptions(FolderOptions, total=False):
    """All of them."""

    test: PathLike | None


def takes_options(factory: Factory) -> Factory:
    """A factory with **options shows each of them, with its default, to `help` and to notebooks."""
    own = inspect.signature(factory)
    named = [one for one in own.parameters.values() if one.kind is not inspect.Parameter.VAR_KEYWORD]
    known = {one.name for one in named}
    shared = [
        inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=field.type)
        for field in fields(ImageSettings)
        if field.name not in known
    ]
    factory.__signature__ = own.replace(parameters=[*named, *shared])  # type: ignore[attr-defined]
    return factory


def measured(files: Sequence[str], preprocess: Preprocess) -> Normalize:
    """Mean and standard deviation per channel over all pixels of evenly spaced training images."""
    step = max(1, len(files) // STATISTICS_ITEMS)
    total, squares = torch.zeros(preprocess.channels).double(), torch.zeros(preprocess.channels).double()
    n = 0
    for file in files[::step]:
        x = preprocess.scale(preprocess.item(file)).double()
        total, squares, n = total + x.sum((1, 2)), squares + (x * x).sum((1, 2)), n + x[0].numel()
    mean = total / n
    std = (squares / n - mean**2).clamp(min=1e-8).sqrt()
    return Normalize(tuple(mean.tolist()), tuple(std.tolist()))
