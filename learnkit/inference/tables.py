"""Predictions as a table on disk, CSV or Parquet, written batch by batch."""

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, count
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from learnkit.atomic_files import write_atomically
from learnkit.checks import missing_extra
from learnkit.data.image.coordinates import from_view
from learnkit.data.image.resize import View
from learnkit.data.points import Points
from learnkit.data.segmentation import Segmentation
from learnkit.data.tasks import Classification, MultiLabel, Regression, Task
from learnkit.distributed.world import world
from learnkit.errors import DataError, UsageError
from learnkit.inference.nan_outputs import tell_of_nan
from learnkit.inference.predictions import Predictions
from learnkit.text import spreadsheet_safe
from learnkit.types import PathLike

__all__ = ["check_table", "write_table"]

Columns = dict[str, Sequence[Any]]  # of a batch: name -> one value per item
ROW_GROUP = 1 << 14  # rows per group in a Parquet file


def check_table(file: PathLike, task: Task | None) -> Path:
    """The path of a table of predictions, checked before anything is computed.

    Raises:
        UsageError: a file that is neither .csv nor .parquet, a missing package, predictions that cannot be tabulated.
    """
    path = Path(file)
    if path.suffix.lower() not in (".csv", ".parquet"):
        raise UsageError("file", got=str(file), expected="a name that ends in .csv or .parquet")
    if task is None:
        raise UsageError("write_preds: the data has no task", fix="Pass the bunch task=.")
    if isinstance(task, Segmentation):
        raise UsageError("write_preds: masks cannot be tabulated", fix="Use predict_iter, or get_preds(out=).")
    if path.suffix.lower() == ".parquet":
        _pyarrow()
    return path


def write_table(
    path: Path,
    predictions: Iterable[Predictions],
    inputs: Sequence[str] | None,
    task: Task,
    view_of: Callable[[int], View] | None = None,
    *,
    safe: bool,
) -> None:
    """Write one row per item, in their order; see `Learner.write_preds` for the columns.

    The file appears once it is complete; only a few batches are held in memory.

    Args:
        path: ends in .csv or .parquet; overwritten.
        predictions: (activated outputs, targets or None, ...) batch by batch.
        inputs: the names of the items; None for their indices.
        task: defines the meaning of outputs and targets.
        view_of: what is seen of the image of an item, for key points in its pixels.
        safe: CSV: put an apostrophe before text that a spreadsheet would run as a formula.

    Raises:
        DataError: no items.
        UsageError: outputs that are not (N, outputs of the task), or key points without images.
    """
    if isinstance(task, Points) and view_of is None:
        raise UsageError("write_preds: a loader of your own does not say of what image key points are",
                         fix="Use get_preds, or a part of the data.")  # fmt: skip
    batches = _columns(predictions, inputs, task, view_of)
    first = next(batches, None)
    if first is None:
        raise DataError("this set has no items to predict")

    def write(file: IO[bytes]) -> None:
        if path.suffix.lower() == ".csv":
            _write_csv(file, first, batches, safe=safe)
        else:
            _write_parquet(file, first, batches)

    if world.is_first:
        write_atomically(path, write)
    else:  # the first process needs this one's predictions
        for _ in batches:
            pass


