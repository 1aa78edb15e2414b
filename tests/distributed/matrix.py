"""What one process and several must agree on: `python tests/distributed/matrix.py OUT NAMES...`, by a launcher or not.

Each case returns tensors and numbers by name, in float64; the first process writes them to OUT.
"""

import os
import signal
import sys
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from learnkit import Callback, DataBunch, ImageDataBunch, Learner, TrainState, cnn_learner
from learnkit.callbacks import (
    EMA,
    SWA,
    CutMix,
    EarlyStopping,
    GradientAccumulation,
    GradientClipping,
    MicroBatches,
    MixUp,
    OneCycle,
    SaveModel,
    TrainMetrics,
)  # fmt: skip
from learnkit.data.points import Points
from learnkit.data.segmentation import Segmentation
from learnkit.data.tasks import Classification, MultiLabel, Regression
from learnkit.distributed import world
from learnkit.errors import NonFiniteLossError, SkipBatch, SkipEpoch, StopFit, UsageError
from learnkit.losses import DiceBCELoss, DiceLoss, IoULoss
from learnkit.metrics.factories import FACTORIES
from learnkit.metrics.functions import METRICS
from learnkit.training.callback import Order
from tests.distributed.norm_kernels import synchronize_on_the_cpu

Found = dict[str, Any]
CASES: dict[str, Callable[[], Found]] = {}
FOLDER = Path()  # the same in all processes


PARTS = ("resume", "interrupted", "interrupted_again")  # cases that share a folder
STRATEGY: Any = os.environ.get("STRATEGY")  # of these


def case(function: Callable[[], Found]) -> Callable[[], Found]:
    CASES[function.__name__] = function
    return function


def clouds(n_train: int = 50, n_valid: int = 23, n_classes: int = 3) -> list[Tensor]:
    random = torch.Generator().manual_seed(0)
    y = torch.arange(n_train + n_valid) % n_classes
    x = torch.randn(len(y), 4, generator=random, dtype=torch.float64) + y[:, None]
    return [x[:n_train], y[:n_train], x[n_train:], y[n_train:]]


def net(n_out: int = 3, dropout: float = 0.0) -> nn.Sequential:
    torch.manual_seed(1)
    layers = [nn.Linear(4, 8), nn.Tanh(), *([nn.Dropout(dropout)] if dropout else []), nn.Linear(8, n_out)]
    return nn.Sequential(*layers).double()


def learner(bunch: DataBunch | None = None, model: nn.Module | None = None, **options: Any) -> Learner:
    bunch = bunch or DataBunch.from_tensors(*clouds(), bs=8)
    return Learner(bunch, model or net(), **{"seed": 3, "path": FOLDER, "metrics": "accuracy", **options})


def trained(learn: Learner, epochs: int = 2, lr: float = 0.05, **options: Any) -> Found:
    learn.fit(epochs, lr, **options)
    history = learn.history.drop(columns="time")
    losses = torch.tensor([float(loss) for loss in learn.recorder.losses], dtype=torch.float64)
    return {"weights": weights(learn.model), "history": torch.from_numpy(history.to_numpy(float)), "losses": losses}


def weights(model: nn.Module) -> Tensor:
    return torch.cat([tensor.detach().double().flatten() for tensor in model.state_dict().values()])


def answers(learn: Learner, part: Any = "valid") -> Found:
    preds, targets, losses = learn.get_preds(part, with_loss=True)
    return {"preds": preds, "targets": targets, "losses": losses, "valid": torch.tensor(learn.validate(part))}


@case
def fit() -> Found:
    learn = learner()
    return trained(learn) | {f"after {name}": value for name, value in answers(learn).items()}


@case
def uneven() -> Found:
    """Batches of 7: no number of processes divides them."""
    return trained(learner(DataBunch.from_tensors(*clouds(51, 22), bs=7)))


@case
def lr_find() -> Found:
    learn = learner()
    before = weights(learn.model)
    found = learn.lr_find(num_it=20)
    assert torch.equal(before, weights(learn.model))
    curve = learn.recorder.lr_curve
    return {"valley": found.valley, "losses": torch.tensor(curve.losses, dtype=torch.float64)}


@case
def few() -> Found:
    """Fewer items than processes, down to one: some have no item of their own."""
    found: Found = {}
    for n in (1, 2, 4):
        learn = learner(DataBunch.from_tensors(*clouds(12, n), bs=3))
        learn.fit(1, 0.05)
        found |= {f"{n}: {name}": value for name, value in answers(learn).items()}
        preds = [part[0] for part in learn.predict_iter()]
        found[f"{n}: iterated"] = torch.cat(preds)
    return found


