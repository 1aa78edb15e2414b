"""Snapshots: copies of nested values as plain ones, and a fit that is moved and restored."""

from collections import OrderedDict, deque
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from learnkit import Callback
from learnkit.device import Compute
from learnkit.errors import UsageError
from learnkit.training.snapshot import Copies, Finished, restore, seek, snapshot
from learnkit.training.state import TrainState
from learnkit.training.weights import tensors_of


class Level(IntEnum):
    HIGH = 3


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (np.float32(0.5), 0.5),
        (np.float64(0.5), 0.5),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.str_("a"), "a"),
        (Level.HIGH, 3),
        (Path("a") / "b", "a/b"),
        (deque([1, 2], maxlen=2), [1, 2]),
        ({7}, [7]),
        (OrderedDict(a=(1, None)), {"a": (1, None)}),
        (torch.Size([2, 3]), (2, 3)),
        (torch.bfloat16, torch.bfloat16),
        (True, True),
    ],
)
def test_values_become_plain(value: Any, plain: Any) -> None:
    found = Copies().take({"it": value})["it"]
    assert found == plain
    assert type(found) is type(plain)


def test_arrays_become_tensors() -> None:
    found = Copies().take(np.arange(3.0)[::-1])
    assert found.tolist() == [2.0, 1.0, 0.0]
    assert found.dtype == torch.float64


@pytest.mark.parametrize(
    ("value", "match"),
    [
        ({"a": [nn.Linear(1, 1)]}, r"a\[0\] cannot be saved in a checkpoint: got 'Linear'"),
        ({"a": b"bytes"}, "got 'bytes'"),
        ({"a": np.array(["text"])}, "got 'ndarray'"),
        ({"a": {(1, 2): 3}}, r"a: a key: got \(1, 2\)"),
        ({"a": iter([1])}, "got 'list_iterator'"),
    ],
)
def test_other_values_are_refused_by_name(value: Any, match: str) -> None:
    with pytest.raises(UsageError, match=match):
        Copies().take(value)


def test_memory_is_reused_if_it_fits() -> None:
    copies = Copies()
    first = copies.take({"w": torch.ones(3, requires_grad=True)})["w"]
    second = copies.take({"w": torch.zeros(3)})["w"]
    assert first is second
    assert not second.requires_grad
    third = copies.take({"w": torch.ones(4)})["w"]
    assert third.tolist() == [1.0] * 4
    assert second.tolist() == [0.0] * 3


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.int8, torch.bool, torch.complex64])
def test_every_type_of_tensor_is_copied(dtype: torch.dtype) -> None:
    tensor = torch.ones(2, 3, dtype=dtype)[:, ::2]
    found = Copies().take(tensor)
    assert found.dtype == dtype
    assert torch.equal(found, tensor)


def test_places_with_similar_names_have_separate_copies() -> None:
    value = {"a.b": torch.tensor(1), "a": {"b": torch.tensor(2)}, "1": torch.tensor(3), 1: torch.tensor(4)}
    assert Copies().take(value) == {"a.b": torch.tensor(1), "a": {"b": torch.tensor(2)}, "1": torch.tensor(3), 1: 4}


def test_what_is_finished_is_not_copied() -> None:
    block = Finished(torch.ones(3))
    assert Copies().take({"blocks": [block]})["blocks"][0] is block


def test_copies_from_a_device_wait_once(monkeypatch: pytest.MonkeyPatch) -> None:
    waits, copied = list[torch.device](), list[bool]()
    plain, copy = torch.empty_like, Tensor.copy_

    def noting(self: Tensor, other: Tensor, non_blocking: bool = False) -> Tensor:
        copied.append(non_blocking)
        return copy(self, other)

    class Stream:
        def __init__(self, device: torch.device) -> None:
            self.device = device

        def synchronize(self) -> None:
            assert len(copied) % 3 == 0  # after all of them
            waits.append(self.device)

    monkeypatch.setattr("learnkit.training.snapshot.copies_from_pinned", lambda device: True)
    monkeypatch.setattr(torch, "empty_like", lambda tensor, device, pin_memory: plain(tensor))
    monkeypatch.setattr(torch.accelerator, "current_stream", Stream)
    monkeypatch.setattr(Tensor, "is_pinned", lambda self: True)
    monkeypatch.setattr(Tensor, "copy_", noting)
    copies = Copies()
    for _ in range(2):
        found = copies.take({"a": torch.ones(2), "b": [torch.zeros(3), torch.ones(1)]})
    assert (copied, waits) == ([True] * 6, [torch.device("cpu")] * 2)
    assert found["b"][0].tolist() == [0.0] * 3


