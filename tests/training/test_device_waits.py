"""No fit, validation or prediction waits for the device once per batch: reads grow with epochs, not with batches.

On the CPU nothing waits, so what would wait on a GPU is counted: operations whose result has a size or a value that the
host needs, and copies of tensors into Python's numbers. Random numbers are drawn on the CPU on purpose, those reads do
not count.
"""

import functools
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from learnkit import Callback, DataBunch, Learner, MultiLabel, Regression, Segmentation, callbacks, losses, metrics
from learnkit.callbacks import mixing
from learnkit.device import Compute
from learnkit.metrics.metric import targets_of
from tests.doubles import acting

aten = torch.ops.aten
WAIT = {
    aten._local_scalar_dense, aten.item, aten.nonzero, aten.is_nonzero, aten.equal, aten.masked_select,
    aten._unique2, aten.unique_dim, aten.unique_consecutive, aten.bincount, aten.repeat_interleave,
}  # fmt: skip
INDEXED = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_}
TO_PYTHON = {Tensor.tolist, Tensor.numpy, Tensor.cpu, Tensor.__array__}
N_EPOCHS = 1


class Reads(TorchDispatchMode):
    """Counts the operations that would make a GPU wait, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()
        self.is_paused = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        packet = func.overloadpacket
        by_mask = packet in INDEXED and any(t is not None and t.dtype in (torch.bool, torch.uint8) for t in args[1])
        if (packet in WAIT or by_mask) and not self.is_paused:
            self.counts[str(packet)] += 1
        return func(*args, **(kwargs or {}))

    @contextmanager
    def paused(self) -> Iterator[None]:
        before, self.is_paused = self.is_paused, True
        try:
            yield
        finally:
            self.is_paused = before


class ToPython(TorchFunctionMode):
    """Counts in `reads` what copies a whole tensor into the host's memory."""

    def __init__(self, reads: Reads) -> None:
        super().__init__()
        self.reads = reads

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in TO_PYTHON and not self.reads.is_paused:
            self.reads.counts[func.__name__] += 1
        return func(*args, **(kwargs or {}))


@pytest.fixture(autouse=True)
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    """A device where reading waits, and the counter of reads."""
    counter = Reads()
    let_reads_wait(counter, monkeypatch)
    return counter


