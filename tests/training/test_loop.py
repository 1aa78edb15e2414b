"""The loop: batches, modes, generators, validation, and what it refuses."""

import copy
import warnings
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from learnkit import LearnkitWarning
from learnkit.device import Compute
from learnkit.errors import (
    DataError,
    LearnkitError,
    NonFiniteLossError,
    SkipBatch,
    SkipEpoch,
    StopFit,
    UsageError,
    WrongTypeError,
)
from learnkit.metrics.metric import make_metrics
from learnkit.training import nan_guard
from learnkit.training.callback import Callback, CallbackList
from learnkit.training.limits import Limits
from learnkit.training.loop import fit, validate
from learnkit.training.state import TrainState
from tests.doubles import acting, raising, refused


def batches(*sizes: int) -> list[tuple[Tensor, Tensor]]:
    numbers = torch.Generator().manual_seed(sum(sizes))
    return [(torch.randn(n, 2, generator=numbers), torch.randint(0, 2, (n,), generator=numbers)) for n in sizes]


def state(model: nn.Module | None = None, **options: Any) -> TrainState:
    model = model or nn.Linear(2, 2)
    return TrainState(
        model=model,
        optimizer=torch.optim.SGD([{"params": list(model.parameters()), "layer_group": 0}], 0.1),
        **{
            "loss_func": nn.CrossEntropyLoss(),
            "train_dl": batches(4, 4),
            "compute": Compute(torch.device("cpu")),
            **options,
        },
    )


