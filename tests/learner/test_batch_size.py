"""bs="auto": the largest batch that fits is found, and nothing of the search is left."""

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from learnkit import DataBunch, Learner
from learnkit.callbacks import MicroBatches, MixedPrecision, Progress
from learnkit.errors import OutOfMemoryError
from learnkit.learner import batch_size
from tests.distributed.launching import run
from tests.doubles import acting, raising


class Narrow(nn.Sequential):
    """Has memory for `room` items in training."""

    def __init__(self, room: int, *layers: nn.Module) -> None:
        super().__init__(*layers)
        self.room, self.seen, self.look = room, list[int](), list[Callable[[], object]]()

    def forward(self, x: Tensor) -> Tensor:
        if self.training and x.device.type != "meta":
            self.seen.append(len(x))
            for look in self.look:
                look()
            if len(x) > self.room:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return super().forward(x)


def plain() -> tuple[nn.Module, ...]:
    return nn.Linear(2, 8), nn.Dropout(0.5), nn.Linear(8, 2)


def normed() -> tuple[nn.Module, ...]:
    return nn.Linear(2, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 2)


def learner(
    room: int, *, n: int = 2000, bs: Any = "auto", layers: Callable[[], Any] = plain, **options: Any
) -> Learner:
    numbers = torch.Generator().manual_seed(1)
    x = torch.randn(n, 2, generator=numbers)
    y = (x.sum(1) > 0).long()
    torch.manual_seed(0)
    dls = DataBunch.from_tensors(x, y, x[:50], y[:50], bs=bs, device="cpu")
    quiet = {"seed": 0, "metrics": "accuracy", "callbacks": Progress("off")}
    return Learner(dls, Narrow(room, *layers()), **{**quiet, **options})


@pytest.fixture
def accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    """The device says when it runs out of memory, as an accelerator does."""
    monkeypatch.setattr(batch_size, "is_an_error", lambda device: True)


def everything(learn: Learner) -> list[Any]:
    """What a search might change."""
    tensors = {name: tensor.tolist() for name, tensor in learn.model.state_dict().items()}
    trained = [(p.requires_grad, p.grad) for p in learn.model.parameters()]
    generators = torch.get_rng_state().tolist(), random.getstate(), str(np.random.get_state())
    modes = [module.training for module in learn.model.modules()]
    return [tensors, trained, modes, *generators, learn.opt, learn.epoch, len(learn.history), learn.recorder.losses]


@pytest.mark.usefixtures("accelerator")
@pytest.mark.parametrize(
    ("room", "n", "found"),
    [(40, 2000, 32), (36, 2000, 32), (35, 2000, 16), (9, 2000, 8), (3, 2000, 2), (1, 2000, 1), (9999, 2000, 64),
     (9999, 2560, 128), (9999, 50, 32), (9999, 3, 2)],
)  # fmt: skip
def test_the_largest_power_of_two_is_found_that_leaves_room_for_an_eighth_more(room: int, n: int, found: int) -> None:
    learn = learner(room, n=n)
    learn.lr_find(num_it=6)
    assert (learn.dls.batch_size, learn.dls.batch_size_is) == (found, "found")
    assert learn.dls.valid_dl.batch_size == found


@pytest.mark.usefixtures("accelerator")
@pytest.mark.parametrize("layers", [plain, normed])
def test_the_fit_is_that_of_the_same_size_given(layers: Callable[[], Any]) -> None:
    auto, given = learner(20, layers=layers), learner(20, bs=16, layers=layers)
    for learn in (auto, given):
        learn.fit(2, 1e-2)
    assert auto.dls.batch_size == 16
    for own, other in zip(auto.model.state_dict().values(), given.model.state_dict().values(), strict=True):
        assert torch.equal(own, other)
    assert auto.recorder.losses == given.recorder.losses
    columns = ["train_loss", "valid_loss", "accuracy"]
    assert auto.history[columns].equals(given.history[columns])


@pytest.mark.usefixtures("accelerator")
def test_nothing_is_left_of_the_search() -> None:
    learn = learner(20, layers=normed, groups=lambda model: (model[2],))
    learn.freeze()
    learn.model[0].eval()
    before = everything(learn)
    learn._check_ready({})
    assert learn.dls.batch_size_is == "found"
    assert everything(learn) == before
    assert (learn.dls.train_dl.order.epoch, learn.dls.train_dl.order.next_epoch) == (-1, 0)