def let_reads_wait(counter: Reads, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the device be one where reading waits; what is drawn on the host is not counted."""
    monkeypatch.setattr(Compute, "sync_is_free", property(lambda compute: False))
    monkeypatch.setattr("learnkit.training.nan_guard.FLUSH_EVERY", 1000)
    for name in ("draw_shares", "draw_box"):
        drawn = getattr(mixing, name)

        def on_the_host(*args: Any, drawn: Callable[..., Any] = drawn) -> Any:
            with counter.paused():
                return drawn(*args)

        monkeypatch.setattr(mixing, name, on_the_host)


def bunch(kind: str, n: int) -> DataBunch:
    """n items of each part in batches of 8: images and classes, masks, labels or numbers."""
    numbers = torch.Generator().manual_seed(0)
    x = torch.rand(n, 3, 4, 4, generator=numbers)
    y, task = {
        "classes": lambda: (torch.arange(n) % 3, None),
        "masks": lambda: ((torch.arange(n * 16) % 3).reshape(n, 4, 4), Segmentation(("a", "b", "c"))),
        "labels": lambda: ((torch.arange(n * 3) % 2).reshape(n, 3).float(), MultiLabel(("a", "b", "c"))),
        "numbers": lambda: (torch.rand(n, 3, generator=numbers), Regression(("a", "b", "c"))),
    }[kind]()
    return DataBunch.from_tensors(x, y, x, y, bs=8, task=task)


def learner(kind: str, n: int, *, norm: bool = True, **options: Any) -> Learner:
    torch.manual_seed(0)
    middle = nn.BatchNorm2d(4) if norm else nn.Identity()
    body = nn.Conv2d(3, 4, 1), middle, nn.ReLU(), nn.Dropout(0.1)
    head = (nn.Conv2d(4, 3, 1),) if kind == "masks" else (nn.Flatten(), nn.Linear(64, 3))
    return Learner(bunch(kind, n), nn.Sequential(*body, *head), seed=0, **options)


def fit(learn: Learner) -> None:
    learn.fit(N_EPOCHS, 1e-3)


def assert_reads_do_not_grow(
    reads: Reads, make: Callable[[int], Learner], run: Callable[[Learner], object] = fit
) -> None:
    """As many reads with 2 batches as with 5."""
    found = []
    for n in (16, 40):
        learn = make(n)
        reads.counts.clear()
        with reads, ToPython(reads):
            run(learn)
        found.append(dict(reads.counts))
    assert found[0] == found[1]


@pytest.mark.parametrize(
    "read",
    [
        lambda x: x[0].item(), lambda x: x.tolist(), lambda x: float(x[0]), lambda x: bool(x[0] > 0), lambda x: x.cpu(),
        lambda x: x[x > 0.5], lambda x: x.nonzero(), lambda x: torch.equal(x, x), lambda x: x.unique(),
        lambda x: x.masked_select(x > 0), lambda x: x.index_put((x > 0,), x[0]),
    ],
)  # fmt: skip
def test_every_kind_of_read_is_counted(read: Callable[[Tensor], object], reads: Reads) -> None:
    with reads, ToPython(reads):
        torch.ones(3).mul(2).sum().neg()
        assert not reads.counts
        read(torch.ones(3))
    assert reads.counts


def test_a_read_per_batch_is_found(reads: Reads) -> None:
    reading = acting(after_batch=lambda state: state.loss.item())
    with pytest.raises(AssertionError):
        assert_reads_do_not_grow(reads, lambda n: learner("classes", n, callbacks=reading))


@pytest.mark.parametrize("opt_func", ["adamw", "adam", "sgd", functools.partial(torch.optim.SGD, momentum=0.9)])
def test_a_plain_fit(opt_func: Any, reads: Reads) -> None:
    assert_reads_do_not_grow(reads, lambda n: learner("classes", n, opt_func=opt_func))


def test_a_fit_in_bf16(reads: Reads) -> None:
    assert_reads_do_not_grow(reads, lambda n: learner("classes", n).to_bf16())


CALLBACKS: dict[str, Callable[[], list[Callback]]] = {
    "MixUp": lambda: [callbacks.MixUp()],
    "CutMix": lambda: [callbacks.CutMix()],
    "EMA": lambda: [callbacks.EMA(0.9)],
    "SWA": lambda: [callbacks.SWA(0.0)],
    "GradientClipping": lambda: [callbacks.GradientClipping(1.0)],
    "GradientClipping of values": lambda: [callbacks.GradientClipping(clip_value=1.0)],
    "GradientAccumulation": lambda: [callbacks.GradientAccumulation(16)],
    "OneCycle": lambda: [callbacks.OneCycle(1e-2)],
    "GeneralScheduler": lambda: [callbacks.GeneralScheduler({"lr": 1e-2, "mom": 0.8})],
    "TorchScheduler": lambda: [callbacks.TorchScheduler(lambda epoch: 0.1**epoch)],
    "ReduceLROnPlateau": lambda: [callbacks.ReduceLROnPlateau()],
    "SaveModel": lambda: [callbacks.SaveModel(every="epoch")],
    "EarlyStopping": lambda: [callbacks.EarlyStopping(patience=9)],
    "TerminateOnNaN": lambda: [callbacks.TerminateOnNaN()],
    "TrainMetrics": lambda: [callbacks.TrainMetrics()],
    "BnFreeze": lambda: [callbacks.BnFreeze()],
    "CSVLogger": lambda: [callbacks.CSVLogger()],
    "PeakMemory": lambda: [callbacks.PeakMemory()],
    "Progress": lambda: [callbacks.Progress("plain")],
    "ActivationStats": lambda: [callbacks.ActivationStats()],
}


@pytest.mark.parametrize("name", CALLBACKS)
@pytest.mark.usefixtures("tmp_path")
def test_a_fit_with_a_callback(name: str, reads: Reads) -> None:
    assert_reads_do_not_grow(reads, lambda n: learner("classes", n, callbacks=CALLBACKS[name](), metrics="accuracy"))


def test_a_fit_in_micro_batches(reads: Reads) -> None:
    assert_reads_do_not_grow(reads, lambda n: learner("classes", n, norm=False, callbacks=callbacks.MicroBatches(4)))


@pytest.mark.usefixtures("tmp_path")
def test_a_fit_with_class_weights(reads: Reads) -> None:
    assert_reads_do_not_grow(reads, lambda n: learner("classes", n, class_weights="balanced"))


def kind_for(name: str) -> str:
    """The kind of data that a metric is for."""
    (metric,) = metrics.make_metrics(name)
    takes = targets_of(metric) or ()
    kinds = {"class": "classes", "mask": "masks", "labels": "labels", "numbers": "numbers"}
    return next(kind for target, kind in kinds.items() if target in takes)


@pytest.mark.parametrize("name", [*metrics.METRICS, *metrics.FACTORIES])
def test_a_validation_with_a_metric(name: str, reads: Reads) -> None:
    kind, metric = kind_for(name), metrics.top_k(2) if name == "top_k_accuracy" else name
    assert_reads_do_not_grow(reads, lambda n: learner(kind, n, metrics=metric), lambda learn: learn.validate())


WEIGHT = torch.tensor([1.0, 2.0, 3.0])
LOSSES: list[tuple[str, Callable[[], Any]]] = [
    ("classes", nn.CrossEntropyLoss),
    ("classes", lambda: nn.CrossEntropyLoss(weight=WEIGHT, ignore_index=1, label_smoothing=0.1)),
    ("classes", lambda: functools.partial(F.cross_entropy, ignore_index=1)),
    ("classes", losses.CrossEntropyLossFlat),
    ("classes", lambda: losses.CrossEntropyLossFlat(weight=WEIGHT, ignore_index=1)),
    ("classes", losses.FocalLoss),
    ("classes", lambda: losses.FocalLoss(alpha=WEIGHT)),
    ("masks", lambda: losses.CrossEntropyLossFlat(weight=WEIGHT, ignore_index=2)),
    ("masks", losses.DiceLoss),
    ("masks", lambda: losses.DiceLoss(ignore_index=2, per_batch=True)),
    ("masks", losses.DiceBCELoss),
    ("masks", lambda: losses.DiceBCELoss(ignore_index=2)),
    ("masks", losses.IoULoss),
    ("masks", lambda: losses.IoULoss(ignore_index=2)),
    ("labels", losses.BCEWithLogitsLossFlat),
    ("labels", lambda: losses.BCEWithLogitsLossFlat(pos_weight=WEIGHT, ignore_index=0)),
    ("labels", lambda: losses.FocalLoss(binary=True)),
    ("numbers", losses.MSELossFlat),
    ("numbers", losses.L1LossFlat),
    ("numbers", nn.HuberLoss),
]


@pytest.mark.parametrize(("kind", "make"), LOSSES)
@pytest.mark.parametrize("way", ["plain", "MixUp", "CutMix", "GradientAccumulation", "MicroBatches", "get_preds"])
def test_every_loss(way: str, kind: str, make: Callable[[], Any], reads: Reads) -> None:
    if kind == "masks" and way in ("MixUp", "CutMix"):
        pytest.skip("masks are not mixed")
    added = {"MicroBatches": lambda: [callbacks.MicroBatches(4)], "plain": list, "get_preds": list}
    chosen = added[way] if way in added else CALLBACKS[way]

    def run(learn: Learner) -> None:
        learn.get_preds(with_loss=True) if way == "get_preds" else learn.fit(N_EPOCHS, 1e-3)

    assert_reads_do_not_grow(reads, lambda n: learner(kind, n, norm=False, loss_func=make(), callbacks=chosen()), run)


@pytest.mark.parametrize("ds_type", ["train", "valid"])
def test_predictions(ds_type: Any, reads: Reads) -> None:
    assert_reads_do_not_grow(reads, lambda n: learner("classes", n), lambda learn: learn.get_preds(ds_type))


def test_an_iteration_over_predictions_copies_each_batch_and_reads_nothing_else(reads: Reads) -> None:
    learn = learner("classes", 64)
    with reads, ToPython(reads):
        batches = list(learn.predict_iter())
    assert set(reads.counts) == {"cpu"}
    assert reads.counts["cpu"] == 2 * len(batches)  # outputs and targets, which are asked for
