"""Packing: images with their labels as streams of a few large files, which any number of processes can read."""

import io
import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from learnkit.atomic_files import make_folder, write_error
from learnkit.checks import check_choice, check_seed, is_int, plain
from learnkit.data.image.dataset import ImageDataset
from learnkit.data.image.sources import as_file, opened
from learnkit.data.image_bunch import ImageDataBunch
from learnkit.data.segmentation import Segmentation
from learnkit.data.stream.index import PackIndex, add_to_index
from learnkit.data.stream.items import StreamItems, require_litdata
from learnkit.device import usable_cpus
from learnkit.distributed.world import world
from learnkit.errors import DataError, ImageError, UsageError, WriteError, WrongTypeError
from learnkit.types import PathLike

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Packed", "pack"]

SIZE = re.compile(r"(?=.*[1-9])\d+(\.\d+)? ?([kmgt]b?|b)", re.IGNORECASE)  # as litdata reads it
AT_ONCE = 256  # items that are read before they are written
# Image, label (of a mask, its file; of anything else, JSON), name: not as text, which litdata takes for a file to read
# where one of this name is in the working directory.
Item = tuple[bytes, bytes | str, bytes]


class Packed(NamedTuple):
    """What was packed.

    Attributes:
        folder: it holds a stream in train, and in valid and test if there are these sets.
        sizes: items of each split.
        skipped: the images left out with on_error="skip": input, split and error.
    """

    folder: Path
    sizes: dict[str, int]
    skipped: "pd.DataFrame"


class _Skipped(NamedTuple):
    input: str
    split: str
    error: str


def pack(
    data: Any,
    out: PathLike,
    *,
    chunk_bytes: int | str = "64MB",
    seed: int = 42,
    on_error: Literal["raise", "skip"] = "raise",
    **options: Any,
) -> Packed:
    """Write images and labels as streams that `ImageDataBunch.from_stream` reads.

    Files are packed as they are, not decoded; images without a file as PNG. Each is decoded once, to see whether it can
    be. The training items are shuffled, so that a chunk is a sample of all of them; the others stay in order.

    Args:
        data: a folder, as `ImageDataBunch.from_folder` takes it, or any ImageDataBunch.
        out: the folder to write, which must not exist yet. It appears when it is complete.
        chunk_bytes: size of the files, such as "64MB": what a process copies at once from a URL.
        seed: seed of the shuffling.
        on_error: "raise" stops at an image that cannot be read, "skip" leaves it out.
        **options: for a folder, those of `ImageDataBunch.from_folder`, such as `valid_pct`.

    Raises:
        UsageError: a folder that exists, a size that is none, options beside a bunch, a `reader`, whose files are not
            images, or several processes.
        ImageError: an image that cannot be read.
        WriteError: the disk is full, or writing is not allowed.
    """
    require_litdata()
    check_choice("on_error", on_error, ("raise", "skip"))
    seed = check_seed(seed)
    _check_chunk_bytes(chunk_bytes)
    world.begin()
    if world.size > 1:
        raise UsageError(
            "pack", got=f"{world.size} processes", expected="one", fix="Pack in a script of its own, before training."
        )
    target = Path(os.path.abspath(out))
    if target.exists():
        raise UsageError(
            "out", got=str(out), expected="a folder that does not exist yet", fix="Remove it, or write elsewhere."
        )
    bunch = _bunch(data, options)
    partial_folder = target.with_name(f".{target.name[:100]}.{os.urandom(8).hex()}.partial")
    make_folder(partial_folder)
    try:
        sizes, skipped = _write(bunch, partial_folder, chunk_bytes, seed, skips=on_error == "skip")
        os.rename(partial_folder, target)
    except BaseException as error:
        shutil.rmtree(partial_folder, ignore_errors=True)
        if isinstance(error, OSError) and not isinstance(error, ImageError | WriteError):
            raise write_error(target, 0, error) from error
        raise
    return Packed(target, sizes, _table(skipped))


def _check_chunk_bytes(size: object) -> None:
    if not (size > 0 if is_int(size) else isinstance(size, str) and SIZE.fullmatch(size)):
        raise UsageError("chunk_bytes", got=size, expected='a number of bytes above 0, or text such as "64MB"')


