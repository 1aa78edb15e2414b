"""A ResNet-50 in bfloat16, channels last and compiled: how fast files and caches feed it, against the network alone."""

import tempfile
from argparse import Namespace
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from benchmarks.harness import Case, Result, compare, report, result
from benchmarks.pipeline import write_photos
from learnkit import ImageDataBunch, Learner
from learnkit.errors import LearnkitError
from learnkit.transforms import IMAGENET, Flip

BASE, CONTROL, FILES = "by hand, one batch again and again", "A/A control", "by hand, files"
CACHES = ("memory", "device")
LR, MOMENTUM = 1e-3, 0.9  # low: the model of all cases goes on learning


def network(args: Namespace) -> nn.Module:
    """One model for all cases, so that it is compiled once."""
    from torchvision.models import get_model

    torch.manual_seed(0)
    model: nn.Module = get_model(args.arch, num_classes=2).to(args.device).to(memory_format=torch.channels_last)
    if args.compile:
        model.compile()
    return model


def train(model: nn.Module, batches: Iterable[Any], device: torch.device) -> float:
    """One epoch; the sum of the losses."""
    optimizer = torch.optim.SGD(model.parameters(), LR, MOMENTUM)
    model.train()
    losses = torch.zeros((), device=device)
    for x, y in batches:
        x = x.to(device, non_blocking=True).contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16):
            preds = model(x)
        loss = F.cross_entropy(preds.float(), y.to(device, non_blocking=True))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses += loss.detach()
    return float(losses)


def one_batch(model: nn.Module, args: Namespace) -> Case:
    """The speed of the network alone."""
    device, n = torch.device(args.device), args.photos // args.bs
    x = torch.rand(args.bs, 3, args.size, args.size, device=device).contiguous(memory_format=torch.channels_last)
    y = torch.zeros(args.bs, dtype=torch.int64, device=device)
    return lambda: lambda: train(model, [(x, y)] * n, device)


def files_by_hand(model: nn.Module, folder: Path, args: Namespace) -> Case:
    from torchvision import transforms
    from torchvision.datasets import ImageFolder

    end = [transforms.RandomHorizontalFlip(), transforms.ToTensor(), transforms.Normalize(*IMAGENET)]
    crop = [transforms.Resize(args.size), transforms.CenterCrop(args.size)]
    device = torch.device(args.device)
    loader = DataLoader(
        ImageFolder(str(folder), transforms.Compose([*crop, *end])), args.bs, shuffle=True, drop_last=True,
        num_workers=args.workers, persistent_workers=args.workers > 0, pin_memory=device.type == "cuda",
    )  # fmt: skip
    return lambda: lambda: train(model, loader, device)


def with_learnkit(model: nn.Module, folder: Path, args: Namespace, cache: Any) -> Case:
    """One bunch for all rounds, as its cache and its workers last for all epochs."""
    dls = ImageDataBunch.from_folder(
        folder, train=".", valid=None, size=args.size, bs=args.bs, augment=[Flip()], cache=cache,
        num_workers=args.workers if cache is None else 0, device=args.device,
    )  # fmt: skip

    def make() -> Callable[[], float]:
        sgd: Any = {"opt_func": lambda groups, lr: torch.optim.SGD(groups, lr, MOMENTUM), "wd": 0.0}
        learn = Learner(dls, model, seed=0, **sgd).to_channels_last().to_bf16()

        def run() -> float:
            learn.fit(1, LR)
            return sum(learn.recorder.losses)

        return run

    return make


def results_of(args: Namespace) -> list[Result]:
    """Print a table and write it to results/; a cache that this version does not have is left out."""
    model = network(args)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_photos(folder, args.photos)
        cases = {BASE: one_batch(model, args), FILES: files_by_hand(model, folder, args)}
        cases["learnkit, files"] = with_learnkit(model, folder, args, None)
        for cache in CACHES:
            try:
                cases[f'learnkit, cache="{cache}"'] = with_learnkit(model, folder, args, cache)
            except LearnkitError as error:
                print(f"cache={cache!r} is left out: {error}")
        cases[CONTROL] = one_batch(model, args)
        # Twice: learnkit's hook for the layout, and each layout of a batch, make torch compile the model again.
        rows = compare(cases, rounds=args.rounds, warm_up=2 if args.compile else 0)
    n = args.photos // args.bs * args.bs
    title = f"{args.arch} at {args.size} px, bfloat16, channels last{', compiled' if args.compile else ''}"
    report(f"{title}; the result is the sum of losses", rows, BASE, name="gpu_resnet50", unit="ms/image", scale=1e3 / n)
    for row in rows:
        print(f"{row.name}: {n / sorted(row.wall)[len(row.wall) // 2]:,.0f} images/s")
    print()
    ours = [name for name in cases if name.startswith("learnkit")]
    return [
        result(f"{title}: {name.removeprefix('learnkit, ')}", rows, BASE, name, CONTROL,
               unit="ms/image", scale=1e3 / n, peers={FILES: FILES})
        for name in ours
    ]  # fmt: skip
