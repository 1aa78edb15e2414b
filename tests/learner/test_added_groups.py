"""A parameter group that a callback adds to the optimizer: every kind of fit leaves its settings alone."""

from typing import Any

import pytest
import torch
from torch import nn

from learnkit import DataBunch, Learner
from learnkit.callbacks import Callback, GeneralScheduler, ReduceLROnPlateau, TensorBoard, TrainingPhase
from tests.doubles import Blobs

ADDED = {"lr": 0.25, "weight_decay": 0.125, "momentum": 0.5}


class AddsGroup(Callback):
    """Adds a parameter of its own, which has no effect on the outputs."""

    in_lr_find = True

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []

    def before_fit(self, state: Any) -> None:
        self.parameter = nn.Parameter(torch.ones(2))
        state.optimizer.add_param_group({"params": [self.parameter], **ADDED})

    def after_pred(self, state: Any) -> None:
        state.preds = state.preds + 0 * self.parameter

    def after_batch(self, state: Any) -> None:
        self.seen.append({name: state.optimizer.param_groups[-1][name] for name in ADDED})


def learner(blobs: Blobs, **options: Any) -> Learner:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 2))

    def opt_func(groups: Any, lr: float) -> torch.optim.Optimizer:
        return torch.optim.SGD(groups, lr=lr, momentum=0.9)

    return Learner(
        DataBunch.from_tensors(*blobs, bs=16), model,
        groups=[model[:2], model[2]], opt_func=opt_func, wd=0.01, seed=0, **options,
    )  # fmt: skip


FITS: dict[str, Any] = {
    "fit": lambda learn, added: learn.fit(2, 1e-2, callbacks=added),
    "one cycle": lambda learn, added: learn.fit_one_cycle(2, slice(1e-3, 1e-2), callbacks=added),
    "flat": lambda learn, added: learn.fit_flat_cos(2, 1e-2, callbacks=added),
    "phases": lambda learn, added: learn.fit(
        2, 1e-2, callbacks=[GeneralScheduler([TrainingPhase(1.0, (1e-2, 1e-4), (0.9, 0.8))]), *added]
    ),
    "plateau": lambda learn, added: learn.fit(3, 1e-2, callbacks=[ReduceLROnPlateau(min_delta=100), *added]),
}


@pytest.mark.parametrize("fit", FITS.values(), ids=FITS.keys())
def test_every_fit_leaves_an_added_group_alone_and_trains_the_model_as_without(fit: Any, blobs: Blobs) -> None:
    alone, learn, added = learner(blobs), learner(blobs), AddsGroup()
    for _ in range(2):
        fit(alone, [])
        fit(learn, [added])
        assert added.seen == [ADDED] * len(learn.recorder.lrs)
        assert learn.recorder.lrs == alone.recorder.lrs, "the record is that of the last layer group"
        assert learn.recorder.moms == alone.recorder.moms
    assert all(map(torch.equal, alone.model.parameters(), learn.model.parameters()))


def test_the_rate_finder_varies_the_rates_of_the_model(blobs: Blobs) -> None:
    alone, learn, added = learner(blobs), learner(blobs), AddsGroup()
    learn.add_cb(added)
    alone.lr_find(num_it=12)
    learn.lr_find(num_it=12)
    found, expected = learn.recorder.lr_curve, alone.recorder.lr_curve
    assert found is not None
    assert expected is not None
    assert added.seen == [ADDED] * len(found.lrs)
    assert (found.lrs, found.losses) == (expected.lrs, expected.losses)


def test_the_rates_on_the_board_are_those_of_layer_groups(blobs: Blobs) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    board = TensorBoard("logs", "run", graph=False)
    learner(blobs).fit(1, [1e-3, 1e-2], callbacks=[board, AddsGroup()])
    events = accumulator.EventAccumulator(str(board.folder))
    events.Reload()
    written = {tag: events.Scalars(tag)[-1].value for tag in events.Tags()["scalars"] if "lr" in tag}
    assert written == pytest.approx({"batch/lr_0": 1e-3, "batch/lr_1": 1e-2})


def test_layers_that_join_the_optimizer_in_a_fit_train_in_the_next(blobs: Blobs) -> None:
    learn = learner(blobs)
    body, head = learn.model[0], learn.model[2]  # type: ignore[index]
    learn.opt_func = lambda groups, lr: torch.optim.SGD(
        [{**group, "params": [p for p in group["params"] if p.requires_grad]} for group in groups], lr=lr
    )
    body.requires_grad_(False)

    class Thaws(Callback):
        def before_fit(self, state: Any) -> None:
            body.requires_grad_(True)
            state.optimizer.add_param_group({"params": list(body.parameters()), "lr": 0.5})

    learn.fit(1, 1e-2, callbacks=Thaws())
    before = body.weight.detach().clone()
    for fit in (learn.fit_one_cycle, learn.fit):
        fit(1, 1e-2)
        assert learn.opt is not None
        assert learn.opt.param_groups[-1]["lr"] == 0.5
    assert not torch.equal(before, body.weight)
    assert learn.opt is not None
    assert id(head.weight) in {id(p) for group in learn.opt.param_groups for p in group["params"]}
