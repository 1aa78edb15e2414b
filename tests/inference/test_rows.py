"""Rows gathered into one tensor, and arrays to write them to."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from learnkit.device import Compute
from learnkit.errors import DataError, UsageError
from learnkit.inference.predictions import predict_loader
from learnkit.inference.rows import Gathered, Rows, as_rows
from tests.doubles import refused


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_any_float_array_shares_its_memory(dtype: str, tmp_path: Path) -> None:
    out = np.lib.format.open_memmap(tmp_path / "a.npy", mode="w+", dtype=dtype, shape=(3, 2))
    as_rows(out, 3)[1] = 0.5
    assert out.tolist() == [[0, 0], [0.5, 0.5], [0, 0]]


def read_only(folder: Path) -> Any:
    np.save(folder / "a.npy", np.zeros((3, 2), np.float32))
    return np.load(folder / "a.npy", mmap_mode="r")


def copied_on_write(folder: Path) -> Any:
    np.save(folder / "a.npy", np.zeros((3, 2), np.float32))
    return np.load(folder / "a.npy", mmap_mode="c")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (read_only, "read-only"),
        (copied_on_write, "nothing would be written to the file"),
        (lambda _: np.zeros((3, 2), np.int64), "floats"),
        (lambda _: torch.zeros(3, 2, dtype=torch.int64), "floats"),
        (lambda _: np.zeros((3, 2), ">f4"), "byte order"),
        (lambda _: np.zeros((3, 2), np.longdouble), "float16, float32 or float64"),
        (lambda _: np.zeros((3, 2), np.float32)[::-1], "strides"),
        (lambda _: [[0.0, 0.0]] * 3, "list"),
        (lambda _: np.float32(0), "float tensor or NumPy array"),
        (lambda _: np.array(0.0), "shape"),
        (lambda _: torch.zeros(4, 2), "3 rows"),
        (lambda _: torch.zeros(2, 2), "3 rows"),
    ],
)
def test_arrays_that_cannot_be_written_to_are_refused(make: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        as_rows(make(tmp_path), 3)


@pytest.mark.parametrize("n_rows", [None, 5, 3, 9])
def test_rows_keep_their_order(n_rows: int | None) -> None:
    rows = Rows("outputs", n_rows)  # too low with 3, too high with 9
    for part in (torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0], [4.0]]), torch.tensor([[5.0]])):
        rows.add(part)
    result = rows.result()
    assert result is not None
    assert result.tolist() == [[1], [2], [3], [4], [5]]


def test_without_rows_there_is_no_result() -> None:
    assert Rows("outputs", 3).result() is None


@pytest.mark.parametrize("n_rows", [None, 4])
def test_rows_of_another_shape_are_refused(n_rows: int | None) -> None:
    rows = Rows("outputs", n_rows)
    rows.add(torch.zeros(2, 3, 5))
    with refused("outputs per item: the shape", DataError, got=(3, 6)):
        rows.add(torch.zeros(2, 3, 6))


def test_a_given_tensor_may_be_larger_if_the_number_of_rows_is_unknown() -> None:
    out = torch.full((4, 2), -1.0)
    rows = Rows("outputs", None, out)
    rows.add(torch.ones(3, 2))
    result = rows.result()
    assert result is not None
    assert result.shape == (3, 2)
    assert out[3].tolist() == [-1, -1]
    rows.add(torch.ones(2, 2))
    with pytest.raises(UsageError, match="at least 5"):
        rows.result()


def test_large_batches_are_written_immediately() -> None:
    out = torch.zeros(4, 1 << 18)  # a row is a megabyte
    rows = Rows("outputs", 4, out)
    rows.add(torch.ones(1, 1 << 18))
    assert out[:, 0].tolist() == [1, 0, 0, 0]


def test_small_batches_are_written_together_and_in_order() -> None:
    rows = Rows("outputs", 50_000, out := torch.full((50_000, 10), -1.0))
    for number in range(0, 50_000, 100):
        rows.add(torch.arange(number, number + 100.0)[:, None].expand(-1, 10))
    assert (out[0] == 0).all(), "at most a megabyte is buffered"
    assert rows.result() is out
    assert torch.equal(out[:, 3], torch.arange(50_000.0))


def test_targets_may_come_in_a_reused_buffer() -> None:
    class OneBuffer:
        """A loader that overwrites its last batch with the next, with or without a known number of items."""

        batch_size = 2

        def __len__(self) -> int:
            return 3

        def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
            x, y = torch.zeros(2, 1), torch.zeros(2, dtype=torch.int64)
            for number in range(3):
                yield x.fill_(number), y.fill_(number)

    known, unknown = OneBuffer(), OneBuffer()
    known.n_items = 6  # type: ignore[attr-defined]
    for loader in (known, unknown):
        preds, targets, _ = predict_loader(nn.Linear(1, 1), loader, Compute(torch.device("cpu")), nn.Identity())
        assert targets is not None
        assert targets.tolist() == [0, 0, 1, 1, 2, 2]
        assert len(preds) == 6


def test_structures_are_gathered_as_they_are() -> None:
    gathered = Gathered(Rows("targets", None))
    buffer = torch.zeros(2, 3)
    for number in range(3):
        buffer.fill_(number)  # reused by the loader
        gathered.add({"numbers": buffer, "names": [f"{number}a", f"{number}b"], "scale": 2.0}, 2)
    found = gathered.result()
    assert found["numbers"][:, 0].tolist() == [0, 0, 1, 1, 2, 2]
    assert found["names"] == ["0a", "0b", "1a", "1b", "2a", "2b"]
    assert found["scale"] == 2.0


def test_single_tensors_are_gathered_as_rows() -> None:
    rows = Rows("targets", 4)
    gathered = Gathered(rows)
    assert gathered.result() is None
    gathered.add(torch.arange(3), 3)
    gathered.add(torch.arange(1), 1)
    assert gathered.result().tolist() == [0, 1, 2, 0]