def _bunch(data: Any, options: dict[str, Any]) -> ImageDataBunch:
    if isinstance(data, str | os.PathLike):
        bunch = ImageDataBunch.from_folder(data, **{"bs": 1, **options})  # of any number of images
    elif not isinstance(data, ImageDataBunch):
        raise WrongTypeError("data", got=type(data).__name__, expected="a folder, or an ImageDataBunch")
    elif options:
        raise UsageError(
            "options beside a bunch", got=sorted(options), expected="none", fix="Make the bunch with them."
        )
    else:
        bunch = data
    if bunch.preprocess.reader is not None or getattr(bunch.task, "mask_reader", None) is not None:
        raise UsageError(
            "a bunch with a reader: its files are not images that a stream could hold",
            fix="Write what the reader returns as PNG files, and pack these.",
        )
    return bunch


def _write(
    bunch: ImageDataBunch, folder: Path, chunk_bytes: int | str, seed: int, *, skips: bool
) -> tuple[dict[str, int], list[_Skipped]]:
    """Write all splits below the folder: their sizes, and what was left out."""
    assert bunch.task is not None
    parts = {"train": bunch.fix_dl, "valid": bunch.valid_dl, "test": bunch.test_dl}
    datasets = {split: loader.dataset for split, loader in parts.items() if loader is not None}
    sizes: dict[str, int] = {}
    skipped: list[_Skipped] = []
    for split, dataset in datasets.items():
        order: Sequence[int] = range(len(dataset))
        if split == "train":
            order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(seed)).tolist()
        sizes[split] = _write_split(
            _read_items(dataset, split, order, bunch.path, skipped if skips else None), folder / split, chunk_bytes
        )
    for split, dataset in datasets.items():
        add_to_index(folder / split, PackIndex(bunch.task, split, sizes, dataset.labels is not None))
        if len(StreamItems(folder / split, split)) != sizes[split]:
            raise WriteError(f"{folder / split}: the stream does not hold the {sizes[split]} items written to it")
    return sizes, skipped


def _write_split(items: Iterator[Item], folder: Path, chunk_bytes: int | str) -> int:
    """Write the stream of a split: how many items it has."""
    from litdata.streaming import Cache

    make_folder(folder)
    writer, n = Cache(str(folder), chunk_bytes=chunk_bytes), 0
    for n, item in enumerate(items, 1):
        writer[n - 1] = item
    if not n:
        raise DataError(f"no image of the {folder.name} set can be read")
    writer.done()
    writer.merge(1)
    return n


def _read_items(
    dataset: ImageDataset, split: str, order: Sequence[int], root: Path, skipped: list[_Skipped] | None
) -> Iterator[Item]:
    """The items in an order; those that cannot be read are added to `skipped`, or raised if that is None."""
    read = partial(_read_item, dataset, root.resolve())
    with ThreadPoolExecutor(usable_cpus()) as pool:
        for start in range(0, len(order), AT_ONCE):
            numbers = order[start : start + AT_ONCE]
            for i, item in zip(numbers, pool.map(read, numbers), strict=True):
                if not isinstance(item, ImageError):
                    yield item
                elif skipped is None:
                    raise item
                else:
                    skipped.append(_Skipped(dataset.names[i], split, str(item)))


def _read_item(dataset: ImageDataset, root: Path, i: int) -> Item | ImageError:
    """Item i, which has been decoded once; the error of one that cannot be."""
    try:
        dataset.decode(i, None)
        image = _encoded(opened(dataset.inputs[i]))
    except ImageError as error:
        return error
    name = Path(dataset.names[i])
    label = "null" if dataset.labels is None else dataset.labels[i]
    if dataset.labels is not None:
        label = _file(label) if isinstance(dataset.task, Segmentation) else json.dumps(plain(label))
    name = name.relative_to(root) if name.is_relative_to(root) else name
    return image, label, os.fsencode(name.as_posix())


def _file(source: Any) -> bytes:
    source = as_file(source)
    return source.getvalue() if isinstance(source, io.BytesIO) else Path(source).read_bytes()


def _encoded(image: Any) -> bytes:
    """The bytes of an image: those of its file, or else a PNG of its pixels."""
    from PIL import Image

    if isinstance(image, str | os.PathLike):
        return _file(image)
    if isinstance(image, bytes | bytearray | memoryview):
        return bytes(image)
    if not isinstance(image, Image.Image):
        pixels = np.moveaxis(image.cpu().numpy(), 0, -1) if isinstance(image, Tensor) and image.ndim == 3 else image
        pixels = np.asarray(pixels)
        image = Image.fromarray(pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _table(skipped: list[_Skipped]) -> "pd.DataFrame":
    import pandas as pd

    return pd.DataFrame(skipped, columns=list(_Skipped._fields))
