"""Optimizers with a train and an eval mode are switched around the batches of an epoch."""

import torch
from torch import Tensor, nn

from learnkit.callbacks.optimizer_modes import OptimizerModes, has_modes
from tests.doubles import acting, linear_learner


class Modal(torch.optim.SGD):
    mode = "eval"

    def train(self) -> None:
        self.mode = "train"

    def eval(self) -> None:
        self.mode = "eval"


def test_an_optimizer_has_modes_if_it_has_both_methods() -> None:
    parameters = list(nn.Linear(1, 1).parameters())
    assert has_modes(Modal(parameters))
    assert not has_modes(torch.optim.SGD(parameters))


def test_other_callbacks_see_the_mode_of_each_hook(blobs: tuple[Tensor, ...]) -> None:
    seen: list[tuple[str, str]] = []
    hooks = ("before_epoch", "after_batch", "before_validate", "after_epoch", "after_fit")

    def note(name: str) -> object:
        return lambda state: seen.append((name, state.optimizer.mode))

    watch = acting(order=1, **{name: note(name) for name in hooks})  # type: ignore[arg-type]
    learn = linear_learner(blobs, opt_func=Modal)
    learn.fit(1, callbacks=watch)
    assert dict(seen) == {
        "before_epoch": "train", "after_batch": "train", "before_validate": "eval", "after_epoch": "eval",
        "after_fit": "eval",
    }  # fmt: skip
    assert OptimizerModes().label in learn.show_training(1)
    learn.lr_find(num_it=8)
