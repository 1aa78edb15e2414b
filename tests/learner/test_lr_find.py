"""lr_find leaves no trace but its curve, whatever happens inside."""

import copy
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from learnkit import Callback, DataBunch, Learner
from learnkit.callbacks import EarlyStopping, MixedPrecision, SaveModel
from learnkit.device import Compute
from learnkit.errors import UsageError


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 2))


def learner(blobs: tuple[Tensor, ...], **options: Any) -> Learner:
    return Learner(DataBunch.from_tensors(*blobs, bs=10), network(), metrics="accuracy", seed=5, **options)


def bits(learn: Learner) -> list[Tensor]:
    assert learn.opt is not None
    moments = [value for state in learn.opt.state.values() for value in state.values() if isinstance(value, Tensor)]
    return [*learn.model.state_dict().values(), *moments]


def assert_same(first: list[Tensor], second: list[Tensor]) -> None:
    assert len(first) == len(second)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize(
    "options", [{}, {"callbacks": MixedPrecision("bf16")}, {"callbacks": EarlyStopping("accuracy")}]
)
def test_a_fit_after_lr_find_has_the_same_bits(options: dict[str, Any], blobs: tuple[Tensor, ...]) -> None:
    plain, found = learner(blobs, **copy.deepcopy(options)), learner(blobs, **options)
    found.lr_find()
    plain.fit(3, 1e-2)
    found.fit(3, 1e-2)
    assert_same(bits(plain), bits(found))
    columns = ["epoch", "train_loss", "valid_loss", "accuracy"]
    assert plain.history[columns].equals(found.history[columns])
    assert plain.recorder.losses == found.recorder.losses


def test_lr_find_between_two_fits_changes_nothing(blobs: tuple[Tensor, ...]) -> None:
    plain, found = learner(blobs), learner(blobs)
    plain.fit(1, 1e-2)
    found.fit(1, 1e-2)
    found.lr_find()
    assert_same(bits(plain), bits(found))
    plain.fit(2, 1e-2)
    found.fit(2, 1e-2)
    assert_same(bits(plain), bits(found))


def test_global_generators_modes_and_files_do_not_change(blobs: tuple[Tensor, ...], tmp_path: Path) -> None:
    learn = learner(blobs, callbacks=SaveModel())
    learn.model[3].eval()  # type: ignore[index, operator]
    torch.manual_seed(1)
    random.seed(1)
    np.random.seed(1)
    before = (torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy())  # type: ignore[index, union-attr]
    learn.lr_find()
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == random.getstate()
    assert (before[2] == np.random.get_state()[1]).all()  # type: ignore[index]
    assert [m.training for m in learn.model] == [True, True, True, False, True]  # type: ignore[union-attr]
    assert all(p.grad is None for p in learn.model.parameters())
    assert not (learn.path / "models").exists()
    assert learn.opt is None
    assert learn.history.empty
    assert learn.recorder.losses == []


def test_the_loaders_own_generator_is_restored(blobs: tuple[Tensor, ...]) -> None:
    x, y, xv, yv = blobs
    own = torch.Generator().manual_seed(0)
    train = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), 8, shuffle=True, generator=own)
    valid = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(xv, yv), 8)
    learn = Learner(DataBunch.from_loaders(train, valid), network(), loss_func=nn.CrossEntropyLoss(), seed=0)
    before = own.get_state()
    learn.lr_find(num_it=20)
    assert torch.equal(before, own.get_state())


def test_user_callbacks_do_not_run(blobs: tuple[Tensor, ...]) -> None:
    class Counter(Callback):
        n = 0

        def before_fit(self, state: Any) -> None:
            Counter.n += 1

    learn = learner(blobs, callbacks=Counter())
    learn.lr_find(num_it=10)
    assert Counter.n == 0


def test_it_takes_num_it_steps_and_no_validation(blobs: tuple[Tensor, ...]) -> None:
    calls = {"train": 0, "eval": 0}
    learn = learner(blobs)
    learn.model.register_forward_pre_hook(
        lambda m, x: calls.__setitem__("train" if m.training else "eval", calls["train"] + 1)
    )
    learn.lr_find(num_it=25, stop_div=False, end_lr=1e-3)
    assert calls == {"train": 25, "eval": 0}
    curve = learn.recorder.lr_curve
    assert curve is not None
    assert len(curve.lrs) == len(curve.losses) == 25
    assert curve.lrs[0] == pytest.approx(1e-7)
    assert curve.lrs[-1] == pytest.approx(1e-7 * (1e-3 / 1e-7) ** (24 / 25))


