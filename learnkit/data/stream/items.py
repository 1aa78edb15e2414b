"""The items of a stream of litdata by number: read from its chunks, where they are or from a copy on this disk."""

import copy
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from learnkit.checks import missing_extra
from learnkit.data.loading.targets import SET_NAMES
from learnkit.data.stream.index import INDEX, read_index
from learnkit.errors import DataError, ImageError, LearnkitError, MissingFileError, UsageError, WrongTypeError

__all__ = ["Key", "StreamItems", "open_streams", "require_litdata"]

Key = str | int
MAX_SHOWN = 10  # keys of an item in an error


def require_litdata() -> Any:
    """The package litdata.

    Raises:
        UsageError: it is not installed.
    """
    # Unless told not to before it is imported, it asks PyPI for its newest version whenever a stream is opened.
    os.environ.setdefault("LITDATA_DISABLE_VERSION_CHECK", "1")
    try:
        import litdata
    except ImportError as error:
        raise missing_extra("litdata", "stream") from error
    return litdata


class StreamItems:
    """Items of a litdata stream by number, in the order in which they were written.

    Each process opens the stream for itself, so that workers share no file that is open, and no thread. Whole chunks
    of a remote stream are copied to this disk before their items are read.

    Args:
        source: the folder or URL of one stream, or a litdata StreamingDataset: its transform and subsample apply, its
            own shuffling and its sharding by process do not.
        split: "train", "valid" or "test", for errors.

    Attributes:
        index: what `pack` wrote about it; None for any other stream.
        sizes: items in each chunk.
        may_draw: whether reading an item may draw random numbers.

    Raises:
        MissingFileError: no stream there.
        WrongTypeError: something else.
        DataError: a stream without items.
    """

    def __init__(self, source: Any, split: str) -> None:
        litdata = require_litdata()
        self.split = split
        if isinstance(source, str | os.PathLike):
            source, self.may_draw = _opened(litdata, os.fspath(source)), False
        elif isinstance(source, litdata.StreamingDataset):
            self.may_draw = True
        else:
            raise WrongTypeError(
                split, got=type(source).__name__, expected="the folder or URL of a stream, or a StreamingDataset"
            )
        self._closed = copy.copy(source)
        self._closed.reset()
        self._open: tuple[int, Any] | None = None
        cache = self._dataset.cache
        starts = [(interval[1], interval[2]) for interval in cache.get_chunk_intervals()]
        self.sizes: list[int] = [int(stop - start) for start, stop in starts]
        self._firsts = [int(start) for start, _ in starts]  # by litdata's number, which counts what is left out too
        self._ends = np.cumsum(self.sizes)
        if not len(self):
            raise DataError(f"the {SET_NAMES.get(split, split)} set is empty", fix="Pack at least one item.")
        folder = Path(cache.cache_dir)
        self.index = read_index(folder)
        chunks = json.loads((folder / INDEX).read_bytes())["chunks"]
        self._facts = [[chunk["filename"], chunk["chunk_size"], chunk["chunk_bytes"]] for chunk in chunks]

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, i: int) -> Any:
        """Item i, as it was written.

        Raises:
            ImageError: a chunk that cannot be read.
        """
        from litdata.streaming.sampler import ChunkedIndex

        chunk = int(np.searchsorted(self._ends, i, side="right"))
        number = self._firsts[chunk] + i - (int(self._ends[chunk]) - self.sizes[chunk])
        try:
            return self._dataset[ChunkedIndex(index=number, chunk_index=chunk)]
        except (LearnkitError, MemoryError):
            raise
        except Exception as error:  # litdata, or a transform, may fail in any way
            raise ImageError(
                f"{self.split}[{i}]: the stream cannot read it ({type(error).__name__}: {error})"
            ) from error

    def part(self, item: Any, key: Key) -> Any:
        """One part of an item; memory that litdata lends is copied.

        Raises:
            DataError: an item without this part, with those that it has.
        """
        try:
            value = item[key]
        except (LookupError, TypeError) as error:
            has = f"the keys {', '.join(map(str, list(item)[:MAX_SHOWN]))}" if isinstance(item, Mapping) else (
                f"{len(item)} parts" if isinstance(item, tuple | list) else f"one {type(item).__name__}"
            )  # fmt: skip
            raise DataError(
                f"{self.split}: an item of the stream has no part {key!r}; it has {has}", fix="Pass image= and label=."
            ) from error
        return bytes(value) if isinstance(value, memoryview) else value

    def about(self) -> str:
        """The names and sizes of the chunks and how many of their items are read: it changes when the data does."""
        return json.dumps([self._facts, self.sizes])

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": None}

    @property
    def _dataset(self) -> Any:
        """The stream as this process has opened it."""
        if self._open is None or self._open[0] != os.getpid():
            dataset = copy.copy(self._closed)
            dataset[0:0]  # from now on litdata keeps whole chunks, instead of asking for the bytes of each item
            self._open = os.getpid(), dataset
        return self._open[1]


def _opened(litdata: Any, url: str) -> Any:
    """The stream in a folder or at a URL.

    Raises:
        MissingFileError: there is none.
    """
    try:
        dataset = litdata.StreamingDataset(url)
        copy.copy(dataset)[0:0]
    except Exception as error:  # a folder that is not there or holds no index, a URL without access, ...
        raise MissingFileError(
            f"no stream at {url} ({(str(error).splitlines() or [type(error).__name__])[0]})",
            fix="learnkit.pack(images, folder) writes one, and so does litdata.optimize.",
        ) from error
    return dataset


def open_streams(train: Any, valid: Any, test: Any) -> dict[str, StreamItems]:
    """The streams of each split; those that `pack` wrote are found in its folder, or at its URL.

    Raises:
        MissingFileError: no stream there.
        UsageError: another validation or test set beside those of a packed folder.
    """
    sets = {"train": train, "valid": valid, "test": test}
    if isinstance(train, str | os.PathLike):
        root = os.fspath(train).rstrip("/")
        if _is_packed(root):
            first = StreamItems(f"{root}/train", "train")
            sizes = first.index.sizes if first.index is not None else {"train": len(first)}
            for split in ("valid", "test"):
                if sets[split] is not None and split in sizes:
                    raise UsageError(split, got=sets[split], expected=f"None: {root} holds a {split} set")
            found = {split: f"{root}/{split}" for split in sizes if split != "train"}
            sets = {**sets, **found, "train": None}
            others = {split: StreamItems(one, split) for split, one in sets.items() if one is not None}
            return {"train": first, **others}
    return {split: StreamItems(one, split) for split, one in sets.items() if one is not None or split == "train"}


def _is_packed(root: str) -> bool:
    """Whether a folder or URL is that of several splits: of a URL, whether the stream train can be opened."""
    if "://" not in root and not root.startswith("local:"):
        return os.path.isfile(os.path.join(root, "train", INDEX)) and not os.path.isfile(os.path.join(root, INDEX))
    try:
        _opened(require_litdata(), f"{root}/train")
    except MissingFileError:
        return False
    return True