class Keep(Callback):
    """Keeps the loss, the progress and the mode of every batch."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.progress: list[float] = []
        self.modes: list[bool] = []

    def after_loss(self, state: TrainState) -> None:
        self.losses.append(state.loss.item())
        self.progress.append(state.progress)
        self.modes.append(state.model.training)

    def after_validate_batch(self, state: TrainState) -> None:
        self.modes.append(state.model.training)


def test_training_is_in_train_mode_and_validation_in_eval_mode() -> None:
    keep = Keep()
    fit(state(valid_dl=batches(3), n_epochs=2), CallbackList([keep]))
    assert keep.modes == [True, True, False] * 2


def test_progress_goes_evenly_from_zero_toward_one() -> None:
    keep = Keep()
    fit(state(n_epochs=2), CallbackList([keep]))
    assert keep.progress == [0, 0.25, 0.5, 0.75]


def test_dropout_is_a_function_of_seed_epoch_and_batch() -> None:
    class Draws(Callback):
        def after_batch(self, state: TrainState) -> None:
            torch.rand(3)

    def losses(*callbacks: Callback, **options: Any) -> list[float]:
        torch.manual_seed(0)
        keep, model = Keep(), nn.Sequential(nn.Linear(2, 50), nn.Dropout(0.5), nn.Linear(50, 2))
        torch.rand(len(callbacks))
        fit(state(model, n_epochs=2, **options), CallbackList([keep, *callbacks]))
        return keep.losses

    plain = losses(seed=1)
    assert losses(Draws(), seed=1) == plain
    assert losses(valid_dl=batches(5), seed=1) == plain
    assert losses(seed=2) != plain
    assert losses(seed=1, epoch_offset=1)[0] != plain[0]


def test_every_batch_of_every_epoch_draws_other_numbers() -> None:
    drawn: list[tuple[float, ...]] = []
    draw = acting(before_batch=lambda state: drawn.append(tuple(torch.rand(3).tolist())))
    fit(state(train_dl=batches(4, 4, 4), n_epochs=2, seed=1), CallbackList([draw]))
    assert len(set(drawn)) == len(drawn) == 6


def test_a_loader_that_draws_its_order_globally_is_seeded_too() -> None:
    data = torch.utils.data.TensorDataset(torch.arange(20.0).view(10, 2), torch.zeros(10, dtype=torch.int64))

    def order(seed: int) -> list[float]:
        seen: list[float] = []

        class See(Callback):
            def before_batch(self, state: TrainState) -> None:
                seen.extend(state.inputs[0][:, 0].tolist())

        torch.rand(int(torch.randint(1, 9, ()).item()))
        loader = torch.utils.data.DataLoader(data, 5, shuffle=True)
        fit(state(train_dl=loader, seed=seed, n_epochs=2), CallbackList([See()]))
        return seen

    first = order(3)
    assert first == order(3)
    assert first[:10] != first[10:]
    assert first != order(4)


def test_the_callers_generator_is_restore() -> None:
    running = state(nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5)))
    before = torch.get_rng_state()
    fit(running, CallbackList())
    assert torch.equal(before, torch.get_rng_state())


def test_validation_weights_every_item_the_same_whatever_the_batches() -> None:
    model, data = nn.Linear(2, 2), batches(7, 7, 2)
    running = state(model, valid_dl=data, metrics=make_metrics("accuracy"))
    validate(running, CallbackList())
    x, y = torch.cat([x for x, _ in data]), torch.cat([y for _, y in data])
    assert running.valid["valid_loss"] == pytest.approx(F.cross_entropy(model(x), y).item(), abs=1e-6)
    assert running.valid["accuracy"] == pytest.approx((model(x).argmax(1) == y).double().mean().item())


def test_inputs_that_are_a_dict_are_counted_by_their_first_entry() -> None:
    class OfDict(nn.Linear):
        def forward(self, x: dict[str, Tensor]) -> Tensor:
            return super().forward(x["numbers"])

    model, data = OfDict(2, 2), batches(3, 1)
    running = state(model, valid_dl=[({"numbers": x, "scale": 2.0}, y) for x, y in data])
    validate(running, CallbackList())
    losses = [F.cross_entropy(nn.Linear.forward(model, x), y, reduction="sum").item() for x, y in data]
    assert running.valid["valid_loss"] == pytest.approx(sum(losses) / 4, abs=1e-6)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_non_finite_validation_loss_warns(value: float) -> None:
    running = state(valid_dl=batches(4, 2), loss_func=lambda preds, targets: torch.tensor(value))
    with pytest.warns(
        LearnkitWarning,
        match=f"the validation loss of epoch 0 is {value}: check for nan",
    ):
        validate(running, CallbackList())
    assert str(running.valid["valid_loss"]) == str(value)


def test_a_model_may_take_several_inputs() -> None:
    class Sum(nn.Linear):
        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return super().forward(a + b)

    data = [(x, x, y) for x, y in batches(4, 4)]
    running = state(Sum(2, 2), train_dl=data, valid_dl=data)
    fit(running, CallbackList())
    assert running.valid["valid_loss"] > 0


def test_loaders_without_batches_are_refused() -> None:
    with pytest.raises(DataError, match="train_dl yielded no batches"):
        fit(state(train_dl=[]), CallbackList())
    with pytest.raises(DataError, match="valid_dl yielded no batches"):
        fit(state(valid_dl=[]), CallbackList())


class Stream:
    """Batches without a length."""

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return iter(batches(4, 4, 4))


def test_a_loader_without_a_length_trains_but_has_no_progress() -> None:
    class Count(Callback):
        n = 0

        def after_batch(self, state: TrainState) -> None:
            Count.n += 1

    running = state(train_dl=Stream(), n_epochs=2)
    fit(running, CallbackList([Count()]))
    assert Count.n == 6
    assert running.n_batches is None
    with pytest.raises(UsageError, match="no length"):
        running.progress  # noqa: B018


NORMED = [nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)]


def test_a_last_batch_of_one_item_is_dropped_before_batch_norm_with_one_warning() -> None:
    keep = Keep()
    with pytest.warns(LearnkitWarning, match="last batch holds one item and is dropped") as caught:
        fit(state(nn.Sequential(*NORMED), train_dl=batches(4, 4, 1), n_epochs=3), CallbackList([keep]))
    assert len(caught) == 1
    assert len(keep.losses) == 6


def test_a_lone_last_item_is_kept_without_batch_norm_and_in_validation() -> None:
    keep, running = Keep(), state(train_dl=batches(4, 1))
    fit(running, CallbackList([keep]))
    assert len(keep.losses) == 2
    checked = state(nn.Sequential(*NORMED), valid_dl=batches(4, 1))
    validate(checked, CallbackList())
    assert checked.valid["valid_loss"] > 0


def test_batches_of_one_throughout_are_not_left_out() -> None:
    keep = Keep()
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.Flatten(), nn.LazyLinear(2))
    data = [(torch.rand(1, 1, 3, 3), torch.tensor([0])) for _ in range(3)]
    model(data[0][0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(state(model, train_dl=data), CallbackList([keep]))
    assert len(keep.losses) == 3


def test_samplers_with_set_epoch_get_the_epoch() -> None:
    class Sampler(torch.utils.data.SequentialSampler):
        epochs: list[int] = []  # noqa: RUF012

        def set_epoch(self, epoch: int) -> None:
            self.epochs.append(epoch)

    data = torch.utils.data.TensorDataset(*batches(8)[0])
    loader = torch.utils.data.DataLoader(data, 4, sampler=Sampler(data))
    fit(state(train_dl=loader, n_epochs=2, epoch_offset=5), CallbackList())
    assert Sampler.epochs == [5, 6]


# Losses that are not finite


def poisoned(at: int) -> list[tuple[Tensor, Tensor]]:
    data = batches(4, 4, 4, 4)
    data[at][0].fill_(float("nan"))
    return data


def test_a_nan_loss_names_its_batch_and_restores_the_weights() -> None:
    model = nn.Linear(2, 2)
    start = model.weight.clone()
    with pytest.raises(
        NonFiniteLossError, match=r"loss nan at epoch 0 batch 2 \(lr 0\.1\); input finite\? no; last finite"
    ):
        fit(state(model, train_dl=poisoned(2)), CallbackList())
    assert torch.equal(model.weight, start)


def test_a_device_that_synchronizes_reports_the_right_batch_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Compute, "sync_is_free", property(lambda self: False))
    for every, batch in ((2, 1), (50, 2)):
        monkeypatch.setattr(nan_guard, "FLUSH_EVERY", every)
        model = nn.Linear(2, 2)
        start = model.weight.clone()
        with pytest.raises(NonFiniteLossError, match=f"at epoch 0 batch {batch} "):
            fit(state(model, train_dl=poisoned(batch)), CallbackList())
        assert torch.equal(model.weight, start)


def test_a_loss_that_is_not_a_scalar_is_refused() -> None:
    with pytest.raises(UsageError, match=r"loss_func: got \(4,\), expected a tensor of shape \(\)"):
        fit(state(loss_func=nn.CrossEntropyLoss(reduction="none")), CallbackList())


@pytest.mark.parametrize("loss", [0.5, "0.5", None])
def test_a_loss_that_is_not_a_tensor_is_refused(loss: Any) -> None:
    with pytest.raises(TypeError, match=rf"loss_func: got {loss!r}, expected a loss that is a tensor") as caught:
        fit(state(loss_func=lambda preds, targets: loss), CallbackList())
    assert isinstance(caught.value, LearnkitError)


# Batches and epochs that are skipped


def steps_by_hand(model: nn.Module, data: list[tuple[Tensor, Tensor]]) -> nn.Module:
    model = copy.deepcopy(model)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for x, y in data:
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
        optimizer.zero_grad()
    return model


@pytest.mark.parametrize("hook", ["before_batch", "after_loss", "after_backward"])
def test_a_skipped_batch_does_not_affect_the_next_step(hook: str) -> None:
    data = batches(4, 4, 4)
    running = state(train_dl=data)
    expected = steps_by_hand(running.model, [data[0], data[2]])
    fit(running, CallbackList([acting(**{hook: raising(SkipBatch(), batch=1)})]))
    assert all(torch.equal(a, b) for a, b in zip(expected.parameters(), running.model.parameters(), strict=True))
    assert running.step == 2


@pytest.mark.parametrize("hook", ["before_batch", "after_loss", "after_backward"])
def test_a_skipped_epoch_does_not_affect_the_next_one(hook: str) -> None:
    data = batches(4, 4, 4)
    running = state(train_dl=data, n_epochs=2, valid_dl=data)
    expected = steps_by_hand(running.model, [data[0], *data])
    fit(running, CallbackList([acting(**{hook: raising(SkipEpoch(), batch=1)})]))
    assert all(torch.equal(a, b) for a, b in zip(expected.parameters(), running.model.parameters(), strict=True))
    assert (running.step, running.epochs_begun) == (4, 2)
    assert running.valid["valid_loss"] > 0  # it is validated all the same


def test_a_batch_skipped_while_gradients_are_gathered_keeps_those_before() -> None:
    """Two batches per step, the second of four is skipped before its backward pass: 1 and 3 make the first step."""
    data = batches(4, 4, 4, 4)
    running = state(train_dl=data)
    model = copy.deepcopy(running.model)
    running.compute.accumulate = 8
    fit(running, CallbackList([acting(before_batch=raising(SkipBatch(), batch=1))]))
    for pair in ([data[0], data[2]], [data[3]]):
        x, y = (torch.cat(column) for column in zip(*pair, strict=True))
        model = steps_by_hand(model, [(x, y)])
    for ours, theirs in zip(running.model.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)
    assert running.step == 2


def test_a_stop_within_a_batch_skips_the_validation_and_keeps_its_reason() -> None:
    running = state(valid_dl=batches(4))
    seen: list[int] = []
    stop = acting(after_backward=raising(StopFit("enough"), batch=1), after_fit=lambda state: seen.append(state.batch))
    fit(running, CallbackList([stop]))
    assert (running.stop_reason, running.failed, running.step, seen) == ("enough", False, 1, [1])
    assert not running.valid
    silent = state()
    fit(silent, CallbackList([acting(before_epoch=raising(StopFit()))]))
    assert silent.stop_reason == "stopped by a callback"


def test_a_fit_resumed_at_the_end_of_its_batches_is_at_the_last_one() -> None:
    seen: list[tuple[str, int]] = []
    note = acting(
        before_epoch=lambda state: seen.append(("before", state.batch)),
        after_epoch=lambda state: seen.append(("after", state.batch)),
    )
    fit(state(train_dl=batches(4, 4, 4), start_batch=3, n_epochs=2), CallbackList([note]))
    assert seen == [("before", 2), ("after", 2), ("before", 0), ("after", 2)]


@pytest.mark.parametrize(
    ("error", "failed"), [(ZeroDivisionError(), True), (KeyboardInterrupt(), True), (StopFit(), False), (None, False)]
)
def test_after_fit_can_see_whether_the_fit_failed(error: BaseException | None, failed: bool) -> None:
    seen: list[bool] = []
    callbacks = [acting(after_fit=lambda state: seen.append(state.failed))]
    if error is not None:
        callbacks.append(acting(label="Ends", after_step=raising(error)))
    with suppress(ZeroDivisionError, KeyboardInterrupt):
        fit(state(), CallbackList(callbacks))
    assert seen == [failed]


def test_each_validation_counts_for_itself() -> None:
    torch.manual_seed(0)
    model, first, second = nn.Linear(2, 2), batches(7), batches(5, 4)
    running = state(model, valid_dl=first, metrics=make_metrics("accuracy"))
    validate(running, CallbackList())
    running.valid_dl = second
    validate(running, CallbackList())
    x, y = (torch.cat(column) for column in zip(*second, strict=True))
    assert running.valid["accuracy"] == pytest.approx((model(x).argmax(1) == y).double().mean().item())
    x_first, y_first = first[0]
    assert (model(x_first).argmax(1) == y_first).double().mean().item() != running.valid["accuracy"]


class Growing(list[tuple[Tensor, Tensor]]):
    """A loader of one more batch in each epoch."""

    def grow(self, state: TrainState) -> None:
        self[:] = batches(*[4] * (state.epoch + 1))


def another_loader(state: TrainState) -> None:
    state.train_dl = batches(*[4] * (state.epoch + 1))


@pytest.mark.parametrize(("how", "limit"), [("another loader", None), ("a longer one", None), ("a longer one", 2)])
def test_epochs_of_other_lengths_are_equal_parts_of_the_fit(how: str, limit: int | None) -> None:
    loader, keep = Growing(batches(4)), Keep()
    change = another_loader if how == "another loader" else loader.grow
    fitted = state(train_dl=loader, n_epochs=3)
    fitted.limit(Limits.of(limit_batches=limit))
    fit(fitted, CallbackList([acting(before_epoch=change), keep]))
    lengths = [min(n, limit or n) for n in (1, 2, 3)]
    assert keep.progress == pytest.approx([(e + b / n) / 3 for e, n in enumerate(lengths) for b in range(n)])


@pytest.mark.parametrize("inputs", [torch.ones(4, 2), {"x": torch.ones(4, 2)}, None])
def test_inputs_of_a_callback_that_are_no_arguments_are_refused(inputs: Any) -> None:
    def put(state: TrainState) -> None:
        state.inputs = inputs

    got = f"a {type(inputs).__name__} of a callback's before_batch"
    with refused("state.inputs", WrongTypeError, got=got, fix="Set state.inputs = (x,) for one input."):
        fit(state(), CallbackList([acting(before_batch=put)]))


@pytest.mark.parametrize(("loss", "kind"), [(1.0, WrongTypeError), (None, WrongTypeError), (torch.ones(2), UsageError)])
@pytest.mark.parametrize("batch", [0, 1])
def test_a_loss_that_a_callback_spoils_is_said_to_be_its_own(loss: Any, kind: type[LearnkitError], batch: int) -> None:
    def put(state: TrainState) -> None:
        if state.batch == batch:
            state.loss = loss

    with refused("state.loss, as a callback set it", kind):
        fit(state(), CallbackList([acting(after_loss=put)]))