@case
def answers_of_all() -> Found:
    learn = learner()
    learn.fit(1, 0.05)
    out = torch.zeros(23, 3, dtype=torch.float64)
    learn.get_preds(out=out)
    parts = list(learn.predict_iter("train", with_loss=True))
    learn.write_preds(FOLDER / "preds.csv")
    world.wait()
    table = pd.read_csv(FOLDER / "preds.csv")
    loader = DataLoader(TensorDataset(*clouds()[2:]), batch_size=5)
    any_loader = [tuple(part[i : i + 5] for part in clouds()[2:]) for i in range(0, 23, 5)]
    return {
        **answers(learn), "out": out, "train": torch.cat([part[0] for part in parts]),
        "sizes": [len(part[0]) for part in parts], "train losses": torch.cat([part[2] for part in parts]),
        "table": torch.from_numpy(table.to_numpy(float)), "columns": ",".join(table),
        "first": learn.get_preds(n_batch=1)[0], "one": learn.predict(clouds()[2][0]).probs,
        "of a loader": learn.get_preds(loader)[0],
        "of any": learn.get_preds(any_loader)[0], "valid of any": torch.tensor(learn.validate(any_loader)),
    }  # fmt: skip


@case
def loaders() -> Found:
    """The user's own loaders: torch's, shuffled and in order, and a list of batches with a short last one."""
    tensors = clouds()
    train, valid = TensorDataset(*tensors[:2]), TensorDataset(*tensors[2:])
    shuffled = DataBunch.from_loaders(DataLoader(train, 8, shuffle=True), DataLoader(valid, 8), classes=list("abc"))
    batches = [(tensors[0][i : i + 7], tensors[1][i : i + 7]) for i in range(0, 50, 7)]  # the last one of 1
    listed = DataBunch.from_loaders(batches, DataLoader(valid, 8), classes=list("abc"))
    of_datasets = DataBunch.from_datasets(train, valid, bs=8, task=Classification(tuple("abc")))
    bunches = {"shuffled": shuffled, "listed": listed, "datasets": of_datasets}
    found = {name: trained(learner(bunch)) for name, bunch in bunches.items()}
    return {f"{name} {key}": value for name, parts in found.items() for key, value in parts.items()}


@case
def callbacks() -> Found:
    cases: dict[str, tuple[Any, dict[str, Any]]] = {
        "EMA": (EMA(0.9), {}), "SWA": (SWA(start=0.3), {}), "SaveModel": (SaveModel("accuracy", name="best"), {}),
        "EarlyStopping": (EarlyStopping(patience=1, min_delta=1.0), {}), "OneCycle": (OneCycle(0.1), {}),
        "GradientClipping": (GradientClipping(0.05), {}), "accumulation": (GradientAccumulation(20), {}),
        "MicroBatches": (MicroBatches(2), {}), "MixUp": (MixUp(0.4), {}), "TrainMetrics": (TrainMetrics(), {}),
    }  # fmt: skip
    found: Found = {}
    for name, (callback, options) in cases.items():
        learn = learner()
        found |= {f"{name} {key}": value for key, value in trained(learn, 3, callbacks=callback, **options).items()}
        found[f"{name} validated"] = torch.tensor(learn.validate())
    return found


@case
def limits() -> Found:
    found = trained(learner(), 3, max_steps=9, validate_every=4)
    other = trained(learner(), 2, limit_batches=3, wd=0.1)
    return {f"steps {key}": value for key, value in found.items()} | {f"batches {k}": v for k, v in other.items()}


@case
def losses() -> Found:
    """Means that weigh targets, ignore some, or are sums; a loss with parameters; one whose model leaves layers out."""
    weighted = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 5.0, 0.5], dtype=torch.float64))
    ignoring = nn.CrossEntropyLoss(ignore_index=1)
    found: Found = {}
    cases = {
        "weighted": {"loss_func": weighted}, "ignoring": {"loss_func": ignoring},
        "sum": {"loss_func": nn.CrossEntropyLoss(reduction="sum")}, "trained": {"loss_func": Scaled()},
        "unused": {"model": PartlyUsed()},
        "used by the loss": {"model": (model := WithScale()), "loss_func": OfScale(model)},
    }  # fmt: skip
    for name, options in cases.items():
        for how, extra in {
            "": (),
            " accumulated": (GradientAccumulation(16),),
            " in parts": (MicroBatches(3),),
        }.items():
            learn = learner(**options)
            lr = 0.005 if name == "sum" else 0.05
            found |= {f"{name}{how} {k}": v for k, v in trained(learn, 2, lr, callbacks=list(extra)).items()}
    return found


class Scaled(nn.Module):
    """A loss with a parameter of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones((), dtype=torch.float64))

    def forward(self, preds: Tensor, targets: Tensor) -> Tensor:
        return nn.functional.cross_entropy(preds * self.scale, targets) + 0.1 * self.scale.square()


class PartlyUsed(nn.Module):
    """A layer that no batch uses, and one that only some items use."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.unused, self.sometimes = net(), nn.Linear(2, 2).double(), nn.Linear(4, 3).double()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(x)
        chosen = x[:, 0] > 2
        return out.index_put((chosen,), self.sometimes(x[chosen]), accumulate=True) if chosen.any() else out


@case
def leaving_out() -> Found:
    """A layer that the first batches use, and not all later ones; also where the processes differ in it."""
    found: Found = {}
    for name, differs in (("all", False), ("one", True)):
        for how, extra in {"": (), " accumulated": (GradientAccumulation(16),)}.items():
            learn = learner(model=LeavesOut(differs))
            found |= {f"{name}{how} {k}": v for k, v in trained(learn, callbacks=list(extra)).items()}
    return found


