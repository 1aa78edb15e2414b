"""Predictions of loaders; tests/learner covers more, through a learner."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from learnkit.device import Compute
from learnkit.errors import DataError
from learnkit.inference.predictions import (
    activated,
    count_rows,
    predict_loader,
    predict_stream,
    read_batches,
    with_own_workers,
)
from tests.doubles import AddsNoise, noisy_net, refused

CPU = Compute(torch.device("cpu"))
X, Y = torch.arange(10.0).reshape(5, 2), torch.arange(5)


def loader(batch_size: int = 2, **options: Any) -> DataLoader[Any]:
    return DataLoader(TensorDataset(X, Y), batch_size, **options)


def squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs[:, 0] - targets).square()


def test_outputs_targets_and_losses_are_gathered_in_order() -> None:
    outputs, targets, losses = predict_loader(nn.Identity(), loader(), CPU, lambda x: -x, loss=squared_error)
    assert torch.equal(outputs, -X)
    assert targets is not None
    assert torch.equal(targets, Y)
    assert losses is not None
    assert losses.tolist() == [0, 1, 4, 9, 16]  # of the raw outputs


def test_a_stream_yields_the_same_batch_by_batch() -> None:
    batches = list(predict_stream(nn.Identity(), loader(), CPU, lambda x: -x, n_batch=2))
    assert [batch[0].tolist() for batch in batches] == [(-X[:2]).tolist(), (-X[2:4]).tolist()]
    assert [batch[2] for batch in batches] == [None, None]


def test_batches_may_lack_targets_or_be_single_tensors() -> None:
    assert [(len(read.inputs), read.targets) for read in read_batches([X, (X,), (X, None)], CPU)] == [(1, None)] * 3
    ((inputs, targets, *_),) = read_batches([(X, X, [1, 2])], CPU)
    assert len(inputs) == 2
    assert targets is not None
    assert targets.tolist() == [1, 2]


@pytest.mark.parametrize("targets", [("a", "b"), {"y": "a"}])
def test_targets_without_a_tensor_are_refused(targets: Any) -> None:
    with refused("targets, the last element of a batch", DataError, got=type(targets).__name__, expected="tensors"):
        list(read_batches([(X, targets)], CPU))


@pytest.mark.parametrize("n_batch", [0, -1, 1.5, True])
def test_an_invalid_number_of_batches_is_refused(n_batch: Any) -> None:
    with refused("n_batch", got=n_batch):
        list(read_batches([X], CPU, n_batch))


def test_several_outputs_need_an_activation_that_makes_one_tensor() -> None:
    chosen = activated(lambda outputs: outputs[0], (X, Y))
    assert torch.equal(chosen, X)
    assert chosen.data_ptr() != X.data_ptr()  # the next call of the model may overwrite X
    for activation in (nn.Identity(), lambda outputs: outputs.softmax(1)):
        with refused("the model's outputs, activated", got="tuple", expected="one tensor"):
            activated(activation, (X, Y))
    with pytest.raises(AttributeError):  # an error of the activation itself
        activated(lambda outputs: outputs.softmex(1), X)


def test_a_loss_needs_targets() -> None:
    with pytest.raises(DataError, match="with_loss=True, but this set has no labels"):
        predict_loader(nn.Identity(), [X], CPU, nn.Identity(), loss=squared_error)


@pytest.mark.parametrize("kind", [tuple, dict])
def test_targets_and_outputs_of_losses_may_be_structures(kind: Any) -> None:
    class Two(nn.Module):
        def forward(self, x: Tensor) -> Any:
            return x, 2 * x

    def both(targets: Tensor) -> Any:
        return kind(a=targets, b=-targets) if kind is dict else (targets, -targets)

    def loss(outputs: Any, targets: Any) -> Tensor:
        assert isinstance(targets, kind)
        return outputs[1][:, 0]

    batches = [(X[:3], both(Y[:3])), (X[3:], both(Y[3:]))]
    preds, targets, losses = predict_loader(Two(), batches, CPU, lambda outputs: outputs[0], loss=loss)
    assert torch.equal(preds, X)
    assert losses is not None
    assert torch.equal(losses, 2 * X[:, 0])
    one, other = targets.values() if kind is dict else targets
    assert torch.equal(one, Y)
    assert torch.equal(other, -Y)


def test_an_empty_loader_is_refused() -> None:
    with pytest.raises(DataError, match="no items to predict"):
        predict_loader(nn.Identity(), [], CPU, nn.Identity())


def test_between_batches_modes_gradients_and_generators_are_those_of_the_caller() -> None:
    model = noisy_net()
    model[1].eval()
    modes = [module.training for module in model.modules()]
    torch.manual_seed(3)
    state = torch.get_rng_state()
    for _ in predict_stream(nn.Sequential(model, AddsNoise()), loader(shuffle=True), CPU, nn.Identity()):
        assert [module.training for module in model.modules()] == modes
        assert torch.is_grad_enabled()
        assert torch.equal(torch.get_rng_state(), state)


def test_random_numbers_of_a_loader_continue_from_batch_to_batch() -> None:
    class Draws:
        def __iter__(self) -> Iterator[Any]:
            for _ in range(3):
                yield (torch.rand(2),)

    torch.manual_seed(0)
    expected = torch.rand(6)
    torch.manual_seed(0)
    found = torch.cat([outputs for outputs, _, _ in predict_stream(nn.Identity(), Draws(), CPU, nn.Identity())])
    assert torch.equal(found, expected)


@pytest.mark.parametrize(
    ("options", "n_batch", "expected"),
    [({}, None, 5), ({}, 2, 4), ({}, 9, 5), ({"drop_last": True}, None, 4), ({"sampler": [3, 1, 2]}, None, 3)],
)
def test_the_number_of_rows_is_known_in_advance(options: dict[str, Any], n_batch: int | None, expected: int) -> None:
    made = loader(**options)
    assert count_rows(made, n_batch) == expected
    assert len(predict_loader(nn.Identity(), made, CPU, nn.Identity(), n_batch=n_batch)[0]) == expected


def test_the_number_of_rows_of_other_loaders_is_unknown() -> None:
    assert count_rows([X]) is None
    assert count_rows(iter([X])) is None


def test_only_a_loader_with_persistent_workers_gets_its_own() -> None:
    plain, persistent = loader(), loader(num_workers=1, persistent_workers=True)
    assert with_own_workers(plain) is plain
    own = with_own_workers(persistent)
    assert own is not persistent
    assert own.dataset is persistent.dataset
    assert own._iterator is None
    assert with_own_workers([X]) == [X]