def test_a_loader_of_three_batches_is_repeated(blobs: tuple[Tensor, ...]) -> None:
    x, y, xv, yv = blobs
    learn = Learner(DataBunch.from_tensors(x[:30], y[:30], xv, yv, bs=10), network(), seed=0)
    learn.lr_find(num_it=40, end_lr=1e-2)
    assert learn.recorder.lr_curve is not None
    assert len(learn.recorder.lr_curve.lrs) == 40


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupt_or_an_error_has_no_side_effects(error: type[BaseException], blobs: tuple[Tensor, ...]) -> None:
    plain, broken = learner(blobs), learner(blobs)
    calls = 0

    def fail(module: nn.Module, x: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 12:
            raise error("stop")

    hook = broken.model.register_forward_pre_hook(fail)
    with pytest.raises(error):
        broken.lr_find()
    hook.remove()
    plain.fit(2, 1e-2)
    broken.fit(2, 1e-2)
    assert_same(bits(plain), bits(broken))


def test_a_loss_that_becomes_nan_ends_the_run_and_leaves_finite_weights(blobs: tuple[Tensor, ...]) -> None:
    x, y, xv, yv = blobs
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 8), nn.Linear(8, 2))
    start = copy.deepcopy(model)
    learn = Learner(DataBunch.from_tensors(x * 1e10, y, xv, yv, bs=8), model, opt_func="sgd", wd=0.01, seed=0)
    learn.lr_find(start_lr=1e-20, end_lr=1e10, num_it=60, stop_div=False)
    assert learn.recorder.lr_curve is not None
    assert len(learn.recorder.lr_curve.lrs) < 60
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), start.parameters(), strict=True))


def test_the_suggestion_is_within_a_decade_of_the_best_rate() -> None:
    numbers = torch.Generator().manual_seed(0)
    x, w = torch.randn(600, 10, generator=numbers), torch.randn(10, generator=numbers)
    y = ((x @ w + 2 * torch.sin(3 * x[:, 0]) + torch.randn(600, generator=numbers)) > 0).long()

    def fresh(seed: int) -> Learner:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 2))
        return Learner(DataBunch.from_tensors(x[:500], y[:500], x[500:], y[500:], bs=20), model, seed=seed)

    def final_loss(rate: float) -> float:
        learn = fresh(0)
        learn.fit(3, rate)
        return float(learn.history["valid_loss"].iloc[-1])

    best = min([1e-4, 1e-3, 1e-2, 1e-1, 1.0], key=final_loss)
    valleys = [fresh(seed).lr_find().valley for seed in range(10)]
    assert all(best / 10 <= valley <= best * 10 for valley in valleys), (best, valleys)


def test_failures_are_explained_there_too(blobs: tuple[Tensor, ...]) -> None:
    dls = DataBunch.from_tensors(*blobs, bs=1, device="cpu")
    model = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    with pytest.raises(UsageError, match="batch norm cannot train on a batch of one item"):
        Learner(dls, model).lr_find()
    with pytest.raises(TypeError, match=r"loss_func: got 1\.0, expected a loss that is a tensor"):
        Learner(dls, nn.Linear(2, 2), loss_func=lambda preds, targets: 1.0).lr_find()
    with pytest.raises(TypeError, match="loss_func: got None"):
        Learner(dls, nn.Linear(2, 2), loss_func=lambda preds, targets: None).validate()


def test_only_training_needs_trainable_parameters(blobs: tuple[Tensor, ...]) -> None:
    learn = Learner(DataBunch.from_tensors(*blobs, device="cpu"), nn.Linear(2, 2).requires_grad_(False))
    with pytest.raises(UsageError, match="the model has no trainable parameters"):
        learn.lr_find()
    assert len(learn.validate()) == 1


def test_the_loss_is_read_once_per_batch(blobs: tuple[Tensor, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """A read waits for the device; on the CPU it is the loop that reads."""
    read, item = [], Tensor.item

    def counted(tensor: Tensor) -> Any:
        read.append(tensor)
        return item(tensor)

    def reads(num_it: int) -> int:
        learn = learner(blobs, opt_func="sgd")
        read.clear()
        learn.lr_find(num_it=num_it, end_lr=1e-3, stop_div=False)
        return len(read)

    monkeypatch.setattr(Tensor, "item", counted)
    assert reads(30) - reads(10) == 20
    monkeypatch.setattr(Compute, "sync_is_free", property(lambda self: False))
    assert reads(30) - reads(10) == 20
