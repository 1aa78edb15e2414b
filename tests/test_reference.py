"""The library against loops written by hand in plain PyTorch: the same bits, float32, on the CPU."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from learnkit import DataBunch, Learner
from learnkit.callbacks import GradientClipping, MixedPrecision, OneCycle
from learnkit.seeds import Stream, derive

N_EPOCHS, LR, SEED = 3, 0.01, 7


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 2))


def decayed(model: nn.Module, wd: float) -> list[dict[str, Any]]:
    """Weights decay, biases and norm layers do not."""
    weights = [p for p in model.parameters() if p.ndim > 1]
    return [
        {"params": weights, "weight_decay": wd},
        {"params": [p for p in model.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]


def train_by_hand(
    model: nn.Module,
    dls: DataBunch,
    optimizer: torch.optim.Optimizer,
    *,
    clip: float | None = None,
    bf16: bool = False,
    rate: Callable[[float], float] | None = None,
) -> list[float]:
    """The loop one would write, reseeded before each step as documented; the validation losses of the epochs."""
    results = []
    n_batches = len(dls.train_dl)
    for epoch in range(N_EPOCHS):
        model.train()
        dls.train_dl.seed_epoch(SEED, epoch)
        for number, (x, y) in enumerate(dls.train_dl):
            if rate is not None:
                for group in optimizer.param_groups:
                    group["lr"] = rate((epoch * n_batches + number) / (N_EPOCHS * n_batches))
            torch.manual_seed(derive(SEED, Stream.STEP, epoch) + number)
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                output = model(x)
            F.cross_entropy(output.float(), y).backward()
            if clip is not None:
                torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
            optimizer.step()
            optimizer.zero_grad()
        model.eval()
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            losses = [(F.cross_entropy(model(x).float(), y).item(), len(x)) for x, y in dls.valid_dl]
        results.append(sum(loss * n for loss, n in losses) / sum(n for _, n in losses))
    return results


def assert_same_weights(model: nn.Module, other: nn.Module) -> None:
    for (name, ours), theirs in zip(model.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs), name


@pytest.mark.parametrize(
    ("name", "by_hand"),
    [
        ("adamw", lambda groups: torch.optim.AdamW(groups, LR, betas=(0.9, 0.99), eps=1e-5, fused=True)),
        ("adam", lambda groups: torch.optim.Adam(groups, LR, fused=True)),
        ("sgd", lambda groups: torch.optim.SGD(groups, LR)),
        ("rmsprop", lambda groups: torch.optim.RMSprop(groups, LR)),
    ],
)
def test_a_fit_equals_the_loop_written_by_hand(
    name: str, by_hand: Callable[..., Any], blobs: tuple[Tensor, ...]
) -> None:
    dls = DataBunch.from_tensors(*blobs, bs=10)
    ours, theirs = network(), network()
    learn = Learner(dls, ours, opt_func=name, seed=SEED, wd=0.1)
    learn.fit(N_EPOCHS, LR)
    losses = train_by_hand(theirs, dls, by_hand(decayed(theirs, 0.1)))
    assert_same_weights(ours, theirs)
    assert learn.history["valid_loss"].tolist() == pytest.approx(losses, abs=1e-7)


def test_clipping_equals_torch_clipping(blobs: tuple[Tensor, ...]) -> None:
    dls = DataBunch.from_tensors(*blobs, bs=10)
    ours, theirs = network(), network()
    Learner(dls, ours, opt_func="sgd", seed=SEED, wd=0.0, callbacks=GradientClipping(0.05)).fit(N_EPOCHS, LR)
    train_by_hand(theirs, dls, torch.optim.SGD(theirs.parameters(), LR), clip=0.05)
    assert_same_weights(ours, theirs)


def test_bfloat16_equals_torch_autocast(blobs: tuple[Tensor, ...]) -> None:
    dls = DataBunch.from_tensors(*blobs, bs=10)
    ours, theirs = network(), network()
    learn = Learner(dls, ours, opt_func="sgd", seed=SEED, wd=0.0, callbacks=MixedPrecision("bf16"))
    learn.fit(N_EPOCHS, LR)
    losses = train_by_hand(theirs, dls, torch.optim.SGD(theirs.parameters(), LR), bf16=True)
    assert_same_weights(ours, theirs)
    assert learn.history["valid_loss"].tolist() == pytest.approx(losses, abs=1e-7)


def test_one_cycle_equals_a_rate_set_by_hand(blobs: tuple[Tensor, ...]) -> None:
    def rate(p: float) -> float:
        start, peak, end = LR / 25, LR, LR / 1e5
        half = lambda a, b, q: b + (a - b) * (1 + torch.cos(torch.tensor(torch.pi * q, dtype=torch.float64)).item()) / 2  # noqa: E731
        return half(start, peak, p / 0.25) if p < 0.25 else half(peak, end, (p - 0.25) / 0.75)

    dls = DataBunch.from_tensors(*blobs, bs=10)
    ours, theirs = network(), network()
    cycle = OneCycle(LR, moms=(0.0, 0.0), pct_start=0.25, final_div=1e5)
    Learner(dls, ours, opt_func="sgd", seed=SEED, wd=0.0).fit(N_EPOCHS, 1.0, callbacks=cycle)
    train_by_hand(theirs, dls, torch.optim.SGD(theirs.parameters(), LR), rate=rate)
    for ours_p, theirs_p in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(ours_p, theirs_p, rtol=0, atol=1e-6)


def test_equal_seeds_yield_equal_bits_and_others_do_not(blobs: tuple[Tensor, ...]) -> None:
    def trained(seed: int) -> nn.Module:
        torch.rand(seed)  # what the caller draws in between must not matter
        model = network()
        Learner(DataBunch.from_tensors(*blobs, bs=10), model, seed=seed).fit(2, LR)
        return model

    first = trained(1)
    assert_same_weights(first, trained(1))
    assert not torch.equal(first[0].weight, trained(2)[0].weight)  # type: ignore[index]


def test_without_a_seed_manual_seed_makes_a_run_repeatable(blobs: tuple[Tensor, ...]) -> None:
    def trained() -> nn.Module:
        torch.manual_seed(3)
        model = copy.deepcopy(start)
        Learner(DataBunch.from_tensors(*blobs, bs=10), model).fit(2, LR)
        return model

    start = network()
    assert_same_weights(trained(), trained())


def test_two_fits_go_on_with_new_orders(blobs: tuple[Tensor, ...]) -> None:
    dls = DataBunch.from_tensors(*blobs, bs=10)
    seen: list[Tensor] = []

    class Watch(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(2, 2)

        def forward(self, x: Tensor) -> Tensor:
            if self.training:
                seen.append(x.clone())
            return self.linear(x)  # type: ignore[no-any-return]

    learn = Learner(dls, Watch(), seed=0)
    learn.fit(1)
    learn.fit(1)
    assert len(seen) == 2 * len(dls.train_dl)
    assert not torch.equal(torch.cat(seen[:6]), torch.cat(seen[6:]))
