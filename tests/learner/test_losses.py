"""A loss is a contract: whatever it divides by, the loss and the step of a set are those of torch on the whole set."""

import copy
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from learnkit import Callback, DataBunch, Learner, Regression
from learnkit.callbacks import CutMix, GradientAccumulation, MicroBatches, MixUp
from learnkit.callbacks.mixing import mixed_loss
from learnkit.errors import NonFiniteLossError, UsageError
from learnkit.losses import (
    BCEWithLogitsLossFlat,
    CrossEntropyLossFlat,
    DiceBCELoss,
    DiceLoss,
    FocalLoss,
    IoULoss,
    L1LossFlat,
    MSELossFlat,
)
from tests.doubles import acting, refused

N = 20
WEIGHT = torch.tensor([1.0, 5.0, 20.0])


class Set(NamedTuple):
    """Inputs of 20 items, and their targets."""

    x: Tensor
    y: Tensor


def numbers() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def classes() -> Set:
    return Set(torch.randn(N, 3, generator=numbers()), torch.randint(3, (N,), generator=numbers()))


def some_ignored(index: int) -> Set:
    x, y = classes()
    y[::3] = index
    y[7:14] = index  # the whole second batch of 7
    return Set(x, y)


def soft() -> Set:
    x, y = classes()
    return Set(x, F.one_hot(y, 3) * 0.8 + 0.2 / 3)


def labels() -> Set:
    x, _ = classes()
    return Set(x, (torch.rand(N, 3, generator=numbers()) > 0.5).float())


def masks(index: int | None = None) -> Set:
    y = torch.randint(3, (N, 2, 4), generator=numbers())
    if index is not None:
        y[torch.rand(y.shape, generator=numbers()) > 0.7] = index
        y[7:14] = index
    return Set(torch.randn(N, 3, 2, 4, generator=numbers()), y)


class LogSoftmax(nn.Module):
    """Ends a network for `NLLLoss`."""

    def __init__(self, loss: Any) -> None:
        super().__init__()
        self.loss = loss
        self.ignore_index, self.reduction, self.divisor = loss.ignore_index, loss.reduction, self.weigh

    def weigh(self, targets: Tensor) -> Tensor:
        return WEIGHT[targets].sum()

    def forward(self, preds: Tensor, targets: Tensor) -> Tensor:
        return self.loss(preds.log_softmax(1), targets)  # type: ignore[no-any-return]


