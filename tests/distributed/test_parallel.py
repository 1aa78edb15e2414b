"""Batch norm of several processes, of one; `room.py` has gradients and the warning."""

import itertools
import warnings

import pytest
import torch
from torch import nn

from learnkit.distributed import parallel
from learnkit.distributed.parallel import SharedNorm, spare, synchronized_batch_norm
from learnkit.distributed.world import World


def net() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.Sequential(nn.BatchNorm1d(3)))


def test_alone_the_layers_stay() -> None:
    model = net()
    layers = list(model.modules())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with synchronized_batch_norm(model):
            assert all(a is b for a, b in zip(model.modules(), layers, strict=True))


def test_on_an_accelerator_layers_are_replaced_and_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tensors are those of the layers, so that optimizer, state dict and running statistics are the same."""
    two = World()
    two._size = 2
    monkeypatch.setattr(parallel, "world", two)
    monkeypatch.setattr(parallel, "SYNCHRONIZES", "cpu")
    model = net()
    model[2].eval()
    layers = list(model.modules())
    tensors = [id(tensor) for tensor in itertools.chain(model.parameters(), model.buffers())]
    names = list(model.state_dict())
    with synchronized_batch_norm(model):
        assert [type(model[1]), type(model[2][0])] == [SharedNorm] * 2
        assert model[1].training
        assert not model[2][0].training
        assert [id(tensor) for tensor in itertools.chain(model.parameters(), model.buffers())] == tensors
        assert list(model.state_dict()) == names
        model[1].running_mean.fill_(7)
        model.eval()
    assert all(a is b for a, b in zip(model.modules(), layers, strict=True))
    assert model[1].running_mean.eq(7).all()
    assert not model[1].training
    with pytest.raises(RuntimeError, match="stop"), synchronized_batch_norm(model):
        raise RuntimeError("stop")
    assert type(model[1]) is nn.BatchNorm2d
    assert torch.is_tensor(model[1].weight)


def test_a_layer_with_two_names_is_one_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    two = World()
    two._size = 2
    monkeypatch.setattr(parallel, "world", two)
    monkeypatch.setattr(parallel, "SYNCHRONIZES", "cpu")
    norm, own = nn.BatchNorm1d(3), nn.SyncBatchNorm(3)
    model = nn.Sequential(norm, nn.ReLU(), norm, nn.Sequential(norm), own)
    with synchronized_batch_norm(model):
        assert type(model[0]) is type(model[4]) is SharedNorm
        assert model[0] is model[2] is model[3][0]
    assert model[0] is model[2] is model[3][0] is norm
    assert model[4] is own


def test_items_that_only_keep_in_step_do_not_count_inside() -> None:
    model = nn.Sequential(SharedNorm(3), nn.BatchNorm1d(3))
    with spare(model):
        assert not model[0].counts
    assert model[0].counts