class LeavesOut(nn.Module):
    """Every third training batch leaves a layer out: of all items, or of those whose first number is below 0."""

    def __init__(self, by_item: bool) -> None:
        super().__init__()
        self.net, self.extra = net(), nn.Linear(4, 3).double()
        self.by_item, self.n = by_item, 0

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(x)
        self.n += self.training
        if self.n % 3 or not self.training:
            return out + self.extra(x)
        chosen = x[:, 0] > 0
        if not self.by_item or not chosen.any():
            return out
        return out.index_put((chosen,), self.extra(x[chosen]), accumulate=True)


class WithScale(nn.Module):
    """Its forward pass leaves a parameter to the loss."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.scale = net(), nn.Parameter(torch.ones((), dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(x)
        return out


class OfScale(nn.Module):
    """A loss that takes a parameter of the model."""

    def __init__(self, model: WithScale) -> None:
        super().__init__()
        self._of = (model,)  # no module of the loss's own

    def forward(self, preds: Tensor, targets: Tensor) -> Tensor:
        scale = self._of[0].scale
        return nn.functional.cross_entropy(preds * scale, targets) + 0.1 * scale.square()


@case
def metrics() -> Found:
    """Every metric by name, a function that is not a mean of items, and an object."""
    torch.manual_seed(5)
    n = 29
    x = torch.randn(n, 4, dtype=torch.float64)
    masks = nn.Conv2d(1, 6, 1).double()
    tasks: dict[str, tuple[Any, Tensor, Tensor, nn.Module]] = {
        "class": (Classification(tuple("abcdef")), x, torch.arange(n) % 6, net(6)),
        "label": (Classification(("a", "b")), x, torch.arange(n) % 2, net(2)),
        "labels": (MultiLabel(("a", "b", "c")), x, (torch.rand(n, 3) > 0.4).double(), net()),
        "numbers": (Regression(("a", "b")), x, torch.rand(n, 2).double(), nn.Sequential(net(2), nn.Sigmoid())),
        "mask": (Segmentation(tuple("abcdef")), torch.randn(n, 1, 4, 4, dtype=torch.float64),
                 torch.randint(6, (n, 4, 4)), masks),
        "points": (Points(("a", "b")), x, torch.rand(n, 2, 2, dtype=torch.float64) * 2 - 1,
                   nn.Sequential(net(4), nn.Unflatten(1, (2, 2)))),
    }  # fmt: skip
    found: Found = {}
    for kind, (task, inputs, targets, model) in tasks.items():
        named = {name: known.takes for name, known in METRICS.items()}
        named |= {name: factory().takes for name, factory in FACTORIES.items()}
        for name in sorted(name for name, takes in named.items() if kind in takes):
            bunch = DataBunch.from_tensors(inputs, targets, inputs, targets, bs=8, task=task)
            try:
                learn = learner(bunch, model, metrics=name)
            except Exception as error:  # a metric of two classes for three
                found[f"{kind} {name} refused"] = type(error).__name__
                continue
            learn.validate()
            found[f"{kind} {name}"] = torch.tensor(learn.validate(), dtype=torch.float64)
    own = learner(metrics=[largest_of_batch, Largest()])
    found["own"] = torch.tensor(own.validate(), dtype=torch.float64)
    return found


def largest_of_batch(preds: Tensor, targets: Tensor) -> Tensor:
    return preds.max()


class Largest:
    """An object whose result is not a mean, and that cannot be merged."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.seen: list[Tensor] = []

    def update(self, preds: Tensor, targets: Tensor) -> None:
        self.seen.append(preds)

    def compute(self) -> float:
        return float(torch.cat(self.seen).std())


@case
def sampling() -> Found:
    """A balanced sampler, of images, augmented, from files."""
    dls = images(sampler="balanced")
    return trained(Learner(dls, flat(), metrics="accuracy", seed=3, path=FOLDER), 2, 0.01)


def images(**options: Any) -> ImageDataBunch:
    folder = FOLDER / "images"
    if world.is_first and not folder.exists():
        random = np.random.default_rng(0)
        for n, label in enumerate("abc"):
            for split, count in (("train", 6 + n), ("valid", 3)):
                (folder / split / label).mkdir(parents=True)
                for i in range(count):
                    pixels = random.integers(0, 100, (16, 20, 3)) + 50 * n
                    Image.fromarray(pixels.astype(np.uint8)).save(folder / split / label / f"{i}.png")
    world.wait()
    return ImageDataBunch.from_folder(folder, **{"size": 12, "bs": 6, **options})