# A whole fit


class Counts(Callback):
    def __init__(self, n: int = 0) -> None:
        self.n = n

    def state_dict(self) -> dict[str, Any]:
        return {"n": self.n}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        self.n = saved["n"]


class Extra(nn.Module):
    """Keeps a number next to its tensors."""

    number = 0

    def get_extra_state(self) -> dict[str, int]:
        return {"number": self.number}

    def set_extra_state(self, state: dict[str, int]) -> None:
        self.number = state["number"]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


class Positioned(list[Any]):
    position = 0

    def state_dict(self) -> dict[str, Any]:
        return {"position": self.position}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        self.position = saved["position"]


def state(seed: int = 0, **options: Any) -> TrainState:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), Extra(), nn.Linear(3, 2))
    loss = nn.CrossEntropyLoss(weight=torch.rand(2))
    optimizer = torch.optim.AdamW(model.parameters(), 0.1)
    return TrainState(
        model=model,
        optimizer=optimizer,
        loss_func=loss,
        train_dl=Positioned(),
        compute=Compute(torch.device("cpu")),
        n_epochs=5,
        **options,
    )


def trained() -> TrainState:
    running = state()
    for _ in range(3):
        running.model(torch.randn(4, 2)).sum().backward()
        running.optimizer.step()
    running.step, running.epochs_begun = 9, 3
    running.valid, running.row, running.columns = {"valid_loss": 0.5}, {"epoch": 2.0}, {"rate": 0.25}
    running.model[2].number = 7  # type: ignore[index, union-attr]
    running.model[0].requires_grad_(False)  # type: ignore[index, union-attr]
    running.train_dl.position = 4  # type: ignore[attr-defined]
    return running


def taken(running: TrainState, epoch: int, batch: int) -> dict[str, Any]:
    saved: dict[str, Any] = Copies().take(snapshot(running, [Counts(3)], epoch, batch))
    return {**saved, "is_finished": False}


def same_weights(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(tensors_of(a).values(), tensors_of(b).values(), strict=True))


@pytest.mark.parametrize(
    ("epoch", "batch", "begun", "at"), [(2, 3, 2, (2, 3, 2)), (3, 0, 3, (3, 0, 3)), (5, 0, 3, (5, 0, 4))]
)
def test_seek_moves_a_fit_to_where_another_was(epoch: int, batch: int, begun: int, at: tuple[int, int, int]) -> None:
    first, other = trained(), state(seed=1)
    seek(other, taken(first, epoch, batch))
    assert (other.start_epoch, other.start_batch, other.epoch) == at
    assert (other.step, other.epochs_begun) == (9, begun)
    assert other.resumed
    assert not other.is_done
    assert same_weights(other.model, first.model)
    assert torch.equal(other.loss_func.weight, first.loss_func.weight)  # type: ignore[union-attr]
    assert other.model[2].number == 7  # type: ignore[index, union-attr]
    assert [p.requires_grad for p in other.model.parameters()] == [p.requires_grad for p in first.model.parameters()]


@pytest.mark.parametrize(("batch", "validates", "training"), [(3, True, True), (0, True, False), (0, False, True)])
def test_restore_brings_back_everything_else(batch: int, validates: bool, training: bool) -> None:
    first, other, counts = trained(), state(seed=1, valid_dl=[0] if validates else None), Counts()
    saved, expected = taken(first, 2, batch), torch.rand(3)  # drawn right after the snapshot
    other.model(torch.randn(4, 2)).sum().backward()
    other.columns = {"rate": 0.0, "mine": 1.0}
    restore(other, [counts], saved)
    assert same_weights(other.model, first.model)
    moments = [part["exp_avg"] for part in other.optimizer.state.values()]
    of_first = [part["exp_avg"] for part in first.optimizer.state.values()]
    assert moments
    assert all(torch.equal(a, b) for a, b in zip(moments, of_first, strict=True))
    assert all(parameter.grad is None for parameter in other.model.parameters())
    assert (other.valid, other.row) == ({"valid_loss": 0.5}, {"epoch": 2.0})
    assert other.columns == {"rate": 0.25, "mine": 1.0}
    assert counts.n == 3
    assert other.train_dl.position == 4  # type: ignore[attr-defined]
    assert other.model.training is training
    assert torch.equal(torch.rand(3), expected)


def test_an_optimizer_with_other_groups_is_refused() -> None:
    other = state()
    other.optimizer = torch.optim.AdamW([{"params": [p]} for p in other.model.parameters()], 0.1)
    with pytest.raises(UsageError, match="does not fit this fit's optimizer"):
        restore(other, [], taken(trained(), 1, 1))
