"""The penalties on hidden states: by hand, and in a fit against a loop in plain PyTorch."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from learnkit import DataBunch, Learner
from learnkit.callbacks.averaging import EMA, SWA
from learnkit.callbacks.rnn import RNNRegularizer, activation_regularization, temporal_activation_regularization
from learnkit.seeds import Stream, derive
from tests.doubles import acting, linear_learner, raising, refused


class Recurrent(nn.Module):
    """Classifies (N, 2) as two time steps; returns its states always, only in training, in lists, or never."""

    def __init__(self, gives: str = "always") -> None:
        super().__init__()
        torch.manual_seed(0)
        self.rnn = nn.GRU(1, 4, batch_first=True)
        self.drop = nn.Dropout(0.4)
        self.head = nn.Linear(4, 2)
        self.gives = gives

    def forward(self, x: Tensor) -> Any:
        raw, _ = self.rnn(x[..., None])
        dropped = self.drop(raw)
        output = self.head(dropped[:, -1])
        if self.gives == "nothing" or (self.gives == "in training" and not self.training):
            return output
        return (output, [raw * 9, raw], [dropped * 9, dropped]) if self.gives == "lists" else (output, raw, dropped)


def learner(blobs: tuple[Tensor, ...], gives: str = "always") -> Learner:
    dls = DataBunch.from_tensors(*blobs, bs=16)
    return Learner(dls, Recurrent(gives), seed=4, opt_func="sgd", wd=0, metrics="accuracy")


def test_penalties_by_hand() -> None:
    hidden = torch.tensor([[[1.0, 0.0], [3.0, 1.0], [0.0, 1.0]], [[0.0, 0.0], [0.0, 2.0], [0.0, 2.0]]])
    assert activation_regularization(hidden).item() == pytest.approx((1 + 9 + 1 + 1 + 4 + 4) / 12)
    assert temporal_activation_regularization(hidden).item() == pytest.approx((4 + 1 + 9 + 0 + 0 + 4 + 0 + 0) / 8)
    assert temporal_activation_regularization(hidden[:, :1]).item() == 0
    assert activation_regularization(torch.full((1, 1, 1), 300.0, dtype=torch.float16)).item() == 90000


@pytest.mark.parametrize("gives", ["always", "in training", "lists"])
def test_a_fit_equals_the_loop_by_hand(gives: str, blobs: tuple[Tensor, ...]) -> None:
    learn, model = learner(blobs, gives), Recurrent()
    learn.fit(2, 0.1, callbacks=RNNRegularizer(2.0, 0.5))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    losses = []
    for epoch in range(2):
        learn.dls.train_dl.seed_epoch(4, epoch)
        for number, (x, y) in enumerate(learn.dls.train_dl):
            torch.manual_seed(derive(4, Stream.STEP, epoch) + number)
            output, raw, dropped = model(x)
            changes = raw[:, 1:] - raw[:, :-1]
            loss = F.cross_entropy(output, y) + 2 * (dropped**2).mean() + 0.5 * (changes**2).mean()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
    assert learn.recorder.losses == pytest.approx(losses, abs=1e-6)
    valid = F.cross_entropy(model.eval()(blobs[2])[0], blobs[3]).item()
    assert learn.history["valid_loss"].iloc[-1] == pytest.approx(valid, abs=1e-6)  # without penalties


def test_nothing_remains_in_the_model(blobs: tuple[Tensor, ...]) -> None:
    learn = learner(blobs)
    with pytest.raises(ZeroDivisionError):
        learn.fit(1, callbacks=[RNNRegularizer(), acting(after_backward=raising(ZeroDivisionError()))])
    assert not learn.model._forward_hooks
    assert len(learn.model(blobs[0])) == 3


def test_weights_of_zero_add_nothing(blobs: tuple[Tensor, ...]) -> None:
    penalized, plain = learner(blobs), learner(blobs, "nothing")
    penalized.fit(1, 0.1, callbacks=RNNRegularizer(0, 0))
    plain.fit(1, 0.1)
    assert penalized.recorder.losses == plain.recorder.losses


@pytest.mark.parametrize("average", [EMA, SWA])
def test_weights_can_be_averaged_with_it(average: Any, blobs: tuple[Tensor, ...]) -> None:
    learn = learner(blobs)
    learn.fit(2, 0.1, callbacks=[RNNRegularizer(), average(0.5)])
    assert not learn.model._forward_hooks


def test_a_model_without_states_is_refused(blobs: tuple[Tensor, ...]) -> None:
    learn = learner(blobs, "nothing")
    with refused("RNNRegularizer: what the model returns in training", got=Tensor, fix="Return all three."):
        learn.fit(1, callbacks=RNNRegularizer())
    assert not learn.model._forward_hooks


def test_states_of_another_shape_are_refused(blobs: tuple[Tensor, ...]) -> None:
    class Flat(nn.Linear):
        def forward(self, x: Tensor) -> Any:
            y = super().forward(x)
            return y, y, y

    learn = linear_learner(blobs, Flat(2, 2))
    with refused("RNNRegularizer: hidden states", got=(16, 2), expected="(N, T, H), or a list of these"):
        learn.fit(1, callbacks=RNNRegularizer())


@pytest.mark.parametrize(("name", "weight"), [("alpha", -1), ("beta", float("inf")), ("alpha", "much"), ("beta", True)])
def test_invalid_weights_are_refused(name: str, weight: Any) -> None:
    with refused(name, got=weight):
        RNNRegularizer(**{name: weight})