class Doubled(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.double()


def flat() -> nn.Module:
    torch.manual_seed(2)
    return nn.Sequential(Doubled(), nn.Flatten(), nn.Linear(3 * 12 * 12, 3).double())


@case
def augmented() -> Found:
    learn = Learner(images(), flat(), metrics="accuracy", seed=3, path=FOLDER)
    found = trained(learn, 2, 0.01)
    preds, targets, losses = learn.tta(n=2, with_loss=True)
    report = learn.report(FOLDER / "report.html")
    world.wait()
    interp = learn.interpret()
    values, indices = interp.top_losses(4)
    return {
        **found, "tta": preds, "tta targets": targets, "tta losses": losses, "report": report.stat().st_size > 10_000,
        "confusion": torch.as_tensor(np.asarray(interp.confusion_matrix())), "top": values, "top indices": indices,
    }  # fmt: skip


@case
def cached() -> Found:
    """Images that are kept where they are trained on, and in memory; float32, as the images are."""
    found: Found = {}
    for cache in ("device", "memory"):
        learn = Learner(images(cache=cache), flat(), metrics="accuracy", seed=3, path=FOLDER)
        found |= {f"{cache} {name}": value for name, value in (trained(learn, 2, 0.01) | answers(learn)).items()}
    return found


@case
def head() -> Found:
    """The head alone, on features that each process computes of its part."""
    model = net()
    learn = learner(model=model, groups=[model[:2], model[2:]])
    learn.fit_head(2, 0.05)
    history = torch.from_numpy(learn.history.drop(columns="time").to_numpy(float))
    return {"weights": weights(model), "history": history, **answers(learn)}


@case
def views() -> Found:
    """The head alone, on features of augmented images; float32, as the images are."""
    learn = apart()
    learn.fit_head(3, 0.05, n_views=2)
    return {
        "weights": weights(learn.model).float(),
        "issues": torch.from_numpy(learn.freeze().label_issues(folds=3)["item"].to_numpy()),
    }


def apart(**options: Any) -> Learner:
    """Of images: a body, and a head that stands apart."""
    body = nn.Sequential(Doubled(), nn.Conv2d(3, 4, 3).double(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
    model = nn.Sequential(body, nn.Linear(16, 3).double())
    torch.manual_seed(2)
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    return Learner(images(**options), model, groups=[body, model[1]], seed=3, path=FOLDER)


@case
def features() -> Found:
    """What is read from features; these are float32."""
    learn = apart()
    item = learn.dls.samples["input"][3]
    near, pairs, outliers = learn.similar(item, 5), learn.near_duplicates(), learn.outliers()
    issues = learn.freeze().label_issues(folds=3)

    def names(files: Any) -> list[str]:
        return [str(Path(file).relative_to(learn.dls.path)) for file in files]

    return {
        "embedded": learn.embed("train"), "of a layer": learn.embed("valid", "0.1"), "of items": learn.embed([item]),
        "similar": names(near["input"]), "distances": torch.tensor(near["distance"], dtype=torch.float32),
        "pairs": names(pairs["input"]) + names(pairs["other_input"]), "outliers": names(outliers["input"]),
        "issues": names(issues["path"]), "suggested": issues["suggestion"].tolist(),
    }  # fmt: skip


@case
def certainty() -> Found:
    """Sets and familiarity, of vectors."""
    found: Found = {}
    for method in ("lac", "raps"):
        model = net()
        bunch = DataBunch.from_tensors(*clouds(), classes=["a", "b", "c"], bs=8)
        learn = learner(bunch, model, groups=[model[:2], model[2:]])
        learn.fit(1, 0.05)
        learn.fit_conformal(0.2, method=method)
        sets = learn.predict_sets(list(clouds()[2]))
        found |= {
            f"{method} labels": [one.labels for one in sets], f"{method} familiar": [one.is_familiar for one in sets],
            f"{method} scores": torch.tensor([one.score for one in sets]),
            f"{method} of a part": learn.familiarity("train").float(),  # of directions in float32
        }  # fmt: skip
    return found


@case
def adapters() -> Found:
    """Matrices beside the layers of a network of timm, in float64; what they stand beside is not trained."""
    torch.manual_seed(2)
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(96, 3))  # without batch norm
    options: dict[str, Any] = {"custom_head": head, "seed": 5, "path": FOLDER, "metrics": "accuracy"}
    learn = cnn_learner(images(size=32), "timm/test_vit3", pretrained=False, lora=2, **options)
    learn.model = nn.Sequential(Doubled(), learn.model.double())
    return trained(learn, 2, 0.01) | answers(learn)


@case
def fitted() -> Found:
    """What is fitted to predictions, and the policies."""
    learn = learner(groups=None)
    learn.fit_one_cycle(1, 0.05)
    found = {"temperature": learn.calibrate(), "weights": weights(learn.model)}
    model = net()
    tuned = learner(model=model, groups=[model[0], model[2]])
    tuned.fine_tune(1, 0.05)
    return {**found, "tuned": weights(model), "saved": saved_and_loaded(tuned)}


def saved_and_loaded(learn: Learner) -> Tensor:
    """The weights after a file of them was written and read."""
    before = weights(learn.model)
    learn.save("written")
    for parameter in learn.model.parameters():
        parameter.data.zero_()
    learn.load("written")
    assert torch.equal(weights(learn.model), before)
    return before


@case
def dropout() -> Found:
    """Passes with dropout: shared out, each of all items."""
    learn = learner(model=net(dropout=0.5))
    found = learn.mc_dropout(n=5)
    return {name: part for name, part in found._asdict().items() if part is not None}


@case
def normalized() -> Found:
    """Batch norm over the items of all processes, also where some have no item of a batch."""
    with pytest.MonkeyPatch.context() as patch:
        kept = synchronize_on_the_cpu(patch)
        found = {
            f"{name} {key}": value for name, options in {
                "of 3": {"sizes": [8, 8, 3]}, "of 2": {"sizes": [8, 8, 2]}, "of 1": {"sizes": [1] * 6},
                "untracked": {"sizes": [8, 2], "track_running_stats": False},
                "plain": {"sizes": [8, 2], "affine": False},
                "own": {"sizes": [8, 2], "kind": nn.SyncBatchNorm}, "used twice": {"sizes": [8, 2], "twice": True},
                "sharded": {"sizes": [8, 2], "strategy": "fsdp"},
            }.items() for key, value in _normalized(**options).items()
        }  # fmt: skip
        del kept
    return found


def _normalized(
    sizes: list[int], kind: Any = nn.BatchNorm2d, twice: bool = False, strategy: Any = None, **options: Any
) -> Found:
    """A fit on batches of these sizes."""
    torch.manual_seed(8)
    x, y = torch.randn(sum(sizes), 1, 5, 5, dtype=torch.float64), torch.arange(sum(sizes)) % 3
    batches = list(zip(x.split(sizes), y.split(sizes), strict=True))
    norm = kind(4, **options)
    inner = [norm, nn.ReLU(), norm] if twice else [norm, nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)]
    model = nn.Sequential(
        nn.BatchNorm2d(1), nn.Conv2d(1, 4, 3), *inner, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    )
    learn = learner(DataBunch.from_loaders(batches, batches[:1], classes=list("abc")), model.double())
    found = trained(learn, 2, 0.1, strategy=strategy)
    if not norm.track_running_stats:  # then a validation normalizes with each process's share
        del found["history"]
    return found


@case
def segmentation() -> Found:
    torch.manual_seed(6)
    x, y = torch.randn(21, 1, 4, 4, dtype=torch.float64), torch.randint(3, (21, 4, 4))
    y[3] = 255  # nothing of this item counts
    task = Segmentation(("a", "b", "c"), ignore_index=255)
    bunch = DataBunch.from_tensors(x, y, x, y, bs=5, task=task)
    torch.manual_seed(7)
    model = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 3, 1)).double()
    learn = learner(bunch, model, metrics=["accuracy", "dice"])
    found = trained(learn)
    interp = learn.interpret()
    return {**found, **answers(learn), "confusion": torch.as_tensor(np.asarray(interp.confusion_matrix()))}


