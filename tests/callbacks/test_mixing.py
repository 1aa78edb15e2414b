"""MixUp and CutMix: batches and losses by hand, and fits against loops in plain PyTorch."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from learnkit import DataBunch, Learner, LearnkitWarning, Regression
from learnkit.callbacks.mixing import Box, CutMix, MixUp, cutmix, draw_box, draw_shares, mixed_loss, mixup
from learnkit.errors import UsageError
from learnkit.seeds import Stream, derive
from tests.doubles import acting, linear_learner, raising, refused


def weights(learn: Learner) -> list[Tensor]:
    return [tensor.detach().clone() for tensor in learn.model.state_dict().values()]


def images(n: int = 24) -> DataBunch:
    numbers = torch.Generator().manual_seed(0)
    x, y = torch.rand(n, 3, 6, 4, generator=numbers), torch.arange(n) % 2
    return DataBunch.from_tensors(x, y, x[:8], y[:8], bs=8)


def on_images(**options: Any) -> Learner:
    torch.manual_seed(0)
    return Learner(images(), nn.Sequential(nn.Flatten(), nn.Linear(72, 2)), seed=5, opt_func="sgd", wd=0, **options)


def test_items_of_any_shape_are_mixed_in_their_own_shares() -> None:
    x = torch.tensor([[[0.0, 4.0]], [[8.0, 8.0]], [[2.0, 1.0]]])
    mixed = mixup(x, torch.tensor([1, 2, 2]), torch.tensor([0.75, 0.5, 0.9]))
    assert mixed.tolist() == [[[2.0, 5.0]], [[5.0, 4.5]], [[2.0, 1.0]]]


def test_a_box_of_the_other_image_is_pasted() -> None:
    x = torch.arange(2.0).reshape(2, 1, 1, 1).expand(2, 2, 3, 4)
    mixed = cutmix(x, torch.tensor([1, 0]), Box(1, 3, 0, 2))
    expected = torch.tensor([[0.0, 0, 0, 0], [1, 1, 0, 0], [1, 1, 0, 0]])
    assert torch.equal(mixed[0], expected.expand(2, 3, 4))
    assert torch.equal(mixed[1], 1 - expected.expand(2, 3, 4))
    assert x[0].sum() == 0


def test_an_item_keeps_half_of_itself_or_more() -> None:
    torch.manual_seed(0)
    shares = draw_shares(4000, 1.0)
    assert shares.shape == (4000,)
    assert shares.min() >= 0.5
    assert shares.max() <= 1
    assert shares.mean().item() == pytest.approx(0.75, abs=0.01)  # max(u, 1 - u) of a uniform u


def test_boxes_are_within_the_image_and_vary() -> None:
    torch.manual_seed(0)
    boxes = [draw_box(10, 20, 1.0) for _ in range(2000)]
    assert all(0 <= box.top <= box.bottom <= 10 and 0 <= box.left <= box.right <= 20 for box in boxes)
    centered = [(box.bottom - box.top) * (box.right - box.left) / 200 for box in boxes if box.top and box.left]
    assert max(centered) > 0.3
    assert min(centered) < 0.05
    assert {box.bottom for box in boxes} >= set(range(1, 11))


@pytest.mark.parametrize(
    ("loss_func", "preds", "targets"),
    [
        (F.cross_entropy, torch.tensor([[2.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), torch.tensor([0, 1, 0])),
        (nn.CrossEntropyLoss(label_smoothing=0.1), torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 1])),
        (nn.BCEWithLogitsLoss(), torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([[1.0, 0.0], [1.0, 1.0]])),
        (nn.MSELoss(), torch.tensor([2.0, 0.0, 1.0]), torch.tensor([1.0, -1.0, 4.0])),
    ],
)
def test_the_loss_is_mixed_item_by_item(loss_func: Any, preds: Tensor, targets: Tensor) -> None:
    n = len(targets)
    order, shares = torch.arange(n).roll(1), torch.linspace(0.5, 0.9, n)
    parts = [
        shares[i] * loss_func(preds[i : i + 1], targets[i : i + 1])
        + (1 - shares[i]) * loss_func(preds[i : i + 1], targets[order[i]][None])
        for i in range(n)
    ]
    torch.testing.assert_close(mixed_loss(loss_func, preds, targets, targets[order], shares), sum(parts) / n)


@pytest.mark.parametrize(
    ("options", "divisor"),
    [
        ({"weight": torch.tensor([1.0, 2.0, 4.0])}, 4 * (1 + 2 + 4)),
        ({"ignore_index": 1}, 8),
        ({"weight": torch.tensor([1.0, 2.0, 4.0]), "ignore_index": 1}, 4 * (1 + 4)),
        ({"reduction": "sum"}, 1),
    ],
)
def test_a_mixed_loss_is_divided_as_the_loss_itself(options: dict[str, Any], divisor: int) -> None:
    preds, targets = torch.randn(12, 3, generator=torch.Generator().manual_seed(0)), torch.arange(12) % 3
    others, shares = targets.roll(1), torch.linspace(0.5, 0.9, 12)
    one, other = (F.cross_entropy(preds, y, **{**options, "reduction": "none"}) for y in (targets, others))
    mixed = mixed_loss(nn.CrossEntropyLoss(**options), preds, targets, others, shares)
    torch.testing.assert_close(mixed, (shares * one + (1 - shares) * other).sum() / divisor)


@pytest.mark.parametrize(("mixing", "n_calls"), [(MixUp, 2), (CutMix, 2)])
def test_a_loss_of_torch_is_computed_twice_per_mixed_batch(
    mixing: Any, n_calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = list[int]()
    forward = nn.CrossEntropyLoss.forward

    def counted(self: nn.CrossEntropyLoss, preds: Tensor, targets: Tensor) -> Tensor:
        calls[-1] += 1
        return forward(self, preds, targets)

    monkeypatch.setattr(nn.CrossEntropyLoss, "forward", counted)
    learn = on_images(loss_func=nn.CrossEntropyLoss())
    learn.fit(1, 0.1, callbacks=[mixing(), acting(before_batch=lambda state: calls.append(0))])
    assert calls[1] == n_calls  # the first one is checked


def mean_distance(preds: Tensor, targets: Tensor) -> Tensor:
    return (preds - targets).abs().mean()


def test_a_loss_of_whole_batches_is_called_once_per_item() -> None:
    preds, targets = torch.tensor([2.0, 0.0]), torch.tensor([1.0, -1.0])
    with pytest.warns(LearnkitWarning, match="once per item"):
        mixed = mixed_loss(mean_distance, preds, targets, targets.flip(0), torch.tensor([0.75, 0.5]))
    assert mixed.item() == ((0.75 * 1 + 0.25 * 3) + (0.5 * 1 + 0.5 * 1)) / 2
    one_share = mixed_loss(mean_distance, preds, targets, targets.flip(0), torch.tensor(0.75))  # no warning
    assert one_share.item() == 0.75 * 1 + 0.25 * (3 + 1) / 2


def by_hand(learn: Learner, loss: Any, n_epochs: int = 2) -> list[float]:
    """A plain loop over the learner's data, reseeded before each batch as the loop does it."""
    optimizer = torch.optim.SGD(learn.model.parameters(), 0.1)
    losses = []
    for epoch in range(n_epochs):
        learn.dls.train_dl.seed_epoch(5, epoch)
        for number, (x, y) in enumerate(learn.dls.train_dl):
            torch.manual_seed(derive(5, Stream.STEP, epoch) + number)
            value = loss(learn.model, x, y)
            value.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(value.item())
    return losses