def added_up(preds: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(preds, targets, reduction="sum")


added_up.reduction = "sum"  # type: ignore[attr-defined]

LOSSES: dict[str, tuple[Any, Callable[[], Set]]] = {
    "cross entropy": (nn.CrossEntropyLoss(), classes),
    "weights": (nn.CrossEntropyLoss(weight=WEIGHT), classes),
    "ignore_index": (nn.CrossEntropyLoss(ignore_index=1), classes),
    "ignored by default": (nn.CrossEntropyLoss(), lambda: some_ignored(-100)),
    "weights, ignore_index, smoothing": (
        nn.CrossEntropyLoss(weight=WEIGHT, ignore_index=255, label_smoothing=0.1), lambda: some_ignored(255),
    ),
    "soft targets with weights": (nn.CrossEntropyLoss(weight=WEIGHT, label_smoothing=0.1), soft),
    "masks": (nn.CrossEntropyLoss(weight=WEIGHT, ignore_index=255), lambda: masks(255)),
    "summed": (nn.CrossEntropyLoss(weight=WEIGHT, ignore_index=255, reduction="sum"), lambda: some_ignored(255)),
    "negative log likelihood": (nn.NLLLoss(weight=WEIGHT, ignore_index=2), classes),
    "a loss that says what it divides by": (LogSoftmax(nn.NLLLoss(weight=WEIGHT)), classes),
    "labels": (nn.BCEWithLogitsLoss(pos_weight=WEIGHT), labels),
    "weighted labels": (nn.BCEWithLogitsLoss(weight=WEIGHT, pos_weight=WEIGHT), labels),
    "summed labels": (nn.BCEWithLogitsLoss(reduction="sum"), labels),
    "multi-margin": (nn.MultiMarginLoss(weight=WEIGHT), classes),
    "divergence of batches": (nn.KLDivLoss(reduction="batchmean"), soft),
    "function": (F.cross_entropy, lambda: some_ignored(-100)),
    "partial": (functools.partial(F.cross_entropy, weight=WEIGHT, ignore_index=0), classes),
    "partial of a partial": (
        functools.partial(functools.partial(F.cross_entropy, ignore_index=0), label_smoothing=0.2), classes,
    ),
    "summed partial": (functools.partial(F.nll_loss, weight=WEIGHT, reduction="sum"), classes),
    "a function that says it is a sum": (added_up, classes),
    "a function of one's own": (lambda preds, targets: (preds - targets).square().mean(), labels),
    "flat": (CrossEntropyLossFlat(weight=WEIGHT, ignore_index=255), lambda: masks(255)),
    "flat labels": (BCEWithLogitsLossFlat(pos_weight=WEIGHT), labels),
    "flat numbers": (MSELossFlat(), labels),
    "flat sums": (L1LossFlat(reduction="sum"), labels),
    "focal": (FocalLoss(alpha=WEIGHT), classes),
    "focal with some ignored": (FocalLoss(alpha=WEIGHT, ignore_index=255), lambda: some_ignored(255)),
    "focal masks": (FocalLoss(ignore_index=255), lambda: masks(255)),
    "focal sums": (FocalLoss(reduction="sum"), classes),
    "dice": (DiceLoss(ignore_index=255), lambda: masks(255)),
    "dice and cross entropy": (DiceBCELoss(), masks),
    "overlap": (IoULoss(reduction="sum"), masks),
}  # fmt: skip
of_every_loss = pytest.mark.parametrize(("loss_func", "data"), LOSSES.values(), ids=LOSSES)


class Scale(nn.Module):
    """One weight per class, by which the inputs are multiplied: a network for inputs of any shape."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([0.5, 1.0, 2.0]))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight.view(3, *[1] * (x.ndim - 2))


def learner(loss_func: Any, data: Set, bs: int, **options: Any) -> Learner:
    batches = list(zip(data.x.split(bs), data.y.split(bs), strict=True))
    dls = DataBunch.from_loaders(batches, batches, device="cpu")
    return Learner(dls, Scale(), loss_func=loss_func, opt_func="sgd", wd=0, seed=0, **options)


def step_of(learn: Learner, *callbacks: Callback) -> Tensor:
    """How far one epoch at rate 1 moves the weights: minus the sum of the gradients."""
    before = learn.model.weight.detach().clone()  # type: ignore[operator, union-attr]
    learn.fit(1, 1.0, callbacks=callbacks)
    return (before - learn.model.weight.detach()).detach()  # type: ignore[operator, union-attr]


def of_the_whole_set(loss_func: Any, data: Set) -> tuple[Tensor, Tensor]:
    """The loss of the whole set as one batch, by torch alone, and its gradient."""
    model = Scale()
    loss = loss_func(model(data.x), data.y)
    loss.backward()
    assert model.weight.grad is not None
    return loss.detach(), model.weight.grad


@of_every_loss
@pytest.mark.parametrize("bs", [1, 7, N])
def test_the_validation_loss_is_that_of_the_whole_set(loss_func: Any, data: Callable[[], Set], bs: int) -> None:
    expected, _ = of_the_whole_set(loss_func, data())
    assert learner(loss_func, data(), bs).validate()[0] == pytest.approx(expected.item(), rel=1e-5)


@of_every_loss
@pytest.mark.parametrize("bs", [1, 7])
def test_accumulated_batches_take_the_step_of_the_whole_set(loss_func: Any, data: Callable[[], Set], bs: int) -> None:
    _, gradient = of_the_whole_set(loss_func, data())
    for n_items in (N, 1000):
        step = step_of(learner(loss_func, data(), bs), GradientAccumulation(n_items))
        torch.testing.assert_close(step, gradient, rtol=1e-4, atol=1e-5)


@of_every_loss
def test_where_reading_waits_for_the_device_too(
    loss_func: Any, data: Callable[[], Set], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("learnkit.device.Compute.sync_is_free", property(lambda self: False))
    loss, gradient = of_the_whole_set(loss_func, data())
    learn = learner(loss_func, data(), 7)
    torch.testing.assert_close(step_of(learn, GradientAccumulation(N)), gradient, rtol=1e-4, atol=1e-5)
    learn = learner(loss_func, data(), N)
    torch.testing.assert_close(step_of(learn, MicroBatches(7)), gradient, rtol=1e-4, atol=1e-5)
    assert learn.recorder.losses == [pytest.approx(loss.item(), rel=1e-5)]


@of_every_loss
@pytest.mark.parametrize("size", [1, 7])
def test_parts_of_a_batch_take_its_step_and_have_its_loss(loss_func: Any, data: Callable[[], Set], size: int) -> None:
    loss, gradient = of_the_whole_set(loss_func, data())
    learn = learner(loss_func, data(), N)
    torch.testing.assert_close(step_of(learn, MicroBatches(size)), gradient, rtol=1e-4, atol=1e-5)
    assert learn.recorder.losses == [pytest.approx(loss.item(), rel=1e-5)]


@of_every_loss
@pytest.mark.parametrize("shares", [torch.ones(N), torch.tensor(1.0)])
@pytest.mark.filterwarnings("ignore:.*once per item")
def test_where_nothing_is_mixed_the_mixed_loss_is_the_loss(
    loss_func: Any, data: Callable[[], Set], shares: Tensor
) -> None:
    preds, targets = data()
    mixed = mixed_loss(loss_func, preds, targets, targets.roll(1, 0), shares)
    torch.testing.assert_close(mixed, loss_func(preds, targets))


@of_every_loss
@pytest.mark.filterwarnings("ignore:.*once per item")
def test_equal_shares_mix_the_losses_of_both_targets(loss_func: Any, data: Callable[[], Set]) -> None:
    preds, targets = data()
    order = torch.arange(N).roll(1)
    mixed = mixed_loss(loss_func, preds, targets, targets[order], torch.full((N,), 0.75))
    expected = 0.75 * loss_func(preds, targets) + 0.25 * loss_func(preds, targets[order])
    torch.testing.assert_close(mixed, expected, rtol=1e-4, atol=1e-5)


# Targets that do not count


@pytest.mark.parametrize("sync_is_free", [True, False])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_batch_in_which_no_target_counts_changes_nothing(
    smoothing: float, sync_is_free: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("learnkit.device.Compute.sync_is_free", property(lambda self: sync_is_free))
    data = some_ignored(255)
    learn = learner(nn.CrossEntropyLoss(ignore_index=255, label_smoothing=smoothing), data, 7)
    steps: list[Tensor] = []
    watch = acting(after_step=lambda state: steps.append(state.model.weight.detach().clone()))
    learn.fit(1, 0.1, callbacks=watch)
    assert torch.equal(steps[0], steps[1])
    assert not torch.equal(steps[1], steps[2])
    assert learn.recorder.losses[1] == 0
    assert all(torch.tensor(learn.recorder.losses).isfinite())


def test_a_loss_that_is_nan_for_another_reason_still_stops_the_fit() -> None:
    x, y = some_ignored(255)
    x[0] = torch.nan
    with pytest.raises(NonFiniteLossError):
        learner(nn.CrossEntropyLoss(ignore_index=255), Set(x, y), 7).fit(1, 0.1)


@pytest.mark.filterwarnings("ignore:the validation loss")
def test_a_set_in_which_no_target_counts_has_no_loss() -> None:
    x, y = classes()
    loss = learner(nn.CrossEntropyLoss(ignore_index=0), Set(x, torch.zeros_like(y)), 7).validate()[0]
    assert torch.tensor(loss).isnan()


# Losses that cannot work


@pytest.mark.parametrize("call", [lambda learn: learn.fit(1, 0.1), lambda learn: learn.validate()])
@pytest.mark.parametrize("loss_func", [nn.CrossEntropyLoss(reduction="none"), lambda p, t: p.square().mean(1)])
def test_a_loss_per_item_is_refused(loss_func: Any, call: Callable[[Learner], Any]) -> None:
    with refused("loss_func", got=(7,), expected="a tensor of shape (), the mean over the batch"):
        call(learner(loss_func, classes(), 7))


def test_a_loss_without_a_gradient_is_refused() -> None:
    learn = learner(lambda p, t: (p.argmax(1) != t).float().mean(), classes(), 7)
    with pytest.raises(UsageError, match="does not depend on the parameters that are trained"):
        learn.fit(1, 0.1)
    assert learn.validate()[0] > 0  # where no gradient is needed


def own_by_torch(preds: Tensor, targets: Tensor) -> Tensor:
    return F.l1_loss(preds.sigmoid(), targets)


def own_by_hand(preds: Tensor, targets: Tensor) -> Tensor:
    return (targets - preds).abs().mean()


TORCHS: dict[str, Any] = {
    "mse": nn.MSELoss(),
    "l1": nn.L1Loss(),
    "smooth l1": nn.SmoothL1Loss(),
    "huber": nn.HuberLoss(),
    "bce": nn.BCEWithLogitsLoss(),
    "poisson": nn.PoissonNLLLoss(),
    "function": F.mse_loss,
    "partial": functools.partial(F.huber_loss, delta=2.0),
}
CASES = [(loss, call) for loss in TORCHS.values() for call in ("fit", "validate", "get_preds", "lr_find")]
CASES += [(loss, call) for loss in (own_by_torch, own_by_hand) for call in ("fit", "validate", "lr_find")]


@pytest.mark.parametrize(("loss_func", "call"), CASES)
def test_a_column_of_outputs_against_plain_targets_is_refused(
    loss_func: Any, call: str, blobs: tuple[Tensor, ...]
) -> None:
    x, y = blobs[0], blobs[0].sum(1).sigmoid()
    dls = DataBunch.from_tensors(x, y, x, y, bs=16, task=Regression(("y",)))
    learn = Learner(dls, nn.Linear(2, 1), loss_func=loss_func, seed=0)
    calls: dict[str, Callable[[], Any]] = {
        "fit": lambda: learn.fit(1),
        "validate": learn.validate,
        "get_preds": lambda: learn.get_preds(with_loss=True),
        "lr_find": lambda: learn.lr_find(num_it=10),
    }
    with pytest.raises(UsageError, match=r"outputs \(.*1\) and targets \(.*,\) would be broadcast"):
        calls[call]()


def test_what_the_error_advises_works(blobs: tuple[Tensor, ...]) -> None:
    x, y = blobs[0], blobs[0].sum(1)
    dls = DataBunch.from_tensors(x, y, x, y, bs=16, task=Regression(("y",)))
    torch.manual_seed(0)
    net = nn.Linear(2, 1)
    expected = Learner(dls, net, seed=0).validate()[0]

    def as_outputs(outputs: Tensor, targets: Tensor) -> Tensor:
        return F.mse_loss(outputs, targets.view_as(outputs))

    for loss_func in (as_outputs, MSELossFlat()):
        assert Learner(dls, net, loss_func=loss_func, seed=0).validate()[0] == pytest.approx(expected)


def test_a_metric_that_would_be_broadcast_is_refused_by_name(blobs: tuple[Tensor, ...]) -> None:
    def error(preds: Tensor, targets: Tensor) -> Tensor:
        return (preds - targets).abs().mean()

    x, y = blobs[0], blobs[0].sum(1)
    dls = DataBunch.from_tensors(x, y, x, y, bs=16, task=Regression(("y",)))
    learn = Learner(dls, nn.Linear(2, 1), metrics=[error, "mae"], seed=0)
    for call in (learn.validate, lambda: learn.fit(2, 1e-3), lambda: learn.fit(2, 1e-3, validate_every="1 steps")):
        with pytest.raises(UsageError, match=r"metric error: outputs \(16, 1\) and targets \(16,\) would be broadcast"):
            call()
    assert len(learn.validate(metrics="mae")) == 2


# Losses as tutorials print them: both sides flattened, one number for the whole batch


def flat_dice(preds: Tensor, targets: Tensor) -> Tensor:
    p, t = preds.sigmoid().view(-1), targets.view(-1)
    return 1 - (2 * (p * t).sum() + 1) / (p.sum() + t.sum() + 1)


def flat_iou(preds: Tensor, targets: Tensor) -> Tensor:
    p, t = preds.sigmoid().view(-1), targets.view(-1)
    return 1 - ((p * t).sum() + 1) / ((p + t).sum() - (p * t).sum() + 1)


def flat_dice_and_entropy(preds: Tensor, targets: Tensor) -> Tensor:
    return flat_dice(preds, targets) + F.binary_cross_entropy(preds.sigmoid().view(-1), targets.view(-1))


def flat_focal(preds: Tensor, targets: Tensor) -> Tensor:
    entropy = F.binary_cross_entropy(preds.sigmoid().view(-1), targets.view(-1))
    return 0.8 * (1 - torch.exp(-entropy)) ** 2 * entropy


@pytest.mark.parametrize("shape", [(N, 1, 4, 6), (N, 4, 6)])
@pytest.mark.parametrize("loss_func", [flat_dice, flat_iou, flat_dice_and_entropy, flat_focal])
def test_losses_of_flattened_masks_run_as_they_are(loss_func: Any, shape: tuple[int, ...]) -> None:
    x, y = torch.rand(N, 3, 4, 6, generator=numbers()), (torch.rand(shape, generator=numbers()) > 0.5).float()
    batches = [(x, y)]
    torch.manual_seed(0)
    net = nn.Conv2d(3, 1, 3, padding=1)
    expected = loss_func(net(x), y).item()
    learn = Learner(DataBunch.from_loaders(batches, batches, device="cpu"), net, loss_func=loss_func, seed=0)
    assert learn.validate()[0] == pytest.approx(expected)
    learn.fit(1, 1e-2)
    assert learn.recorder.losses == [pytest.approx(expected)]


# The modes and the state of a loss


class Counts(nn.Module):
    """A loss with a mode, a buffer that counts its calls, and a parameter."""

    calls: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))
        self.scale = nn.Parameter(torch.ones(()))
        self.modes: list[bool] = []

    def forward(self, preds: Tensor, targets: Tensor) -> Tensor:
        self.calls += 1
        self.modes.append(self.training)
        return F.cross_entropy(preds * self.scale, targets)


@pytest.mark.parametrize("training", [True, False])
def test_a_loss_is_in_its_own_mode_on_training_batches_and_in_eval_mode_on_the_others(training: bool) -> None:
    loss = Counts().train(training)
    learner(loss, classes(), 7).fit(2, 0.1)
    assert loss.modes == 2 * (3 * [training] + 3 * [False])
    assert loss.training == training


class Perceptual(nn.Module):
    """Compares what a network within the loss makes of outputs and targets; that is not trained."""

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout())
        self.learned = nn.Sequential(nn.BatchNorm1d(3, affine=False), nn.Linear(3, 3))
        self.network.eval().requires_grad_(False)

    def forward(self, preds: Tensor, targets: Tensor) -> Tensor:
        return F.l1_loss(self.network(preds), self.network(self.learned(targets)))


@pytest.mark.filterwarnings("ignore:.*once per item")
def test_a_network_within_a_loss_keeps_its_mode_and_its_statistics() -> None:
    """The step of a loop written by hand, which calls model.train() and leaves the loss alone."""
    loss, data = Perceptual(), labels()
    by_hand, model = copy.deepcopy(loss), Scale()
    by_hand(model(data.x), data.y).backward()
    learn = learner(loss, data, N)
    torch.testing.assert_close(step_of(learn), model.weight.grad)
    assert [module.training for module in loss.modules()] == [module.training for module in by_hand.modules()]
    for name, buffer in by_hand.named_buffers():
        torch.testing.assert_close(loss.get_buffer(name), buffer)
    assert loss.network[1].num_batches_tracked == 0
    assert by_hand.learned[0].num_batches_tracked == 1


@pytest.mark.filterwarnings("ignore:.*once per item")
@pytest.mark.parametrize("training", [True, False])
def test_looking_at_a_loss_leaves_it_alone(training: bool) -> None:
    loss = Counts().train(training)
    learn = learner(loss, classes(), 7)
    calls: list[Callable[[], Any]] = [
        learn.validate,
        lambda: learn.get_preds(with_loss=True),
        lambda: list(learn.predict_iter(with_loss=True)),
        lambda: learn.lr_find(num_it=10),
    ]
    for call in calls:
        loss.modes.clear()
        call()
        assert loss.modes
        assert (loss.calls.item(), loss.scale.item(), loss.training) == (0, 1, training)


def test_a_nan_restores_the_parameters_of_the_loss_too() -> None:
    loss = Counts()
    learn = learner(loss, classes(), 7)

    def poison(state: Any) -> None:
        if state.batch == 2:
            state.loss = state.loss * torch.nan

    def move(state: Any) -> None:
        with torch.no_grad():
            loss.scale.add_(1)

    with pytest.raises(NonFiniteLossError, match="weights restored"):
        learn.fit(1, 0.1, callbacks=acting(after_loss=poison, after_step=move))
    assert loss.scale.item() == 1


# MixUp and CutMix


@pytest.mark.parametrize("kind", [MixUp, CutMix])
def test_targets_of_several_parts_are_not_mixed(kind: Any) -> None:
    x, y = torch.rand(8, 3, 4, 4), torch.arange(8) % 3
    batches = [(x, {"y": y})]
    dls = DataBunch.from_loaders(batches, batches, device="cpu")
    net = nn.Sequential(nn.Flatten(), nn.Linear(48, 3))
    learn = Learner(dls, net, loss_func=lambda p, t: F.cross_entropy(p, t["y"]))
    with refused(f"{kind.__name__}: the targets", got="dict"):
        learn.fit(1, callbacks=kind())


@pytest.mark.parametrize("kind", [MixUp, CutMix])
def test_all_inputs_of_a_structure_are_mixed(kind: Any) -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(48, 3)

        def forward(self, pair: dict[str, Tensor]) -> Tensor:
            seen.append((pair["a"] + pair["b"]).detach())
            return self.layer(pair["a"].flatten(1) - pair["b"].flatten(1))

    seen: list[Tensor] = []
    x, y = torch.rand(8, 3, 4, 4), torch.arange(8) % 3
    batches = [({"a": x, "b": -x}, y)]
    learn = Learner(DataBunch.from_loaders(batches, batches, device="cpu"), Both(), loss_func=F.cross_entropy, seed=0)
    mixed: list[Tensor] = []
    learn.fit(1, callbacks=[kind(), acting(after_pred=lambda state: mixed.append(state.inputs[0]["a"]))])
    assert not torch.equal(mixed[0], x)
    assert all(not total.any() for total in seen)  # a and b were mixed alike
