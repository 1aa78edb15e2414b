"""BnFreeze: frozen batch norm layers keep their statistics, the others do not."""

from typing import Any

import torch
from torch import Tensor, nn

from learnkit import Learner, TrainState
from learnkit.callbacks.freezing import BnFreeze, freeze_statistics
from tests.doubles import acting, linear_learner


def learner(blobs: tuple[Tensor, ...], **options: Any) -> Learner:
    body = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4))
    head = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 2))
    return linear_learner(blobs, nn.Sequential(body, head), groups=[body, head], **options)


def moved(learn: Learner) -> list[bool]:
    """For the norm of the body and that of the head, whether statistics have been gathered."""
    return [bool(norm.num_batches_tracked) for norm in (learn.model[0][1], learn.model[1][0])]


def test_the_statistics_of_frozen_layers_stay(blobs: tuple[Tensor, ...]) -> None:
    learn = learner(blobs, train_bn=False)
    learn.freeze()
    learn.fit(2, callbacks=BnFreeze())
    assert moved(learn) == [False, True]
    assert learn.model[0][1].running_mean.tolist() == [0.0] * 4
    assert learn.model[0][1].running_var.tolist() == [1.0] * 4


def test_without_it_they_move(blobs: tuple[Tensor, ...]) -> None:
    learn = learner(blobs, train_bn=False)
    learn.freeze()
    learn.fit(1)
    assert moved(learn) == [True, True]


def test_trained_layers_are_not_changed(blobs: tuple[Tensor, ...]) -> None:
    unfrozen, training_norms = learner(blobs, train_bn=False), learner(blobs)
    training_norms.freeze()  # with train_bn the norm layers of a frozen body are still trained
    for learn in (unfrozen, training_norms):
        learn.fit(1, callbacks=BnFreeze())
        assert moved(learn) == [True, True]


def test_frozen_layers_normalize_by_the_statistics_they_have(blobs: tuple[Tensor, ...]) -> None:
    seen: list[tuple[Tensor, Tensor]] = []

    @torch.no_grad()
    def look(state: TrainState) -> None:
        linear, norm = state.model[0]  # type: ignore[index]
        x = linear(state.inputs[0])
        seen.append((norm(x), x / (1 + norm.eps) ** 0.5))

    learn = learner(blobs, train_bn=False)
    learn.freeze()
    learn.fit(1, callbacks=[BnFreeze(), acting(after_batch=look)])
    assert len(seen) == 4
    for ours, theirs in seen:
        torch.testing.assert_close(ours, theirs)


def test_lr_find_runs_with_it(blobs: tuple[Tensor, ...]) -> None:
    modes: list[bool] = []
    learn = learner(blobs, train_bn=False, callbacks=BnFreeze())
    learn.freeze()
    learn.model[0][1].register_forward_hook(lambda module, x, y: modes.append(module.training))
    learn.lr_find(num_it=8)
    assert modes == [False] * 8


def test_every_kind_of_batch_norm_and_no_other_layer() -> None:
    frozen = [nn.BatchNorm1d(2), nn.BatchNorm2d(2), nn.BatchNorm3d(2), nn.SyncBatchNorm(2)]
    others = [nn.BatchNorm1d(2, affine=False), nn.LayerNorm(2), nn.GroupNorm(1, 2), nn.Dropout(0.5)]
    model = nn.Sequential(*frozen, *others).requires_grad_(False)
    assert freeze_statistics(model) == frozen
    assert [m.training for m in model] == [False] * 4 + [True] * 4