def test_a_fit_with_mixup_equals_the_loop_by_hand() -> None:
    def loss(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        order = torch.randperm(len(y))
        lam = torch.distributions.Beta(0.4, 0.4).sample((len(y),))
        lam = torch.where(lam > 0.5, lam, 1 - lam)
        wide = lam[:, None, None, None]
        preds = model(wide * x + (1 - wide) * x[order])
        one, other = F.cross_entropy(preds, y, reduction="none"), F.cross_entropy(preds, y[order], reduction="none")
        return (lam * one + (1 - lam) * other).mean()

    ours, theirs = on_images(), on_images()
    ours.fit(2, 0.1, callbacks=MixUp())
    assert ours.recorder.losses == pytest.approx(by_hand(theirs, loss), abs=1e-6)
    for a, b in zip(weights(ours), weights(theirs), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)


def test_a_fit_with_cutmix_has_the_shares_of_the_pixels() -> None:
    shares: list[float] = []

    def loss(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        order = torch.randperm(len(y))
        box = draw_box(6, 4, 1.0)
        inside = torch.zeros(6, 4, dtype=torch.bool)
        inside[box.top : box.bottom, box.left : box.right] = True
        lam = (~inside).sum() / 24
        shares.append(lam.item())
        preds = model(torch.where(inside, x[order], x))
        return lam * F.cross_entropy(preds, y) + (1 - lam) * F.cross_entropy(preds, y[order])

    ours, theirs = on_images(), on_images()
    ours.fit(3, 0.1, callbacks=CutMix())
    assert ours.recorder.losses == pytest.approx(by_hand(theirs, loss, 3), abs=1e-6)
    assert len(set(shares)) > 3
    for a, b in zip(weights(ours), weights(theirs), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)


@pytest.mark.parametrize("mixing", [MixUp, CutMix])
def test_only_training_batches_are_mixed(mixing: Any) -> None:
    learn = on_images()
    learn.fit(1, 0.1, callbacks=mixing())
    ((x, y),) = learn.dls.valid_dl
    assert learn.history["valid_loss"].iloc[0] == pytest.approx(F.cross_entropy(learn.model(x), y).item(), abs=1e-6)


@pytest.mark.parametrize("mixing", [MixUp, CutMix])
def test_equal_seeds_mix_equally(mixing: Any) -> None:
    one, other, plain = on_images(), on_images(), on_images()
    torch.rand(7)
    one.fit(2, 0.1, callbacks=mixing())
    other.fit(2, 0.1, callbacks=mixing())
    plain.fit(2, 0.1)
    assert one.recorder.losses == other.recorder.losses != plain.recorder.losses


@pytest.mark.parametrize("mixing", [MixUp, CutMix])
def test_lr_find_runs_with_it_and_changes_nothing(mixing: Any) -> None:
    learn, plain = on_images(callbacks=mixing()), on_images()
    before = weights(learn)
    learn.lr_find(num_it=20)
    plain.lr_find(num_it=20)
    assert all(torch.equal(a, b) for a, b in zip(before, weights(learn), strict=True))
    assert learn.recorder.lr_curve is not None
    assert plain.recorder.lr_curve is not None
    assert learn.recorder.lr_curve.losses != plain.recorder.lr_curve.losses


def test_the_loss_function_is_never_replaced() -> None:
    learn, seen = on_images(), list[Any]()
    loss_func = learn.loss_func
    watch = acting(before_batch=lambda state: seen.append(state.loss_func), after_loss=raising(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        learn.fit(1, 0.1, callbacks=[MixUp(), watch])
    assert seen == [loss_func]
    assert learn.loss_func is loss_func


@pytest.mark.parametrize(("loss_func", "y"), [(F.mse_loss, torch.rand(24, 3)), (F.l1_loss, torch.rand(24, 1))])
def test_numbers_as_targets_can_be_mixed(loss_func: Any, y: Tensor) -> None:
    def loss(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        order = torch.randperm(len(y))
        lam = torch.distributions.Beta(0.4, 0.4).sample((len(y),))
        lam = torch.where(lam > 0.5, lam, 1 - lam)[:, None]
        preds = model(lam * x + (1 - lam) * x[order])
        one, other = loss_func(preds, y, reduction="none"), loss_func(preds, y[order], reduction="none")
        return (lam * one + (1 - lam) * other).mean()  # type: ignore[no-any-return]

    x = torch.rand(24, 5)

    def learner() -> Learner:
        torch.manual_seed(0)
        dls = DataBunch.from_tensors(x, y, x, y, bs=8, task=Regression(tuple("abc"[: y.shape[1]])))
        return Learner(dls, nn.Linear(5, y.shape[1]), loss_func=loss_func, seed=5, opt_func="sgd", wd=0)

    ours, theirs = learner(), learner()
    ours.fit(2, 0.1, callbacks=MixUp())
    assert ours.recorder.losses == pytest.approx(by_hand(theirs, loss), abs=1e-6)


def test_masks_are_refused() -> None:
    x, masks = torch.rand(8, 3, 4, 4), torch.zeros(8, 4, 4, dtype=torch.int64)
    learn = Learner(DataBunch([(x, masks)], None), nn.Conv2d(3, 2, 1), loss_func=F.cross_entropy, seed=0)
    for mixing in (MixUp(), CutMix()):
        with refused(f"{type(mixing).__name__}: the targets", got=(8, 4, 4)):
            learn.fit(1, callbacks=mixing)


def test_inputs_that_cannot_be_mixed_are_refused(blobs: tuple[Tensor, ...]) -> None:
    with refused("CutMix: the inputs", got=[(16, 2)]):
        linear_learner(blobs).fit(1, callbacks=CutMix())
    words, y = torch.arange(8) % 4, torch.arange(8) % 2
    learn = Learner(DataBunch.from_tensors(words, y, words, y, bs=4), nn.Embedding(4, 2), seed=0)
    with refused("MixUp: an input of the model", got="torch.int64"):
        learn.fit(1, callbacks=MixUp())


def test_only_one_kind_of_mixing_per_fit() -> None:
    with pytest.raises(UsageError, match="MixUp and CutMix both set the loss"):
        on_images().fit(1, callbacks=[MixUp(), CutMix()])


@pytest.mark.parametrize("alpha", [0, -1, float("nan"), float("inf"), "much", True])
@pytest.mark.parametrize("mixing", [MixUp, CutMix])
def test_an_invalid_alpha_is_refused(mixing: Any, alpha: Any) -> None:
    with refused("alpha"):
        mixing(alpha)