def _columns(
    predictions: Iterable[Predictions], inputs: Sequence[str] | None, task: Task, view_of: Callable[[int], View] | None
) -> Iterator[Columns]:
    """The columns of each batch. All except three with fixed names have a prefix, so names are unique."""
    numbers = count()
    for preds, targets, _ in predictions:
        if not len(preds):
            continue
        if targets is not None and not isinstance(targets, Tensor):
            got = type(targets).__name__
            raise UsageError("write_preds: targets", got=got, expected="one tensor", fix="Use get_preds.")
        if preds.ndim > (3 if isinstance(task, Points) else 2) or preds.shape[1:].numel() != task.n_out:
            raise UsageError("write_preds: outputs", got=tuple(preds.shape), expected=f"(N, {task.n_out})")
        if targets is not None and len(targets) != len(preds):
            expected = f"one per output, {len(preds)}"
            raise DataError("write_preds: the targets of a batch", got=len(targets), expected=expected)
        rows = [next(numbers) for _ in range(len(preds))]
        columns: Columns = {"input": rows if inputs is None else [_utf8(inputs[row]) for row in rows]}
        if isinstance(task, Points) and view_of is not None:
            views = [view_of(row) for row in rows]
            columns |= _numbers("label_", task.columns, _in_pixels(preds, views))
            columns |= {} if targets is None else _numbers("target_", task.columns, _in_pixels(targets, views))
        elif isinstance(task, Regression):
            columns |= _numbers("label_", task.names, preds)
            columns |= {} if targets is None else _numbers("target_", task.names, targets)
        else:
            tell_of_nan(preds)
            columns["label"] = [_text(task, task.decode(row)[1]) for row in preds]
            columns |= _numbers("p_", task.classes, preds)
            if targets is not None:
                _check_classes(task, targets, rows[0])
                columns["target"] = [_text(task, target) for target in targets]
        yield columns


def _check_classes(task: Task, targets: Tensor, first: int) -> None:
    """Refuse targets (N, ...) that are not the class of each item, the first of them item `first`."""
    if not isinstance(task, Classification):
        return
    if targets.is_floating_point() or targets[0].numel() != 1:
        got = f"{targets.dtype} {tuple(targets.shape)}"
        raise UsageError("write_preds: targets", got=got, expected="a class index per item", fix="Use get_preds.")
    numbers = targets.reshape(-1).tolist()
    strange = [place for place, number in enumerate(numbers) if not 0 <= number < task.n_out]
    if strange:
        raise DataError(
            f"write_preds: the target of item {first + strange[0]}", got=numbers[strange[0]],
            expected=f"a class index from 0 to {task.n_out - 1}",
        )  # fmt: skip


def _numbers(prefix: str, names: Sequence[str], values: Tensor) -> Columns:
    values = values if values.dtype == torch.float64 else values.float()
    columns = values.reshape(len(values), -1).numpy().T
    return {_utf8(f"{prefix}{name}"): column for name, column in zip(names, columns, strict=True)}


def _in_pixels(points: Tensor, views: Sequence[View]) -> Tensor:
    """Key points of items, (N, P, 2) in [-1, 1], in pixels of their images."""
    own = zip(points.double().cpu().numpy(), views, strict=True)
    return torch.from_numpy(np.stack([from_view(one.reshape(-1, 2), view) for one, view in own])).float()


def _text(task: Task, encoded: Tensor) -> str:
    if isinstance(task, MultiLabel):
        return _utf8(";".join(name for name, is_there in zip(task.classes, encoded.tolist(), strict=True) if is_there))
    return _utf8(task.text(encoded))


def _utf8(name: str) -> str:
    """Names of files need not be UTF-8: other bytes are escaped."""
    return name.encode(errors="backslashreplace").decode()


def _write_csv(file: IO[bytes], first: Columns, others: Iterable[Columns], *, safe: bool) -> None:
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    writer = csv.writer(text)
    writer.writerow(first)  # column names start with ours, never with a formula
    for columns in chain([first], others):
        for row in zip(*columns.values(), strict=True):
            writer.writerow([spreadsheet_safe(cell) for cell in row] if safe else row)
    text.detach()  # flushes it and leaves the file open


def _write_parquet(file: IO[bytes], first: Columns, others: Iterable[Columns]) -> None:
    pa, pq = _pyarrow()
    schema = pa.table(first).schema
    buffered: list[Any] = []
    with pq.ParquetWriter(file, schema) as writer:
        for columns in chain([first], others):
            buffered.append(pa.table(columns, schema=schema))
            if sum(map(len, buffered)) >= ROW_GROUP:
                writer.write_table(pa.concat_tables(buffered))
                buffered.clear()
        if buffered:
            writer.write_table(pa.concat_tables(buffered))


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise missing_extra("pyarrow", "parquet") from error
    return pyarrow, parquet