@pytest.mark.usefixtures("accelerator")
def test_every_layer_group_trains_in_the_search_and_the_optimizer_steps() -> None:
    steps, wanted = list[int](), list[bool]()
    counts = acting(after_step=lambda state: steps.append(len(state.optimizer.state)))
    counts.in_lr_find = True  # type: ignore[misc]
    learn = learner(9999, n=100, groups=lambda model: (model[2],), callbacks=counts)
    learn.freeze()
    learn.model.look.append(lambda: wanted.extend(p.requires_grad for p in learn.model.parameters()))
    learn._check_ready({})
    assert all(wanted)
    assert steps == [4] * 2 * 6  # with the state of every parameter, for each of 2, 4, 8, 16, 32, 64
    assert learn.model.seen == [n for size in (3, 5, 9, 18, 36, 72) for n in (size, size)]
    assert [parameter.requires_grad for parameter in learn.model.parameters()] == [False, False, True, True]


@pytest.mark.usefixtures("accelerator")
def test_the_search_has_the_precision_of_the_fit_and_no_micro_batches() -> None:
    learn = learner(20)
    in_half = list[bool]()
    learn.model.look.append(lambda: in_half.append(torch.is_autocast_enabled("cpu")))
    learn.fit(1, callbacks=[MixedPrecision("bf16"), MicroBatches()])
    assert learn.dls.batch_size == 16
    assert all(in_half)