@case
def whole_batches() -> Found:
    """A validation with a loss, or a metric, that is one number of a whole batch; not the training with it."""
    torch.manual_seed(8)
    found: Found = {}
    for kind, (x, y, model) in {
        "masks": (torch.randn(23, 1, 4, 4, dtype=torch.float64), torch.arange(23 * 16).reshape(23, 4, 4) % 3,
                  nn.Conv2d(1, 3, 1).double()),
        "binary": (torch.randn(23, 1, 4, 4, dtype=torch.float64),
                   (torch.arange(23 * 16).reshape(23, 1, 4, 4) % 2).double(), nn.Conv2d(1, 1, 1).double()),
    }.items():  # fmt: skip
        y[3:5] = 2 * (kind == "masks")
        losses: dict[str, Any] = {kind.__name__: kind(per_batch=True) for kind in (DiceLoss, DiceBCELoss, IoULoss)}
        losses |= {
            "ignoring": DiceLoss(per_batch=True, ignore_index=2 * (kind == "masks")), "function": spread_of_batch,
            "partial": partial(range_of_batch, per_batch=True), "inside": Both(), "sum": SumOfBatch(),
        }  # fmt: skip
        for name, loss_func in losses.items():
            for n in (23, 2, 1):  # also fewer items than processes
                task = Segmentation(("a", "b", "c")) if kind == "masks" else MultiLabel(("a",))
                bunch = DataBunch.from_tensors(x, y, x[:n], y[:n], bs=5, task=task)
                learn = learner(bunch, model, loss_func=loss_func, metrics=[spread_of_batch, largest_of_batch])
                found |= {f"{kind} {name} {n} {key}": value for key, value in answers(learn).items()}
    tracked = trained(learner(metrics=[largest_of_batch, Largest()]), train_metrics=True)
    return found | {f"tracked {key}": value for key, value in tracked.items()}


def spread_of_batch(preds: Tensor, targets: Tensor) -> Tensor:
    return preds.std(unbiased=False) * targets.double().mean()


spread_of_batch.per_batch = True  # type: ignore[attr-defined]


def range_of_batch(preds: Tensor, targets: Tensor, per_batch: bool = False) -> Tensor:
    return preds.amax() - preds.amin() if per_batch else preds.mean()


class Both(nn.Module):
    """A mean of items, and a number of a whole batch."""

    def __init__(self) -> None:
        super().__init__()
        self.dice = DiceLoss(per_batch=True)

    def forward(self, preds: Tensor, targets: Tensor) -> Tensor:
        loss: Tensor = self.dice(preds, targets)
        return loss + preds.square().mean()


class SumOfBatch:
    """One that is not divided by the number of items."""

    reduction, per_batch = "sum", True

    def __call__(self, preds: Tensor, targets: Tensor) -> Tensor:
        return preds.sum() * targets.double().sum()


@case
def cut_images() -> Found:
    torch.manual_seed(8)
    x, y = torch.randn(24, 1, 6, 6, dtype=torch.float64), torch.arange(24) % 3
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 3)).double()
    return trained(learner(DataBunch.from_tensors(x, y, x, y, bs=6), model), callbacks=CutMix())


