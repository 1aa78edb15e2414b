"""Micro-batches: a batch in parts takes the step of the whole batch."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from learnkit import Callback, DataBunch, Learner, LearnkitWarning
from learnkit.callbacks import BnFreeze, GradientAccumulation, GradientClipping, MixedPrecision, MixUp, OneCycle
from learnkit.callbacks.micro_batches import MicroBatches
from learnkit.errors import OutOfMemoryError, UsageError
from tests.doubles import acting, refused

SIZES = [8, 8, 5]


class Narrow(nn.Sequential):
    """Has memory for `room` items at a time."""

    def __init__(self, room: int, *layers: nn.Module) -> None:
        super().__init__(*layers)
        self.room, self.seen = room, list[int]()

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "meta":
            self.seen.append(len(x))
            if self.training and len(x) > self.room:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return super().forward(x)


Layers = tuple[nn.Module, ...]


def plain() -> Layers:
    return nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2)


def learner(room: int, layers: Callable[[], Layers] = plain, sizes: list[int] = SIZES, **options: Any) -> Learner:
    numbers = torch.Generator().manual_seed(1)
    x = torch.randn(sum(sizes), 3, generator=numbers)
    data = list(zip(x.split(sizes), (x.sum(1) > 0).long().split(sizes), strict=True))
    torch.manual_seed(0)
    bunch = DataBunch.from_loaders(data, data, device="cpu")
    return Learner(bunch, Narrow(room, *layers()), loss_func=nn.CrossEntropyLoss(), seed=0, **options)


def weights(learn: Learner) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in learn.model.parameters()])


@pytest.mark.filterwarnings("ignore:a batch of")
@pytest.mark.parametrize("room", [8, 5, 4, 3, 1])
@pytest.mark.parametrize("opt_func", ["adamw", "sgd"])
def test_the_fit_is_that_of_whole_batches(room: int, opt_func: str) -> None:
    whole, parts = learner(8, opt_func=opt_func), learner(room, opt_func=opt_func)
    more = [GradientClipping(0.1), OneCycle()]
    whole.fit(3, 1e-2, callbacks=more)
    parts.fit(3, 1e-2, callbacks=[*more, MicroBatches()])
    torch.testing.assert_close(weights(parts), weights(whole), atol=1e-6, rtol=0)
    assert parts.recorder.losses == pytest.approx(whole.recorder.losses, abs=1e-6)
    assert parts.recorder.lrs == whole.recorder.lrs
    assert parts.opt is not None
    assert [int(state["step"]) for state in parts.opt.state.values() if "step" in state][:1] in ([], [9])


def test_with_enough_memory_the_bits_are_the_same() -> None:
    def layers() -> Layers:
        return nn.Linear(3, 8), nn.Dropout(0.5), nn.Linear(8, 2)

    whole, parts = learner(8, layers), learner(8, layers)
    whole.fit(2)
    parts.fit(2, callbacks=MicroBatches())
    assert torch.equal(weights(parts), weights(whole))


def test_it_warns_and_splits_later_batches_the_same_way() -> None:
    learn = learner(3)
    with pytest.warns(LearnkitWarning, match="a batch of 8 items does not fit .* micro-batches of") as warned:
        learn.fit(1, callbacks=MicroBatches())
    assert [str(one.message).rpartition(" ")[2] for one in warned] == ["4", "2"]
    assert learn.model.seen[: 2 + 4 + 4 + 3] == [8, 4, *[2] * 4, *[2] * 4, 2, 2, 1]


def test_it_starts_with_the_size_passed() -> None:
    learn = learner(4)
    learn.fit(1, callbacks=MicroBatches(4))
    assert learn.model.seen[:6] == [4, 4, 4, 4, 4, 1]


@pytest.mark.filterwarnings("ignore:a batch of")
def test_a_resumed_fit_continues_with_parts_of_the_same_size() -> None:
    first, again, saved = MicroBatches(), MicroBatches(), dict[str, Any]()
    assert first.state_dict() == {}
    keep = acting(after_epoch=lambda state: saved.update(first.state_dict()))
    learner(3).fit(1, callbacks=[first, keep])
    assert saved == {"part": 2}
    resumed = learner(3)
    resumed.fit(1, callbacks=[again, acting(before_fit=lambda state: again.load_state_dict(saved), order=99)])
    assert resumed.model.seen[:4] == [2, 2, 2, 2]


def test_which_hooks_run_once_per_part() -> None:
    class Counts(Callback):
        def __init__(self) -> None:
            self.calls: list[str] = []
            self.shapes: list[tuple[int, ...]] = []

        def before_batch(self, state: Any) -> None:
            self.calls.append("batch")

        def after_loss(self, state: Any) -> None:
            self.calls.append("loss")

        def after_step(self, state: Any) -> None:
            self.calls.append("step")

        def after_batch(self, state: Any) -> None:
            self.shapes.append((len(state.inputs[0]), len(state.targets), len(state.preds)))
            expected = nn.functional.cross_entropy(state.preds, state.targets)
            torch.testing.assert_close(state.loss, expected)

    counts = Counts()
    learner(4, sizes=[8]).fit(1, callbacks=[MicroBatches(4), counts])
    assert counts.calls == ["batch", "loss", "loss", "step"]
    assert counts.shapes == [(8, 8, 8)]


def test_parts_drop_out_different_things() -> None:
    class Same(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.drop, self.kept = nn.Dropout(0.5), list[Tensor]()

        def forward(self, x: Tensor) -> Tensor:
            if self.training:
                self.kept.append(self.drop(torch.ones(64)))
            return x

    watch = Same()
    learner(8, lambda: (watch, nn.Linear(3, 2)), sizes=[8]).fit(1, callbacks=MicroBatches(4))
    first, second = watch.kept
    assert not torch.equal(first, second)


def test_one_item_that_does_not_fit_is_an_error() -> None:
    with pytest.warns(LearnkitWarning, match="micro-batches of"), pytest.raises(OutOfMemoryError, match="MicroBatches"):
        learner(0).fit(1, callbacks=MicroBatches())


def test_other_errors_are_raised() -> None:
    class Broken(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            if x.device.type == "meta":
                return super().forward(x)
            raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match=r"^mine\nThe model's input, batch 0 of the training loader: "):
        learner(8, lambda: (Broken(3, 2),)).fit(1, callbacks=MicroBatches())


def test_batch_norm_accumulation_and_mixing_are_refused() -> None:
    def normed() -> Layers:
        return nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Linear(8, 2)

    with pytest.raises(UsageError, match="batch norm in training mode, which would normalize each part separately"):
        learner(8, normed).fit(1, callbacks=MicroBatches())
    frozen = learner(8, normed)
    frozen.model[1].requires_grad_(False)
    frozen.train_bn = False
    frozen.fit(1, callbacks=[BnFreeze(), MicroBatches(4)])
    for other in (GradientAccumulation(16), MixUp()):
        with pytest.raises(UsageError, match="MicroBatches"):
            learner(8).fit(1, callbacks=[MicroBatches(), other])


def test_half_precision_and_lr_find() -> None:
    learn = learner(4)
    learn.fit(2, callbacks=[MixedPrecision("bf16"), MicroBatches(4)])
    assert torch.isfinite(weights(learn)).all()
    learn.add_cb(MicroBatches(4))
    learn.model.seen.clear()
    learn.lr_find(num_it=6)
    assert max(learn.model.seen) == 4


@pytest.mark.filterwarnings("ignore:a batch of")
def test_inputs_and_targets_of_any_form_are_split() -> None:
    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 1)

        def forward(self, x: dict[str, Any], scale: float) -> Tensor:
            assert len(x["names"]) == len(x["a"]) <= 4
            return self.layer(x["a"]) * scale

    def loss(preds: Tensor, targets: tuple[Tensor, list[str]]) -> Tensor:
        values, names = targets
        assert len(names) == len(values)
        return nn.functional.mse_loss(preds, values)

    x, y = torch.randn(8, 3), torch.randn(8, 1)
    names = [f"item {i}" for i in range(8)]
    data = [({"a": x, "names": names}, 2.0, (y, names))]
    learn = Learner(DataBunch.from_loaders(data, None, device="cpu"), Pair(), loss_func=loss, seed=0)
    learn.fit(1, callbacks=MicroBatches(4))
    assert len(learn.recorder.losses) == 1


def test_an_invalid_size_is_refused() -> None:
    for size in (0, -1, 2.5, True):
        with refused("size", got=size):
            MicroBatches(size)  # type: ignore[arg-type]