@pytest.mark.usefixtures("accelerator")
def test_it_is_found_once_and_said_once(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    learn = learner(20)
    learn.lr_find(num_it=6)
    assert capsys.readouterr().err == "bs='auto': batches of 16 items\n"
    learn.model.seen.clear()
    learn.fit(1)
    assert learn.model.seen == [16] * 125
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("LEARNKIT_PROGRESS", "off")
    learner(20).fit(1)
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("accelerator")
def test_the_head_alone_is_trained_with_the_size_that_everything_fits_in() -> None:
    learn = learner(20, groups=lambda model: (model[2],))
    learn.fit_head(1)
    assert learn.dls.batch_size == 16
    assert len(learn.recorder.losses) == 125


@pytest.mark.usefixtures("accelerator")
def test_a_size_set_by_the_user_ends_the_search() -> None:
    learn = learner(20)
    learn.dls.batch_size = 10
    learn.fit(1)
    assert set(learn.model.seen) == {10}


@pytest.mark.usefixtures("accelerator")
@pytest.mark.parametrize(("layers", "room"), [(plain, 0), (normed, 1)])
def test_a_model_that_no_batch_fits_is_an_error_and_nothing_changes(layers: Callable[[], Any], room: int) -> None:
    learn = learner(room, layers=layers)
    before = everything(learn)
    with pytest.raises(OutOfMemoryError, match=f"a batch of {room + 1} items of shape .* does not fit"):
        learn.fit(1)
    assert everything(learn) == before
    assert (learn.dls.batch_size_is, learn.dls.batch_size) == ("due", 64)
    learn.model.room = 9
    learn.fit(1)
    assert learn.dls.batch_size == 8


@pytest.mark.usefixtures("accelerator")
def test_batch_norm_never_gets_a_single_item() -> None:
    learn = learner(2, layers=normed)
    learn.lr_find(num_it=6)
    assert learn.dls.batch_size == 2
    assert min(learn.model.seen) == 2


@pytest.mark.usefixtures("accelerator")
@pytest.mark.parametrize("size", [1, 9])
def test_another_error_comes_out_as_it_is(size: int) -> None:
    learn = learner(9999)

    def fail() -> None:
        if learn.model.seen[-1] >= size:
            raise RuntimeError("mine")

    learn.model.look.append(fail)
    before = everything(learn)
    with pytest.raises(RuntimeError, match=r"^mine\nThe model's input, batch 0 of the training loader: "):
        learn.fit(1)
    assert everything(learn) == before
    assert learn.dls.batch_size_is == "due"


@pytest.mark.usefixtures("accelerator")
@pytest.mark.parametrize("finds_rate_before", [False, True])
def test_a_resumed_fit_takes_the_size_of_its_checkpoint(finds_rate_before: bool) -> None:
    whole, first, again = learner(20), learner(20), learner(9999)
    whole.fit(2, 1e-2)
    crash = acting(before_batch=raising(ZeroDivisionError(), epoch=1, batch=3), order=99)
    with pytest.raises(ZeroDivisionError):
        first.fit(2, 1e-2, callbacks=crash, checkpoint_every=1)
    if finds_rate_before:
        again.lr_find(num_it=6)
        assert again.dls.batch_size == 64
    again.model.seen.clear()
    again.fit(2, 1e-2, resume="auto")
    assert set(again.model.seen) == {16}
    assert torch.equal(again.model[0].weight, whole.model[0].weight)


@pytest.mark.usefixtures("accelerator")
def test_without_a_checkpoint_to_go_on_from_it_is_found() -> None:
    learn = learner(20)
    learn.fit(1, resume="auto")
    assert learn.dls.batch_size == 16


@pytest.mark.usefixtures("accelerator")
def test_the_batch_may_be_any_structure() -> None:
    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.seen = nn.Linear(2, 2), list[int]()

        def forward(self, x: Tensor, scale: Tensor) -> Tensor:
            assert len(x) == len(scale)
            self.seen.append(len(x))
            return self.layer(x) * scale

    items = [{"x": torch.ones(2), "scale": torch.ones(1), "y": i % 2} for i in range(10)]
    dls = DataBunch.from_datasets(items, bs="auto", inputs=["x", "scale"], target="y", device="cpu")
    learn = Learner(dls, Pair(), loss_func=nn.CrossEntropyLoss())
    learn._check_ready({})
    assert learn.dls.batch_size == 8
    assert learn.model.seen == [3, 3, 5, 5, 9, 9]


def test_on_the_cpu_small_batches_are_measured_and_half_of_the_memory_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    width = 1000
    # Kept of an item: its 2 numbers, the hidden layer, 2 log-probabilities and its class; twice that is reckoned with.
    each = 2 * (2 * 4 + width * 4 + 2 * 4 + 8)
    weights = 3 * 4 * (2 * width + width + 2 * width + 2)

    def found(free: float) -> tuple[int | None, list[int]]:
        monkeypatch.setattr(batch_size, "free_memory", lambda: int(free))
        learn = learner(9999, layers=lambda: (nn.Linear(2, width), nn.Tanh(), nn.Linear(width, 2)), n=10_000)
        before = everything(learn)
        learn._check_ready({})
        assert everything(learn) == before
        return learn.dls.batch_size, learn.model.seen

    assert found(1e12) == (256, [2, 4])  # a twentieth of 10,000 items
    assert found(2 * (weights + 64.5 * each))[0] == 64
    assert found(2 * (weights + 63.5 * each))[0] == 32
    assert found(1000)[0] == 1


def test_where_the_free_memory_is_not_known_the_default_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_size, "free_memory", lambda: 1 << 62)
    learn = learner(9999)
    learn.fit(1)
    assert (learn.dls.batch_size, learn.dls.batch_size_is) == (64, "found")


TWO_PROCESSES = """
import torch
from torch import nn
from learnkit import DataBunch, Learner
from learnkit.distributed import world
from learnkit.errors import LearnkitError
from learnkit.learner import batch_size

batch_size.is_an_error = lambda device: True

class Narrow(nn.Linear):
    room, fails = 40, False

    def forward(self, x):
        if self.training and x.device.type != "meta":
            assert not self.fails or not world._rank, "mine"
            if len(x) > self.room:
                raise torch.OutOfMemoryError("CUDA out of memory.")
        return super().forward(x)

def learner():
    x = torch.randn(2000, 2, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0] > 0).long()
    return Learner(DataBunch.from_tensors(x, y, x[:40], y[:40], bs="auto", device="cpu"), Narrow(2, 2), seed=0)

learn = learner()
learn.model.room = 20 if world.rank else 40
learn.fit(1, 1e-2)
assert learn.dls.batch_size == 2 * 16, learn.dls.batch_size
assert len(learn.recorder.losses) == 2000 // 32
alone = learner()
alone.model.fails = True
try:
    alone.fit(1)
except (AssertionError, LearnkitError) as error:
    assert "mine" in str(error), error
else:
    raise SystemExit("one process failed, and nobody noticed")
"""


@pytest.mark.slow
def test_two_processes_take_what_fits_in_both_and_hear_of_an_error() -> None:
    run(2, "-c", TWO_PROCESSES, timeout=120)