class Mixed(nn.Module):
    """What a sharded model may hold: blocks, a tied weight, a number, a direct parameter, and buffers."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(9)
        self.blocks = nn.ModuleList([nn.Sequential(nn.Linear(4, 4), nn.Tanh()) for _ in range(4)])
        self.tied = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])
        self.tied[1].weight = self.tied[0].weight
        self.register_buffer("n_batches", torch.zeros((), dtype=torch.int64))
        self.register_buffer("numbers", torch.zeros(4))
        self.scale, self.shift = nn.Parameter(torch.ones(())), nn.Parameter(torch.zeros(1))
        self.head = nn.Linear(4, 3)
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        self.n_batches += self.training
        self.numbers += self.training * torch.arange(4)
        for block in (*self.blocks, *self.tied):
            x = block(x) + x
        out: Tensor = self.head(x * self.scale + self.shift)
        return out


@case
def sharded() -> Found:
    """Several processes share out the weights; the reference is the plain fit of one."""
    cases: dict[str, tuple[Any, dict[str, Any], dict[str, Any]]] = {
        "plain": ((), {}, {}), "fused": ((), {"opt_func": partial(torch.optim.SGD, momentum=0.9, fused=True)}, {}),
        "EMA": (EMA(0.9), {}, {}), "SWA": (SWA(start=0.3), {}, {}), "SaveModel": (SaveModel("accuracy"), {}, {}),
        "OneCycle": (OneCycle(0.1), {}, {}), "clipped": (GradientClipping(0.05), {}, {}),
        "cut": (GradientClipping(clip_value=0.01), {}, {}),
        "accumulated": (GradientAccumulation(16), {}, {}), "in parts": (MicroBatches(1), {}, {}),
        "stopped": ((), {}, {"max_steps": 9, "validate_every": 4}),
        "trained loss": ([GradientClipping(0.05), GradientAccumulation(16)], {"loss_func": Scaled()}, {}),
        "mixed": ([EMA(0.9), GradientClipping(0.5)], {"model": Mixed(), "opt_func": "adam"}, {}),
    }  # fmt: skip
    found: Found = {}
    for name, (callback, options, limits) in cases.items():
        learn = learner(DataBunch.from_tensors(*clouds(51, 22), bs=7), **options)
        run = trained(learn, 3, callbacks=callback, strategy="fsdp", **limits)
        run |= {f"after {key}": value for key, value in answers(learn).items()}
        run |= {f"again {key}": value for key, value in trained(learn, 1, strategy="fsdp").items()}
        found |= {f"{name} {key}": value for key, value in run.items()}
    for number, opt_func in enumerate(("sgd", partial(torch.optim.AdamW, fused=True))):
        torch.manual_seed(6)
        maps = nn.Sequential(
            nn.Unflatten(1, (1, 2, 2)), nn.Conv2d(1, 8, 2, padding=1), nn.Conv2d(8, 4, 3), nn.Flatten(), nn.Linear(4, 3)
        )
        learn = learner(model=maps.double(), opt_func=opt_func)
        learn.to_channels_last()
        found |= {f"channels last {number} {key}": value for key, value in trained(learn, 2, strategy="fsdp").items()}
        assert all(maps[k].weight.is_contiguous(memory_format=torch.channels_last) for k in (1, 2))
    learn = learner(model=net(), groups=lambda model: [model[0], model[2]])
    learn.freeze()
    found |= {f"frozen {key}": value for key, value in trained(learn, 2, strategy="fsdp").items()}
    learn.unfreeze()
    return found | {f"then {key}": value for key, value in trained(learn, 2, slice(0.01, 0.1), strategy="fsdp").items()}


class Fails(Callback):
    """Raises an error after a step."""

    def __init__(self, step: int, error: BaseException) -> None:
        self.step, self.error = step, error

    def after_batch(self, state: TrainState) -> None:
        if state.step == self.step:
            raise self.error


class Asks(Callback):
    """Asks the learner within a fit."""

    def __init__(self, learn: Learner) -> None:
        self.learn = learn

    def after_batch(self, state: TrainState) -> None:
        self.learn.predict(clouds()[2][0])


class Signals(Callback):
    """Sends the last process Ctrl-C at a step; 0 for never."""

    order = Order.REPORT

    def __init__(self, step: int) -> None:
        self.step = step

    def after_batch(self, state: TrainState) -> None:
        if state.step == self.step and world.rank == world.size - 1:
            os.kill(os.getpid(), signal.SIGINT)


class Weighs(Callback):
    """Counts the numbers that this process holds in a fit: of weights, and of what the optimizer keeps."""

    n_weights = n_kept = 0

    def after_step(self, state: TrainState) -> None:
        self.n_weights = sum(p.to_local().numel() for p in state.model.parameters())
        kept = [value for of_one in state.optimizer.state.values() for value in of_one.values() if value.ndim]
        self.n_kept = sum(value.to_local().numel() for value in kept)


class AddsParameter(Callback):
    """Trains a parameter of its own in a group of its own; the processes would draw it differently."""

    scale: nn.Parameter | None = None

    def before_fit(self, state: TrainState) -> None:
        self.add(state, 0.25 * world.rank)

    def add(self, state: TrainState, own: float) -> None:
        device = next(state.model.parameters()).device
        self.scale = nn.Parameter(torch.ones(3, dtype=torch.float64, device=device) + own)
        state.optimizer.add_param_group({"params": [self.scale], "lr": 0.02, "weight_decay": 0.125})

    def after_pred(self, state: TrainState) -> None:
        if self.scale is not None:
            state.preds = state.preds * self.scale


class AddsAfterStep(AddsParameter):
    """Begins with it in the middle of an epoch."""

    def before_fit(self, state: TrainState) -> None:
        self.scale = None

    def after_step(self, state: TrainState) -> None:
        if state.step == 2:
            self.add(state, 0.25 * world.rank)


class AddsInPass(AddsAfterStep):
    """Begins with it in a pass, where it must be the same in all processes to be so in one."""

    def after_step(self, state: TrainState) -> None:
        """Nothing."""

    def after_pred(self, state: TrainState) -> None:
        if self.scale is None and state.step == 2:
            self.add(state, 0.0)
        super().after_pred(state)


class Thaws(Callback):
    """Lets the first layer train, which the optimizer does not hold."""

    def before_fit(self, state: TrainState) -> None:
        state.model[0].requires_grad_(True)
        held = {id(parameter) for group in state.optimizer.param_groups for parameter in group["params"]}
        added = [parameter for parameter in state.model[0].parameters() if id(parameter) not in held]
        if added:
            state.optimizer.add_param_group({"params": added, "lr": 0.02})


def of_trained(groups: Any, lr: float, kind: Any) -> torch.optim.Optimizer:
    """An optimizer of what is trained now."""
    kept = [{**group, "params": [p for p in group["params"] if p.requires_grad]} for group in groups]
    optimizer: torch.optim.Optimizer = kind([group for group in kept if group["params"]], lr=lr)
    return optimizer


@case
def added_groups() -> Found:
    """Groups that a callback adds to the optimizer train as in one process, in this fit and the next ones."""
    found: Found = {}
    kinds = {"sgd": partial(torch.optim.SGD, momentum=0.9), "adamw": torch.optim.AdamW,
             "fused": partial(torch.optim.AdamW, fused=True)}  # fmt: skip
    for strategy in ("ddp", "fsdp"):
        for name, kind in kinds.items():
            for callback in (AddsParameter, AddsAfterStep, AddsInPass, Thaws):
                model = net()
                model[0].requires_grad_(callback is not Thaws)
                learn = learner(model=model, opt_func=partial(of_trained, kind=kind))
                for number in range(1 if callback is Thaws else 2):
                    added = callback()
                    run = trained(learn, 2, 0.05, callbacks=[added, GradientClipping(1.0)], strategy=strategy)
                    if isinstance(added, AddsParameter):
                        assert added.scale is not None
                        run["added"] = added.scale.detach().cpu()
                    assert learn.opt is not None
                    run["groups"] = [[len(g["params"]), g["lr"]] for g in learn.opt.param_groups]
                    run["kept"] = [sorted(kept) for kept in learn.opt.state.values()]
                    key = f"{strategy} {name} {callback.__name__} {number}"
                    found |= {f"{key} {part}": value for part, value in run.items()}
                learn.save("added")
                learn.load("added", with_opt=True)
        for step in (5, 0):
            try:
                found |= {
                    f"{strategy} resumed {part}": value for part, value in trained(
                        learner(path=FOLDER / strategy), 2, 0.05, callbacks=[AddsParameter(), Stops(step)],
                        checkpoint_every=2, resume="auto", strategy=strategy,
                    ).items()
                }  # fmt: skip
            except KeyboardInterrupt:
                assert step
    return found


@case
def sharded_errors() -> Found:
    """A sharded fit that fails in all processes leaves what the fit of one process would."""
    found: Found = {}
    for name, error, callbacks in (
        ("error", ValueError("no"), ()), ("skip", SkipBatch(), ()), ("stop", StopFit("enough"), ()),
        ("averaged", ValueError("no"), EMA(0.9)),
    ):  # fmt: skip
        learn = learner(callbacks=callbacks, opt_func="adam")
        try:
            learn.fit(3, 0.05, callbacks=Fails(9, error), strategy="fsdp")
        except ValueError as raised:
            found[f"{name} notes"] = len(raised.__notes__)
        found[f"{name} weights"] = weights(learn.model)
        found |= {f"{name} then {key}": value for key, value in trained(learn, 1, strategy="fsdp").items()}
    learn = learner(opt_func="sgd")
    try:
        learn.fit(2, 1e200, strategy="fsdp")
    except NonFiniteLossError:
        found["nan weights"] = weights(learn.model)
    assert learn.opt is not None
    found["nan state"] = len(learn.opt.state)
    if world.size > 1:
        _check_apart()
    return found


def _check_apart() -> None:
    """What only a sharded fit has and refuses, and what Ctrl-C leaves."""
    learn, weighs = learner(), Weighs()
    learn.fit(1, 0.05, callbacks=weighs, strategy="fsdp")
    n = len(weights(learn.model))
    assert world.sums(weighs.n_weights, weighs.n_kept) == [n, 2 * n]
    assert max(weighs.n_weights, weighs.n_kept / 2) < n
    assert {type(parameter) for parameter in learn.model.parameters()} == {nn.Parameter}
    before = weights(learn.model)
    with pytest.raises(KeyboardInterrupt) as interrupt:
        learn.fit(1, 0.05, callbacks=Fails(3, KeyboardInterrupt()), strategy="fsdp")
    assert "the weights and the optimizer of step 0 of this fit: those of step 3" in interrupt.value.__notes__[-2]
    assert "weights, optimizer" not in interrupt.value.__notes__[-1]
    assert torch.equal(weights(learn.model), before)
    with pytest.raises(KeyboardInterrupt) as interrupt:  # in one process; all leave after the same step
        learn.fit(2, 0.05, checkpoint_every=100, callbacks=Signals(4), strategy="fsdp")
    assert "weights, optimizer and history" in interrupt.value.__notes__[-1]
    resumed, plain = learner(), learner()
    resumed.fit(2, 0.05, checkpoint_every=100, resume="auto", callbacks=Signals(0), strategy="fsdp")
    plain.fit(2, 0.05)
    assert torch.allclose(weights(resumed.model), weights(plain.model), rtol=1e-9, atol=1e-9)
    with pytest.raises(UsageError, match="shared out over the processes"):
        learn.fit(1, 0.05, callbacks=Asks(learn), strategy="fsdp")
    model = net()
    own = learner(model=model, opt_func=lambda groups, lr: torch.optim.SGD(model.parameters(), lr))
    with pytest.raises(UsageError, match="of another model"):
        own.fit(1, 0.05, strategy="fsdp")


class Stops(Callback):
    """Ends the process after this step as a signal would, without a word to the others."""

    order = Order.REPORT  # so it is not part of what identifies a fit

    def __init__(self, step: int) -> None:
        self.step = step

    def after_batch(self, state: TrainState) -> None:
        if state.step == self.step:
            raise KeyboardInterrupt

    def state_dict(self) -> Found:
        return {}


class Interrupts(Callback):
    """Raises in the last process alone, in one hook of the fourth batch; in the first process if it acts for one."""

    def __init__(self, hook: str, interrupt: Exception, *, is_for_one: bool = False) -> None:
        self.interrupt, self.rank = interrupt, 0 if is_for_one else world.size - 1
        self.is_for_one = is_for_one  # type: ignore[misc]
        self.batch = 0 if hook == "before_epoch" else 3
        setattr(self, hook, self._raise)

    def _raise(self, state: TrainState) -> None:
        if state.batch == self.batch and world.rank == self.rank:
            raise self.interrupt


@case
def interrupted_in_one() -> Found:
    """What a callback of one process skips or ends is skipped or ended in all."""
    found: Found = {}
    within = ("before_batch", "after_pred", "after_loss", "after_backward", "after_step", "after_batch")
    for hook in ("before_epoch", *within, "before_validate", "after_validate", "after_epoch"):
        skips = [SkipBatch(), SkipEpoch()] if hook in within else [SkipEpoch()] if hook == "before_epoch" else []
        for error in (*skips, StopFit("enough")):
            run = trained(learner(), callbacks=Interrupts(hook, error))
            found |= {f"{hook} {type(error).__name__} {key}": value for key, value in run.items()}
    in_parts = [MicroBatches(2), Interrupts("before_batch", SkipBatch())]
    found |= {f"in parts {key}": value for key, value in trained(learner(), callbacks=in_parts).items()}
    for_one = Interrupts("after_batch", StopFit("enough"), is_for_one=True)
    return found | {f"of the first {key}": value for key, value in trained(learner(), callbacks=for_one).items()}


@case
def resume() -> Found:
    """The second half of a fit, whose first half may have run in another number of processes: FOLDER holds it."""
    learn = learner(callbacks=[OneCycle(0.05), EMA(0.9)], opt_func="adam")
    return trained(learn, 3, 0.05, resume="auto", checkpoint_every=2, strategy=STRATEGY)


def interrupted_at(step: int) -> Found:
    learn = learner(callbacks=[OneCycle(0.05), EMA(0.9)], opt_func="adam")
    try:
        learn.fit(3, 0.05, checkpoint_every=2, resume="auto", callbacks=Stops(step), strategy=STRATEGY)
    except KeyboardInterrupt:
        return {"step": step}
    raise AssertionError("the fit was not interrupted")


@case
def interrupted() -> Found:
    """The first part of that fit."""
    return interrupted_at(9)


@case
def interrupted_again() -> Found:
    """Its second part."""
    return interrupted_at(16)


def main() -> None:
    global FOLDER
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    out, names = Path(sys.argv[1]), sys.argv[2:]
    world.begin()
    found: Found = {}
    for name in names or [name for name in CASES if name not in PARTS]:
        FOLDER = out.parent / ("kept" if name in PARTS else f"{out.stem}-{name}")
        if world.is_first:
            FOLDER.mkdir(parents=True, exist_ok=True)
        found[name] = CASES[name]()
    if world.is_first:
        torch.save(found, out)


if __name__ == "__main__":
    main()
