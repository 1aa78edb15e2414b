"""Failures from below the model become errors with advice; all others are unchanged."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from learnkit import DataBunch, Learner
from learnkit.data.loading.shares import Share
from learnkit.device import Compute
from learnkit.errors import OutOfMemoryError, UsageError
from learnkit.training import failures
from learnkit.training.failures import explained, interrupts_noted
from learnkit.training.state import TrainState
from tests.doubles import refused


def state(*inputs: Any) -> TrainState:
    model = nn.Linear(2, 2)
    return TrainState(
        model=model,
        optimizer=torch.optim.SGD(model.parameters(), 0.1),
        loss_func=nn.CrossEntropyLoss(),
        train_dl=[],
        compute=Compute(torch.device("cpu")),
        epoch=2,
        batch=5,
        step=13,
        inputs=inputs,
    )


def test_ctrl_c_reports_where_it_was_and_what_is_kept() -> None:
    recorded: list[int] = []

    def epochs() -> None:
        recorded.extend(range(7))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught, interrupts_noted(state(), lambda: len(recorded)):
        epochs()
    (note,) = caught.value.__notes__
    assert "epoch 2, batch 5, after 13 optimizer steps" in note
    assert "history (7 epochs)" in note


def test_other_errors_get_no_note() -> None:
    with pytest.raises(ZeroDivisionError) as caught, interrupts_noted(state(), lambda: 0):
        raise ZeroDivisionError
    assert not hasattr(caught.value, "__notes__")


OOM = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nSee the documentation")


@pytest.mark.parametrize(
    ("inputs", "what", "fix"),
    [
        ((torch.zeros(8, 3, 4),), "a batch of 8 items of shape (3, 4) does not fit into the memory of cpu", "bs=4 "),
        (
            (torch.zeros(6, 2), torch.zeros(6)),
            "a batch of 6 items of shape (2,), () does not",
            "GradientAccumulation(6)",
        ),
        ((torch.zeros(1, 2),), "a batch of 1 item", "use a smaller model"),
        (("text", torch.tensor(3.0)), "a batch of this size does not", "use a smaller model"),
    ],
)
def test_running_out_of_memory_names_the_batch(inputs: tuple[Any, ...], what: str, fix: str) -> None:
    with pytest.raises(OutOfMemoryError) as caught, explained(state(*inputs)):
        raise OOM
    assert what in caught.value.what
    assert "at epoch 2 batch 5 (CUDA out of memory. Tried to allocate 2.00 GiB.)" in caught.value.what
    assert fix in caught.value.fix
    assert caught.value.__cause__ is OOM


def test_of_several_processes_the_batch_of_all_is_made_smaller() -> None:
    own = state(torch.zeros(4, 2))
    own.share = Share(own.inputs, 0, 4, 8)
    with pytest.raises(OutOfMemoryError, match="a batch of 4 items") as caught, explained(own):
        raise OOM
    assert "bs=4 (and GradientAccumulation(8)" in caught.value.fix


def test_the_memory_that_the_allocator_keeps_is_released(monkeypatch: pytest.MonkeyPatch) -> None:
    released: list[torch.device] = []
    monkeypatch.setattr(failures, "empty_cache", released.append)
    with pytest.raises(OutOfMemoryError), explained(state()):
        raise OOM
    assert released == [torch.device("cpu")]


def test_an_error_without_a_message_is_named_by_its_type() -> None:
    with pytest.raises(OutOfMemoryError, match=r"\(MemoryError\)"), explained(state()):
        raise MemoryError


def test_one_item_before_batch_norm_is_explained() -> None:
    with (
        pytest.raises(UsageError, match="cannot train on a batch of one item") as caught,
        explained(state()),
    ):
        nn.BatchNorm1d(2)(torch.zeros(1, 2))
    assert "bs=2" in caught.value.fix
    assert isinstance(caught.value.__cause__, ValueError)


@pytest.mark.parametrize(
    ("make", "is_sparse", "fix"), [(torch.optim.AdamW, True, "sparse=False"), (torch.optim.SparseAdam, False, "'adam'")]
)
def test_gradients_that_an_optimizer_cannot_step_with_are_explained(make: Any, is_sparse: bool, fix: str) -> None:
    layer, fit = nn.Embedding(3, 2, sparse=is_sparse), state()
    fit.optimizer = make(layer.parameters(), lr=0.1)
    kind = "sparse" if is_sparse else "dense"
    layer(torch.tensor([1])).sum().backward()
    with (
        pytest.raises(UsageError, match=rf"opt_func: {make.__name__} cannot step with {kind} gradients") as caught,
        explained(fit),
    ):
        fit.optimizer.step()
    assert fix in caught.value.fix


@pytest.mark.parametrize("error", [ValueError("mine"), RuntimeError("mine"), KeyboardInterrupt()])
def test_other_errors_are_raised_unchanged(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, explained(state(Tensor())):
        raise error
    assert caught.value is error


def test_a_layer_that_does_not_fit_is_told_the_shape_of_the_batch() -> None:
    batch = torch.zeros(4, 3)
    with pytest.raises(RuntimeError) as caught, explained(state(batch)):
        nn.Linear(2, 2)(batch)
    assert caught.value.__notes__ == ["The inputs of epoch 2, batch 5: shape (4, 3)."]


class Triplet(nn.Module):
    """Three images -> their embeddings."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(2, 2)

    def forward(self, a: Tensor, p: Tensor, n: Tensor) -> tuple[Tensor, ...]:
        return self.body(a), self.body(p), self.body(n)


X = torch.randn(4, 2)


@pytest.mark.parametrize(
    ("batch", "given"),
    [
        (((X, X, X), X), "1 input, a tuple of 3"),
        (([X, X], X), "1 input, a list of 2"),
        ((X, X), "1 input"),
        ((X, X, X, X, X), "4 inputs"),
    ],
)
def test_another_number_of_inputs_names_those_of_the_model(batch: Any, given: str) -> None:
    learn = Learner(DataBunch.from_loaders([batch]), Triplet(), loss_func=lambda outputs, targets: outputs[0].mean())
    with refused(f"batch 0 of the training loader: Triplet takes the inputs a, p, n, and got {given}"):
        learn.fit(1)


def test_an_error_within_the_model_stays() -> None:
    with pytest.raises(TypeError, match="of its own") as caught, explained(state(X)):
        raise TypeError("of its own")
    assert not isinstance(caught.value, UsageError)
