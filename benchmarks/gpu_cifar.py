"""CIFAR-10 by the recipe of `examples/cifar10.py`, through the Learner and by hand, everything on the device."""

import tempfile
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.harness import Case, Result, compare, report, result
from examples import cifar10
from learnkit import ImageDataBunch

BASE, OURS, CONTROL = "by hand", "learnkit", "by hand (A/A control)"
GOAL = 1.05
NOISE_EPOCHS = 8
N_VALID = 5  # a fifth as many validation images as training images


def noise(folder: Path, n: int) -> Path:
    """n training and n // 5 test images of noise in ten class folders."""
    numbers = np.random.default_rng(0)
    for split, n_images in (("train", n), ("test", n // N_VALID)):
        for i in range(n_images):
            path = folder / split / f"class{i % 10}" / f"{i:05d}.bmp"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(numbers.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(path)
    return folder


def pixels_of(dls: ImageDataBunch, part: str) -> tuple[Tensor, Tensor]:
    """All images of a part, uint8 (N, 3, 32, 32), and their labels, int64 (N,)."""
    dataset = getattr(dls, part)
    return tuple(dataset.batch(range(len(dataset))))  # type: ignore[return-value]


def shifted(x: Tensor, most: int) -> Tensor:
    """Each image moved by up to `most` pixels in both directions; mirrored beyond its border."""
    n, channels, height, width = x.shape
    padded = F.pad(x, [most] * 4, mode="reflect")
    down, right = torch.randint(0, 2 * most + 1, (2, n, 1), device=x.device)
    rows = (down + torch.arange(height, device=x.device))[:, None, :, None]
    columns = (right + torch.arange(width, device=x.device))[:, None, None, :]
    items, planes = torch.arange(n, device=x.device), torch.arange(channels, device=x.device)
    return padded[items[:, None, None, None], planes[None, :, None, None], rows, columns]


def augmented(x: Tensor) -> Tensor:
    mirrored = torch.rand(len(x), 1, 1, 1, device=x.device) < 0.5
    return shifted(torch.where(mirrored, x.flip(3), x), cifar10.MAX_SHIFT)


def by_hand(dls: ImageDataBunch, args: Namespace) -> Case:
    """The whole training set on the device, normalized once; a batch is an index away."""
    device = torch.device(args.device)
    mean, std = (torch.tensor(values, device=device)[:, None, None] for values in cifar10.STATISTICS)
    parts = {part: pixels_of(dls, part) for part in ("train_ds", "valid_ds")}
    on_device = {part: ((x.to(device).float() / 255 - mean) / std, y.to(device)) for part, (x, y) in parts.items()}
    x_train, y_train = on_device["train_ds"]
    x_valid, y_valid = on_device["valid_ds"]
    bf16 = device.type == "cuda"

    def predict(model: nn.Module, x: Tensor) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            outputs: Tensor = model(x.contiguous(memory_format=torch.channels_last))
        return outputs.float()

    def run() -> float:
        torch.manual_seed(0)
        model = cifar10.resnet9(len(dls.classes), args.width).to(device).to(memory_format=torch.channels_last)
        options: dict[str, Any] = {"momentum": cifar10.MOMENTUM, "nesterov": True, "weight_decay": cifar10.WD}
        optimizer = torch.optim.SGD(model.parameters(), cifar10.LR, **options)
        n_batches = len(x_train) // args.cifar_bs
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, cifar10.LR, args.cifar_epochs * n_batches, pct_start=0.2, cycle_momentum=False
        )
        n_right = torch.zeros((), device=device)
        for _ in range(args.cifar_epochs):
            model.train()
            for numbers in torch.randperm(len(x_train), device=device)[: n_batches * args.cifar_bs].split(
                args.cifar_bs
            ):
                preds = predict(model, augmented(x_train[numbers]))
                F.cross_entropy(preds, y_train[numbers], label_smoothing=cifar10.SMOOTHING).backward()
                optimizer.step()
                schedule.step()
                optimizer.zero_grad()
            model.eval()
            with torch.no_grad():
                pairs = zip(x_valid.split(args.cifar_bs), y_valid.split(args.cifar_bs), strict=True)
                n_right = sum(((predict(model, x).argmax(1) == y).sum() for x, y in pairs), torch.zeros_like(n_right))
            float(n_right)
        with torch.no_grad():
            parts = x_valid.split(args.cifar_bs)
            probs = torch.cat([predict(model, x).softmax(1) for x in parts]) / 4
            for _ in range(4):
                probs += torch.cat([predict(model, augmented(x)).softmax(1) for x in parts]) * 0.75 / 4
        return float((probs.argmax(1) == y_valid).double().mean())

    return lambda: run


def with_learnkit(dls: ImageDataBunch, args: Namespace) -> Case:
    def make() -> Callable[[], float]:
        learn = cifar10.make_learner(dls, args.width)
        return lambda: cifar10.train(learn, args.cifar_epochs)

    return make


def results_of(args: Namespace) -> list[Result]:
    """Print a table and write it to results/; on noise, fewer epochs."""
    if not args.cifar:
        args.cifar_epochs = min(args.cifar_epochs, NOISE_EPOCHS)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(args.cifar) if args.cifar else noise(Path(temporary), args.cifar_rows)
        dls = cifar10.load(folder, args.device, args.cifar_bs)
        short = Namespace(**{**vars(args), "cifar_epochs": 1})
        for make in (by_hand(dls, short), with_learnkit(dls, short)):  # kernels are chosen and loaded
            make()()
        cases = {BASE: by_hand(dls, args), OURS: with_learnkit(dls, args), CONTROL: by_hand(dls, args)}
        rows = compare(cases, rounds=1, warm_up=0)
    n = args.cifar_epochs * len(dls.train_ds)
    what = "the result is the accuracy" if args.cifar else "noise instead of CIFAR-10: the result means nothing"
    title = f"CIFAR-10, {args.cifar_epochs} epochs and test-time augmentation"
    report(f"{title}; {what}", rows, BASE, name="gpu_cifar", unit="s")
    for row in rows:
        print(f"{row.name}: {n / row.wall[0]:,.0f} training images/s")
    print()
    return [result(title, rows, BASE, OURS, CONTROL, unit="s", goal=GOAL)]
